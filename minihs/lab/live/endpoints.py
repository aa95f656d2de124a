"""The laboratory's endpoints on a real server, below `/_minihs/lab/v1`: clock, faults, what was decided.

Every request carries the laboratory's secret as an access token does (`Authorization: Bearer …`).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from minihs.events.ids import DeviceID, InvalidIdentifier, UserID, parse_server_name
from minihs.homeserver.accounts.sessions import Requester
from minihs.homeserver.errors import InvalidParam, NotFound
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.lab.driving import duration_ms
from minihs.lab.live.busy import Commits
from minihs.lab.live.clock import LiveClock
from minihs.lab.live.faults import ANYBODY, Faults, FaultTable
from minihs.lab.live.turning import TimeStandsStill, Turning
from minihs.lab.transcript import Transcript
from minihs.lab.watching import AuthTrace
from minihs.lab.wire import WireLog

ROOT = "/_minihs/lab/v1"
LONGEST_MS = 10 * 365 * 86_400_000
MAX_BODY_BYTES = 64 * 1024
PAGE = 1_000

Amount = Annotated[float, msgspec.Meta(ge=0)]


class Duration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A length of time; the parts add up."""

    days: Amount = 0
    hours: Amount = 0
    minutes: Amount = 0
    seconds: Amount = 0
    ms: Amount = 0

    def in_ms(self) -> float:
        """MatrixError 400 when it is none, or longer than anybody lives to see."""
        with suppress(ValueError):
            total_ms = duration_ms(**msgspec.structs.asdict(self))
            if 0 < total_ms <= LONGEST_MS:
                return total_ms
        raise InvalidParam(
            "Say how long in `days`, `hours`, `minutes`, `seconds` or `ms`: more than nothing, and at most "
            "ten years."
        )


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of the wall clock, in either direction."""

    ms: Annotated[int, msgspec.Meta(ge=-LONGEST_MS, le=LONGEST_MS)]


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How slow the disk is."""

    commit_delay_ms: Annotated[float, msgspec.Meta(ge=0, le=60_000)]


class Kill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the process is to die: around the `at_commit`th commit from now; at once, when that is 0."""

    at_commit: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    after: bool = False


class Secret:
    """Whoever has the secret may do everything here; nobody else anything."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode("ascii")
        self._holder = Requester(user_id=UserID("@lab:localhost"), device_id=DeviceID("LAB"))

    def recent(self, token: str) -> Requester | None:
        """Compared in constant time."""
        return self._holder if hmac.compare_digest(token.encode(), self._secret) else None

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:  # noqa: ARG002
        raise MatrixError(
            401, "M_UNKNOWN_TOKEN", "This is not the laboratory's secret, which is in `lab.json`."
        )


