"""MSC2228 on one server: events with `m.self_destruct_after` go when this server's clock says so, those with
`m.self_destruct` so long after somebody's read receipt, for that reader.

The redaction is synthetic: made for this server's users on behalf of the sender, in nobody's graph. Survives
restarts. Where the proposal leaves something open: once everybody but the sender has read an event, and the
time has passed, it goes for all users of this server, its sender among them; an edit replaces what was said
about the end of the text, also by saying nothing; an edit that comes too late goes as soon as it is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from minihs.events.event import Event, redact_event
from minihs.events.ids import EventID, RoomID, UserID, server_name_of
from minihs.homeserver.errors import HomeserverError
from minihs.homeserver.history.event_format import Entry
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.homeserver.rooms.drafts import EventDraft, Reach
from minihs.homeserver.sync.receipts import READ
from minihs.lab.proposals.switch import Unmoved
from minihs.lab.servers import LabServer
from minihs.lab.views import rooms_of
from minihs.server import Policies
from minihs.store.events import Standing
from minihs.store.receipts import ReceiptRow, ReceiptStore

AFTER = "m.self_destruct_after"
FOR = "m.self_destruct"
SYNTHETIC = "m.synthetic"
READER = "org.minihs.reader"
"""Beside the content of a synthetic redaction: the one user who is shown it, and for whom it holds."""
REDACTION = "m.room.redaction"
MAX_MS = (1 << 53) - 1


class Life(msgspec.Struct):
    """An event with all its edits, and how it is to end."""

    versions: list[Event]
    timers: dict[UserID | None, tuple[int, Any]] = {}
    """When it is to go (wall clock) and what rings then, by reader; None is for everybody on this server."""
    read_ms: dict[UserID, int] = {}
    """When users other than the sender read it."""
    gone_for: set[UserID | None] = set()

    @property
    def original(self) -> Event:
        return self.versions[0]

    def number(self, name: str) -> int | None:
        """What the newest version says of its end; None: nothing."""
        value = self.versions[-1].content.get(name)
        return value if type(value) is int and 0 <= value <= MAX_MS else None


class SelfDestruction(Unmoved):
    """The proposal on one server."""

    def __init__(self) -> None:
        self._server: LabServer
        self._lives: dict[EventID, Life] = {}
        """By the ID of each version."""
        self._hidden: dict[tuple[UserID, EventID], EventID] = {}
        """What is gone for one reader, with the redaction of it."""
        self.failed: list[str] = []
        """Events that could not be redacted."""

    def policies(self) -> Policies:
        return Policies(sight=self)

    def run_on(self, server: LabServer) -> None:
        """Take up what an earlier process knew; what is overdue goes at once.

        Of receipts only the newest of each user are stored: whoever has read on counts from then.
        """
        self._server = server
        self._lives.clear()
        self._hidden.clear()
        server.parts.sync.receipts.observe(self._read)
        receipts = ReceiptStore(server.database.reader)
        for room in rooms_of(server):
            shown = [row for row in room.events if row.standing is Standing.ACCEPTED]
            shown.sort(key=lambda row: row.position)
            ours = {row.event.event_id for row in shown if row.event.content.get(SYNTHETIC) is True}
            for row in shown:
                life = self._add(row.event)
                if life is not None and row.redacted_by in ours:
                    life.gone_for.add(None)
                elif READER in row.event.pdu and row.event.redacts is not None:
                    self._hidden[UserID(row.event.pdu[READER]), row.event.redacts] = row.event.event_id
            changed = receipts.all_changed(
                [RoomID(room.room_id)], after=-1, upto=MAX_MS, private_to=UserID("")
            )
            read = {
                row.user_id: row for row in server.database.reader.now(changed) if row.receipt_type == READ
            }
            for row in shown:
                life = self._lives.get(row.event.event_id)
                if life is not None and life.original is row.event:
                    users = [user for user, one in read.items() if (one.event_position or 0) >= row.position]
                    life.read_ms = {user: read[user].ts for user in users if user != row.event.sender}
                    life.gone_for |= {user for user, hidden in self._hidden if hidden == row.event.event_id}
                    self._arm(life)

    def event_committed(self, committed: CommittedEvent) -> None:
        """A version of an event: its timers begin, or begin anew."""
        life = self._add(committed.event)
        if life is None:
            return
        for user_id in sorted(life.gone_for, key=str):
            self._destroy(life, user_id)
        self._arm(life, self._server.clock.wall_ms())

    def seen(self, user_id: UserID, entry: Entry) -> Entry | None:
        """What is gone for a reader comes redacted; the redactions of single readers come to those alone."""
        reader = entry.event.pdu.get(READER)
        if reader is not None:
            return entry if reader == user_id else None
        redaction = self._hidden.get((user_id, entry.event.event_id))
        if redaction is None:
            return entry
        return replace(entry, row=replace(entry.row, event=redact_event(entry.event), redacted_by=redaction))

    # Inside

    def _add(self, event: Event) -> Life | None:
        """The life of which the event is a version, if it is one that may end."""
        if event.type == REDACTION:
            return None
        life = self._lives.get(_edited(event) or event.event_id)
        if life is None:
            life = Life([event])
        elif life.original.sender != event.sender or life.original.room_id != event.room_id:
            return None
        else:
            life.versions.append(event)
        self._lives[event.event_id] = life
        return life

    def _read(self, receipts: Sequence[ReceiptRow]) -> None:
        """Receipts that are durable."""
        for receipt in receipts:
            life = self._lives.get(receipt.event_id)
            if life is None or receipt.receipt_type != READ or receipt.user_id == life.original.sender:
                continue
            if receipt.user_id not in life.read_ms:
                life.read_ms[receipt.user_id] = self._server.clock.wall_ms()
                self._arm(life)

    def _arm(self, life: Life, since_ms: int = 0) -> None:
        """Set the timers; what was read before `since_ms` counts from then."""
        for _, timer in life.timers.values():
            if timer.active():
                timer.cancel()
        life.timers.clear()
        after_ms, for_ms = life.number(AFTER), life.number(FOR)
        if after_ms is not None:
            self._start(life, None, after_ms)
        if for_ms is not None and life.read_ms:
            for user_id, read_ms in life.read_ms.items():
                if server_name_of(user_id) == self._server.name:
                    self._start(life, user_id, max(read_ms, since_ms) + for_ms)
            last_ms = max(since_ms, *life.read_ms.values()) + for_ms
            Deferred.fromCoroutine(self._when_all_have_read(life, last_ms))

    async def _when_all_have_read(self, life: Life, due_ms: int) -> None:
        rooms = self._server.parts.room_service.rooms
        members = await rooms.joined_users(life.original.room_id)
        if {*members} <= {*life.read_ms, life.original.sender}:
            self._start(life, None, due_ms)

    def _start(self, life: Life, user_id: UserID | None, due_ms: int) -> None:
        if user_id in life.gone_for or None in life.gone_for:
            return
        other = life.timers.get(user_id)
        if other is not None:
            if other[0] <= due_ms:
                return
            other[1].cancel()
        clock = self._server.clock
        wait_ms = max(0, due_ms - clock.wall_ms())
        life.timers[user_id] = due_ms, clock.call_later(wait_ms, self._destroy, life, user_id)

    def _destroy(self, life: Life, user_id: UserID | None) -> None:
        life.timers.pop(user_id, None)
        life.gone_for.add(user_id)
        for version in life.versions:
            Deferred.fromCoroutine(self._redact(version, user_id))

    async def _redact(self, event: Event, user_id: UserID | None) -> None:
        rooms = self._server.parts.room_service.rooms
        row = await rooms.row(event.event_id)
        if row is None or row.redacted_by is not None or (user_id, event.event_id) in self._hidden:
            return  # somebody was earlier
        draft = EventDraft(
            room_id=event.room_id,
            sender=event.sender,
            type=REDACTION,
            content={SYNTHETIC: True},
            redacts=event.event_id,
            reach=Reach.HERE if user_id is None else Reach.READER,
            fields=None if user_id is None else {READER: user_id},
        )
        try:
            redaction = await rooms.send(draft)
        except HomeserverError:
            self.failed.append(event.event_id)
            return
        if user_id is not None:
            self._hidden[user_id, event.event_id] = redaction.event_id


def _edited(event: Event) -> EventID | None:
    """The event of which it is a new version."""
    relation = event.content.get("m.relates_to")
    if not isinstance(relation, Mapping) or relation.get("rel_type") != "m.replace":
        return None
    target = relation.get("event_id")
    return EventID(target) if isinstance(target, str) else None
