"""Transactions of other servers: every PDU judged in its room's order, every EDU handed on, one reply.

A transaction is answered once: a repeat gets the same reply, also after a restart, and a repeat while the
first is under way waits for it. PDUs that take too long (their history must be fetched) are put aside on disk
and judged later, so that the sender is not kept waiting. Source: Server-Server API, "Transactions".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredList

from minihs.events.event import Event, InvalidEvent
from minihs.events.hashes import event_id_of
from minihs.events.ids import EventID, InvalidIdentifier, RoomID, ServerName, parse_room_id
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.federation.admission import Admission, Dropped
from minihs.federation.inbound import InboundEvents
from minihs.federation.receiver import CannotDecide
from minihs.homeserver.elsewhere.distant_rooms import DistantRooms
from minihs.homeserver.elsewhere.edus import InboundEDUs
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.errors import BadContent, Forbidden, LimitExceeded, Unavailable, UnknownRoom
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock
from minihs.platform.lanes import LaneFull, Lanes
from minihs.platform.logs import Logger
from minihs.store.events import Standing
from minihs.store.inbound import InboundStore, WaitingPDU
from minihs.store.writer import Batch, BatchFailed, Writer, WriterStopped

log = Logger()

MAX_PDUS = 50  # "Transactions are limited in size"
MAX_EDUS = 100
REPLY_WITHIN_MS = 15_000
MAX_PUT_ASIDE = 1_000  # PDUs; with more of them waiting, slow transactions are not acknowledged
MAX_PUT_ASIDE_OF_ONE = 100  # server, so that none can use up what is for all
KEEP_REPLIES_MS = 24 * 3_600_000  # a server that repeats a transaction after a day gets it judged again
TRANSACTIONS_WAITING = 4  # of one server; the specification allows it one at a time
WAITING_IN_ROOM = 200

PDUResults = dict[str, dict[str, Any]]


class _UnderWay(msgspec.Struct):
    """A transaction being processed: results so far, PDUs whose verdict is still out."""

    results: PDUResults = msgspec.field(default_factory=dict)
    open: dict[EventID, WaitingPDU] = msgspec.field(default_factory=dict)
    unread: int = 0
    """PDUs whose ID is not known yet, because their room is only just being joined."""
    put_aside: bool = False


class InboundTransactions:
    """Processes transactions. `joins_settled(room_id)` returns when no join to the room is under way."""

    def __init__(
        self,
        *,
        clock: Clock,
        writer: Writer,
        store: InboundStore,
        rooms: Rooms,
        distant_rooms: DistantRooms,
        acls: ServerACLs,
        admission: Admission,
        inbound: InboundEvents,
        edus: InboundEDUs,
        joins_settled: Callable[[RoomID], Awaitable[None]],
        reply_within_ms: int = REPLY_WITHIN_MS,
    ) -> None:
        self._clock = clock
        self._writer = writer
        self._store = store
        self._rooms = rooms
        self._distant_rooms = distant_rooms
        self._acls = acls
        self._admission = admission
        self._inbound = inbound
        self._edus = edus
        self._joins_settled = joins_settled
        self._reply_within_ms = reply_within_ms
        self._origins: Lanes[ServerName] = Lanes(TRANSACTIONS_WAITING)
        self._repeats: dict[tuple[ServerName, str], list[Deferred[dict[str, Any]]]] = {}
        self._aside: Counter[ServerName] = Counter()

    async def start(self) -> None:
        """Take up the PDUs that were put aside before the last stop, and forget old replies."""
        batch = Batch()
        self._store.forget_replies(batch, self._clock.wall_ms() - KEEP_REPLIES_MS)
        await self._writer.submit(batch)
        waiting = await self._store.all_waiting()
        self._aside.update(one.origin for one in waiting)
        by_room: dict[RoomID, list[WaitingPDU]] = {}
        for one in waiting:
            by_room.setdefault(one.room_id, []).append(one)
        for room_id, pdus in by_room.items():
            Deferred.fromCoroutine(self._resume(room_id, pdus)).addErrback(_bug)

    async def receive(
        self, origin: ServerName, txn_id: str, pdus: Sequence[object], edus: Sequence[object]
    ) -> dict[str, Any]:
        """The reply to one transaction: `{"pdus": {event ID: {} or {"error": …}}}`.

        Raises BadContent for too many PDUs or EDUs, LimitExceeded when the server does not wait for its
        replies, Unavailable when the transaction should be repeated later.
        """
        if len(pdus) > MAX_PDUS or len(edus) > MAX_EDUS:
            raise BadContent(f"A transaction holds at most {MAX_PDUS} PDUs and {MAX_EDUS} EDUs.")
        key = (origin, txn_id)
        repeats = self._repeats.get(key)
        if repeats is not None:
            waiting: Deferred[dict[str, Any]] = Deferred()
            repeats.append(waiting)
            return await waiting
        self._repeats[key] = []
        try:
            reply = await self._origins.run(origin, lambda: self._once(origin, txn_id, pdus, edus))
        except BaseException as error:
            for waiting in self._repeats.pop(key):
                waiting.errback(error)
            if isinstance(error, LaneFull):
                raise LimitExceeded(
                    "Wait for the reply to a transaction before you send the next.", 1_000
                ) from error
            raise
        for waiting in self._repeats.pop(key):
            waiting.callback(reply)
        return reply

    async def _once(
        self, origin: ServerName, txn_id: str, pdus: Sequence[object], edus: Sequence[object]
    ) -> dict[str, Any]:
        given = await self._store.maybe_reply(origin, txn_id)
        if given is not None:
            return given
        under_way = _UnderWay()
        await self._process(origin, pdus, under_way)
        await self._edus.receive(origin, edus)
        reply = {"pdus": under_way.results}
        received_ms = self._clock.wall_ms()
        batch = Batch()
        self._store.add_reply(batch, origin, txn_id, reply, received_ms)
        if under_way.put_aside:
            for one in under_way.open.values():
                self._store.add_waiting(batch, one, received_ms)
        await self._writer.submit(batch)
        return reply

    async def _process(self, origin: ServerName, pdus: Sequence[object], under_way: _UnderWay) -> None:
        """Judge the PDUs, rooms side by side; returns when all are done or have been put aside."""
        by_room: dict[RoomID, list[dict[str, Any]]] = {}
        for pdu in pdus:
            if isinstance(pdu, dict) and (room_id := _room_of(pdu)) is not None:
                by_room.setdefault(room_id, []).append(pdu)
        if not by_room:
            return
        work = [
            Deferred.fromCoroutine(self._process_room(origin, room_id, of_room, under_way)).addErrback(_bug)
            for room_id, of_room in by_room.items()
        ]
        finished: Deferred[bool] = Deferred()
        timer: Any = self._clock.call_later(self._reply_within_ms, _fire, finished, False)
        DeferredList(work).addCallback(lambda _: _fire(finished, True))
        if await finished:
            if timer.active():
                timer.cancel()
            return
        more = len(under_way.open)
        too_many = (
            self._aside[origin] + more > MAX_PUT_ASIDE_OF_ONE or self._aside.total() + more > MAX_PUT_ASIDE
        )
        if under_way.unread or too_many:
            # What is under way goes on; the repeat will find it done.
            raise Unavailable("This takes longer than usual. Please repeat the transaction later.")
        self._aside[origin] += more
        under_way.put_aside = True
        for event_id in under_way.open:
            under_way.results[event_id] = {}

    async def _process_room(
        self, origin: ServerName, room_id: RoomID, pdus: Sequence[dict[str, Any]], under_way: _UnderWay
    ) -> None:
        under_way.unread += len(pdus)
        try:
            await self._joins_settled(room_id)
        finally:
            under_way.unread -= len(pdus)
        version = await self._version_of(room_id)
        if version is None or not await self._rooms.is_resident(room_id):
            for pdu in pdus:
                event_id, error = await self._from_outside(origin, room_id, version, pdu)
                if event_id is not None:
                    under_way.results[event_id] = {} if error is None else {"error": error}
            return
        allowed = await self._acls.allows(room_id, origin)
        events: list[Event] = []
        for pdu in pdus:
            try:
                event = self._admission.parse(pdu, version, room_id)
            except Dropped as dropped:
                event_id = _probable_event_id(pdu, version)
                if event_id is not None:
                    under_way.results[event_id] = {"error": str(dropped)}
                continue
            if not allowed:
                error = f"The room's access control list keeps {origin} out."
                under_way.results[event.event_id] = {"error": error}
            elif event.event_id not in under_way.open:
                under_way.open[event.event_id] = WaitingPDU(origin, room_id, event.event_id, pdu)
                events.append(event)
        durable: list[Deferred[None]] = []
        for event in events:
            error = await self._judge(origin, event, durable)
            await self._close(under_way, event, error)
        # Only what is durable may be acknowledged; the events of a room are stored in order.
        for stored in durable[-1:]:
            try:
                await stored
            except (BatchFailed, WriterStopped) as failure:
                for event in events:
                    under_way.results.setdefault(event.event_id, {})["error"] = str(failure)

    async def _judge(self, origin: ServerName, event: Event, durable: list[Deferred[None]]) -> str | None:
        """Why the event was not accepted, None if it was (or was soft-failed); never raises for bad input."""
        try:
            genuine = await self._admission.verify(event)
            received = await self._inbound.receive(
                origin, genuine, let_in=lambda: self._check_takes_part(event.room_id, origin)
            )
        except (Dropped, CannotDecide) as problem:
            log.info(
                "{event_id} of {origin} not taken: {problem}",
                event_id=event.event_id,
                origin=origin,
                problem=problem,
            )
            return str(problem)
        except LaneFull:
            return "Too many events of this room are waiting."
        except (Forbidden, UnknownRoom) as too_late:  # the server is kept out meanwhile, or we have left
            return too_late.message
        if received.durable is not None:
            for earlier in durable:
                earlier.addErrback(_heard_by_the_last)
            durable[:] = [received.durable]
        return received.refusal if received.standing is Standing.REJECTED else None

    async def _check_takes_part(self, room_id: RoomID, origin: ServerName) -> None:
        """Raises when the room, as it now is, is no place where this server hears that one."""
        if not await self._rooms.is_resident(room_id):
            raise UnknownRoom(f"This server is not in the room {room_id} (any more).")
        await self._acls.check(room_id, origin)

    async def _close(self, under_way: _UnderWay, event: Event, error: str | None) -> None:
        waiting = under_way.open.pop(event.event_id)
        if not under_way.put_aside:
            under_way.results[event.event_id] = {} if error is None else {"error": error}
            return
        await self._judged(waiting)

    async def _judged(self, waiting: WaitingPDU) -> None:
        """Forget a PDU that was put aside."""
        self._aside[waiting.origin] -= 1
        if not self._aside[waiting.origin]:
            del self._aside[waiting.origin]
        # After the event itself, because the writer keeps the order: a crash between loses nothing.
        batch = Batch()
        self._store.remove_waiting(batch, waiting.room_id, waiting.event_id)
        await self._writer.submit(batch)

    async def _resume(self, room_id: RoomID, pdus: Sequence[WaitingPDU]) -> None:
        for one in pdus:
            durable: list[Deferred[None]] = []
            version = await self._version_of(room_id)
            try:
                if version is not None:
                    event = self._admission.parse(one.pdu, version, room_id)
                    await self._judge(one.origin, event, durable)
            except Dropped as dropped:
                log.warn("{event_id} dropped: {problem}", event_id=one.event_id, problem=dropped)
            for stored in durable:
                stored.addErrback(_heard_by_the_last)
            await self._judged(one)

    async def _from_outside(
        self, origin: ServerName, room_id: RoomID, version: RoomVersion | None, pdu: dict[str, Any]
    ) -> tuple[EventID | None, str | None]:
        """An event of a room that we are not in: of interest only if it ends an invite or a knock."""
        distant = await self._distant_rooms.maybe_version(room_id)
        if distant is None:
            error = f"This server is not in the room {room_id}."
            return _probable_event_id(pdu, version or _likely_version(room_id)), error
        try:
            event = await self._admission.admit(pdu, distant, room_id)
        except Dropped as dropped:
            return _probable_event_id(pdu, distant), str(dropped)
        if await self._distant_rooms.end(origin, event):
            return event.event_id, None
        return event.event_id, f"This server is not in the room {room_id}."

    async def _version_of(self, room_id: RoomID) -> RoomVersion | None:
        try:
            return await self._rooms.version_of(room_id)
        except UnknownRoom:
            return None


def _room_of(pdu: dict[str, Any]) -> RoomID | None:
    """The room that a PDU names. Create events of version 12 name none, and never come in transactions."""
    try:
        return parse_room_id(pdu.get("room_id"))
    except InvalidIdentifier:
        return None


def _likely_version(room_id: RoomID) -> RoomVersion:
    """The version of a room that we do not know: from 12 on, room IDs name no server."""
    return ROOM_VERSIONS["11" if ":" in room_id else "12"]


def _probable_event_id(pdu: dict[str, Any], version: RoomVersion) -> EventID | None:
    """The ID under which the sender will look for the result; None when the PDU is too odd to have one."""
    try:
        return event_id_of(pdu, version)
    except (InvalidEvent, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _fire(waiting: Deferred[bool], value: bool) -> None:
    if not waiting.called:
        waiting.callback(value)


def _bug(failure: Any) -> None:
    log.failure("an inbound event caused an unexpected error", failure)


def _heard_by_the_last(_: Any) -> None:
    """The failure reaches the event that was built on this one, too."""