class Endpoints:
    """Everything that `minihs serve --lab` answers besides Matrix."""

    def __init__(
        self,
        *,
        clock: LiveClock,
        turning: Turning,
        faults: FaultTable,
        commits: Commits,
        trace: AuthTrace,
        transcript: Transcript,
        wire: WireLog,
        keep_time: Callable[[], None],
        die: Callable[[], Any],
    ) -> None:
        self._clock = clock
        self._turning = turning
        self._faults = faults
        self._commits = commits
        self._trace = trace
        self._transcript = transcript
        self._wire = wire
        self._keep_time = keep_time
        self._die = die

    def routes(self) -> list[Route]:
        return [
            _route("GET", "/clock", self.clock),
            _route("POST", "/clock/advance", self.advance, Duration),
            _route("POST", "/clock/step", self.step, Step),
            _route("POST", "/clock/sleep", self.sleep, Duration),
            _route("GET", "/faults", self.faults),
            _route("DELETE", "/faults", self.clear),
            _route("PUT", "/faults/{server}", self.set_faults, Faults),
            _route("DELETE", "/faults/{server}", self.clear_one),
            _route("GET", "/store", self.store),
            _route("PUT", "/store", self.set_store, Store),
            _route("POST", "/kill", self.kill, Kill),
            _route("GET", "/decisions", self.decisions),
            _route("GET", "/transcript", self.transcript),
            _route("GET", "/traffic", self.traffic),
        ]

    # Time

    async def clock(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /clock: both clocks, how far the wall clock is ahead of the machine's, and when something
        is due next (null: never)."""
        clock = self._clock
        now_us = clock.read_us()
        due_us = clock.next_us()
        return {
            "wall_ms": clock.wall_ms(),
            "monotonic_ms": clock.monotonic_ms(),
            "ahead_ms": clock.ahead_ms,
            "next_due_in_ms": None if due_us is None else max(0, due_us - now_us) / 1000,
        }

    async def advance(self, request: ApiRequest) -> dict[str, Any]:
        """POST /clock/advance: let time pass on both clocks. Answered when everything that fell due has
        happened, in its order; `stuck` is what nobody waited for any longer."""
        try:
            turned = await self._turning.advance(request.body.in_ms())
        except TimeStandsStill as error:
            raise MatrixError(
                503, "ORG.MINIHS.TIME_STANDS_STILL", "Something is always due at once; time cannot pass."
            ) from error
        finally:
            self._keep_time()
        return {**await self.clock(request), "fired": turned.fired, "stuck": turned.stuck}

    async def step(self, request: ApiRequest) -> dict[str, Any]:
        """POST /clock/step: another wall time, as an administrator or NTP sets it. No time passes."""
        self._clock.step_wall(request.body.ms)
        self._keep_time()
        return await self.clock(request)

    async def sleep(self, request: ApiRequest) -> dict[str, Any]:
        """POST /clock/sleep: the machine was asleep: wall time has passed, elapsed time has not."""
        self._clock.step_wall(int(request.body.in_ms()))
        self._keep_time()
        return await self.clock(request)

    # Faults

    async def faults(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /faults: what is set, by server."""
        return {"faults": self._faults.all()}

    async def set_faults(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /faults/{server}: replace what is wrong with the ways to and from one server, or (`*`) all that
        have none of their own."""
        server, faults = request.args["server"], request.body
        if server != ANYBODY:
            try:
                parse_server_name(server)
            except InvalidIdentifier as error:
                raise InvalidParam(f"{server} is neither a server name nor `*`: {error}") from error
        if faults.incoming.duplicated:
            raise InvalidParam("`duplicated` is for `outgoing`: set it on the server that sends.")
        try:
            self._faults.set(server, faults)
        except LookupError as error:
            raise InvalidParam("There are too many servers with faults; clear some.") from error
        return await self.faults(request)

    async def clear(self, request: ApiRequest) -> dict[str, Any]:
        """DELETE /faults: everything gets through again."""
        self._faults.clear()
        return await self.faults(request)

    async def clear_one(self, request: ApiRequest) -> dict[str, Any]:
        """DELETE /faults/{server}."""
        if not self._faults.clear(request.args["server"]):
            raise NotFound(f"Nothing is set for {request.args['server']}.")
        return await self.faults(request)

    # The machine

    async def store(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /store."""
        return {"commit_delay_ms": self._commits.delay_ms}

    async def set_store(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /store: every commit waits so long, by the turned clock, before it begins."""
        self._commits.delay_ms = request.body.commit_delay_ms
        return await self.store(request)

    async def kill(self, request: ApiRequest) -> dict[str, Any]:
        """POST /kill: the process dies as by `kill -9`; now, once this is answered, or around a commit."""
        if request.body.at_commit:
            self._commits.die_at(request.body.at_commit, after=request.body.after)
        else:
            self._die()
        return {}

    # Evidence

    async def decisions(self, request: ApiRequest) -> dict[str, Any]:
        """GET /decisions: answers of the auth rules from the `from`th on, with the state that was read."""
        return _page("decisions", self._trace.decisions, request)

    async def transcript(self, request: ApiRequest) -> dict[str, Any]:
        """GET /transcript: which events this server sent, heard of and refused, from the `from`th on."""
        return _page("entries", self._transcript.entries, request)

    async def traffic(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /traffic: what went to and came from other servers since the start of the process."""
        return {
            "links": [
                {"from": source, "to": target, **msgspec.to_builtins(traffic)}
                for (source, target), traffic in self._wire.traffic().items()
            ]
        }


def _page(name: str, found: Sequence[Any], request: ApiRequest) -> dict[str, Any]:
    """A page of what is counted from the start of the process; `next` is the `from` of the next one."""
    since = request.query.integer("from", default=0, minimum=0) or 0
    page = found[since : since + PAGE]
    return {name: page, "next": since + len(page)}


def _route(method: str, path: str, handler: Any, body: Any = None) -> Route:
    return Route(
        method=method,
        path=ROOT + path,
        access=Access.USER,
        handler=handler,
        body=body,
        max_body=MAX_BODY_BYTES,
    )
