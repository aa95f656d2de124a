"""A room's events on request: single ones, pages, and what stands around one.

Source: Client-Server API, `GET /rooms/{roomId}/messages`, `/event/{eventId}`, `/context/{eventId}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.errors import Forbidden, NotFound, UnknownRoom
from minihs.homeserver.history.event_filter import RoomEventFilter, room_predicate
from minihs.homeserver.history.event_format import Entry, EventFormat, Reader
from minihs.homeserver.history.event_visibility import FOR_EVER, EventVisibility, Viewer
from minihs.homeserver.history.room_history import Page, RoomHistory
from minihs.homeserver.rooms.service import Rooms
from minihs.homeserver.sync.positions import StreamToken
from minihs.rooms.visibility import VISIBILITY_KEY, HistoryVisibility, visibility_in
from minihs.store.events import EventStore
from minihs.store.timeline import TimelineStore

OLDEST = -(1 << 62)

FetchHistory = Callable[[RoomID], Awaitable[bool]]
"""Asks other servers for events from before the oldest one here; whether any were stored."""


async def no_history(room_id: RoomID) -> bool:  # noqa: ARG001 - the shape is FetchHistory's
    """For a server without federation: there is nobody to ask."""
    return False


class RoomTimeline:
    """Answers for one user at a time; everything is as that user may see it.

    Errors of every method: Forbidden when the user is not in the room, was never in it, and it is not open
    to everybody; an unknown room is the same to them.
    """

    def __init__(
        self,
        *,
        rooms: Rooms,
        history: RoomHistory,
        timeline: TimelineStore,
        events: EventStore,
        visibility: EventVisibility,
        event_format: EventFormat,
        position: Callable[[], int],
        fetch_history: FetchHistory = no_history,
    ) -> None:
        self._rooms = rooms
        self._history = history
        self._timeline = timeline
        self._events = events
        self._visibility = visibility
        self._format = event_format
        self._position = position
        self._fetch_history = fetch_history

    async def messages(
        self,
        reader: Reader,
        room_id: RoomID,
        *,
        backwards: bool,
        start: StreamToken | None,
        stop: StreamToken | None,
        limit: int,
        event_filter: RoomEventFilter,
    ) -> dict[str, Any]:
        """A page from `start` (without it: from the end that `backwards` implies) towards `stop`."""
        viewer = await self.viewer(reader.user_id, room_id)
        wanted = room_predicate(event_filter, room_id)
        if backwards:
            upto = self._position() if start is None else start.event
            after = OLDEST if stop is None else stop.event
            page = await self._history.newest(viewer, after=after, upto=upto, limit=limit, wanted=wanted)
            if not page.more and stop is None and await self._has_more_elsewhere(viewer, room_id):
                page = await self._further_back(viewer, page, upto, limit, wanted)
            first, end = upto, page.reached - 1
        else:
            after = OLDEST if start is None else start.event
            upto = self._position() if stop is None else min(stop.event, self._position())
            page = await self._history.oldest(viewer, after=after, upto=upto, limit=limit, wanted=wanted)
            first, end = after, page.reached
        reply: dict[str, Any] = {
            "start": str(StreamToken.at_event(max(first, -_LARGEST)) if start is None else start),
            "chunk": await self._format.render_all(page.entries, reader, room_id=True),
        }
        if page.more:
            reply["end"] = str(StreamToken.at_event(end))
        if event_filter.lazy_load_members and page.entries:
            reply["state"] = await self._members_for(page.entries, reader)
        return reply

    async def event(self, reader: Reader, room_id: RoomID, event_id: EventID) -> dict[str, Any]:
        """One event; NotFound when it is not here, is of another room, or may not be seen."""
        _, entry = await self._one_entry(reader.user_id, room_id, event_id)
        return await self._format.render_one(entry, reader)

    async def context(
        self,
        reader: Reader,
        room_id: RoomID,
        event_id: EventID,
        *,
        limit: int,
        event_filter: RoomEventFilter,
    ) -> dict[str, Any]:
        """An event, up to `limit` events around it (the odd one before it), and the state after the last."""
        viewer, entry = await self._one_entry(reader.user_id, room_id, event_id)
        wanted = room_predicate(event_filter, room_id)
        at = entry.position
        before = await self._history.newest(
            viewer, after=OLDEST, upto=at - 1, limit=limit - limit // 2, wanted=wanted
        )
        after = await self._history.oldest(
            viewer, after=at, upto=self._position(), limit=limit // 2, wanted=wanted
        )
        last = after.entries[-1] if after.entries else entry
        state = await self._rooms.state_after(last.event.event_id)
        shown = [*before.entries, entry, *after.entries]
        if state is None:
            rows = []
        elif event_filter.lazy_load_members:
            senders = {("m.room.member", shown_entry.event.sender) for shown_entry in shown}
            ids = [event_id for key, event_id in state.items() if key[0] != "m.room.member" or key in senders]
            rows = list((await self._events.rows(ids)).values())
        else:
            rows = list((await self._events.rows(state.values())).values())
        rows = [row for row in rows if wanted is None or wanted(row.event)]
        first = before.reached - 1 if before.more else (before.entries or [entry])[-1].position - 1
        return {
            "start": str(StreamToken.at_event(first)),
            "end": str(StreamToken.at_event(last.position)),
            "events_before": await self._format.render_all(before.entries, reader, room_id=True),
            "event": await self._format.render_one(entry, reader),
            "events_after": await self._format.render_all(after.entries, reader, room_id=True),
            "state": await self._format.render_rows(rows, reader, room_id=True),
        }

    async def viewer(self, user_id: UserID, room_id: RoomID) -> Viewer:
        """The user before the room; Forbidden when they may see nothing of it."""
        record = await self._timeline.maybe_membership(user_id, room_id)
        viewer = await self._visibility.viewer(user_id, room_id, record)
        was_here = viewer.joined_until > 0 and not (record is not None and record.forgotten)
        if not was_here and not await self._is_open_to_all(room_id):
            raise Forbidden("You are not in this room, and were not before.")
        return viewer

    async def _is_open_to_all(self, room_id: RoomID) -> bool:
        try:
            setting = await self._rooms.state_event(room_id, *VISIBILITY_KEY)
        except UnknownRoom:
            return False
        content = None if setting is None else setting.content
        return visibility_in(content) is HistoryVisibility.WORLD_READABLE

    async def _one_entry(self, user_id: UserID, room_id: RoomID, event_id: EventID) -> tuple[Viewer, Entry]:
        viewer = await self.viewer(user_id, room_id)
        for entry in await self._history.entries_of([event_id]):
            row = entry.row
            if entry.event.room_id != room_id:
                continue
            if row.standing.is_outlier:
                # State that came with a join: its members may see it, and nobody knows what was before it.
                if viewer.joined_until == FOR_EVER and entry.event.is_state and not row.standing.is_rejected:
                    return viewer, entry
            elif row.standing == 0:
                for visible in await self._visibility.visible(viewer, [entry]):
                    return viewer, visible
        raise NotFound("There is no such event here, or you may not see it.")

    async def _has_more_elsewhere(self, viewer: Viewer, room_id: RoomID) -> bool:
        """Whether other servers may have events from before the oldest one here."""
        oldest = await self._timeline.maybe_oldest_event(room_id)
        if oldest is None or viewer.membership != "join":
            return False
        event = await self._events.maybe_event(oldest)
        return event is not None and event.type != "m.room.create"

    async def _further_back(
        self,
        viewer: Viewer,
        page: Page,
        upto: int,
        limit: int,
        wanted: Callable[[Event], bool] | None,
    ) -> Page:
        """The page again, after asking other servers; it has an end while they had something."""
        if len(page.entries) >= limit:
            return Page(page.entries, True, page.entries[-1].position)
        if not await self._fetch_history(viewer.room_id):
            return page
        again = await self._history.newest(viewer, after=OLDEST, upto=upto, limit=limit, wanted=wanted)
        if again.more or not again.entries:
            return again
        return Page(again.entries, True, again.entries[-1].position)

    async def _members_for(self, entries: Sequence[Entry], reader: Reader) -> list[dict[str, Any]]:
        """The member events of the senders, as they stood at the oldest event of the page by each."""
        by_group: dict[int, set[UserID]] = {}
        seen: set[UserID] = set()
        for entry in sorted(entries, key=_position):
            group = entry.row.before_group
            if entry.event.sender not in seen and group is not None:
                seen.add(entry.event.sender)
                by_group.setdefault(group, set()).add(entry.event.sender)
        keys = [("m.room.member", user_id) for user_id in sorted(seen)]
        states = await self._timeline.state_entries(by_group, keys)
        ids: Iterable[EventID] = dict.fromkeys(
            states[group][key]
            for group in sorted(by_group)
            for key in keys
            if key[1] in by_group[group] and key in states[group]
        )
        rows = (await self._events.rows(ids)).values()
        return await self._format.render_rows(rows, reader, room_id=True)


_LARGEST = (1 << 53) - 1


def _position(entry: Entry) -> int:
    return entry.position
