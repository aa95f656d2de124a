"""One room's entry under `rooms.join` or `rooms.leave`: timeline, state and summary.

What concerns the room but is no event of it (receipts, typing, account data) is added by `service`.
Source: Client-Server API, `GET /sync`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID, UserID
from minihs.homeserver.history.event_filter import limit_of, room_predicate
from minihs.homeserver.history.event_format import Entry, EventFormat, Reader
from minihs.homeserver.history.room_history import RoomHistory
from minihs.homeserver.member_change import MEMBER
from minihs.homeserver.sync.model import SyncRequest
from minihs.homeserver.sync.plan import RoomPlan
from minihs.homeserver.sync.positions import StreamToken
from minihs.homeserver.sync.room_state import LazyLoading, RoomStateReader
from minihs.store.events import EventStore
from minihs.store.timeline import StateChangeRow, TimelineStore

INITIAL_LIMIT = 20
INCREMENTAL_LIMIT = 100
"""Events of a room where the filter names no limit. An increment is what the client is waiting for, and a gap
costs it another request; a first sync covers every room."""
HEROES = 5
_NAMING = (MEMBER, "m.room.name", "m.room.canonical_alias")


class RoomSection(msgspec.Struct, frozen=True):
    """The entry, the member events that the client now holds, and whether there is anything in it."""

    body: dict[str, Any]
    members: dict[UserID, EventID]
    is_news: bool


class RoomSections:
    """Builds entries from plans."""

    def __init__(
        self,
        *,
        history: RoomHistory,
        states: RoomStateReader,
        timeline: TimelineStore,
        events: EventStore,
        event_format: EventFormat,
    ) -> None:
        self._history = history
        self._states = states
        self._timeline = timeline
        self._events = events
        self._format = event_format

    async def build(
        self,
        plan: RoomPlan,
        request: SyncRequest,
        reader: Reader,
        *,
        ignored: frozenset[str],
        held: Mapping[UserID, EventID],
    ) -> RoomSection:
        """The entry for `plan`; `held` are the member events that the client has been sent before."""
        room_filter = request.filter.room
        entries, timeline = await self._timeline_of(plan, request, ignored)
        changes: Sequence[StateChangeRow] = ()
        if not plan.own_event_only:
            changes = await self._history.state_changes(plan.room_id, after=plan.after, upto=plan.upto)
        summary: dict[str, Any] = {}
        if plan.viewer.membership == "join" and (
            plan.full_state or any(change.key[0] in _NAMING for change in changes)
        ):
            summary = await self._summary(plan)
        lazy = None
        if room_filter.state.lazy_load_members:
            own = [plan.viewer.user_id] if plan.full_state else []
            redundant = room_filter.state.include_redundant_members or plan.full_state
            lazy = LazyLoading([*own, *summary.get("m.heroes", ())], {} if redundant else held)
        state = []
        if not plan.own_event_only:
            state = await self._state_of(plan, request, entries, changes, lazy)

        timeline["events"] = await self._format.render_all(entries, reader, room_id=False)
        body: dict[str, Any] = {
            "timeline": timeline,
            "state_after" if request.use_state_after else "state": {
                "events": await self._format.render_all(state, reader, room_id=False)
            },
        }
        if summary:
            body["summary"] = summary
        members: dict[UserID, EventID] = {}
        for entry in (*state, *entries):
            event = entry.event
            if event.type == MEMBER and event.state_key is not None:
                members[UserID(event.state_key)] = event.event_id
        return RoomSection(body, members, bool(entries or state or summary or timeline.get("limited")))

    async def _timeline_of(
        self, plan: RoomPlan, request: SyncRequest, ignored: frozenset[str]
    ) -> tuple[list[Entry], dict[str, Any]]:
        """The entries, the oldest first, and the rest of the timeline's object."""
        if plan.own_event_only:
            own = await self._history.own_member_event(plan.viewer)
            return own, {"limited": False, "prev_batch": str(StreamToken.at_event(plan.upto))}
        timeline_filter = request.filter.room.timeline
        default = INITIAL_LIMIT if request.since is None or plan.after == 0 else INCREMENTAL_LIMIT
        page = await self._history.newest(
            plan.viewer,
            after=plan.after,
            upto=plan.upto,
            limit=limit_of(timeline_filter, default),
            wanted=not_ignored(room_predicate(timeline_filter, plan.room_id), ignored),
        )
        entries = page.entries[::-1]
        if page.more:
            before = page.reached - 1
        else:
            before = entries[0].position - 1 if entries else plan.after
        limited = page.more or plan.returning
        return entries, {"limited": limited, "prev_batch": str(StreamToken.at_event(before))}

    async def _state_of(
        self,
        plan: RoomPlan,
        request: SyncRequest,
        entries: Sequence[Entry],
        changes: Sequence[StateChangeRow],
        lazy: LazyLoading | None,
    ) -> list[Entry]:
        if not plan.full_state and not changes and (lazy is None or not entries):
            return []
        chosen = await self._states.choose(plan, entries, changes, lazy, at_end=request.use_state_after)
        if not chosen:
            return []
        rows = await self._events.rows(chosen.values())
        wanted = room_predicate(request.filter.room.state, plan.room_id)
        return [Entry(row, row.position) for row in rows.values() if wanted is None or wanted(row.event)]

    async def _summary(self, plan: RoomPlan) -> dict[str, Any]:
        """Member counts, and the heroes where the room has no name. Source: `RoomSummary`."""
        counts = await self._timeline.member_counts(plan.room_id)
        summary: dict[str, Any] = {
            "m.joined_member_count": counts.get("join", 0),
            "m.invited_member_count": counts.get("invite", 0),
        }
        if not await self._states.has_name(plan.room_id):
            user_id = plan.viewer.user_id
            heroes = await self._timeline.all_heroes(plan.room_id, user_id, ("join", "invite"), HEROES)
            if not heroes:
                heroes = await self._timeline.all_heroes(plan.room_id, user_id, ("leave", "ban"), HEROES)
            summary["m.heroes"] = heroes
        return summary


def not_ignored(
    wanted: Callable[[Event], bool] | None, ignored: frozenset[str]
) -> Callable[[Event], bool] | None:
    """`wanted`, without what ignored users say; state events of theirs stay. Source: "Ignoring Users"."""
    if not ignored:
        return wanted
    return lambda event: (event.is_state or event.sender not in ignored) and (wanted is None or wanted(event))
