"""Auth rule 5 of room version 12: memberships, one function for each value of `membership`.

The third-party half of an invite is in `third_party`. Numbers are those of v12 (4.x in v6 to v11, and there
without 5.2, 5.3.5 and 5.7 in the versions that lack them).
"""

from __future__ import annotations

from collections.abc import Mapping

from minihs.events.event import Event, StateKey
from minihs.events.ids import InvalidIdentifier, parse_user_id, server_name_of
from minihs.events.versions import RoomVersion
from minihs.rooms.auth.needed import JOIN_RULES
from minihs.rooms.auth.third_party import authorise_third_party_invite
from minihs.rooms.auth.verdict import Allowed, Refused
from minihs.rooms.power import POWER_LEVELS, PowerLevels, creators


class _Facts:
    """What the membership rules look at, read from the state once."""

    __slots__ = ("content", "create", "event", "levels", "sender", "state", "target", "version")

    def __init__(
        self,
        event: Event,
        target: str,
        create: Event,
        state: Mapping[StateKey, Event],
        version: RoomVersion,
    ) -> None:
        self.event = event
        self.content = event.content
        self.sender = event.sender
        self.target = target
        self.create = create
        self.state = state
        self.version = version
        self.levels = PowerLevels(create, state.get(POWER_LEVELS), version)

    def membership_of(self, user_id: str) -> str | None:
        member = self.state.get(("m.room.member", user_id))
        return None if member is None else member.membership

    @property
    def join_rule(self) -> object:
        """The room's join rule; `invite` where none is set (`m.room.join_rules`)."""
        join_rules = self.state.get(JOIN_RULES)
        return "invite" if join_rules is None else join_rules.content.get("join_rule", "invite")


def authorise_member(
    event: Event, create: Event, state: Mapping[StateKey, Event], version: RoomVersion
) -> Allowed | Refused:
    """Rule 5: `m.room.member`."""
    # v12 5.1, since v1
    if event.state_key is None or "membership" not in event.content:
        return Refused("v12 5.1", "a membership event must be a state event with a membership")
    facts = _Facts(event, event.state_key, create, state, version)
    # v12 5.2, since v8
    if version.restricted_joins and "join_authorised_via_users_server" in event.content:
        refused = _check_authorising_signature(facts)
        if refused is not None:
            return refused
    match event.content["membership"]:
        case "join":
            return _authorise_join(facts)
        case "invite":
            return _authorise_invite(facts)
        case "leave":
            return _authorise_leave(facts)
        case "ban":
            return _authorise_ban(facts)
        case "knock" if version.knocking:
            return _authorise_knock(facts)
    # v12 5.8, since v1
    return Refused("v12 5.8", "the membership is unknown")


def _check_authorising_signature(facts: _Facts) -> Refused | None:
    # v12 5.2.1, since v8. That the signature is there is seen here; that it is right was verified on receipt,
    # where `required_signers` names the server. So whoever adds the signature must do so before asking.
    try:
        authorising = parse_user_id(facts.content["join_authorised_via_users_server"])
    except InvalidIdentifier:
        return Refused("v12 5.2.1", "join_authorised_via_users_server is not a user ID")
    if not facts.event.pdu["signatures"].get(server_name_of(authorising)):
        return Refused(
            "v12 5.2.1", "the event is not signed by the server of the user who authorised the join"
        )
    return None


def _authorise_join(facts: _Facts) -> Allowed | Refused:
    """Rule 5.3."""
    # v12 5.3.1, since v1; until v10 `creator` says who it is, then the create event's sender
    if facts.event.prev_events == (facts.create.event_id,) and _is_founder(facts.target, facts.create):
        return Allowed("v12 5.3.1")
    # v12 5.3.2, since v1
    if facts.sender != facts.target:
        return Refused("v12 5.3.2", "nobody can join for somebody else")
    membership = facts.membership_of(facts.sender)
    # v12 5.3.3, since v1
    if membership == "ban":
        return Refused("v12 5.3.3", "the sender is banned")
    known = membership in ("invite", "join")
    version = facts.version
    match facts.join_rule:
        # v12 5.3.4, `invite` since v1, `knock` since v7
        case "invite" if known:
            return Allowed("v12 5.3.4")
        case "knock" if known and version.knocking:
            return Allowed("v12 5.3.4")
        # v12 5.3.5, `restricted` since v8, `knock_restricted` since v10
        case "restricted" if version.restricted_joins:
            return _authorise_restricted_join(facts, known)
        case "knock_restricted" if version.knock_restricted:
            return _authorise_restricted_join(facts, known)
        # v12 5.3.6, since v1
        case "public":
            return Allowed("v12 5.3.6")
    # v12 5.3.7, since v1
    return Refused("v12 5.3.7", "the join rule asks for an invite, which the sender does not have")


