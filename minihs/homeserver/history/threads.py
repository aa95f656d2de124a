"""The threads of a room: their roots, those with the newest messages first, each with what is in it.

They are found by going back along the room's history, so a page is as bounded as one of `/messages`, and may
be short though there are more. Source: Client-Server API, `GET /rooms/{roomId}/threads`, "Threading".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec.structs import replace

from minihs.events.event import Event, redact_event
from minihs.events.ids import EventID, RoomID, UserID
from minihs.events.relations import relation_of
from minihs.homeserver.history.event_format import Entry, EventFormat, Reader
from minihs.homeserver.history.event_visibility import EventVisibility, Viewer
from minihs.homeserver.history.relations import NEWEST
from minihs.homeserver.history.room_history import CHUNK, RoomHistory
from minihs.homeserver.history.timeline import OLDEST, RoomTimeline
from minihs.homeserver.sync.positions import StreamToken
from minihs.store.relations import RelationStore

THREAD = "m.thread"
MAX_LATER = 4  # portions of later messages that are looked at: whether a thread has had its place already


class Threads:
    """Lists them for users. `ignored_users(user_id)`: whose messages count for nothing to that user."""

    def __init__(
        self,
        *,
        store: RelationStore,
        timeline: RoomTimeline,
        history: RoomHistory,
        visibility: EventVisibility,
        event_format: EventFormat,
        ignored_users: Callable[[UserID], Awaitable[frozenset[str]]],
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._history = history
        self._visibility = visibility
        self._format = event_format
        self._ignored_users = ignored_users

    async def page(
        self,
        reader: Reader,
        room_id: RoomID,
        *,
        participated: bool,
        start: StreamToken | None,
        limit: int,
    ) -> dict[str, Any]:
        """Up to `limit` roots from `start` back; with `participated` only of threads with the reader in them.

        Forbidden when the user may see nothing of the room.
        """
        viewer = await self._timeline.viewer(reader.user_id, room_id)
        ignored = await self._ignored_users(reader.user_id)
        replies = await self._history.newest(
            viewer,
            after=OLDEST,
            upto=NEWEST if start is None else start.event,
            limit=CHUNK,
            wanted=lambda event: event.sender not in ignored and root_of(event) is not None,
        )
        chunk: list[dict[str, Any]] = []
        seen: set[EventID] = set()
        reached, more = replies.reached, replies.more
        for latest in replies.entries:
            if len(chunk) == limit:
                reached, more = latest.position + 1, True
                break
            root_id = root_of(latest.event)
            if root_id is None or root_id in seen:
                continue
            seen.add(root_id)
            root = await self._root(viewer, root_id)
            if root is None or await self._had_its_place(viewer, root_id, latest.position, ignored):
                continue
            count, took_part = await self._store.thread(room_id, root_id, reader.user_id, ignored)
            took_part = took_part or root.event.sender == reader.user_id
            if participated and not took_part:
                continue
            if root.event.sender in ignored:
                root = replace(root, row=replace(root.row, event=redact_event(root.event)))
            rendered = await self._format.render_one(root, reader)
            rendered.setdefault("unsigned", {})["m.relations"] = {
                THREAD: {
                    "latest_event": await self._format.render_one(latest, reader),
                    "count": count,
                    "current_user_participated": took_part,
                }
            }
            chunk.append(rendered)
        reply: dict[str, Any] = {"chunk": chunk}
        if more:
            reply["next_batch"] = str(StreamToken.at_event(reached - 1))
        return reply

    async def _root(self, viewer: Viewer, root_id: EventID) -> Entry | None:
        """The event that a thread starts from, if the viewer may see it and it can be one at all."""
        for entry in await self._history.entries_of([root_id]):
            if entry.event.room_id != viewer.room_id or entry.row.standing or relation_of(entry.event):
                continue
            for visible in await self._visibility.visible(viewer, [entry]):
                return visible
        return None

    async def _had_its_place(
        self, viewer: Viewer, root_id: EventID, position: int, ignored: frozenset[str]
    ) -> bool:
        """Whether the thread has a later message for the viewer: it stands where the latest is."""
        upto = NEWEST
        for _ in range(MAX_LATER):
            rows = await self._store.some(
                viewer.room_id,
                root_id,
                rel_type=THREAD,
                event_type=None,
                max_depth=1,
                after=position,
                upto=upto,
                backwards=True,
                limit=CHUNK,
            )
            entries = await self._history.entries_of([row.event_id for row in rows])
            later = [one for one in entries if root_of(one.event) and one.event.sender not in ignored]
            if await self._visibility.visible(viewer, later):
                return True
            if len(rows) < CHUNK:
                return False
            upto = rows[-1].position - 1
        return False


def root_of(event: Event) -> EventID | None:
    """The event whose thread this one is in."""
    relation = relation_of(event)
    return relation.relates_to if relation is not None and relation.rel_type == THREAD else None
