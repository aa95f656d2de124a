"""Auth rule 5 without third-party invites: joining, inviting, leaving, kicking, banning, knocking."""

from __future__ import annotations

import pytest
from unpaddedbase64 import encode_base64

from minihs.events.event import Event
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth import Allowed, Refused, authorise
from tests.support.auth_rules import ALICE, BOB, CAROL, DAVE, Pair, Trial, a_room, between, on, rule_case
from tests.support.events import RoomBuilder, resign, signer_of

MEMBER = "m.room.member"


def member(room: RoomBuilder, sender: str, target: str, membership: str, **content: object) -> Event:
    return room.make(sender, MEMBER, {"membership": membership, **content}, target)


def rule_of(room: RoomBuilder, event: Event) -> str:
    return authorise(event, room.state, room.version).rule


# 5.1


@rule_case(refused_by="v12 5.1")
def test_a_membership_is_state(version: RoomVersion) -> Pair:
    room = a_room(version)
    content = {"membership": "join"}
    return on(room, room.make(CAROL, MEMBER, content, CAROL), room.make(CAROL, MEMBER, content, None))


@rule_case(refused_by="v12 5.1")
def test_a_membership_event_has_a_membership(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, member(room, CAROL, CAROL, "join"), room.make(CAROL, MEMBER, {}, CAROL))


# 5.2


@rule_case(refused_by="v12 5.2.1", since=8)
def test_who_authorises_a_join_is_a_user(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="restricted")
    return on(
        room,
        member(room, CAROL, CAROL, "join", join_authorised_via_users_server=ALICE),
        member(room, CAROL, CAROL, "join", join_authorised_via_users_server=None),
    )


@rule_case(refused_by="v12 5.2.1", since=8)
def test_an_authorised_join_is_signed_by_the_server_of_who_authorised_it(version: RoomVersion) -> Pair:
    """Carol's server is Alice's; Bob's has not signed."""
    room = a_room(version, join_rule="restricted")
    return on(
        room,
        member(room, CAROL, CAROL, "join", join_authorised_via_users_server=ALICE),
        member(room, CAROL, CAROL, "join", join_authorised_via_users_server=BOB),
    )


def test_the_authorising_signature_is_asked_of_every_membership_since_v8_and_of_none_before() -> None:
    for version_id, expected in (("7", "v12 5.5.1"), ("8", "v12 5.2.1")):
        room = a_room(ROOM_VERSIONS[version_id])
        leave = member(room, CAROL, CAROL, "leave", join_authorised_via_users_server=BOB)
        assert rule_of(room, leave) == expected


# 5.3


@rule_case(refused_by="v12 5.3.7", allowed_by="v12 5.3.1")
def test_the_creator_joins_first_without_an_invite(version: RoomVersion) -> Pair:
    room = RoomBuilder.create(ALICE, version=version.id, join_rule=None)
    create, join = room.timeline
    later = resign(join, prev_events=[create.event_id, join.event_id])
    state = {create.key: create}
    return Pair(accepted=Trial(event=join, state=state), refused=Trial(event=later, state=state))


def test_the_creator_is_the_one_named_until_v10_and_the_sender_since_v11() -> None:
    for version_id, first, second in (("10", "v12 5.3.7", "v12 5.3.1"), ("11", "v12 5.3.1", "v12 5.3.7")):
        version = ROOM_VERSIONS[version_id]
        room = RoomBuilder.create(ALICE, version=version_id, join_rule=None)
        create = resign(room.timeline[0], content={"room_version": version_id, "creator": BOB})
        for user, expected in ((ALICE, first), (BOB, second)):
            join = room.make(user, MEMBER, {"membership": "join"}, user, prev_events=[create])
            assert authorise(join, {create.key: create}, version).rule == expected


def test_additional_creators_do_not_join_first() -> None:
    room = RoomBuilder.create(ALICE, join_rule=None, content={"additional_creators": [BOB]})
    create = room.timeline[0]
    join = room.make(BOB, MEMBER, {"membership": "join"}, BOB, prev_events=[create])
    assert authorise(join, {create.key: create}, room.version).rule == "v12 5.3.7"


