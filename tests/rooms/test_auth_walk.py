"""Auth rules 6 to 9 and 11, and the rule for aliases of old versions."""

from __future__ import annotations

from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth import Allowed, Refused, authorise
from tests.support.auth_rules import ALICE, BOB, CAROL, DAVE, Pair, a_room, between, on, rule_case
from tests.support.events import RoomBuilder

TEXT = {"msgtype": "m.text", "body": "hello"}


@rule_case(refused_by="v5 4.1", allowed_by="v5 4.3", until=5)
def test_aliases_are_state_until_v5(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(
        room, room.make(CAROL, "m.room.aliases", {}, "hs1"), room.make(CAROL, "m.room.aliases", {}, None)
    )


@rule_case(refused_by="v5 4.2", allowed_by="v5 4.3", until=5)
def test_aliases_are_under_the_senders_server_until_v5(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(
        room, room.make(CAROL, "m.room.aliases", {}, "hs1"), room.make(CAROL, "m.room.aliases", {}, "hs2")
    )


def test_aliases_of_outsiders_pass_until_v5_and_not_since_v6() -> None:
    for version_id, expected in (("5", "v5 4.3"), ("6", "v12 6")):
        room = a_room(ROOM_VERSIONS[version_id])
        verdict = authorise(room.make(DAVE, "m.room.aliases", {}, "hs2"), room.state, room.version)
        assert verdict.rule == expected


@rule_case(refused_by="v12 6", allowed_by="v12 11")
def test_only_joined_users_send_events(version: RoomVersion) -> Pair:
    room = a_room(version)
    event = room.make(CAROL, "m.room.message", TEXT)
    joined = dict(room.state)
    room.member(CAROL, CAROL, "leave")
    return between(event, joined, room.state)


@rule_case(refused_by="v12 6", allowed_by="v12 11")
def test_strangers_send_nothing(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, room.make(CAROL, "m.room.message", TEXT), room.make(DAVE, "m.room.message", TEXT))


@rule_case(refused_by="v12 7.1", allowed_by="v12 7.1")
def test_a_third_party_invite_needs_the_invite_level(version: RoomVersion) -> Pair:
    room = a_room(version, invite=50)
    event_type = "m.room.third_party_invite"
    return on(room, room.make(BOB, event_type, {}, "token"), room.make(CAROL, event_type, {}, "token"))


def test_a_third_party_invite_needs_no_more_than_the_invite_level() -> None:
    """Rule 7 decides alone: `state_default` and the state key are not looked at."""
    room = a_room(ROOM_VERSIONS["12"], state_default=100)
    event = room.make(CAROL, "m.room.third_party_invite", {}, BOB)
    assert authorise(event, room.state, room.version) == Allowed("v12 7.1")


@rule_case(refused_by="v12 8", allowed_by="v12 11")
def test_an_event_needs_the_level_of_its_type(version: RoomVersion) -> Pair:
    room = a_room(version, events={"m.room.message": 50})
    return on(room, room.make(BOB, "m.room.message", TEXT), room.make(CAROL, "m.room.message", TEXT))


@rule_case(refused_by="v12 8", allowed_by="v12 11")
def test_a_state_event_needs_the_state_default(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, room.make(CAROL, "m.room.topic", {}), room.make(CAROL, "m.room.topic", {}, ""))


@rule_case(refused_by="v12 8", allowed_by="v12 11")
def test_state_needs_level_50_where_there_are_no_power_levels(version: RoomVersion) -> Pair:
    room = RoomBuilder.create(ALICE, version=version.id)
    room.join(CAROL)
    return on(room, room.make(ALICE, "m.room.topic", {}, ""), room.make(CAROL, "m.room.topic", {}, ""))


@rule_case(refused_by="v12 9", allowed_by="v12 11")
def test_a_state_key_that_is_a_user_id_belongs_to_that_user(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, room.make(BOB, "org.example.pet", {}, BOB), room.make(BOB, "org.example.pet", {}, CAROL))


def test_the_redact_level_does_not_decide_whether_a_redaction_may_be_sent() -> None:
    room = a_room(ROOM_VERSIONS["12"], redact=100)
    message = room.message(BOB)
    redaction = room.make(CAROL, "m.room.redaction", {}, redacts=message.event_id)
    assert authorise(redaction, room.state, room.version) == Allowed("v12 11")


def test_creators_have_more_power_than_any_level_since_v12() -> None:
    for version_id, refused in (("11", True), ("12", False)):
        room = a_room(ROOM_VERSIONS[version_id], events={"m.room.tombstone": 2**53 - 1})
        verdict = authorise(room.make(ALICE, "m.room.tombstone", {}, ""), room.state, room.version)
        assert isinstance(verdict, Refused) == refused


def test_additional_creators_have_infinite_power_too() -> None:
    room = RoomBuilder.create(
        ALICE, content={"additional_creators": [BOB]}, power_levels={"events": {"m.room.topic": 1000}}
    )
    room.join(BOB)
    room.join(CAROL)
    accepted = authorise(room.make(BOB, "m.room.topic", {}, ""), room.state, room.version)
    refused = authorise(room.make(CAROL, "m.room.topic", {}, ""), room.state, room.version)
    assert (accepted.rule, refused.rule) == ("v12 11", "v12 8")
