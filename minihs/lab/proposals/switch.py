"""Turns a proposal on for servers of a world, process after process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from minihs.events.event import Event
from minihs.homeserver.rooms.commits import CommittedEvent, RoomObserver
from minihs.lab.servers import LabServer
from minihs.lab.world import World
from minihs.rooms.state_map import StateChange
from minihs.server import Policies
from minihs.store.writer import Batch


class Proposal(RoomObserver, Protocol):
    """A proposal on one server. `policies` are asked for once, `run_on` comes with each process."""

    def policies(self) -> Policies:
        """What the server does differently."""

    def run_on(self, server: LabServer) -> None:
        """Begin on a process whose parts are there; what the last one left is in the database."""


P = TypeVar("P", bound=Proposal)


class Switch(Generic[P]):
    """`servers` has the proposal on each server that knows it."""

    def __init__(self, world: World, make: Callable[[], P]) -> None:
        self._make = make
        self.servers: dict[str, P] = {}
        world.observers.append(self._started)

    def policies(self, server_name: str) -> Policies:
        """For a server that is to know the proposal; give them to `add_server`."""
        proposal = self.servers[server_name] = self._make()
        return proposal.policies()

    def _started(self, server: LabServer) -> RoomObserver:
        proposal = self.servers.get(server.name)
        if proposal is None:
            return Unmoved()
        proposal.run_on(server)
        return proposal


class Unmoved:
    """Observes rooms and does nothing."""

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        """Nothing is stored beside it."""

    def event_committed(self, committed: CommittedEvent) -> None:
        """Nothing follows."""

    def event_failed(self, event: Event) -> None:
        """Nothing was expected."""
