"""A room service on a database in memory, as tests of the homeserver's parts need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from minihs.events.event import Event
from minihs.events.ids import RoomID, ServerName, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.rooms.opening import RoomService, open_room_service
from minihs.homeserver.rooms.service import CommittedEvent, EventDraft, Rooms
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy
from minihs.platform.workers import InlineWorkers
from minihs.rooms.state_map import StateChange
from minihs.store.database import Database, open_database
from minihs.store.writer import Batch, Writer
from tests.support.deferreds import finish, run, start
from tests.support.events import signer_of


@dataclass
class Recorder:
    """An observer that keeps what it hears."""

    queued: list[Event] = field(default_factory=list)
    committed: list[CommittedEvent] = field(default_factory=list)
    failed: list[Event] = field(default_factory=list)

    def event_queued(self, event: Event, batch: Batch, changes: Sequence[StateChange]) -> None:
        self.queued.append(event)

    def event_committed(self, committed: CommittedEvent) -> None:
        self.committed.append(committed)

    def event_failed(self, event: Event) -> None:
        self.failed.append(event)


class RoomServer:
    """One server's rooms: `rooms` is the service, `run` drives it."""

    def __init__(
        self,
        server_name: str = "hs1",
        database: Database | None = None,
        *,
        clock: VirtualClock | None = None,
    ) -> None:
        self.clock = clock or VirtualClock()
        self.signer = signer_of(server_name)
        self.entropy = SeededEntropy(server_name)
        self.database = open_database() if database is None else database
        self.fatal: list[str] = []
        self.writer = self.open_writer()
        self.woken: list[tuple[ServerName, ...]] = []
        self.observer = Recorder()
        self.service = self.open()

    def open_writer(self) -> Writer:
        """A process's own way into the database."""
        return Writer(
            self.database.writing, clock=self.clock, workers=InlineWorkers(), on_fatal=self.fatal.append
        )

    def open(self) -> RoomService:
        """The service over the database as it stands: a restart, when it is called again."""
        service = self.run(
            open_room_service(
                reader=self.database.reader,
                writer=self.writer,
                signer=self.signer,
                clock=self.clock,
                entropy=self.entropy,
                wake_federation=lambda servers: self.woken.append(tuple(servers)),
            )
        )
        service.rooms.observe(self.observer)
        self.service = service
        return service

    @property
    def rooms(self) -> Rooms:
        return self.service.rooms

    def run(self, work: Any) -> Any:
        return run(self.clock, work)

    def run_now(self, work: Any) -> Any:
        """The result of work that waits for nothing."""
        done = start(work)
        assert done.called
        return finish(self.clock, done)

    def create(
        self,
        creator: str = "@alice:hs1",
        version: str = "11",
        extra: Sequence[dict[str, Any]] = (),
        create: Mapping[str, Any] | None = None,
    ) -> RoomID:
        """A public room with its creator joined; `create` goes into its create event."""
        rules = ROOM_VERSIONS[version]
        levels = {} if rules.privileged_creators else {"users": {creator: 100}}

        def drafts(room_id: RoomID) -> list[EventDraft]:
            first = [
                {"type": "m.room.member", "state_key": creator, "content": {"membership": "join"}},
                {"type": "m.room.power_levels", "state_key": "", "content": levels},
                {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "public"}},
            ]
            return [
                EventDraft(room_id=room_id, sender=UserID(creator), **fields) for fields in [*first, *extra]
            ]

        content = {**(create or {}), "room_version": version}
        if rules.creator_in_content:
            content["creator"] = creator
        return self.run(self.rooms.create(rules, UserID(creator), content, drafts))

    def send(self, room_id: RoomID, sender: str, type: str = "m.room.message", **fields: Any) -> Event:  # noqa: A002
        fields.setdefault("content", {"msgtype": "m.text", "body": "hello"})
        return self.run(
            self.rooms.send(EventDraft(room_id=room_id, sender=UserID(sender), type=type, **fields))
        )