@rule_case(refused_by="v12 5.3.2", allowed_by="v12 5.3.6")
def test_nobody_joins_for_somebody_else(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, member(room, DAVE, DAVE, "join"), member(room, BOB, DAVE, "join"))


@rule_case(refused_by="v12 5.3.3", allowed_by="v12 5.3.6")
def test_a_banned_user_cannot_join(version: RoomVersion) -> Pair:
    room = a_room(version)
    join = member(room, DAVE, DAVE, "join")
    room.member(BOB, DAVE, "leave")
    before = dict(room.state)
    room.member(BOB, DAVE, "ban")
    return between(join, before, room.state)


@rule_case(refused_by="v12 5.3.7", allowed_by="v12 5.3.4")
def test_an_invite_only_room_wants_an_invite(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="invite")
    join = member(room, DAVE, DAVE, "join")
    room.member(BOB, DAVE, "leave")
    without = dict(room.state)
    room.member(BOB, DAVE, "invite")
    return between(join, room.state, without)


@rule_case(refused_by="v12 5.3.7", allowed_by="v12 5.3.4", since=7)
def test_a_room_to_knock_at_wants_an_invite(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="knock")
    join = member(room, DAVE, DAVE, "join")
    room.member(DAVE, DAVE, "knock")
    knocking = dict(room.state)
    room.member(BOB, DAVE, "invite")
    return between(join, room.state, knocking)


def test_a_room_without_join_rules_wants_an_invite() -> None:
    room = a_room(ROOM_VERSIONS["12"], join_rule=None)
    assert rule_of(room, member(room, DAVE, DAVE, "join")) == "v12 5.3.7"
    assert rule_of(room, member(room, CAROL, CAROL, "join")) == "v12 5.3.4"


@pytest.mark.parametrize(
    ("join_rule", "last_without"), [("knock", "6"), ("restricted", "7"), ("knock_restricted", "9")]
)
def test_a_join_rule_means_private_in_versions_that_do_not_know_it(join_rule: str, last_without: str) -> None:
    without = a_room(ROOM_VERSIONS[last_without], join_rule=join_rule)
    assert rule_of(without, member(without, CAROL, CAROL, "join")) == "v12 5.3.7"
    first = a_room(ROOM_VERSIONS[str(int(last_without) + 1)], join_rule=join_rule)
    assert isinstance(authorise(member(first, CAROL, CAROL, "join"), first.state, first.version), Allowed)


@rule_case(refused_by="v12 5.3.5.2", allowed_by="v12 5.3.5.1", since=8)
def test_who_is_invited_joins_a_restricted_room_unasked(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="restricted")
    join = member(room, DAVE, DAVE, "join")
    room.member(BOB, DAVE, "leave")
    without = dict(room.state)
    room.member(BOB, DAVE, "invite")
    return between(join, room.state, without)


@rule_case(refused_by="v12 5.3.5.2", allowed_by="v12 5.3.5.3", since=8)
def test_a_restricted_join_is_authorised_by_a_joined_member(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="restricted")
    join = member(room, DAVE, DAVE, "join", join_authorised_via_users_server=BOB)
    joined = dict(room.state)
    room.member(BOB, BOB, "leave")
    return between(join, joined, room.state)


@rule_case(refused_by="v12 5.3.5.2", allowed_by="v12 5.3.5.3", since=8)
def test_a_restricted_join_is_authorised_by_somebody_who_may_invite(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="restricted", invite=50)
    room.join("@erin:hs2")
    return on(
        room,
        member(room, DAVE, DAVE, "join", join_authorised_via_users_server=BOB),
        member(room, DAVE, DAVE, "join", join_authorised_via_users_server="@erin:hs2"),
    )


