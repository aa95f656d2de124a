"""Walks through the tree of a space for one user, page by page, depth first.

A walk that is not at its end waits for the next page under a token, for a while. Every room is listed once,
however often it is named, so loops end. Source: Client-Server API, `GET /rooms/{roomId}/hierarchy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from immutables import Map

from minihs.events.ids import RoomID, ServerName, UserID
from minihs.federation.bounded_cache import BoundedCache
from minihs.federation.remote_lookups import ToldRoom
from minihs.homeserver.errors import Forbidden, InvalidParam
from minihs.homeserver.room_actions.room_previews import Preview, RoomPreviews
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, token_urlsafe
from minihs.rooms.spaces import ChildLink
from minihs.rooms.summary import RoomSummary

DEFAULT_PAGE = 50
MAX_PAGE = 100  # rooms
MAX_DEPTH = 50
MAX_ROOMS = 1_000  # of one walk
MAX_STEPS = 1_000  # links followed for one page
PAGE_MS = 30_000
"""After so long a page ends where it is: somebody waits, and other servers may be slow."""
LOOK_AHEAD = 8  # rooms that other servers are asked about at a time
KEEP_WALK_MS = 10 * 60_000
MAX_WALKS = 100


class ListedRoom(msgspec.Struct, frozen=True):
    """A room of the tree, and the children that it names as far as they were asked for."""

    summary: RoomSummary
    children: tuple[ChildLink, ...]


class TreePage(msgspec.Struct, frozen=True):
    """Some rooms of the tree; `next_batch` is the token for more."""

    rooms: list[ListedRoom]
    next_batch: str | None


class _Step(msgspec.Struct, frozen=True):
    """A room that is still to be looked at."""

    room_id: RoomID
    depth: int
    via: tuple[ServerName, ...] = ()
    told: ToldRoom | None = None
    closed: bool = False


class _Walk(msgspec.Struct, frozen=True):
    """What was asked for, what is still to be looked at (the next one last), and how deep each room that was
    listed lay when its children were taken up."""

    user_id: UserID
    room_id: RoomID
    suggested_only: bool
    max_depth: int
    todo: tuple[_Step, ...]
    listed: Map[RoomID, int]


class Hierarchy:
    """Answers `/hierarchy`."""

    def __init__(self, *, clock: Clock, entropy: Entropy, previews: RoomPreviews) -> None:
        self._clock = clock
        self._entropy = entropy
        self._previews = previews
        self._walks: BoundedCache[str, _Walk] = BoundedCache(MAX_WALKS)

    async def page(
        self,
        user_id: UserID,
        room_id: RoomID,
        *,
        suggested_only: bool = False,
        max_depth: int = MAX_DEPTH,
        limit: int = DEFAULT_PAGE,
        since: str | None = None,
    ) -> TreePage:
        """The next rooms of the tree below `room_id`.

        Raises Forbidden for a room that the user may not know of, InvalidParam for a token that is not (or no
        longer) known or belongs to another question.
        """
        walk = _Walk(user_id, room_id, suggested_only, min(max_depth, MAX_DEPTH), (_Step(room_id, 0),), Map())
        if since is not None:
            walk = self._continued(since, walk)
        todo, listed = list(walk.todo), walk.listed
        found: list[ListedRoom] = []
        ends_ms = self._clock.monotonic_ms() + PAGE_MS
        steps = 0
        ahead: set[RoomID] = set()
        while todo and len(found) < min(limit, MAX_PAGE):
            if steps == MAX_STEPS or self._clock.monotonic_ms() >= ends_ms:
                break
            steps += 1
            step = todo.pop()
            self._look_ahead(user_id, todo[-LOOK_AHEAD:], ahead)
            depth_before = listed.get(step.room_id)
            if depth_before is not None and depth_before <= step.depth:
                continue
            preview = await self._previews.preview(
                user_id, step.room_id, step.via, step.told, closed=step.closed
            )
            if preview is None:
                if step.depth == 0:
                    raise Forbidden("There is no such room that you could join or read.")
                continue
            links = [link for link in preview.children if not suggested_only or link.event.is_suggested]
            if depth_before is None:
                found.append(ListedRoom(preview.summary, tuple(links)))
            listed = listed.set(step.room_id, step.depth)
            if len(listed) >= MAX_ROOMS:
                todo.clear()
            elif step.depth < walk.max_depth:
                todo += [_child(link, step.depth + 1, preview) for link in reversed(links)]
        if not todo:
            return TreePage(found, None)
        token = token_urlsafe(self._entropy)
        rest = msgspec.structs.replace(walk, todo=tuple(todo), listed=listed)
        self._walks.put(token, rest, self._clock.monotonic_ms() + KEEP_WALK_MS)
        return TreePage(found, token)

    def _look_ahead(self, user_id: UserID, next_steps: Sequence[_Step], ahead: set[RoomID]) -> None:
        """Have other servers asked side by side about what is looked at next; `ahead` has been seen to."""
        for step in reversed(next_steps):
            if step.room_id not in ahead and not step.closed:
                ahead.add(step.room_id)
                self._previews.look_ahead(user_id, step.room_id, step.via, step.told)

    def _continued(self, since: str, asked: _Walk) -> _Walk:
        walk = self._walks.get(since, self._clock.monotonic_ms())
        if walk is None or (walk.user_id, walk.room_id) != (asked.user_id, asked.room_id):
            raise InvalidParam("from is no token of this walk, or too old: begin again without it.")
        if (walk.suggested_only, walk.max_depth) != (asked.suggested_only, asked.max_depth):
            raise InvalidParam("suggested_only and max_depth must be the same for every page.")
        return walk


def _child(link: ChildLink, depth: int, parent: Preview) -> _Step:
    told: Mapping[RoomID, ToldRoom] = parent.told
    return _Step(link.room_id, depth, link.via, told.get(link.room_id), closed=link.room_id in parent.closed)
