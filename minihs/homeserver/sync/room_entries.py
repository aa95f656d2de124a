"""`rooms` of a sync: finds the rooms with news for the user and puts their entries together.

Source: Client-Server API, `GET /sync`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minihs.events.ids import RoomID
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.history.event_filter import field_paths
from minihs.homeserver.history.event_format import Reader
from minihs.homeserver.history.recent_events import RecentEvents
from minihs.homeserver.sync.ephemeral import Ephemeral
from minihs.homeserver.sync.lazy_members import LazyMembers, Members
from minihs.homeserver.sync.model import Moment, SyncRequest
from minihs.homeserver.sync.plan import RoomPlan, RoomPlanner
from minihs.homeserver.sync.positions import EVENTS, StreamToken
from minihs.homeserver.sync.private_data import PrivateData
from minihs.homeserver.sync.room_section import RoomSection, RoomSections
from minihs.homeserver.sync.stripped import StrippedRooms
from minihs.store.timeline import MembershipRecord, TimelineStore

NO_UNREAD = {"highlight_count": 0, "notification_count": 0}
"""Nothing is counted: push rules are not evaluated here."""

AccountData = Mapping[RoomID, list[dict[str, Any]]]


class RoomEntries:
    """Builds `rooms`."""

    def __init__(
        self,
        *,
        recent: RecentEvents,
        timeline: TimelineStore,
        planner: RoomPlanner,
        sections: RoomSections,
        stripped: StrippedRooms,
        private_data: PrivateData,
        invite_permission: InvitePermission,
        ephemeral: Ephemeral,
        lazy_members: LazyMembers,
    ) -> None:
        self._recent = recent
        self._timeline = timeline
        self._planner = planner
        self._sections = sections
        self._stripped = stripped
        self._private_data = private_data
        self._invite_permission = invite_permission
        self._ephemeral = ephemeral
        self._lazy_members = lazy_members

    async def build(self, moment: Moment, account_data: AccountData) -> dict[str, dict[RoomID, Any]]:
        """The sections that are not empty: `join`, `invite`, `knock`, `leave`."""
        request = moment.request
        ignored = await self._private_data.ignored_users(request.user_id)
        plans = await self._plans(moment)
        new_rooms = [plan.room_id for plan in plans.values() if plan.full_state and not request.full_state]
        ephemeral = await self._ephemeral.changes(moment, new_rooms)
        account_data = await self._whole_account_data(moment, new_rooms, account_data)
        device = (request.user_id, request.device_id)
        is_lazy = request.filter.room.state.lazy_load_members
        held = self._lazy_members.held(device, request.since) if is_lazy else {}
        sent: Members = {}
        reader = _reader(request)
        sections: dict[str, dict[RoomID, Any]] = {}
        for room_id in sorted({*plans, *ephemeral, *account_data} & moment.rooms.keys()):
            record = moment.rooms[room_id]
            if not request.filter.room.lets_through(room_id):
                continue
            plan = plans.get(room_id)
            section = None
            if plan is not None:
                section = await self._sections.build(
                    plan, request, reader, ignored=ignored, held=held.get(room_id, {})
                )
                sent[room_id] = section.members
            if record.membership == "join":
                body = self._joined_body(moment, section, ephemeral.get(room_id), account_data.get(room_id))
                if body is not None:
                    sections.setdefault("join", {})[room_id] = body
            elif section is not None:
                if room_id in account_data:
                    section.body["account_data"] = {"events": account_data[room_id]}
                sections.setdefault("leave", {})[room_id] = section.body
        await self._add_stripped(moment, ignored, sections)
        if is_lazy:
            self._lazy_members.sent(device, moment.token, sent)
        return sections

    async def _plans(self, moment: Moment) -> dict[RoomID, RoomPlan]:
        """A plan for each room whose events may have news, joined or left."""
        request = moment.request
        since, now = moment.span(EVENTS)
        active = await self._active_rooms(moment, since, now)
        plans: dict[RoomID, RoomPlan] = {}
        candidates: Iterable[RoomID] = moment.rooms
        if not moment.memberships_changed and not request.full_state:
            candidates = sorted(active & moment.rooms.keys())
        for room_id in candidates:
            record = moment.rooms[room_id]
            if not request.filter.room.lets_through(room_id):
                continue
            moved = since is None or record.position > since
            if record.membership == "join":
                if moved or request.full_state or room_id in active:
                    plans[room_id] = await self._planner.joined(
                        request.user_id, record, since, now, full_state=request.full_state
                    )
            elif record.membership in ("leave", "ban") and moved and not record.forgotten:
                if since is None and not request.filter.room.include_leave:
                    continue
                plans[room_id] = await self._planner.left(
                    request.user_id, record, since, now, full_state=request.full_state
                )
        return plans

    async def _active_rooms(self, moment: Moment, since: int | None, now: int) -> frozenset[RoomID]:
        """The rooms with events since the token, of those that the user is joined to or more."""
        if since is None or since >= now:
            return frozenset()
        if self._recent.covers(since, now):
            return frozenset(self._recent.active_rooms(since))
        joined = [room_id for room_id, record in moment.rooms.items() if record.membership == "join"]
        return frozenset(await self._timeline.all_active_rooms(joined, after=since, upto=now))

    async def _whole_account_data(
        self, moment: Moment, new_rooms: list[RoomID], changed: AccountData
    ) -> AccountData:
        """With what was set before the client knew of the room, for rooms that are new to it."""
        if moment.after is None or not new_rooms:
            return changed
        whole = await self._private_data.of_rooms(moment, frozenset(new_rooms))
        return {**changed, **whole}

    def _joined_body(
        self,
        moment: Moment,
        section: RoomSection | None,
        ephemeral: list[dict[str, Any]] | None,
        account_data: list[dict[str, Any]] | None,
    ) -> dict[str, Any] | None:
        request = moment.request
        if section is not None:
            body = section.body
        else:
            here = str(StreamToken.at_event(moment.token.event))
            body = {
                "timeline": {"events": [], "limited": False, "prev_batch": here},
                "state_after" if request.use_state_after else "state": {"events": []},
            }
        is_news = section is not None and (section.is_news or request.full_state)
        if not (is_news or ephemeral or account_data):
            return None
        if ephemeral:
            body["ephemeral"] = {"events": ephemeral}
        if account_data:
            body["account_data"] = {"events": account_data}
        body["unread_notifications"] = NO_UNREAD
        return body

    async def _add_stripped(
        self, moment: Moment, ignored: frozenset[str], sections: dict[str, dict[RoomID, Any]]
    ) -> None:
        """Invites and knocks that are new to the client."""
        if not moment.memberships_changed and not moment.request.full_state:
            return
        since, _ = moment.span(EVENTS)
        for room_id, record in sorted(moment.rooms.items()):
            if record.membership not in ("invite", "knock"):
                continue
            if since is not None and record.position <= since and not moment.request.full_state:
                continue
            if _is_unwanted_invite(record, ignored) or not moment.request.filter.room.lets_through(room_id):
                continue
            if record.membership == "invite" and await self._invite_permission.blocks(moment.request.user_id):
                continue
            entry = await self._stripped.entry(moment.request.user_id, record)
            sections.setdefault(record.membership, {})[room_id] = entry


def _is_unwanted_invite(record: MembershipRecord, ignored: frozenset[str]) -> bool:
    return record.membership == "invite" and record.sender in ignored


def _reader(request: SyncRequest) -> Reader:
    return Reader(
        request.user_id,
        request.device_id,
        request.filter.event_format == "federation",
        field_paths(request.filter.event_fields),
    )
