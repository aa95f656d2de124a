"""The resident server's side of handshakes: users of other servers join, leave and knock through us.

make_… gives a template that would be allowed now; send_… takes the signed event through the receipt checks
and passes it on to the room. Source: Server-Server API, "Joining Rooms", "Restricted rooms", "Knocking upon a
room", "Leaving Rooms (Rejecting Invites)".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName, UserID, server_name_of
from minihs.events.signatures import Signer, sign_pdu
from minihs.events.versions import RoomVersion
from minihs.federation.admission import Admission, Dropped, Unverifiable
from minihs.federation.inbound import InboundEvents
from minihs.federation.receiver import CannotDecide
from minihs.homeserver.elsewhere.handshakes import (
    IncompatibleRoomVersion,
    identifying_state,
    member_event,
    undecided,
)
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.elsewhere.serving import RoomServing, StateAnswer
from minihs.homeserver.errors import Forbidden, InvalidParam, UnableToGrantJoin, Unavailable, UnknownRoom
from minihs.homeserver.member_change import AUTHORISED_VIA
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.rooms.service import EventDraft, Rooms
from minihs.platform.lanes import LaneFull
from minihs.store.events import Standing
from minihs.store.writer import BatchFailed, WriterStopped

Handshake = Literal["join", "leave", "knock"]


class Template(msgspec.Struct, frozen=True):
    """An unsigned member event and the version of its room."""

    event: dict[str, Any]
    version: RoomVersion


class Joined(msgspec.Struct, frozen=True):
    """A join that is in the room: the event as it went to the others, and the state before it."""

    event: Event
    before: StateAnswer


class ResidentServer:
    """Lets users of other servers change their membership of our rooms.

    Every method raises UnknownRoom for rooms that we are not in, Forbidden for what the ACL or the auth rules
    refuse, and Unavailable when what would decide is not to be had at the moment.
    """

    def __init__(
        self,
        *,
        signer: Signer,
        rooms: Rooms,
        acls: ServerACLs,
        serving: RoomServing,
        restricted_joins: RestrictedJoins,
        admission: Admission,
        inbound: InboundEvents,
    ) -> None:
        self._signer = signer
        self._rooms = rooms
        self._acls = acls
        self._serving = serving
        self._restricted_joins = restricted_joins
        self._admission = admission
        self._inbound = inbound

    async def make(
        self,
        handshake: Handshake,
        origin: ServerName,
        room_id: RoomID,
        user_id: UserID,
        versions: Sequence[str] | None,
    ) -> Template:
        """A template for the user's event. `versions` are those that the other server supports; None: any.

        Raises IncompatibleRoomVersion, and for restricted rooms UnableToAuthoriseJoin and UnableToGrantJoin.
        """
        if server_name_of(user_id) != origin:
            raise Forbidden(f"{origin} may only ask for its own users.")
        version = await self._resident_version(origin, room_id)
        if versions is not None and version.id not in versions:
            raise IncompatibleRoomVersion(version.id)
        content: dict[str, Any] = {"membership": handshake}
        if handshake == "join":
            authoriser = await self._restricted_joins.authoriser(room_id, user_id)
            if authoriser is not None:
                content[AUTHORISED_VIA] = authoriser
        event = await self._rooms.build(
            EventDraft(
                room_id=room_id, sender=user_id, type="m.room.member", state_key=user_id, content=content
            )
        )
        template = {key: value for key, value in event.pdu.items() if key not in ("hashes", "signatures")}
        return Template(template, version)

    async def send_join(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, pdu: Mapping[str, Any]
    ) -> Joined:
        """Take a signed join into the room; durable when this returns. Raises InvalidParam, too."""
        event = await self._submitted("join", origin, room_id, event_id, pdu)
        event = await self._taken(origin, event)
        before = await self._rooms.state_before(event.event_id)
        if before is None:
            raise Unavailable("The room's state is being reloaded. Please try again.")
        return Joined(event, await self._serving.answer_of(origin, room_id, before))

    async def send_leave(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, pdu: Mapping[str, Any]
    ) -> None:
        """Take a signed leave into the room; durable when this returns. Raises InvalidParam, too."""
        await self._taken(origin, await self._submitted("leave", origin, room_id, event_id, pdu))

    async def send_knock(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, pdu: Mapping[str, Any]
    ) -> list[Event]:
        """Take a signed knock into the room; the events that tell the user which room it is."""
        await self._taken(origin, await self._submitted("knock", origin, room_id, event_id, pdu))
        return await identifying_state(self._rooms, room_id)

    async def _resident_version(self, origin: ServerName, room_id: RoomID) -> RoomVersion:
        version = await self._rooms.version_of(room_id)
        if not await self._rooms.is_resident(room_id):
            raise UnknownRoom(f"This server is not in the room {room_id} (any more).")
        await self._acls.check(room_id, origin)
        return version

    async def _submitted(
        self,
        handshake: Handshake,
        origin: ServerName,
        room_id: RoomID,
        event_id: EventID,
        pdu: Mapping[str, Any],
    ) -> Event:
        """The genuine event; a join that a user of ours vouches for gets our signature as well."""
        version = await self._resident_version(origin, room_id)
        event = member_event(
            pdu,
            version,
            origin=origin,
            room_id=room_id,
            event_id=event_id,
            membership=handshake,
            about_sender=True,
        )
        if handshake == "join":
            event = await self._vouched(event)
        try:
            genuine = await self._admission.verify(event)
        except Unverifiable as unverifiable:
            raise undecided("event", unverifiable) from unverifiable
        except Dropped as dropped:
            raise InvalidParam(f"The event's signatures are not good: {dropped}") from dropped
        if genuine is not event:
            raise InvalidParam("The event's content hash does not match its content.")
        return event

    async def _vouched(self, event: Event) -> Event:
        """The join with our signature, if it names a user of ours and the conditions still hold.

        A user who has been invited since the template was made needs no condition any more; the event needs
        the signature all the same, because it says so itself.
        """
        via = event.content.get(AUTHORISED_VIA)
        if not event.version.restricted_joins or not isinstance(via, str):
            return event
        if server_name_of(via) != self._signer.server_name:
            return event
        needed = await self._restricted_joins.authoriser(event.room_id, event.sender) is not None
        if needed and not await self._can_vouch(event.room_id, UserID(via)):
            raise UnableToGrantJoin(f"{via} cannot vouch for joins (any more). Ask for a new template.")
        pdu = sign_pdu(event.pdu, event.version, self._signer)
        return self._admission.parse(pdu, event.version, event.room_id)

    async def _can_vouch(self, room_id: RoomID, user_id: UserID) -> bool:
        levels = await self._rooms.power_levels(room_id)
        joined = await self._rooms.joined_users(room_id)
        return user_id in joined and levels.level_of(user_id) >= levels.invite

    async def _taken(self, origin: ServerName, event: Event) -> Event:
        """Take the event through the receipt checks and pass it on; Forbidden unless it was accepted."""
        try:
            received = await self._inbound.receive(
                origin, event, forward=True, let_in=lambda: self._acls.check(event.room_id, origin)
            )
            if received.durable is not None:
                await received.durable
        except CannotDecide as problem:
            raise undecided("event", problem) from problem
        except (LaneFull, BatchFailed, WriterStopped) as problem:
            raise Unavailable("The room is busy. Please try again.") from problem
        if received.standing is not Standing.ACCEPTED:
            raise Forbidden(f"The event is not allowed: {received.refusal}")
        return event
