"""Typing and receipts in a sync: which rooms have any that are new, and the events that say so.

Source: Client-Server API, "Typing Notifications", "Receipts".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from minihs.events.ids import RoomID
from minihs.homeserver.history.event_filter import RoomEventFilter, predicate
from minihs.homeserver.sync.model import Moment
from minihs.homeserver.sync.positions import RECEIPTS, TYPING
from minihs.homeserver.sync.receipts import Receipts, receipt_events
from minihs.homeserver.sync.typing import Typing, typing_event
from minihs.store.receipts import ReceiptRow, ReceiptStore


class Ephemeral:
    """Reads what is ephemeral for `/sync`."""

    def __init__(self, typing: Typing, receipts: Receipts, store: ReceiptStore) -> None:
        self._typing = typing
        self._receipts = receipts
        self._store = store

    @property
    def typing_position(self) -> int:
        """The newest change of who is typing."""
        return self._typing.position

    @property
    def receipts_position(self) -> int:
        """The newest durable receipt."""
        return self._receipts.position

    async def changes(
        self, moment: Moment, newly_joined: Iterable[RoomID]
    ) -> dict[RoomID, list[dict[str, Any]]]:
        """The ephemeral events that are new to the client, by room; all there are in rooms new to it."""
        wanted = moment.request.filter.room.ephemeral
        fresh = _joined(moment) if moment.after is None else [*newly_joined]
        events: dict[RoomID, list[dict[str, Any]]] = {}
        for room_id in self._typing_rooms(moment, fresh):
            event = typing_event(self._typing.users(room_id))
            if _passes(wanted, room_id, "m.typing"):
                events.setdefault(room_id, []).append(event)
        for room_id, receipts in (await self._receipts_by_room(moment, fresh)).items():
            if _passes(wanted, room_id, "m.receipt"):
                events.setdefault(room_id, []).extend(receipt_events(receipts))
        return events

    def _typing_rooms(self, moment: Moment, fresh: list[RoomID]) -> Iterable[RoomID]:
        after, _ = moment.span(TYPING)
        if after is not None and self._typing.is_from_before(after):
            return _joined(moment)  # whomever the client believes to be typing may have stopped
        changed = [] if after is None else self._typing.changed_rooms(after)
        new = [room_id for room_id in fresh if self._typing.users(room_id)]
        mine = moment.rooms
        return dict.fromkeys(
            room_id for room_id in (*changed, *new) if room_id in mine and mine[room_id].membership == "join"
        )

    async def _receipts_by_room(
        self, moment: Moment, fresh: list[RoomID]
    ) -> Mapping[RoomID, list[ReceiptRow]]:
        after, upto = moment.span(RECEIPTS)
        rows: list[ReceiptRow] = []
        user_id = moment.request.user_id
        if fresh:
            rows += await self._store.all_changed(fresh, after=0, upto=upto, private_to=user_id)
        if after is not None and after < upto:
            changed = self._receipts.changed_rooms(after)
            mine = moment.rooms
            rooms = {
                room_id
                for room_id in (mine if changed is None else changed)
                if room_id in mine and mine[room_id].membership == "join"
            } - {*fresh}
            if rooms:
                rows += await self._store.all_changed(rooms, after=after, upto=upto, private_to=user_id)
        by_room: dict[RoomID, list[ReceiptRow]] = {}
        for row in rows:
            by_room.setdefault(row.room_id, []).append(row)
        return by_room


def _joined(moment: Moment) -> list[RoomID]:
    return [room_id for room_id, record in moment.rooms.items() if record.membership == "join"]


def _passes(event_filter: RoomEventFilter, room_id: RoomID, type_: str) -> bool:
    if room_id in event_filter.not_rooms:
        return False
    if event_filter.rooms is not None and room_id not in event_filter.rooms:
        return False
    wanted = predicate(event_filter)
    return wanted is None or wanted(type_, "")