@rule_case(refused_by="v12 5.3.5.2", allowed_by="v12 5.3.5.3", since=10)
def test_a_room_can_be_restricted_and_open_to_knocks(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="knock_restricted")
    return on(
        room,
        member(room, DAVE, DAVE, "join", join_authorised_via_users_server=BOB),
        member(room, DAVE, DAVE, "join"),
    )


@rule_case(refused_by="v12 5.3.7", allowed_by="v12 5.3.6")
def test_everybody_joins_a_public_room_only(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="public")
    join = member(room, DAVE, DAVE, "join")
    public = dict(room.state)
    room.state_event(ALICE, "m.room.join_rules", "", {"join_rule": "private"})
    return between(join, public, room.state)


@pytest.mark.parametrize("join_rule", [None, 1, ["public"], {"public": True}])
def test_a_join_rule_that_is_no_string_lets_nobody_in(join_rule: object) -> None:
    room = a_room(ROOM_VERSIONS["12"])
    room.state_event(ALICE, "m.room.join_rules", "", {"join_rule": join_rule})
    assert rule_of(room, member(room, DAVE, DAVE, "join")) == "v12 5.3.7"


# 5.4


@rule_case(refused_by="v12 5.4.2", allowed_by="v12 5.4.4")
def test_only_members_invite(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, member(room, CAROL, DAVE, "invite"), member(room, "@erin:hs2", DAVE, "invite"))


@rule_case(refused_by="v12 5.4.3", allowed_by="v12 5.4.4")
def test_a_joined_user_is_not_invited(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, member(room, BOB, DAVE, "invite"), member(room, BOB, CAROL, "invite"))


@rule_case(refused_by="v12 5.4.3", allowed_by="v12 5.4.4")
def test_a_banned_user_is_not_invited(version: RoomVersion) -> Pair:
    room = a_room(version)
    invite = member(room, BOB, DAVE, "invite")
    room.member(BOB, DAVE, "leave")
    before = dict(room.state)
    room.member(BOB, DAVE, "ban")
    return between(invite, before, room.state)


@rule_case(refused_by="v12 5.4.5", allowed_by="v12 5.4.4")
def test_inviting_needs_the_invite_level(version: RoomVersion) -> Pair:
    room = a_room(version, invite=50)
    return on(room, member(room, BOB, DAVE, "invite"), member(room, CAROL, DAVE, "invite"))


# 5.5


@rule_case(refused_by="v12 5.5.1", allowed_by="v12 5.5.1")
def test_who_is_not_there_cannot_leave(version: RoomVersion) -> Pair:
    room = a_room(version)
    leave = member(room, CAROL, CAROL, "leave")
    joined = dict(room.state)
    room.member(BOB, CAROL, "ban")
    return between(leave, joined, room.state)


@pytest.mark.parametrize(("membership", "first"), [("invite", 3), ("join", 3), ("knock", 7)])
def test_one_leaves_from_every_membership_that_the_version_knows(membership: str, first: int) -> None:
    for version in ROOM_VERSIONS.values():
        room = a_room(version)
        room.member(DAVE, DAVE, membership)
        verdict = authorise(member(room, DAVE, DAVE, "leave"), room.state, version)
        assert verdict.rule == "v12 5.5.1"
        assert isinstance(verdict, Allowed) == (int(version.id) >= first)


@rule_case(refused_by="v12 5.5.2", allowed_by="v12 5.5.4")
def test_only_members_kick(version: RoomVersion) -> Pair:
    room = a_room(version)
    kick = member(room, BOB, CAROL, "leave")
    joined = dict(room.state)
    room.member(BOB, BOB, "leave")
    return between(kick, joined, room.state)


@rule_case(refused_by="v12 5.5.3", allowed_by="v12 5.5.4")
def test_lifting_a_ban_needs_the_ban_level(version: RoomVersion) -> Pair:
    room = a_room(version, ban=60, kick=10)
    unban = member(room, BOB, DAVE, "leave")
    room.member(ALICE, DAVE, "invite")
    invited = dict(room.state)
    room.member(ALICE, DAVE, "ban")
    return between(unban, invited, room.state)


