"""A server process on the laboratory's bench: its clock, network and workers, and the listener to turn them.

`minihs serve --lab` puts a server on it. It listens on loopback only, and refuses a server that does not.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError

from minihs.config import Config, parse_listen
from minihs.http.limits import RateLimiter
from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.lab.live.busy import Busy, BusyWorkers, Commits, die
from minihs.lab.live.clock import LiveClock
from minihs.lab.live.endpoints import ROOT, Endpoints, Secret
from minihs.lab.live.faults import FaultTable
from minihs.lab.live.network import FaultyNetwork
from minihs.lab.live.turning import Turning
from minihs.lab.transcript import Transcript
from minihs.lab.watching import AuthTrace, WatchedJudge, Witness
from minihs.lab.wire import WireLog
from minihs.platform.clock import Clock
from minihs.platform.entropy import SystemEntropy, token_urlsafe
from minihs.platform.logs import Logger
from minihs.platform.network import Network
from minihs.server import CannotStart, Parts, Platform, Policies

log = Logger()

WARNING = (
    "the laboratory is open: whoever reads {file} turns this server's clock and breaks its network. "
    "Other servers, and clients, do not share its time. Never do this with a server that people use."
)
ANY_PORT = "127.0.0.1:0"
SECRET_BYTES = 32
MAX_KEPT = 100_000
"""Entries of the transcript, and decisions; what comes after them is not kept."""
DIE_AFTER_S = 0.05
"""Time for the answer to leave."""


class Opened(msgspec.Struct):
    """Where a laboratory answers, and whom: what `lab.json` holds."""

    url: str
    secret: str


class Kept(msgspec.Struct):
    """What the next process must know to go on in the same time."""

    ahead_ms: int = 0


class Bench:
    """One server process's. Nothing happens before `platform`."""

    def __init__(self, config: Config, reactor: Any, listen: str = ANY_PORT) -> None:
        """CannotStart when the server, or this, would listen beyond loopback."""
        for name, address in (
            ("--lab-listen", listen),
            ("--client-listen", config.server.client_listen),
            ("--federation-listen", config.server.federation_listen),
            ("metrics.listen", config.metrics.listen),
        ):
            if address is not None:
                _check_loopback(name, address)
        folder = Path(config.server.data_dir)
        self._file = folder / "lab.json"
        self._kept_file = folder / "lab-clock.json"
        self._reactor = reactor
        self._listen = listen
        self._name = config.server_name
        self._port: Any = None
        self._site: ApiFactory | None = None
        self._real_clock: Clock
        self._clock: LiveClock
        self._transcript: Transcript
        self._trace: AuthTrace
        self._endpoints: Endpoints

    def platform(self, platform: Platform) -> Platform:
        """The same one with a clock that can be turned, faults, and a count of everything that takes time."""
        self._real_clock = platform.clock
        self._clock = clock = LiveClock(platform.clock, ahead_ms=self._last_ahead_ms())
        busy = Busy(self._reactor.callLater)
        faults = FaultTable(platform.entropy)
        wire = WireLog(clock, lambda label: label)
        commits = Commits(BusyWorkers(platform.commit_worker, busy, "a commit"), clock)
        self._transcript = Transcript(clock.monotonic_ms, most=MAX_KEPT)
        self._trace = AuthTrace(clock.monotonic_ms, self._transcript, most=MAX_KEPT)
        self._endpoints = Endpoints(
            clock=clock,
            turning=Turning(clock, busy, lambda call: self._reactor.callLater(0, call)),
            faults=faults,
            commits=commits,
            trace=self._trace,
            transcript=self._transcript,
            wire=wire,
            keep_time=self._keep_time,
            die=lambda: self._reactor.callLater(DIE_AFTER_S, die),
        )
        return replace(
            platform,
            clock=clock,
            commit_worker=commits,
            workers=BusyWorkers(platform.workers, busy, "a worker"),
            network=FaultyNetwork(platform.network, clock, platform.clock, faults, busy, wire, self._name),
        )

    def policies(self) -> Policies:
        """A judge that writes down."""
        policies = Policies()
        return replace(policies, judge=WatchedJudge(policies.judge, self._name, self._trace))

    async def start(self, parts: Parts, network: Network) -> str:
        """Watch the server's rooms, listen, and write down where and with which secret; returns where.

        CannotStart when it cannot listen.
        """
        parts.room_service.rooms.observe(Witness(self._name, self._transcript))
        secret = token_urlsafe(SystemEntropy(), SECRET_BYTES)
        self._site = ApiFactory(
            Router(self._endpoints.routes()),
            clock=self._real_clock,
            limiter=RateLimiter(self._real_clock, enabled=False),
            tokens=Secret(secret),
        )
        host, port = parse_listen(self._listen)
        try:
            self._port = await network.listen(self._site, host, port, tls=False)
        except CannotListenError as error:
            raise CannotStart(f"--lab-listen: {self._listen} cannot be listened on.") from error
        address = self._port.getHost()
        at = f"[{address.host}]" if ":" in address.host else address.host
        url = f"http://{at}:{address.port}{ROOT}"
        _write_private(self._file, msgspec.json.encode(Opened(url, secret)))
        log.warn(WARNING, file=self._file)
        return f"laboratory at {url}, its secret in {self._file}"

    async def stop(self) -> None:
        """Answer no more; time goes on as it did, so that the server can end."""
        self._file.unlink(missing_ok=True)
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        if self._site is not None:
            await self._site.stop()

    def _last_ahead_ms(self) -> int:
        try:
            return msgspec.json.decode(self._kept_file.read_bytes(), type=Kept).ahead_ms
        except FileNotFoundError:
            return 0
        except (OSError, msgspec.MsgspecError) as error:
            raise CannotStart(
                f"{self._kept_file} says how far this server's time was turned, and cannot be read: {error}. "
                "Remove it to go back to the machine's time."
            ) from error

    def _keep_time(self) -> None:
        _write_private(self._kept_file, msgspec.json.encode(Kept(self._clock.ahead_ms)))


def _check_loopback(option: str, address: str) -> None:
    try:
        host, _ = parse_listen(address)
        if host == "localhost" or ip_address(host).is_loopback:
            return
    except ValueError:
        pass
    raise CannotStart(
        f"With --lab every listener must be on loopback (127.0.0.1 or ::1), and {option} is {address}: "
        "nobody elsewhere may be told a time that is not theirs."
    )


def _write_private(file: Path, content: bytes) -> None:
    """Whole or not at all, and for its owner alone."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as written:
        written.write(content)
    fresh.replace(file)
