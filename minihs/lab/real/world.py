"""A world of real processes: what `World(real=True)` makes. The same words, sockets and files beneath them.

Time is real, and turned by the laboratories of our servers; faults are theirs, too. A Synapse has none: it
stays in the machine's time, and is cut off by the others.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor

from minihs.federation.dev_ca import DevCa, names_of
from minihs.lab.driving import duration_ms, never
from minihs.lab.http_client import RequestFailed, Response
from minihs.lab.live.clock import LiveClock
from minihs.lab.live.faults import NONE
from minihs.lab.people import Client
from minihs.lab.real import NotInRealWorlds, NotThere
from minihs.lab.real.driving import RealDriver, close
from minihs.lab.real.evidence import Evidence
from minihs.lab.real.links import RealLinks
from minihs.lab.real.people import RealClient
from minihs.lab.real.servers import (
    SYNAPSE_RETRIES,
    MinihsServer,
    RealServer,
    SynapseServer,
    as_settings,
    synapse_python,
)
from minihs.lab.real.synapse_process import SynapseProcess
from minihs.lab.servers import SETTINGS
from minihs.lab.transcript import Transcript
from minihs.lab.watching import AuthTrace
from minihs.lab.wire import Traffic
from minihs.lab.world import PATIENCE_MS, World, listed
from minihs.platform.clock import ReactorClock
from minihs.platform.reactor_network import ReactorNetwork
from minihs.processes import ServerProcess, free_ports
from minihs.server import Policies

WAITED_MS = 1_000
"""So much time is really waited for, and everybody shares it; more is turned."""
SLICES = 100
"""A turn is made in slices, so that the clocks of servers are never further apart than that share of it."""
SOON_MS = 3_000
"""So long something is really waited for before the clocks are turned for it, a Synapse after they were."""
QUIET_MS = 250
LOOK_EVERY_MS = 20
EVERYTHING_ELSE = (
    "is not in a real world: what is there works by the clients, the servers' laboratories and their files. "
    "Leave out `real=True` for a virtual one."
)


class RealWorld(World):
    """Servers as processes, in a folder of its own that goes when the world does."""

    clock: LiveClock
    real = True

    def __init__(
        self,
        servers: str | Iterable[str] = (),
        *,
        seed: int | str = 1,
        settings: Mapping[str, Any] | None = None,
        policies: Policies | None = None,
        real: bool = True,  # noqa: ARG002 - it is what brought us here
        synapse: str | Collection[str] = (),
        synapse_python: Path | str | None = None,
        **virtual: Any,
    ) -> None:
        if policies is not None or virtual:
            words = ", ".join(["policies"] * (policies is not None) + sorted(virtual))
            raise NotInRealWorlds(f"{words}: a real world has settings only; see `condition` for latencies.")
        self.seed = seed
        self.folder = Path(tempfile.mkdtemp(prefix="minihs-lab-"))
        self._processes: list[ServerProcess | SynapseProcess] = []
        self._reactor = SelectReactor()
        self._end = weakref.finalize(self, _end, self.folder, self._processes, self._reactor)
        self.real_clock = ReactorClock(self._reactor)
        self.sockets = ReactorNetwork(self._reactor)
        self.clock = LiveClock(self.real_clock)
        self.transcript = Transcript(lambda: self.clock.monotonic_ms())
        self.watch_requests = True
        self.people: dict[str, Client] = {}
        self.servers: dict[str, Any] = {}
        self._evidence = Evidence(self.transcript)
        self._links = self._real_links = RealLinks(self.servers, self.people, self._send_faults)
        self._settings = dict(settings or {})
        self._synapse_python = synapse_python
        self._authority = DevCa(self.folder / "ca")
        self._driver: Any = RealDriver(self._reactor, self.real_clock, self._pending)
        synapses = listed(synapse)
        try:
            named_first = listed(servers)
            for name in (*named_first, *(each for each in synapses if each not in named_first)):
                self.add_server(name, synapse=name in synapses)
        except BaseException:
            self.stop()
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotThere(f"`{name}` {EVERYTHING_ELSE}")

    # Servers and people

    def add_server(
        self,
        name: str,
        *,
        settings: Mapping[str, Any] | None = None,
        policies: Policies | None = None,
        synapse: bool = False,
        **details: Any,
    ) -> Any:
        """One more server, started: ours, or a Synapse, whose `settings` are those of its own."""
        if policies is not None or details:
            raise NotInRealWorlds("A real server takes settings, and nothing of this process.")
        if name in self.servers:
            raise ValueError(f"there is a server called {name} already")
        client_port, federation_port = free_ports(2)
        leaf = self._authority.issue(name, names_of(["localhost"]))
        place: dict[str, Any] = {
            "client_port": client_port,
            "federation_port": federation_port,
            "ca_file": self._authority.certificate,
            "certificate": leaf.certificate,
            "private_key": leaf.private_key,
        }
        server: RealServer
        if synapse:
            python = synapse_python(self._synapse_python)
            extra = {"federation": SYNAPSE_RETRIES, **(settings or {})}
            process = SynapseProcess(folder=self.folder / name, python=python, extra=extra, **place)
            server = SynapseServer(self, name, process)
        else:
            chosen = {**SETTINGS, **self._settings, **(settings or {})}
            ours = ServerProcess(
                label=name, folder=self.folder, settings=as_settings(chosen), flags=["--lab"], **place
            )
            server = MinihsServer(self, name, ours)
        self._processes.append(server.process)
        self.servers[name] = server
        server.start()
        return server

    def person(self, name: str, on: str) -> Client:
        if name in self.people:
            raise ValueError(f"there is somebody called {name} already")
        client = RealClient(self, name, self.server(on), self.sockets)
        self.people[name] = client
        return client

    # Time

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, ms: float = 0
    ) -> None:
        """Let time pass: up to a second really, more by turning the clocks of our servers. A Synapse does not
        share that; it is given SOON_MS of the machine's time."""
        span_ms = duration_ms(days=days, hours=hours, minutes=minutes, seconds=seconds, ms=ms)
        if span_ms <= WAITED_MS:
            self._driver.advance(span_ms)
            return
        self._driver.run(self._turn(span_ms), PATIENCE_MS, "a turn of the clocks")
        behind = [name for name, server in self.servers.items() if not server.shares_time]
        if behind:
            self._driver.advance(SOON_MS)
            self.transcript.add("network", "", f"{', '.join(behind)} did not share the time that passed")

    async def _turn(self, span_ms: float) -> None:
        left_ms = span_ms
        self.clock.hold()
        try:
            clocks = await self._ask("GET", "/clock")
            while left_ms > 0:
                dues = [each["next_due_in_ms"] for each in clocks if each["next_due_in_ms"] is not None]
                step_ms = min(left_ms, max([1.0, span_ms / SLICES, *([min(dues)] if dues else [left_ms])]))
                clocks = await self._ask("POST", "/clock/advance", {"ms": step_ms})
                self.clock.now_us += int(step_ms * 1000)
                self.clock.fire()
                left_ms -= step_ms
        finally:
            self.clock.release()

    def run_until(
        self, condition: Callable[[], bool], *, what: str = "the condition", within: float = PATIENCE_MS
    ) -> None:
        """Until `condition()`: waited for SOON_MS, and then for as long as the clocks are turned."""
        self.until_seen(condition, what=what, within=within, every=LOOK_EVERY_MS)

    def until_seen(
        self, look: Any, *, what: str = "the condition", within: float = PATIENCE_MS, every: float = 100
    ) -> None:
        """Until `look()`: tried `every` so often for SOON_MS; then the clocks are turned, by an eighth of
        what has passed each time."""
        begins_ms = self.now_ms
        while not look():
            waited_ms = self.now_ms - begins_ms
            if waited_ms >= within:
                raise never(what, within, self._pending())
            later_ms = max(every, WAITED_MS + 1.0, waited_ms / 8)
            self.advance(ms=every if waited_ms < SOON_MS else min(later_ms, within - waited_ms + 1.0))

    def settle(self, *, within: float = 60_000) -> bool:
        """Until nothing goes between servers any more."""
        deadline_ms = self.now_ms + within
        quiet_ms, before = 0.0, self._counts()
        while self.now_ms < deadline_ms:
            self._driver.advance(QUIET_MS / 5)
            counts = self._counts()
            quiet_ms, before = (quiet_ms + QUIET_MS / 5 if counts == before else 0.0), counts
            if quiet_ms >= QUIET_MS:
                return True
        return False

    # The network

    def traffic(
        self, sources: Collection[str] | None = None, targets: Collection[str] | None = None
    ) -> Traffic:
        """What went between servers so far, since their processes were started."""
        total = Traffic()
        ends = [list(self.servers if names is None else names) for names in (sources, targets)]
        for name in chain(*ends):
            self.address(name)
        for (source, target), traffic in sorted(self.traffic_by_link().items()):
            if source in ends[0] and target in ends[1]:
                total += traffic
        return total

    def address(self, name: str) -> str:
        self._links.end(name)
        return "127.0.0.1"

    # Evidence

    @property
    def auth_trace(self) -> AuthTrace:  # type: ignore[override]
        """What the auth rules of our servers were asked so far."""
        self.gather()
        trace = AuthTrace(lambda: self.now_ms, Transcript(lambda: self.now_ms))
        trace.decisions = self._evidence.decisions()
        return trace

    def gather(self) -> None:
        """Ask our servers for what they alone know: what they decided, sent, heard of, and when."""
        for server in self._ours():
            self._gather(server)

    # The end

    def stop(self) -> None:
        """End every process, and remove their files."""
        self._end()
        self._driver.end()

    # What servers call

    def started_process(self, server: RealServer) -> None:
        """A process answers: set its faults."""
        if isinstance(server, MinihsServer):
            server.connect()
            clock = self._driver.run(server.lab("GET", "/clock"), PATIENCE_MS, "the clock")
            server.began_ms = self.now_ms - clock["monotonic_ms"]
            self._evidence.begun(server)
            self._send_faults(server)
        self.transcript.add("network", server.name, f"{server.name} is {server.server_name}")

    def before_end(self, server: RealServer) -> None:
        """A process is about to be killed: take what it alone knows."""
        if isinstance(server, MinihsServer) and server.up:
            with suppress(RequestFailed):  # it is dying already
                self._gather(server)

    def answered(self, who: Client, method: str, path: str, response: Response) -> None:
        """Somebody got an answer."""
        if self.watch_requests:
            answer = str(response.status) + (f" {response.errcode}" if response.errcode else "")
            self.transcript.add("request", who.name, f"{method} {path} → {answer}")

    # Inside

    def _ours(self) -> list[MinihsServer]:
        return [each for each in self.servers.values() if isinstance(each, MinihsServer) and each.up]

    def _gather(self, server: MinihsServer) -> None:
        self._driver.run(self._evidence.gather(server), PATIENCE_MS, f"the evidence of {server.name}")

    async def _ask(self, method: str, path: str, body: Any = None) -> list[Any]:
        """The answers of all laboratories, which are asked at once."""
        begun = [Deferred.fromCoroutine(server.lab(method, path, body)) for server in self._ours()]
        return [await each for each in begun]

    def _send_faults(self, only: MinihsServer | None = None) -> None:
        """Tell the laboratories, or that of a process which has just begun."""

        async def tell(server: MinihsServer) -> None:
            for other, faults in self._real_links.faults(server).items():
                if faults != NONE or only is None:
                    await server.lab("PUT", f"/faults/{other}", msgspec.to_builtins(faults))

        for server in self._ours() if only is None else [only]:
            self._driver.run(tell(server), PATIENCE_MS, f"the laboratory of {server.name}")

    def traffic_by_link(self) -> dict[tuple[str, str], Traffic]:
        """By names, as the source counted it; where that is a Synapse, as the target did."""
        labels = {server.server_name: name for name, server in self.servers.items()}
        found: dict[tuple[str, str], Traffic] = {}
        for server in self._ours():
            reply = self._driver.run(server.lab("GET", "/traffic"), PATIENCE_MS, "the traffic")
            for link in reply["links"]:
                source, target = labels.get(link.pop("from")), labels.get(link.pop("to"))
                if source is None or target is None:
                    continue
                if source == server.name or not isinstance(self.servers[source], MinihsServer):
                    found[source, target] = msgspec.convert(link, Traffic)
        return dict(sorted(found.items()))

    def _counts(self) -> Any:
        counts = sorted(
            (way, traffic.requests, traffic.bytes) for way, traffic in self.traffic_by_link().items()
        )
        return counts, len(self.people)

    def _pending(self) -> str:
        lines = [f"  {name} is down" for name, server in self.servers.items() if not server.up]
        lines += self._real_links.cuts()
        for server in self.servers.values():
            lines += server.pending(self.now_ms)
        lines += [f"  the log of {each.name} is {each.process.log_file}" for each in self.servers.values()]
        return "\n".join(["Pending in this real world:", *lines])


def _end(folder: Path, processes: list[ServerProcess | SynapseProcess], reactor: SelectReactor) -> None:
    close(reactor)
    for process in processes:
        process.stop()
    shutil.rmtree(folder, ignore_errors=True)
