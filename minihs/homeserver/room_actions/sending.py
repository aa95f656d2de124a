"""Events that a client asks for: what must be checked or rewritten before the room service gets them.

Whatever sends on a user's behalf comes through here: `/send`, `/state`, `/redact`, and futures when they are
due. Source: Client-Server API, "Sending events to a room" and "Redactions".
"""

from __future__ import annotations

from msgspec.structs import replace

from minihs.events.event import Event
from minihs.events.ids import EventID, InvalidIdentifier, RoomID, UserID, parse_event_id, parse_user_id
from minihs.homeserver.errors import BadContent, Forbidden, InvalidParam, NotFound
from minihs.homeserver.member_change import MEMBER, MemberChange
from minihs.homeserver.room_actions.directory import CANONICAL_ALIAS, Directory
from minihs.homeserver.room_actions.membership import Membership
from minihs.homeserver.room_actions.state_content import check_state_content
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.service import Rooms
from minihs.store.along import Along, Also
from minihs.store.events import EventStore

REDACTION = "m.room.redaction"


class Sending:
    """Sends what users want sent."""

    def __init__(
        self, *, rooms: Rooms, events: EventStore, membership: Membership, directory: Directory
    ) -> None:
        self._rooms = rooms
        self._events = events
        self._membership = membership
        self._directory = directory

    async def send(self, draft: EventDraft, *, is_guest: bool = False, also: Also | None = None) -> EventID:
        """Send a message or set a state; durable when it returns.

        Membership goes the way of the membership API. Raises what `Rooms.send` and `Membership` raise, and
        InvalidParam, BadAlias and NotFound for content that refers to what is not there.
        """
        if draft.state_key is None:
            if draft.type == REDACTION:
                draft = await self._redaction(draft)
        elif draft.type == MEMBER:
            change = MemberChange(
                room_id=draft.room_id,
                sender=draft.sender,
                target=_target(draft.state_key),
                content=draft.content,
                along=None if also is None else Along(also, draft.delay_id, draft.was_future),
            )
            return await self._membership.change(change, is_guest=is_guest)
        else:
            check_state_content(draft.type, draft.content)
            if draft.type == CANONICAL_ALIAS and not draft.state_key:
                await self._check_canonical_alias(draft)
        return (await self._rooms.send(draft, also=also)).event_id

    async def _check_canonical_alias(self, draft: EventDraft) -> None:
        # Who may not set it is refused by the auth rules, without other servers' being asked for aliases.
        if await self._directory.may_set_canonical_alias(draft.room_id, draft.sender):
            await self._directory.check_canonical_alias(draft.room_id, draft.content)

    async def is_from(self, event_id: EventID, user_id: UserID) -> bool:
        """Whether the user has sent this event."""
        event = await self._events.maybe_event(event_id)
        return event is not None and event.sender == user_id

    async def _redaction(self, draft: EventDraft) -> EventDraft:
        """The redaction with `redacts` where its room's version wants it, once it is known to be allowed.

        The auth rules leave redactions to whoever receives them, and among users of one server they would
        always be carried out; so the sending server must judge ("Redactions", server behaviour).
        """
        redacts = draft.redacts
        if redacts is None:
            try:
                redacts = parse_event_id(draft.content.get("redacts"))
            except InvalidIdentifier as error:
                raise BadContent("redacts must be the ID of the event to redact.") from error
        await self._check_may_redact(draft.room_id, draft.sender, redacts)
        content = {key: value for key, value in draft.content.items() if key != "redacts"}
        return replace(draft, content=content, redacts=redacts)

    async def _check_may_redact(self, room_id: RoomID, sender: UserID, redacts: EventID) -> None:
        target: Event | None = await self._events.maybe_event(redacts)
        if target is None or target.room_id != room_id:
            raise NotFound(f"There is no event {redacts} in this room.")
        if target.type == "m.room.server_acl":
            raise Forbidden("A redacted access control list lets no server in. Send another list instead.")
        if target.sender == sender:
            return
        power = await self._rooms.power_levels(room_id)
        if power.level_of(sender) < power.redact:
            raise Forbidden("You need the power to redact other people's events.")


def _target(state_key: str) -> UserID:
    try:
        return parse_user_id(state_key)
    except InvalidIdentifier as error:
        raise InvalidParam(f"The state key of m.room.member must be a user ID: {error}") from error
