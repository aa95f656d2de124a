"""One server with rooms, futures and the dialects' endpoints, in memory and on a virtual clock.

server = FutureServer()
room_id = server.create()
delay_id = server.schedule(room_id, delay_ms=1000)
server.pass_ms(1000)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast
from urllib.parse import quote

from minihs.events.event import Event
from minihs.events.ids import DeviceID, RoomID, UserID
from minihs.futures.model import MatrixError as FutureError
from minihs.futures.policies import FutureLimits
from minihs.homeserver.accounts.sessions import Requester, UnknownToken
from minihs.homeserver.futures.opening import FutureService, open_future_service
from minihs.homeserver.futures.sending import Standing
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.membership import Membership
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.transactions import Transactions
from minihs.http.client_api.send import Send
from minihs.http.dialects.base import Dialect, OrdinarySend
from minihs.http.dialects.build import build_dialects
from minihs.http.dialects.management import BEARER, OWNER, Authorities
from minihs.http.dialects.table import NAMES, Dialects
from minihs.http.errors import to_matrix_error
from minihs.http.limits import DEFAULT_LIMITS, Limit, RateLimiter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route, Router
from minihs.http.site import ApiFactory
from minihs.store.futures import FutureStore
from minihs.store.streams import Stream
from minihs.store.transactions import TransactionStore
from tests.support.http import HttpDriver, Response
from tests.support.room_service import RoomServer

U = "/_matrix/client/unstable/org.matrix.msc4140"
C = "/_matrix/client"
ALL = tuple(name for name in NAMES if name != "future-id")
"""Every dialect that can be on together."""


def describe(error: Exception) -> FutureError | None:
    """As the server does it: the words of the HTTP API."""
    answer = to_matrix_error(error)
    return None if answer is None else FutureError(answer.status, answer.errcode, answer.error, answer.extra)


class NameTokens:
    """`alice` is the access token of @alice:hs1; `alice/PHONE` that of another device of hers."""

    def recent(self, token: str) -> Requester | None:
        name, _, device = token.partition("/")
        if not name.isalpha():
            return None
        return Requester(
            user_id=UserID(f"@{name}:hs1"),
            device_id=DeviceID(device or "LAPTOP"),
            is_guest=name.startswith("guest"),
        )

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:
        raise UnknownToken


class StateRoute:
    """`PUT /rooms/{room_id}/state/{event_type}/{state_key}`, as far as dialects are concerned with it."""

    def __init__(self, sending: Sending, dialects: Dialects) -> None:
        self._sending = sending
        self._dialects = dialects

    def routes(self) -> list[Route]:
        path = f"{C}/v3/rooms/{{room_id}}/state/{{event_type}}/{{state_key}}"
        return [Route(method="PUT", path=path, access=Access.USER, handler=self.put)]

    async def put(self, request: ApiRequest) -> Any:
        args = request.args
        send = OrdinarySend(
            request=request,
            room_id=args["room_id"],
            type=args["event_type"],
            state_key=args["state_key"],
            txn_id=None,
            content=request.json,
        )
        claimed = self._dialects.claim(send)
        if claimed is not None:
            return await claimed
        draft = EventDraft(
            room_id=RoomID(send.room_id),
            sender=request.user.user_id,
            type=send.type,
            content=send.content,
            state_key=send.state_key,
        )
        return {"event_id": await self._sending.send(draft)}


class FutureServer(RoomServer):
    """`get`, `put` and `post` call endpoints; `standings` says what accounts may do at send time."""

    def __init__(
        self,
        *,
        dialects: Sequence[str] = ("tokens", "delay-query", "merged"),
        more_dialects: Sequence[Dialect] = (),
        limits: FutureLimits | None = None,
        rate_limits: bool = False,
        unauthenticated_management: bool = True,
        unstable_conflict: int = 404,
        due_budget: int = 200,
        **database: Any,
    ) -> None:
        super().__init__(**database)
        self.names = dialects
        self.more_dialects = more_dialects
        self.limits = limits or FutureLimits()
        self.unauthenticated_management = unauthenticated_management
        self.unstable_conflict = unstable_conflict
        self.standings: dict[str, Standing] = {}
        self.limiter = RateLimiter(
            self.clock, {**DEFAULT_LIMITS, "futures_due": Limit(1.0, due_budget)}, enabled=rate_limits
        )
        self.open_futures()

    def open_futures(self) -> FutureService:
        """The futures service and its endpoints over the database as it stands."""
        self.outcomes = Stream(self.run(FutureStore(self.database.reader).last_position()))
        self.announced: list[UserID] = []
        self.sending = Sending(
            rooms=self.rooms,
            events=self.service.events,
            membership=cast(Membership, None),
            directory=cast(Directory, None),
        )
        self.future_service = self.run(
            open_future_service(
                reader=self.database.reader,
                writer=self.writer,
                clock=self.clock,
                entropy=self.entropy,
                server_name=self.signer.server_name,
                rooms=self.rooms,
                sender=self.sending,
                standing_of=self.standing_of,
                describe=describe,
                charge=lambda user_id: self.limiter.charge("futures_due", user_id),
                limits=self.limits,
                outcomes=self.outcomes,
                announce=self.announced.append,
            )
        )
        self.run(self.future_service.scheduler.start())
        self.transactions = Transactions(TransactionStore(self.database.reader), self.writer, self.clock)
        self.dialects = self.dialects_of(self.names)
        router = Router(self.dialects.routes())
        router.add(Send(self.sending, self.transactions, self.dialects.claim).routes())
        router.add(StateRoute(self.sending, self.dialects).routes())
        self.http = HttpDriver(
            ApiFactory(router, clock=self.clock, limiter=self.limiter, tokens=NameTokens()), self.clock
        )
        return self.future_service

    def dialects_of(self, names: Sequence[str]) -> Dialects:
        """These dialects over this server."""
        return build_dialects(
            names,
            futures=self.futures,
            listing=self.future_service.listing,
            sender=self.sending,
            transactions=self.transactions,
            limiter=self.limiter,
            clock=self.clock,
            entropy=self.entropy,
            limits=self.limits,
            authorities=Authorities(unstable=BEARER if self.unauthenticated_management else OWNER),
            unstable_conflict=self.unstable_conflict,
            more=self.more_dialects,
        )

    async def standing_of(self, user_id: UserID) -> Standing:
        return self.standings.get(user_id, Standing())

    @property
    def futures(self) -> Any:
        return self.future_service.futures

    def restart(
        self, *, cleanly: bool = True, away_ms: int = 0, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Stop (or just lose) the process and start another one on the same database; in between, the machine
        is away for a while, and `meanwhile` happens."""
        if cleanly:
            self.run(self.future_service.scheduler.stop())
        else:
            self.crash()
        if away_ms:
            self.clock.step_wall(away_ms)
        meanwhile()
        self.open()
        self.open_futures()

    def crash(self) -> None:
        """Nothing of the process goes on: its timers are gone, and what was not written is lost.

        Its coroutines may still be unwound when they are collected as garbage; a writer that is busy for ever
        keeps what they leave behind out of the database.
        """
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.writer._pending.clear()
        self.writer._busy = True
        self.writer = self.open_writer()

    def hold_writer(self) -> None:
        """Let batches wait until `release_writer`, as behind a slow disk."""
        assert not self.writer._busy
        self.writer._busy = True

    def release_writer(self) -> None:
        """Write what has gathered."""
        self.clock.call_later(0, self.writer._write_group)
        self.settle()

    def pass_ms(self, ms: float) -> None:
        """Let time pass, and everything that follows from it happen."""
        self.clock.advance(ms / 1000)
        self.settle()

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(200):
            self.clock.advance(0)

    # Endpoints

    def get(self, path: str, token: str | None = "alice", **details: Any) -> Response:
        return self.http.request("GET", path, token=token, **details)

    def put(self, path: str, json: Any, token: str | None = "alice", **details: Any) -> Response:
        return self.http.request("PUT", path, json=json, token=token, **details)

    def post(self, path: str, json: Any = None, token: str | None = "alice", **details: Any) -> Response:
        return self.http.request("POST", path, json={} if json is None else json, token=token, **details)

    def schedule(
        self,
        room_id: str,
        delay_ms: int = 10_000,
        *,
        txn: str = "t1",
        token: str = "alice",
        type: str = "m.room.message",  # noqa: A002
        **body: Any,
    ) -> str:
        """Schedule by the dialect `merged`; the delay ID."""
        path = f"{C}/v3/rooms/{quote(room_id)}/delayed_event/{type}/{quote(txn)}"
        body.setdefault("content", {"msgtype": "m.text", "body": "later"})
        response = self.put(path, {"delay_ms": delay_ms, **body}, token)
        assert response.status == 200, response.json
        return str(response.json["delay_id"])

    def act(self, delay_id: str, action: str, token: str | None = "alice") -> Response:
        """An action by the dialect `merged`."""
        return self.post(f"{C}/v1/delayed_events/{delay_id}/{action}", token=token)

    def lookup(self, delay_id: str, token: str = "alice") -> Any:
        """What `merged` tells of a future."""
        return self.get(f"{C}/v1/delayed_events/{delay_id}", token).json

    def stored(self) -> list[int]:
        """How much is stored of what a request could store: equal before and after one that is refused."""
        tables = ("futures", "future_timers", "future_tokens", "events", "transactions")
        return [self.run(self._count(table)) for table in tables]

    async def _count(self, table: str) -> int:
        (count,) = await self.database.reader.one(f"SELECT COUNT(*) FROM {table}")
        return int(count)

    def sent(self, room_id: str, event_type: str = "m.room.message") -> list[Event]:
        """The events of one type that became durable in a room, in order."""
        return [
            committed.event
            for committed in self.observer.committed
            if committed.event.room_id == room_id and committed.event.type == event_type
        ]

    def join(self, room_id: str, user: str) -> None:
        """Somebody of this server joins a public room."""
        self.send(RoomID(room_id), user, "m.room.member", state_key=user, content={"membership": "join"})
