"""Membership changes through other servers: joins, knocks, leaves and invites over federation.

The implementation of `protocols.RemoteMembership`. Source: Server-Server API, "Joining Rooms", "Knocking
upon a room", "Inviting to a room", "Leaving Rooms (Rejecting Invites)".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from minihs.events.build import build_event
from minihs.events.event import Event, InvalidEvent, parse_event
from minihs.events.ids import EventID, RoomID, ServerName, server_name_of
from minihs.events.signatures import Signer
from minihs.events.versions import SUPPORTED, RoomVersion
from minihs.federation.admission import Admission, Dropped
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.inbound import InboundEvents
from minihs.federation.join_reply import BadJoinReply, verify_join_reply
from minihs.federation.outliers import Outliers
from minihs.federation.receiver import CannotDecide
from minihs.federation.remote_rooms import RemoteRooms, Template
from minihs.homeserver.elsewhere.distant_rooms import DistantRooms, stripped
from minihs.homeserver.elsewhere.handshakes import identifying_state
from minihs.homeserver.errors import Forbidden, Unavailable, UnknownRoom
from minihs.homeserver.member_change import AUTHORISED_VIA, MEMBER, MemberChange
from minihs.homeserver.rooms.purging import RoomPurges
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock
from minihs.platform.lanes import LaneFull, Lanes
from minihs.platform.logs import Logger
from minihs.store.along import Along
from minihs.store.events import Standing
from minihs.store.writer import BatchFailed, WriterStopped

log = Logger()

MAX_SERVERS = 8  # asked in turn for one request
MAX_JOINS_WAITING = 100  # for one room

_WITH_KNOCKING = [version.id for version in SUPPORTED.values() if version.knocking]

Result = TypeVar("Result")


class _Place(msgspec.Struct, frozen=True):
    """What of a template goes into our event: where in the graph it stands, and who vouches for a join."""

    depth: int
    prev_events: list[EventID]
    auth_events: list[EventID]
    content: dict[str, Any]


class _Joins(msgspec.Struct):
    """Joins to one room that are under way, and who waits for their end."""

    number: int = 0
    waiting: list[Deferred[None]] = msgspec.field(default_factory=list)


class RemoteMemberships:
    """Changes memberships where another server must take part."""

    def __init__(
        self,
        *,
        signer: Signer,
        clock: Clock,
        rooms: Rooms,
        distant_rooms: DistantRooms,
        remote: RemoteRooms,
        admission: Admission,
        outliers: Outliers,
        inbound: InboundEvents,
        purges: RoomPurges,
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._rooms = rooms
        self._distant_rooms = distant_rooms
        self._remote = remote
        self._admission = admission
        self._outliers = outliers
        self._inbound = inbound
        self._purges = purges
        self._joins: Lanes[RoomID] = Lanes(MAX_JOINS_WAITING)
        self._under_way: dict[RoomID, _Joins] = {}

    async def joins_settled(self, room_id: RoomID) -> None:
        """Wait until no join to the room is under way: events that come meanwhile can be judged then."""
        joins = self._under_way.get(room_id)
        if joins is not None:
            settled: Deferred[None] = Deferred()
            joins.waiting.append(settled)
            await settled

    async def join_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        """See `RemoteMembership`. Joins to one room go one after another: the second finds us in the room."""
        room_id = change.room_id
        self._purges.keep(room_id)
        joins = self._under_way.setdefault(room_id, _Joins())
        joins.number += 1
        try:
            await self._joins.run(room_id, lambda: self._join(change, via))
        except LaneFull as full:
            raise Unavailable("Too many joins to this room are under way. Please try again.") from full
        finally:
            self._purges.let_go(room_id)
            joins.number -= 1
            if not joins.number:
                del self._under_way[room_id]
                for settled in joins.waiting:
                    settled.callback(None)

    async def leave_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        """See `RemoteMembership`."""
        try:
            event = await self._ask_in_turn(via, lambda server: self._leave_through(server, change))
        except (RemoteRefusal, Unavailable, UnknownRoom) as problem:
            log.info(
                "{user_id} leaves {room_id} here alone: {problem}",
                user_id=change.target,
                room_id=change.room_id,
                problem=problem,
            )
            event = await self._leave_of_our_own(change)
        await self._distant_rooms.record(event, along=change.along)

    async def knock_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        """See `RemoteMembership`."""
        room_id = change.room_id

        async def knock(server: ServerName) -> tuple[Event, list[dict[str, Any]]]:
            template = await self._remote.make("knock", server, room_id, change.target, _WITH_KNOCKING)
            event = self._event(server, template, change)
            told = await self._remote.send_knock(server, room_id, event.event_id, event.pdu)
            genuine = await self._admission.admit_all(told, event.version, room_id)
            return event, [stripped(one) for one in genuine.events.values() if one.is_state]

        event, told = await self._ask_in_turn(via, knock)
        await self._distant_rooms.record(event, [*told, stripped(event)], along=change.along)

    async def invite_remote(self, change: MemberChange) -> Event:
        """See `RemoteMembership`."""
        event = await self._rooms.build(change.draft)
        server = server_name_of(change.target)
        told = await identifying_state(self._rooms, event.room_id, (MEMBER, event.sender))
        try:
            pdu = await self._remote.invite(
                server,
                event.room_id,
                event.event_id,
                pdu=event.pdu,
                room_version=event.version.id,
                room_state=[one.pdu for one in told],
            )
            signed = self._admission.parse(pdu, event.version, event.room_id)
        except (Unreachable, Dropped) as problem:
            raise Unavailable(f"{server} could not be asked to take the invite: {problem}") from problem
        if signed.event_id != event.event_id or not _signed_by(signed, server):
            raise Unavailable(f"{server} did not sign the invite.")
        # Of the answer we keep the signature alone: anything else in it need not be what we sent.
        signatures = {**event.pdu["signatures"], server: signed.pdu["signatures"][server]}
        event = self._admission.parse({**event.pdu, "signatures": signatures}, event.version, event.room_id)
        await self._put_into_room(self._signer.server_name, event, change.along)
        return event

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: RoomID, partial: Mapping[str, Any]
    ) -> None:
        """See `RemoteMembership`."""
        try:
            await self._remote.exchange_third_party_invite(server, room_id, partial)
        except Unreachable as problem:
            raise Unavailable(f"{server} could not be asked for the invite: {problem}") from problem

    async def _join(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        if await self._rooms.is_resident(change.room_id) and await self._join_here(change):
            return
        entered: list[ServerName] = []
        try:
            await self._ask_in_turn(via, lambda server: self._join_through(server, change, entered))
        except WriterStopped:
            raise  # this process is ending and asks nobody any more
        except Exception:
            if entered:
                await self._take_back(entered[-1], change)
            raise

    async def _join_here(self, change: MemberChange) -> bool:
        """Join a room that we have entered while this join was waiting; False if others must vouch."""
        current = await self._rooms.state_event(change.room_id, MEMBER, change.target)
        if current is not None and current.membership == "join":
            return True
        try:
            await self._rooms.send(change.draft, also=change.also)
        except Forbidden:
            return False
        return True

    async def _take_back(self, server: ServerName, join: MemberChange) -> None:
        """Leave a room that others may count us in although we could not enter it; as far as possible."""
        try:
            await self._leave_through(server, replace(join, content={"membership": "leave"}))
        except (RemoteRefusal, Unreachable) as problem:
            log.warn(
                "{user_id} may be in {room_id} for others, but is not here: {problem}",
                user_id=join.target,
                room_id=join.room_id,
                problem=problem,
            )

    async def _leave_through(self, server: ServerName, change: MemberChange) -> Event:
        template = await self._remote.make("leave", server, change.room_id, change.target, ())
        event = self._event(server, template, change)
        await self._remote.send_leave(server, change.room_id, event.event_id, event.pdu)
        return event

    async def _join_through(
        self, server: ServerName, change: MemberChange, entered: list[ServerName]
    ) -> None:
        """One handshake; notes in `entered` a server that may have let us in, also if the rest goes wrong."""
        room_id, user_id = change.room_id, change.target
        template = await self._remote.make("join", server, room_id, user_id, list(SUPPORTED))
        event = self._event(server, template, change)
        try:
            reply = await self._remote.send_join(server, room_id, event.event_id, event.pdu)
        except (Unreachable, RemoteRefusal) as problem:
            if not (isinstance(problem, RemoteRefusal) and problem.is_final):
                # The answer may have got lost or be of no use, or a proxy may have lost patience.
                entered.append(server)
            raise
        entered.append(server)
        try:
            joined = await verify_join_reply(
                reply, event, clock=self._clock, admission=self._admission, outliers=self._outliers
            )
        except BadJoinReply as bad:
            raise Unreachable(f"{server} let {user_id} in, but its reply is not good. {bad}") from bad
        if await self._rooms.is_resident(room_id):
            # Others had to vouch. What we have of the room is as good as theirs, and may be newer.
            await self._put_into_room(server, joined.event, change.along)
            return
        await self._rooms.adopt(
            event.version, joined.event, joined.state_before, joined.outliers, along=change.along
        )

    async def _put_into_room(self, origin: ServerName, event: Event, along: Along | None) -> None:
        """Give a member event of ours, which another server has signed as well, its place in a room that we
        are in; one that does not come back to us from `origin` goes to the others from here."""
        forward = origin == self._signer.server_name
        try:
            received = await self._inbound.receive(origin, event, forward=forward, along=along)
            if received.durable is not None:
                await received.durable
        except (CannotDecide, LaneFull, BatchFailed, WriterStopped) as problem:
            raise Unavailable(f"The event could not be put into the room: {problem}") from problem
        if received.standing is not Standing.ACCEPTED:
            raise Forbidden(f"The room no longer allows it: {received.refusal}")

    def _event(self, server: ServerName, template: Template, change: MemberChange) -> Event:
        """Our signed member event on the place in the graph that the template gives it; Unreachable when
        the template makes no event."""
        version = SUPPORTED.get(template.room_version)
        if version is None:
            raise Unreachable(f"{server} offers room version {template.room_version!r}.")
        try:
            place = msgspec.convert(template.event, _Place)
            wanted = dict(change.content)
            if AUTHORISED_VIA in place.content and wanted.get("membership") == "join":
                wanted[AUTHORISED_VIA] = place.content[AUTHORISED_VIA]
            event = self._signed(replace(change, content=wanted), version, place)
            return parse_event(event.pdu, version)
        except (msgspec.ValidationError, InvalidEvent) as error:
            raise Unreachable(f"{server} gave a template that makes no event: {error}") from error

    async def _leave_of_our_own(self, change: MemberChange) -> Event:
        """A leave that no other server ever sees, to end the membership here."""
        nowhere = _Place(depth=1, prev_events=[], auth_events=[], content={})
        return self._signed(change, await self._version_of(change.room_id), nowhere)

    def _signed(self, change: MemberChange, version: RoomVersion, place: _Place) -> Event:
        return build_event(
            version=version,
            signer=self._signer,
            room_id=change.room_id,
            type=MEMBER,
            sender=change.sender,
            content=dict(change.content),
            state_key=change.target,
            origin_server_ts=self._clock.wall_ms(),
            depth=place.depth,
            prev_events=place.prev_events,
            auth_events=place.auth_events,
        )

    async def _version_of(self, room_id: RoomID) -> RoomVersion:
        distant = await self._distant_rooms.maybe_version(room_id)
        return await self._rooms.version_of(room_id) if distant is None else distant

    async def _ask_in_turn(
        self, servers: Sequence[ServerName], ask: Callable[[ServerName], Awaitable[Result]]
    ) -> Result:
        """The first success; else the last refusal, or Unavailable if nobody was able to decide."""
        refusal: RemoteRefusal | None = None
        problems: list[str] = []
        for server in servers[:MAX_SERVERS]:
            try:
                return await ask(server)
            except RemoteRefusal as refused:
                if refused.is_final:
                    refusal = refused
                else:
                    problems.append(f"{server} cannot at the moment: {refused.error}")
            except Unreachable as unreachable:
                problems.append(str(unreachable))
        if refusal is not None:
            raise refusal
        if not problems:
            raise UnknownRoom("This server does not know the room, and no server was named that might.")
        raise Unavailable(f"No server could help. {' '.join(problems)}")


def _signed_by(event: Event, server: ServerName) -> bool:
    return bool(event.pdu["signatures"].get(server))
