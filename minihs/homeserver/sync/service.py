"""The sync itself: takes one consistent moment, builds the reply up to it, and waits while there is none.

The moment is taken without giving control away; whatever becomes durable later is for the next token. Source:
Client-Server API, `GET /sync`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError

from minihs.homeserver.history.recent_events import RecentEvents
from minihs.homeserver.sync.ephemeral import Ephemeral
from minihs.homeserver.sync.model import Moment, SyncPart, SyncRequest
from minihs.homeserver.sync.notifier import Notifier
from minihs.homeserver.sync.positions import ACCOUNT_DATA, EVENTS, RECEIPTS, TYPING, StreamToken
from minihs.homeserver.sync.private_data import PrivateData
from minihs.homeserver.sync.room_entries import RoomEntries
from minihs.homeserver.sync.user_rooms import UserRooms
from minihs.platform.clock import Clock

MAX_TIMEOUT_MS = 600_000


class Sync:
    """Answers `/sync`."""

    def __init__(
        self,
        *,
        clock: Clock,
        notifier: Notifier,
        recent: RecentEvents,
        user_rooms: UserRooms,
        entries: RoomEntries,
        private_data: PrivateData,
        ephemeral: Ephemeral,
        parts: Sequence[SyncPart] = (),
    ) -> None:
        self._clock = clock
        self._notifier = notifier
        self._recent = recent
        self._user_rooms = user_rooms
        self._entries = entries
        self._private_data = private_data
        self._ephemeral = ephemeral
        self._parts = parts

    async def sync(self, request: SyncRequest) -> dict[str, Any]:
        """The reply; waits up to `timeout_ms` for something to say, unless the sync is initial.

        Cancelling the wait gives the empty reply.
        """
        timeout_ms = min(request.timeout_ms, MAX_TIMEOUT_MS)
        if request.since is None or request.full_state or timeout_ms <= 0:
            return (await self._build(request))[0]
        until_ms = self._clock.monotonic_ms() + timeout_ms
        waiter = self._notifier.listen(request.user_id)
        may_wait = True
        try:
            while True:
                reply, is_news = await self._build(request)
                left_ms = until_ms - self._clock.monotonic_ms()
                if is_news or not may_wait or left_ms <= 0:
                    return reply
                try:
                    # After a wait in vain the reply is made once more: its token shall not grow old.
                    may_wait = await waiter.wait(left_ms)
                except CancelledError:
                    return reply
        finally:
            waiter.close()

    async def _build(self, request: SyncRequest) -> tuple[dict[str, Any], bool]:
        """The reply as of now, and whether there is anything in it."""
        # Forgetting a room moves no stream; whoever begins anew is to see what is stored.
        await self._user_rooms.load(request.user_id, afresh=request.since is None)
        moment = self._moment(request)
        everywhere, by_room = await self._private_data.changes(moment)
        token = moment.token
        reply: dict[str, Any] = {"next_batch": str(token)}
        rooms = await self._entries.build(moment, by_room)
        if rooms:
            reply["rooms"] = rooms
        if everywhere:
            reply["account_data"] = {"events": everywhere}
        for part in self._parts:
            after, upto = moment.span(part.stream)
            keys, told_upto = await part.keys(request.user_id, after, upto, request.filter_keys)
            reply.update(keys)
            if told_upto != upto:
                token = token.moved_to({part.stream: told_upto})
                reply["next_batch"] = str(token)
        is_news = len(reply) > 1
        # There are no end-to-end keys here: no algorithm has any left.
        reply["device_one_time_keys_count"] = {}
        return reply, is_news

    def _moment(self, request: SyncRequest) -> Moment:
        """The view up to now. Nothing may be awaited in here."""
        now = {
            EVENTS: self._recent.current,
            RECEIPTS: self._ephemeral.receipts_position,
            TYPING: self._ephemeral.typing_position,
            ACCOUNT_DATA: self._private_data.position,
            **{part.stream: part.position() for part in self._parts},
        }
        rooms = dict(self._user_rooms.of(request.user_id))
        newest = self._user_rooms.newest_change(request.user_id)
        since = request.since
        if since is None:
            return Moment(request, StreamToken.of(now), rooms, None, newest)
        # A token from a future that this database has lost must not hide what comes until then; typing knows
        # positions of earlier runs by their not being its own.
        after = {
            stream: since[stream] if stream == TYPING else min(since[stream], position)
            for stream, position in now.items()
        }
        return Moment(request, since.moved_to(now), rooms, after, newest)