def test_a_ban_is_lifted_with_exactly_the_ban_level() -> None:
    room = a_room(ROOM_VERSIONS["12"], ban=50, kick=10)
    room.member(ALICE, DAVE, "ban")
    assert rule_of(room, member(room, BOB, DAVE, "leave")) == "v12 5.5.4"


@rule_case(refused_by="v12 5.5.5", allowed_by="v12 5.5.4")
def test_kicking_needs_the_kick_level(version: RoomVersion) -> Pair:
    room = a_room(version)
    room.join("@erin:hs2")
    return on(room, member(room, BOB, "@erin:hs2", "leave"), member(room, CAROL, "@erin:hs2", "leave"))


@rule_case(refused_by="v12 5.5.5", allowed_by="v12 5.5.4")
def test_nobody_kicks_somebody_of_the_same_level(version: RoomVersion) -> Pair:
    room = a_room(version, users={CAROL: 49, "@erin:hs2": 50})
    room.join("@erin:hs2")
    return on(room, member(room, BOB, CAROL, "leave"), member(room, BOB, "@erin:hs2", "leave"))


# 5.6


@rule_case(refused_by="v12 5.6.1", allowed_by="v12 5.6.2")
def test_only_members_ban(version: RoomVersion) -> Pair:
    room = a_room(version)
    ban = member(room, BOB, DAVE, "ban")
    joined = dict(room.state)
    room.member(BOB, BOB, "leave")
    return between(ban, joined, room.state)


@rule_case(refused_by="v12 5.6.3", allowed_by="v12 5.6.2")
def test_banning_needs_the_ban_level(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, member(room, BOB, DAVE, "ban"), member(room, CAROL, DAVE, "ban"))


@rule_case(refused_by="v12 5.6.3", allowed_by="v12 5.6.2")
def test_nobody_bans_somebody_of_the_same_level(version: RoomVersion) -> Pair:
    room = a_room(version, users={CAROL: 49, "@erin:hs2": 50})
    return on(room, member(room, BOB, CAROL, "ban"), member(room, BOB, "@erin:hs2", "ban"))


def test_creators_cannot_be_kicked_or_banned_by_anybody_since_v12() -> None:
    room = RoomBuilder.create(
        ALICE, content={"additional_creators": [BOB]}, power_levels={"users": {CAROL: 2**53 - 1}}
    )
    room.join(BOB)
    room.join(CAROL)
    for sender, target in ((ALICE, BOB), (BOB, ALICE), (CAROL, ALICE), (CAROL, BOB)):
        assert rule_of(room, member(room, sender, target, "ban")) == "v12 5.6.3"
        assert rule_of(room, member(room, sender, target, "leave")) == "v12 5.5.5"
    assert rule_of(room, member(room, BOB, CAROL, "ban")) == "v12 5.6.2"


# 5.7 and 5.8


@rule_case(refused_by="v12 5.7.1", allowed_by="v12 5.7.3", since=7)
def test_knocking_needs_a_room_that_says_so(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="knock")
    knock = member(room, DAVE, DAVE, "knock")
    open_to_knocks = dict(room.state)
    room.state_event(ALICE, "m.room.join_rules", "", {"join_rule": "public"})
    return between(knock, open_to_knocks, room.state)


def test_a_room_can_be_restricted_and_knocked_at_since_v10() -> None:
    for version_id, expected in (("9", "v12 5.7.1"), ("10", "v12 5.7.3")):
        room = a_room(ROOM_VERSIONS[version_id], join_rule="knock_restricted")
        assert rule_of(room, member(room, DAVE, DAVE, "knock")) == expected


@rule_case(refused_by="v12 5.7.2", allowed_by="v12 5.7.3", since=7)
def test_nobody_knocks_for_somebody_else(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="knock")
    return on(room, member(room, DAVE, DAVE, "knock"), member(room, BOB, DAVE, "knock"))