def _is_founder(user_id: str, create: Event) -> bool:
    """Who may join first. `additional_creators` have power, but not this right."""
    if create.version.creator_in_content:
        return user_id in creators(create)
    return user_id == create.sender


def _authorise_restricted_join(facts: _Facts, known: bool) -> Allowed | Refused:
    # v12 5.3.5.1, since v8
    if known:
        return Allowed("v12 5.3.5.1")
    # v12 5.3.5.2, since v8
    authorising = facts.content.get("join_authorised_via_users_server")
    if not isinstance(authorising, str) or facts.membership_of(authorising) != "join":
        return Refused("v12 5.3.5.2", "no joined member has authorised the join")
    if facts.levels.level_of(authorising) < facts.levels.invite:
        return Refused("v12 5.3.5.2", "who authorised the join has too little power to invite")
    # v12 5.3.5.3, since v8
    return Allowed("v12 5.3.5.3")


def _authorise_invite(facts: _Facts) -> Allowed | Refused:
    """Rule 5.4."""
    target_membership = facts.membership_of(facts.target)
    # v12 5.4.1, since v1
    if "third_party_invite" in facts.content:
        return authorise_third_party_invite(facts.event, target_membership, facts.state)
    # v12 5.4.2, since v1
    if facts.membership_of(facts.sender) != "join":
        return Refused("v12 5.4.2", "the sender is not joined to the room")
    # v12 5.4.3, since v1
    if target_membership in ("join", "ban"):
        return Refused("v12 5.4.3", "who is joined or banned cannot be invited")
    # v12 5.4.4, since v1
    if facts.levels.level_of(facts.sender) >= facts.levels.invite:
        return Allowed("v12 5.4.4")
    # v12 5.4.5, since v1
    return Refused("v12 5.4.5", "the sender has too little power to invite")


def _authorise_leave(facts: _Facts) -> Allowed | Refused:
    """Rule 5.5: leaving, rejecting an invite, kicking, unbanning."""
    target_membership = facts.membership_of(facts.target)
    if facts.sender == facts.target:
        # v12 5.5.1, `invite` and `join` since v1, `knock` since v7
        if target_membership in ("invite", "join") or (
            target_membership == "knock" and facts.version.knocking
        ):
            return Allowed("v12 5.5.1")
        return Refused("v12 5.5.1", "the sender is not in the room, nor invited to it, nor knocking")
    # v12 5.5.2, since v1
    if facts.membership_of(facts.sender) != "join":
        return Refused("v12 5.5.2", "the sender is not joined to the room")
    sender_level = facts.levels.level_of(facts.sender)
    # v12 5.5.3, since v1
    if target_membership == "ban" and sender_level < facts.levels.ban:
        return Refused("v12 5.5.3", "the sender has too little power to lift a ban")
    # v12 5.5.4, since v1
    if sender_level >= facts.levels.kick and facts.levels.level_of(facts.target) < sender_level:
        return Allowed("v12 5.5.4")
    # v12 5.5.5, since v1
    return Refused("v12 5.5.5", "the sender has too little power to remove this user")


def _authorise_ban(facts: _Facts) -> Allowed | Refused:
    """Rule 5.6."""
    # v12 5.6.1, since v1
    if facts.membership_of(facts.sender) != "join":
        return Refused("v12 5.6.1", "the sender is not joined to the room")
    # v12 5.6.2, since v1
    sender_level = facts.levels.level_of(facts.sender)
    if sender_level >= facts.levels.ban and facts.levels.level_of(facts.target) < sender_level:
        return Allowed("v12 5.6.2")
    # v12 5.6.3, since v1
    return Refused("v12 5.6.3", "the sender has too little power to ban this user")


def _authorise_knock(facts: _Facts) -> Allowed | Refused:
    """Rule 5.7, since v7."""
    # v12 5.7.1, `knock` since v7, `knock_restricted` since v10
    join_rule = facts.join_rule
    if join_rule != "knock" and not (join_rule == "knock_restricted" and facts.version.knock_restricted):
        return Refused("v12 5.7.1", "the join rule does not let anybody knock")
    # v12 5.7.2, since v7
    if facts.sender != facts.target:
        return Refused("v12 5.7.2", "nobody can knock for somebody else")
    # v12 5.7.3, since v7
    if facts.membership_of(facts.sender) not in ("ban", "invite", "join"):
        return Allowed("v12 5.7.3")
    # v12 5.7.4, since v7
    return Refused("v12 5.7.4", "who is banned, invited or joined cannot knock")
