"""A world: complete homeservers, people and the ways between them, in one process, on one virtual clock.

Nothing inside a server is replaced; its clock, entropy, network and threads are the world's. Time moves only
when it is told to. The same seed gives the same world, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from minihs.events.ids import parse_server_name, split_server_name
from minihs.homeserver.rooms.commits import RoomObserver
from minihs.lab.clocks import WorldClock
from minihs.lab.conditions import Conditions, changed
from minihs.lab.driving import Driver, duration_ms, never
from minihs.lab.links import Links, MemoryLinks
from minihs.lab.memory_network import MemoryHost, MemoryNetwork
from minihs.lab.names import UnknownName, named
from minihs.lab.pending import pending_report
from minihs.lab.people import Client, log_in, register
from minihs.lab.servers import LabServer
from minihs.lab.transcript import Transcript
from minihs.lab.watching import AuthTrace, WatchedJudge, Witness
from minihs.lab.wire import Exchange, Traffic, WireLog
from minihs.lab.yielding import is_everywhere
from minihs.platform.clock import sleep
from minihs.platform.entropy import SeededEntropy
from minihs.server import Policies

T = TypeVar("T")

PATIENCE_MS = 600_000
"""How long things may take that no story waits for."""

SERVERS_IN_A_NETWORK = 250

QUIET_MS = 250
"""So long nothing may be asked for a world to be at rest."""


class World:
    """Servers, people and the network between them.

    `settings` and `policies` are for every server; `add_server` takes others for one. Latencies are of one
    direction. With `yields`, every read of a store gives control away for some turns, drawn from the seed.

    With `real`, servers are processes of `minihs serve --lab` on sockets and files, `synapse` names those
    that are Synapses instead, and `synapse_python` the interpreter that has it (`real.world.RealWorld`).
    """

    real = False
    """Whether its servers are processes."""

    def __new__(cls, *_: Any, real: bool = False, **__: Any) -> World:
        if real and cls is World:
            from minihs.lab.real.world import RealWorld  # late: few worlds are

            return object.__new__(RealWorld)
        return object.__new__(cls)

    def __init__(
        self,
        servers: str | Iterable[str] = (),
        *,
        seed: int | str = 1,
        settings: Mapping[str, Any] | None = None,
        policies: Policies | None = None,
        latency_ms: float = 5.0,
        client_latency_ms: float = 1.0,
        yields: bool = False,
        real: bool = False,
        synapse: str | Collection[str] = (),
        synapse_python: Path | str | None = None,
    ) -> None:
        if synapse or synapse_python or real:
            raise ValueError("A Synapse is a process: that takes a world with `real=True`.")
        self.seed = seed
        self.yields = yields or is_everywhere()
        self.clock = WorldClock()
        self.transcript = Transcript(lambda: self.clock.monotonic_ms())
        self.auth_trace = AuthTrace(lambda: self.clock.monotonic_ms(), self.transcript)
        self.wire = WireLog(self.clock, self._label, on_answer=self._answered)
        near = changed(Conditions(), latency_ms=client_latency_ms)
        far = changed(near, latency_ms=latency_ms)
        self.network = MemoryNetwork(
            self.clock,
            latency_ms=far.latency_ms,
            entropy=SeededEntropy(f"{seed} network"),
            observer=self.wire,
        )
        self.entropy = SeededEntropy(f"{seed} world")
        self.servers: dict[str, LabServer] = {}
        self.people: dict[str, Client] = {}
        self.watch_requests = True
        self.observers: list[Callable[[LabServer], RoomObserver]] = []
        """Made for each server process that starts from now on, to observe its rooms."""
        self._settings = dict(settings or {})
        self._policies = policies or Policies()
        self._near = near
        self._labels: dict[str, str] = {}
        self._links: Links
        self._links = self._memory_links = MemoryLinks(self.network, self.address)
        self._driver = Driver(self.clock, lambda: pending_report(self))
        for name in listed(servers):
            self.add_server(name)

    # Servers and people

    def add_server(
        self,
        name: str,
        *,
        settings: Mapping[str, Any] | None = None,
        policies: Policies | None = None,
        **details: Any,
    ) -> LabServer:
        """One more server, started; it listens for others at the port of its name, or 8448, and for clients
        at port 8008.

        `details` may be a `database` that is there already, and signing `keys`.
        """
        if name in self.servers:
            raise ValueError(f"there is a server called {name} already")
        hostname, _ = split_server_name(parse_server_name(name))
        number = len(self.servers)  # people are in 10.1
        network = "10.0" if number < SERVERS_IN_A_NETWORK else f"10.{100 + number // SERVERS_IN_A_NETWORK}"
        host = self._host(f"{network}.{number % SERVERS_IN_A_NETWORK}.1", name, hostname)
        self._memory_links.joined(host.address)
        chosen = {**self._settings, **(settings or {})}
        server = self._make_server(name, host, chosen, policies or self._policies, **details)
        self.servers[name] = server
        server.start()
        return server

    def server(self, name: str) -> LabServer:
        """The server of that name; UnknownName names the nearest."""
        return named("server", name, self.servers)

    __getitem__ = server

    def server_name(self, name: str) -> str:
        """What the server of that name is called in user IDs; a name of no server here stands for itself."""
        return self.servers[name].server_name if name in self.servers else name

    def user(self, name: str, on: str | None = None) -> Client:
        """The person of that name, who gets an account on the server `on` when there is none yet."""
        if on is None:
            return named("person", name, self.people)
        client = self.person(name, on)
        client.world.run(register(client), f"the registration of {name}")
        return client

    def person(self, name: str, on: str) -> Client:
        """Somebody with a machine of their own, and no account yet; see `people.register`."""
        if name in self.people:
            raise ValueError(f"there is somebody called {name} already")
        server = self.server(on)
        host = self._host(f"10.1.{len(self.people) // 250}.{len(self.people) % 250 + 1}", name)
        self._condition_pair(host.address, server.host.address, self._near)
        self._memory_links.joined(host.address)
        client = self._make_client(name, server, host)
        self.people[name] = client
        return client

    def device(self, name: str, of: str) -> Client:
        """Another device of the person `of`, who has an account: a machine of its own, called `name`."""
        owner = named("person", of, self.people)
        client = self.person(name, owner.server.name)
        self.run(log_in(client, owner), f"the login of {name}")
        return client

    def _make_server(
        self, name: str, host: MemoryHost, settings: Mapping[str, Any], policies: Policies, **details: Any
    ) -> LabServer:
        return LabServer(self, name, host, settings, policies, **details)

    def _make_client(self, name: str, server: LabServer, host: MemoryHost) -> Client:
        return Client(self, name, server, host)

    # Time

    @property
    def now_ms(self) -> float:
        """True time since the beginning."""
        return self.clock.monotonic_ms()

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, ms: float = 0
    ) -> None:
        """Let time pass; it jumps from one thing that happens to the next."""
        self._driver.advance(duration_ms(days=days, hours=hours, minutes=minutes, seconds=seconds, ms=ms))

    def run_until(
        self, condition: Callable[[], bool], *, what: str = "the condition", within: float = PATIENCE_MS
    ) -> None:
        """Until `condition()`, which must not ask servers (see `until_seen`); NeverHappened after `within`
        milliseconds, with what was pending."""
        self._driver.until(condition, within, what)

    def until_seen(
        self,
        look: Callable[[], bool],
        *,
        what: str = "the condition",
        within: float = PATIENCE_MS,
        every: float = 100,
    ) -> None:
        """Until `look()`, which may ask servers and is tried `every` so many milliseconds."""
        deadline_ms = self.now_ms + within
        while not look():
            if self.now_ms >= deadline_ms:
                raise never(what, within, pending_report(self))
            self.advance(ms=every)

    def settle(self, *, within: float = 60_000) -> bool:
        """Until nothing is asked any more (`/sync` apart); False when that did not come `within` so many
        milliseconds, as beside a silent link."""
        deadline_ms = self.now_ms + within
        while self.now_ms < deadline_ms:
            before = self.wire.count
            self.advance(ms=QUIET_MS)
            if (
                before == self.wire.count
                and self.network.is_quiet()
                and not any(map(_matters, self.wire.waiting()))
            ):
                return True
        return False

    def run(self, work: Coroutine[Any, Any, T], what: str = "the work", within_ms: float = PATIENCE_MS) -> T:
        """The result of a coroutine, turning the world on meanwhile."""
        return self._driver.run(work, within_ms, what)

    def run_all(
        self, works: Iterable[Coroutine[Any, Any, T]], what: str = "the work", within_ms: float = PATIENCE_MS
    ) -> list[T]:
        """The results of several coroutines that run side by side, in their order."""
        begun = [Deferred.fromCoroutine(work) for work in works]
        try:
            return [self._driver.result(each, within_ms, what) for each in begun]
        finally:
            for each in begun:
                each.addErrback(lambda _: None)  # the first that failed is told

    def sleep(self, ms: float) -> Deferred[None]:
        """For coroutines: so much time has passed."""
        return sleep(self.clock, ms)

    # The network

    def partition(self, *sides: str | Collection[str], silent: bool = True) -> None:
        """Cut every link between servers of different sides, each a name or a list of names. Silent cuts are
        noticed by time-outs only; others break connections at once."""
        groups = [[self.server(name).name for name in listed(side)] for side in sides]
        named_twice = [name for name, count in Counter(chain(*groups)).items() if count > 1]
        if len(groups) < 2 or named_twice:
            wrong = f"{named_twice[0]} is named twice" if named_twice else "there is no other side"
            raise ValueError(f"A partition has two sides or more, each with servers of its own: {wrong}.")
        for side, other in combinations(groups, 2):
            for one, two in product(side, other):
                self._links.cut(one, two, silent=silent)
                self._links.cut(two, one, silent=silent)
        self._links.changed()
        names = " | ".join(", ".join(side) for side in groups)
        self.transcript.add("network", "", f"the network parts: {names}" + ("" if silent else " (noticed)"))

    def cut(self, source: str, target: str, *, silent: bool = True, one_way: bool = False) -> None:
        """Cut the way from one machine (a server, or somebody's) to another; both ways unless `one_way`."""
        for here, there in self._ways(source, target, both=not one_way):
            self._links.cut(here, there, silent=silent)
        self._links.changed()
        arrow = "→" if one_way else "↔"
        self.transcript.add("network", "", f"the link {source} {arrow} {target} is cut")

    def heal(self, *names: str) -> None:
        """Undo cuts between all these machines; between all servers and people when none is named. Conditions
        stay (`condition`)."""
        self._links.mend([self._links.end(name) for name in names])
        self._links.changed()
        self.transcript.add("network", "", f"the network is mended{': ' if names else ''}{', '.join(names)}")

    def condition(self, one: str, other: str, *, both_ways: bool = True, **changes: Any) -> None:
        """Change the conditions of the way from one machine to another; see `Conditions` for names."""
        for source, target in self._ways(one, other, both=both_ways):
            self._links.change(source, target, **changes)
        self._links.changed()
        told = ", ".join(f"{key} {value}" for key, value in sorted(changes.items()))
        self.transcript.add("network", "", f"the link {one} – {other} has {told}")

    def slow(self, name: str, ms: float) -> None:
        """Everything to and from a machine takes so much longer."""
        self._links.slow_down(self._links.end(name), ms)
        self._links.changed()
        self.transcript.add("network", name, f"{name} is slower by {ms:g} ms each way")

    def traffic(
        self, sources: Collection[str] | None = None, targets: Collection[str] | None = None
    ) -> Traffic:
        """What went from some machines to others so far; between servers when nothing is named."""
        ends = [list(self.servers if names is None else names) for names in (sources, targets)]
        for name in chain(*ends):
            self.address(name)
        return self.wire.between(*ends)

    def traffic_by_link(self) -> dict[tuple[str, str], Traffic]:
        """What went between servers so far, by who asked and who was asked."""
        links = self.wire.traffic().items()
        return {link: traffic for link, traffic in links if set(link) <= set(self.servers)}

    def gather(self) -> None:
        """Have everything in the transcript that servers know: in a virtual world it is there."""

    def address(self, name: str) -> str:
        """The IP address of a server or of somebody's machine."""
        if name in self.servers:
            return self.servers[name].host.address
        if name in self.people:
            host: Any = self.people[name].host
            return str(host.address)
        raise UnknownName("server or person", name, [*self.servers, *self.people])

    # The end

    def stop(self) -> None:
        """Stop every server cleanly."""
        for server in self.servers.values():
            if server.up:
                server.stop()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What servers call

    def watched(self, server: LabServer) -> Policies:
        """The policies of a server, with a judge that writes down."""
        policies = server.policies
        return replace(policies, judge=WatchedJudge(policies.judge, server.name, self.auth_trace))

    def started(self, server: LabServer) -> None:
        """A server's process has begun."""
        rooms = server.parts.room_service.rooms
        rooms.observe(Witness(server.name, self.transcript))
        for observer in self.observers:
            rooms.observe(observer(server))

    # Inside

    def _host(self, address: str, label: str, *names: str) -> MemoryHost:
        self._labels[address] = label
        return self.network.host(address, *names)

    def _label(self, address: str) -> str:
        return self._labels.get(address, address)

    def _ways(self, one: str, other: str, *, both: bool) -> list[tuple[str, str]]:
        """The directions between two machines. ValueError when they are one."""
        if self._links.end(one) == self._links.end(other):
            raise ValueError(f"{one} has no way to itself: name two.")
        return [(one, other), (other, one)] if both else [(one, other)]

    def _condition_pair(self, one: str, other: str, conditions: Conditions) -> None:
        self.network.path(one, other).conditions = conditions
        self.network.path(other, one).conditions = conditions

    def _answered(self, exchange: Exchange) -> None:
        if self.watch_requests and exchange.source in self.people:
            answer = str(exchange.status) + (f" {exchange.errcode}" if exchange.errcode else "")
            self.transcript.add("request", exchange.source, f"{exchange.method} {exchange.path} → {answer}")


def listed(given: str | Iterable[str]) -> list[str]:
    """A name, or several."""
    return [given] if isinstance(given, str) else list(given)


def _matters(exchange: Exchange) -> bool:
    return "/sync" not in exchange.path