@pytest.mark.parametrize("membership", ["ban", "invite", "join"])
def test_who_is_in_invited_or_banned_does_not_knock(membership: str) -> None:
    room = a_room(ROOM_VERSIONS["12"], join_rule="knock")
    room.member(BOB, DAVE, membership)
    assert rule_of(room, member(room, DAVE, DAVE, "knock")) == "v12 5.7.4"


@rule_case(refused_by="v12 5.7.4", allowed_by="v12 5.7.3", since=7)
def test_who_was_kicked_may_knock_and_who_was_banned_may_not(version: RoomVersion) -> Pair:
    room = a_room(version, join_rule="knock")
    knock = member(room, DAVE, DAVE, "knock")
    room.member(BOB, DAVE, "leave")
    kicked = dict(room.state)
    room.member(BOB, DAVE, "ban")
    return between(knock, kicked, room.state)


@rule_case(refused_by="v12 5.8")
def test_a_membership_is_one_that_is_known(version: RoomVersion) -> Pair:
    room = a_room(version)
    return on(room, member(room, CAROL, CAROL, "leave"), member(room, CAROL, CAROL, "away"))


@pytest.mark.parametrize("membership", [None, 1, ["join"], {"join": True}])
def test_a_membership_that_is_no_string_is_unknown(membership: object) -> None:
    room = a_room(ROOM_VERSIONS["12"])
    event = room.make(CAROL, MEMBER, {"membership": membership}, CAROL)
    assert rule_of(room, event) == "v12 5.8"


def test_knocking_is_unknown_before_v7() -> None:
    for version_id, expected in (("6", "v12 5.8"), ("7", "v12 5.7.3")):
        room = a_room(ROOM_VERSIONS[version_id], join_rule="knock")
        assert rule_of(room, member(room, DAVE, DAVE, "knock")) == expected


# 5.4.1


def third_party_room(version: RoomVersion, **offer: object) -> RoomBuilder:
    room = a_room(version)
    key = signer_of("id.example").key.verify_key
    public_key = {"public_key": encode_base64(key.encode())}
    room.state_event(BOB, "m.room.third_party_invite", "token", {**public_key, **offer})
    return room


def signed(signer: str = "id.example", **fields: object) -> dict[str, object]:
    return signer_of(signer).sign({"mxid": DAVE, "token": "token", **fields})


def fulfil(room: RoomBuilder, invite: object, *, sender: str = BOB, target: str = DAVE) -> Event:
    return member(room, sender, target, "invite", third_party_invite=invite)


