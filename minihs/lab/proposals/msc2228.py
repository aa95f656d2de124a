"""MSC2228 on one server: events with `m.self_destruct_after` are redacted when this server's clock says so.

The redaction is synthetic: made for this server's users on behalf of the sender, in nobody's graph. Survives
restarts. Not played: `m.self_destruct`, which counts from read receipts, and edits that move the time.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from minihs.events.event import Event
from minihs.homeserver.errors import HomeserverError
from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.homeserver.rooms.drafts import EventDraft, Reach
from minihs.lab.proposals.switch import Unmoved
from minihs.lab.servers import LabServer
from minihs.lab.views import rooms_of
from minihs.server import Policies

AFTER = "m.self_destruct_after"
SYNTHETIC = "m.synthetic"
REDACTION = "m.room.redaction"


class SelfDestruction(Unmoved):
    """The proposal on one server."""

    def __init__(self) -> None:
        self._server: LabServer
        self.failed: list[str] = []
        """Events that could not be redacted."""

    def policies(self) -> Policies:
        return Policies()

    def run_on(self, server: LabServer) -> None:
        """Take up what an earlier process knew; what is overdue goes at once."""
        self._server = server
        for room in rooms_of(server):
            for row in room.events:
                if row.redacted_by is None:
                    self._wait_for(row.event)

    def event_committed(self, committed: CommittedEvent) -> None:
        """An event with a time to go gets a timer."""
        self._wait_for(committed.event)

    def _wait_for(self, event: Event) -> None:
        moment_ms = event.content.get(AFTER)
        if type(moment_ms) is int and event.type != REDACTION:
            clock = self._server.clock
            clock.call_later(max(0, moment_ms - clock.wall_ms()), self._destroy, event)

    def _destroy(self, event: Event) -> None:
        Deferred.fromCoroutine(self._redact(event))

    async def _redact(self, event: Event) -> None:
        rooms = self._server.parts.room_service.rooms
        row = await rooms.row(event.event_id)
        if row is None or row.redacted_by is not None:
            return  # somebody was earlier
        draft = EventDraft(
            room_id=event.room_id,
            sender=event.sender,
            type=REDACTION,
            content={SYNTHETIC: True},
            redacts=event.event_id,
            reach=Reach.HERE,
        )
        try:
            await rooms.send(draft)
        except HomeserverError:
            self.failed.append(event.event_id)
