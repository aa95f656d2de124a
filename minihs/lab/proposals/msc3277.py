"""MSC3277 on one server: `?at=` puts an event into the graph at once, and withholds it until its time.

The event carries the time of its showing as `origin_server_ts` and `scheduled: true` beside its content. Its
sender's devices are shown it at once, by `/sync`. When the time has come it is authorised anew and shown to
everybody; a redaction cancels it. Not played: history by the time of showing in rooms whose history is not
shared, and encryption.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.errors import Forbidden, NotFound
from minihs.homeserver.history.event_format import Entry
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.homeserver.rooms.drafts import EventDraft, Reach
from minihs.homeserver.transactions import Record, TransactionKey
from minihs.http.dialects.base import OrdinarySend, QuietDialect
from minihs.lab.proposals.switch import Unmoved
from minihs.lab.servers import LabServer
from minihs.lab.views import rooms_of
from minihs.rooms.judge import Judge
from minihs.rooms.receipt import Accept, CitedEvents, Reject, SoftFail
from minihs.server import Policies
from minihs.store.events import EventRow, Standing
from minihs.store.writer import Batch

AT = "org.matrix.msc3277.at"
SCHEDULED = "scheduled"


class ScheduledMessages(Unmoved, QuietDialect):
    """The proposal on one server process. `reach` is the reading: WITHHELD, a pending event is the previous
    event of the next; ASIDE, nothing follows it (the first footnote, and what "soft-failed" says); EARLY, it
    is followed and other servers are sent it at once, too (the alternative that the proposal weighs)."""

    name = "msc3277"
    parameters = frozenset({AT})

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._server: LabServer | None = None
        self.waiting: set[EventID] = set()
        """What is withheld now."""
        self.refused: list[EventID] = []
        """What was no longer allowed when its time had come."""

    def policies(self) -> Policies:
        return Policies(judge=WithholdingJudge(self), dialects=lambda _futures: (self,), sight=self)

    def unstable_features(self) -> Mapping[str, bool]:
        return {"org.matrix.msc3277": True}

    def run_on(self, server: LabServer) -> None:
        """Take up what was withheld before this process began."""
        self._server = server
        server.parts.room_service.rooms.observe_withheld(self._echo)
        self.waiting.clear()
        for room in rooms_of(server):
            for row in room.events:
                if _is_withheld(row):
                    self._wait_for(row.event)

    def came_early(self, event: Event) -> bool:
        """Whether an event of another server is scheduled for later; it is shown then."""
        early = event.pdu.get(SCHEDULED) is True and event.origin_server_ts > self._running.clock.wall_ms()
        if early:
            self._wait_for(event)
        return early

    async def answer(self, send: OrdinarySend) -> dict[str, Any]:
        """`PUT …/send/…?at=` and `PUT …/state/…?at=`: the event ID, as without it."""
        server, user = self._running, send.request.user
        draft = EventDraft(
            room_id=RoomID(send.room_id),
            sender=user.user_id,
            type=send.type,
            content=send.content,
            state_key=send.state_key,
            origin_server_ts=send.request.query.integer(AT, minimum=0),
            device_id=user.device_id,
            txn_id=send.txn_id,
            reach=self._reach,
            fields={SCHEDULED: True},
        )

        async def work(record: Record | None) -> dict[str, Any]:
            def also(batch: Batch, event: Event) -> None:
                if record is not None:
                    record(batch, {"event_id": event.event_id})

            event = await server.parts.room_service.rooms.send(draft, also=also)
            self._wait_for(event)
            return {"event_id": event.event_id}

        if send.txn_id is None:
            return await work(None)
        key = TransactionKey(
            user.user_id, user.device_id, f"rooms/{send.room_id}/send/{send.type}/at", send.txn_id
        )
        return await server.parts.transactions.once(key, work)

    def seen(self, user_id: UserID, entry: Entry) -> Entry | None:
        """What is withheld is for its sender; once it is shown, its echo has had its time."""
        if entry.row.standing is Standing.SOFT_FAILED:
            return entry if entry.event.sender == user_id else None
        return entry if entry.position == entry.row.position else None

    def event_committed(self, committed: CommittedEvent) -> None:
        """A redaction cancels."""
        if committed.event.redacts is not None:
            self.waiting.discard(committed.event.redacts)

    # Inside

    def _echo(self, committed: CommittedEvent) -> None:
        """Wake the sender's devices."""
        self._running.parts.sync.feed.shown_to(committed.event.sender, committed)

    @property
    def _running(self) -> LabServer:
        if self._server is None:
            raise RuntimeError("scheduled messages have no server yet: call run_on")
        return self._server

    def _wait_for(self, event: Event) -> None:
        self.waiting.add(event.event_id)
        clock = self._running.clock
        clock.call_later(max(0, event.origin_server_ts - clock.wall_ms()), self._due, event.event_id)

    def _due(self, event_id: EventID) -> None:
        if event_id in self.waiting:
            self.waiting.discard(event_id)
            Deferred.fromCoroutine(self._show(event_id))

    async def _show(self, event_id: EventID) -> None:
        try:
            await self._running.parts.room_service.rooms.release(event_id)
        except (Forbidden, NotFound):
            self.refused.append(event_id)


def _is_withheld(row: EventRow) -> bool:
    return (
        row.standing is Standing.SOFT_FAILED
        and row.redacted_by is None
        and row.event.pdu.get(SCHEDULED) is True
    )


class WithholdingJudge(Judge):
    """The rules, but for a scheduled event of another server that comes before its time: that is soft-failed
    until then."""

    def __init__(self, messages: ScheduledMessages) -> None:
        self._messages = messages

    def received(
        self,
        event: Event,
        cited: CitedEvents,
        state_before: Mapping[StateKey, Event],
        current_state: Mapping[StateKey, Event] | None,
    ) -> Reject | SoftFail | Accept:
        verdict = super().received(event, cited, state_before, current_state)
        if isinstance(verdict, Accept) and self._messages.came_early(event):
            return SoftFail("MSC3277", "it is scheduled for later")
        return verdict