@rule_case(refused_by="v12 5.4.1.1", allowed_by="v12 5.4.1.7")
def test_a_banned_user_gets_no_third_party_invite(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    invite = fulfil(room, {"signed": signed()})
    room.member(BOB, DAVE, "leave")
    before = dict(room.state)
    room.member(BOB, DAVE, "ban")
    return between(invite, before, room.state)


@rule_case(refused_by="v12 5.4.1.2", allowed_by="v12 5.4.1.7")
def test_a_third_party_invite_has_a_signed_part(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    return on(room, fulfil(room, {"signed": signed()}), fulfil(room, {"display_name": "Dave"}))


@rule_case(refused_by="v12 5.4.1.3", allowed_by="v12 5.4.1.7")
def test_the_signed_part_names_a_user(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    nameless = signer_of("id.example").sign({"token": "token"})
    return on(room, fulfil(room, {"signed": signed()}), fulfil(room, {"signed": nameless}))


@rule_case(refused_by="v12 5.4.1.3", allowed_by="v12 5.4.1.7")
def test_the_signed_part_has_a_token(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    tokenless = signer_of("id.example").sign({"mxid": DAVE})
    return on(room, fulfil(room, {"signed": signed()}), fulfil(room, {"signed": tokenless}))


@rule_case(refused_by="v12 5.4.1.4", allowed_by="v12 5.4.1.7")
def test_the_signed_part_is_about_the_target(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    return on(room, fulfil(room, {"signed": signed()}), fulfil(room, {"signed": signed(mxid=ALICE)}))


@rule_case(refused_by="v12 5.4.1.5", allowed_by="v12 5.4.1.7")
def test_the_room_has_the_third_party_invite(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    without = {key: event for key, event in room.state.items() if key[0] != "m.room.third_party_invite"}
    return between(fulfil(room, {"signed": signed()}), room.state, without)


@rule_case(refused_by="v12 5.4.1.6", allowed_by="v12 5.4.1.7")
def test_who_made_the_third_party_invite_fulfils_it(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    return on(room, fulfil(room, {"signed": signed()}), fulfil(room, {"signed": signed()}, sender=ALICE))


@rule_case(refused_by="v12 5.4.1.8", allowed_by="v12 5.4.1.7")
def test_the_signed_part_is_signed_with_a_key_of_the_third_party_invite(version: RoomVersion) -> Pair:
    room = third_party_room(version)
    forged = signed("evil.example")
    return on(room, fulfil(room, {"signed": signed()}), fulfil(room, {"signed": forged}))


def test_one_of_several_public_keys_is_enough() -> None:
    key = signer_of("other.example").key.verify_key.encode()
    keys = [
        {"public_key": "not a key"},
        None,
        {},
        {"public_key": encode_base64(key), "key_validity_url": "x"},
    ]
    room = third_party_room(ROOM_VERSIONS["12"], public_keys=keys)
    assert rule_of(room, fulfil(room, {"signed": signed("other.example")})) == "v12 5.4.1.7"


@pytest.mark.parametrize(
    ("invite", "rule"),
    [
        (None, "v12 5.4.1.2"),
        ([], "v12 5.4.1.2"),
        ({"signed": None}, "v12 5.4.1.3"),
        ({"signed": {"mxid": DAVE, "token": ["token"]}}, "v12 5.4.1.3"),
        ({"signed": {"mxid": DAVE, "token": "token"}}, "v12 5.4.1.8"),
        ({"signed": {"mxid": DAVE, "token": "token", "signatures": []}}, "v12 5.4.1.8"),
        ({"signed": {"mxid": DAVE, "token": "token", "signatures": {"id.example": 1}}}, "v12 5.4.1.8"),
        (
            {"signed": {"mxid": DAVE, "token": "token", "signatures": {"id.example": {"ed25519:1": 1}}}},
            "v12 5.4.1.8",
        ),
        (
            {"signed": {"mxid": DAVE, "token": "token", "signatures": {"id.example": {"rot13:1": "QQ"}}}},
            "v12 5.4.1.8",
        ),
    ],
)
def test_a_third_party_invite_of_another_shape_is_refused(invite: object, rule: str) -> None:
    room = third_party_room(ROOM_VERSIONS["12"], public_keys="none")
    assert rule_of(room, fulfil(room, invite)) == rule


def test_a_flood_of_keys_is_given_up_on() -> None:
    """The right key is there, behind more wrong ones than are tried."""
    room = third_party_room(ROOM_VERSIONS["12"])
    wrong = signer_of("wrong.example").key.verify_key.encode()
    right = room.state["m.room.third_party_invite", "token"].content["public_key"]
    for number, rule in ((62, "v12 5.4.1.7"), (63, "v12 5.4.1.8")):
        keys = [{"public_key": encode_base64(wrong)}] * number + [{"public_key": right}]
        content = {"public_key": encode_base64(wrong), "public_keys": keys}
        room.state_event(BOB, "m.room.third_party_invite", "token", content)
        assert rule_of(room, fulfil(room, {"signed": signed()})) == rule


def test_a_refusal_is_not_an_exception() -> None:
    room = a_room(ROOM_VERSIONS["12"])
    assert isinstance(authorise(member(room, DAVE, BOB, "ban"), room.state, room.version), Refused)


def test_a_third_party_invite_without_a_usable_key_is_not_fulfilled() -> None:
    room = third_party_room(ROOM_VERSIONS["12"], public_key=None)
    assert rule_of(room, fulfil(room, {"signed": signed()})) == "v12 5.4.1.8"
