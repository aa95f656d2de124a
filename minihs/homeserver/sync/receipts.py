"""Read receipts: how far users have read, ours and other servers'.

A receipt only moves forward in a room's order of events. Source: Client-Server API, "Receipts";
Server-Server API, "Receipts" (m.receipt EDU).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minihs.events.ids import (
    EventID,
    InvalidIdentifier,
    RoomID,
    ServerName,
    UserID,
    parse_event_id,
    parse_room_id,
    parse_user_id,
    server_name_of,
)
from minihs.homeserver.errors import Forbidden, InvalidParam
from minihs.homeserver.sync.typing import JoinedCheck, PublishEdu
from minihs.platform.clock import Clock
from minihs.store.events import EventStore
from minihs.store.receipts import UNTHREADED, ReceiptRow, ReceiptStore
from minihs.store.streams import Stream
from minihs.store.writer import Batch, Writer

READ = "m.read"
READ_PRIVATE = "m.read.private"
RECEIPT_TYPES = (READ, READ_PRIVATE)
MAIN_THREAD = "main"
MAX_INBOUND = 1_000  # receipts taken from one EDU
MAX_HOPS = 3  # Client-Server API, "Threaded read receipts": relations followed to find an event's thread
MAX_TS = (1 << 53) - 1


class Receipts:
    """Takes receipts, stores them and tells whom they concern."""

    def __init__(
        self,
        *,
        store: ReceiptStore,
        events: EventStore,
        writer: Writer,
        stream: Stream,
        clock: Clock,
        is_joined: JoinedCheck,
        publish_edu: PublishEdu,
        wake_room: Callable[[RoomID], None],
        wake_user: Callable[[UserID], None],
    ) -> None:
        self._store = store
        self._events = events
        self._writer = writer
        self._stream = stream
        self._clock = clock
        self._is_joined = is_joined
        self._publish_edu = publish_edu
        self._wake_room = wake_room
        self._wake_user = wake_user
        self._floor = stream.current
        self._changed: dict[RoomID, int] = {}
        self._observers: list[Callable[[Sequence[ReceiptRow]], None]] = []

    def observe(self, observer: Callable[[Sequence[ReceiptRow]], None]) -> None:
        """Tell `observer` of receipts once they are durable."""
        self._observers.append(observer)

    @property
    def position(self) -> int:
        """The highest durable position."""
        return self._stream.current

    def changed_rooms(self, after: int) -> Iterable[RoomID] | None:
        """The rooms with a receipt later than `after`; None when that reaches further back than memory."""
        if after >= self._stream.current:
            return ()
        if after < self._floor:
            return None
        return [room_id for room_id, position in self._changed.items() if position > after]

    async def read_up_to(
        self,
        user_id: UserID,
        room_id: RoomID,
        receipt_type: str,
        event_id: EventID,
        thread_id: str | None = None,
    ) -> None:
        """A local user has read up to an event: in the whole room, or in one thread (`main` or its root).

        A receipt that would go back, and one for an event that is not here, are taken and change nothing.
        Raises Forbidden when the user is not joined, InvalidParam for an unknown type or a thread to which
        the event does not belong.
        """
        if receipt_type not in RECEIPT_TYPES:
            raise InvalidParam(f"`{receipt_type}` is no kind of receipt: use m.read or m.read.private.")
        if not await self._is_joined(user_id, room_id):
            raise Forbidden("You are not joined to this room.")
        row = await self._events.maybe_row(event_id)
        if row is None or row.event.room_id != room_id or row.standing.is_outlier:
            return
        if thread_id is not None and not await self._is_in_thread(event_id, thread_id):
            raise InvalidParam("The event is not in the thread that `thread_id` names.")
        receipt = ReceiptRow(
            room_id=room_id,
            receipt_type=receipt_type,
            user_id=user_id,
            thread_id=thread_id if thread_id is not None else UNTHREADED,
            event_id=event_id,
            event_position=row.position,
            ts=self._clock.wall_ms(),
        )
        if await self._is_news(receipt):
            await self._put([receipt])
            if receipt_type == READ:
                self._publish_edu(room_id, receipt_edu(receipt))

    async def inbound_edu(self, origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take an m.receipt EDU; entries that are malformed, or about others' users, are ignored."""
        receipts: list[ReceiptRow] = []
        for room_id, by_type in content.items():
            by_user = by_type.get(READ) if isinstance(by_type, Mapping) else None
            if not isinstance(by_user, Mapping):
                continue
            for user_id, entry in by_user.items():
                if len(receipts) >= MAX_INBOUND:
                    break
                receipt = await self._inbound(origin, room_id, user_id, entry)
                if receipt is not None:
                    receipts.append(receipt)
        if receipts:
            await self._put(receipts)

    async def _inbound(
        self, origin: ServerName, room_id: str, user_id: str, entry: object
    ) -> ReceiptRow | None:
        try:
            room, user = parse_room_id(room_id), parse_user_id(user_id)
            event_ids = entry.get("event_ids") if isinstance(entry, Mapping) else None
            if not isinstance(event_ids, list) or len(event_ids) != 1 or server_name_of(user) != origin:
                return None
            event_id = parse_event_id(event_ids[0])
        except InvalidIdentifier:
            return None
        data = entry.get("data") if isinstance(entry, Mapping) else None
        ts = data.get("ts") if isinstance(data, Mapping) else None
        thread_id = data.get("thread_id", UNTHREADED) if isinstance(data, Mapping) else UNTHREADED
        if type(ts) is not int or not 0 <= ts <= MAX_TS or not isinstance(thread_id, str):
            return None
        if len(thread_id) > 255 or not await self._is_joined(user, room):
            return None
        row = await self._events.maybe_row(event_id)
        if row is not None and row.event.room_id != room:
            return None
        return ReceiptRow(
            room_id=room,
            receipt_type=READ,
            user_id=user,
            thread_id=thread_id,
            event_id=event_id,
            event_position=None if row is None or row.standing.is_outlier else row.position,
            ts=ts,
        )

    async def _is_news(self, receipt: ReceiptRow) -> bool:
        known = await self._store.maybe_receipt(
            receipt.room_id, receipt.receipt_type, receipt.user_id, receipt.thread_id
        )
        if known is None:
            return True
        if known.event_position is None or receipt.event_position is None:
            return known.event_id != receipt.event_id
        return receipt.event_position > known.event_position

    async def _put(self, receipts: list[ReceiptRow]) -> None:
        position = self._stream.allocate()
        batch = Batch()
        self._store.put(batch, receipts, position)
        await self._writer.submit(batch)
        self._stream.committed(position)
        for receipt in receipts:
            self._changed[receipt.room_id] = position
            if receipt.receipt_type == READ_PRIVATE:
                self._wake_user(receipt.user_id)
        public = (receipt.room_id for receipt in receipts if receipt.receipt_type != READ_PRIVATE)
        for room_id in dict.fromkeys(public):
            self._wake_room(room_id)
        for observer in self._observers:
            observer(receipts)

    async def _is_in_thread(self, event_id: EventID, thread_id: str) -> bool:
        """Whether the event is in the thread: Client-Server API, "Threaded read receipts"."""
        at: EventID | None = event_id
        for hop in range(MAX_HOPS + 1):
            event = None if at is None else await self._events.maybe_event(at)
            relation = None if event is None else event.content.get("m.relates_to")
            if not isinstance(relation, Mapping):
                break
            target = relation.get("event_id")
            if relation.get("rel_type") == "m.thread":
                # A thread's root, and what relates to it otherwise, is in the main timeline.
                return bool(target == thread_id)
            if hop == MAX_HOPS or not isinstance(target, str):
                break
            at = EventID(target)
        return thread_id == MAIN_THREAD


def receipt_edu(receipt: ReceiptRow) -> dict[str, Any]:
    """The m.receipt EDU that tells other servers."""
    data: dict[str, Any] = {"ts": receipt.ts}
    if receipt.thread_id != UNTHREADED:
        data["thread_id"] = receipt.thread_id
    entry = {"event_ids": [receipt.event_id], "data": data}
    content = {receipt.room_id: {READ: {receipt.user_id: entry}}}
    return {"edu_type": "m.receipt", "content": content}


def receipt_events(receipts: Iterable[ReceiptRow]) -> list[dict[str, Any]]:
    """The m.receipt events of one room for a client: one for each thread, since a user may have read up to
    the same event in several."""
    by_thread: dict[str, dict[str, Any]] = {}
    for receipt in receipts:
        content = by_thread.setdefault(receipt.thread_id, {})
        data: dict[str, Any] = {"ts": receipt.ts}
        if receipt.thread_id != UNTHREADED:
            data["thread_id"] = receipt.thread_id
        users = content.setdefault(receipt.event_id, {}).setdefault(receipt.receipt_type, {})
        users[receipt.user_id] = data
    return [{"type": "m.receipt", "content": by_thread[thread]} for thread in sorted(by_thread)]
