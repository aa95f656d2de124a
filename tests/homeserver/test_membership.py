"""Membership: what each change does in rooms that are here, and whom it asks for rooms that are not."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.errors import (
    BadContent,
    BadState,
    Forbidden,
    StillInRoom,
    UnableToAuthoriseJoin,
    UnableToGrantJoin,
    Unavailable,
    UnknownRoom,
)
from minihs.homeserver.member_change import MemberChange
from tests.support.rooms_world import RoomsWorld

ALICE, BOB, CAROL, GUEST = (
    UserID("@alice:hs1"),
    UserID("@bob:hs1"),
    UserID("@carol:hs2"),
    UserID("@guest:hs1"),
)
AFAR = RoomID("!room:hs3")
EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS)


def room(world: RoomsWorld, **body: Any) -> RoomID:
    return RoomID(world.make(ALICE, **body))


def public(world: RoomsWorld, **body: Any) -> RoomID:
    return room(world, preset="public_chat", **body)


def change(
    world: RoomsWorld, sender: UserID, room_id: RoomID, target: UserID, content: dict[str, Any]
) -> EventID:
    wanted = MemberChange(room_id=room_id, sender=sender, target=target, content=content)
    event_id: EventID = world.run(world.membership.change(wanted))
    return event_id


@EVERY_VERSION
def test_a_public_room_can_be_joined_and_a_private_one_only_after_an_invite(version: str) -> None:
    world = RoomsWorld()
    world.profiles[BOB] = {"displayname": "Bob"}
    open_room = public(world, room_version=version)
    world.run(world.membership.join(BOB, open_room))
    private = room(world, room_version=version)
    with pytest.raises(Forbidden) as refused:
        world.run(world.membership.join(BOB, private))
    assert refused.value.rule is not None
    world.run(world.membership.invite(ALICE, private, BOB))
    world.run(world.membership.join(BOB, private, reason="hello"))
    assert world.state_content(private, "m.room.member", BOB) == {
        "membership": "join",
        "displayname": "Bob",
        "reason": "hello",
    }
    assert world.run(world.membership.joined_rooms(BOB)) == sorted([open_room, private])


@pytest.mark.parametrize("change", ["join", "leave", "invite"])
def test_a_change_that_changes_nothing_sends_nothing(change: str) -> None:
    world = RoomsWorld()
    room_id = public(world)
    steps = {
        "join": lambda: world.membership.join(BOB, room_id),
        "leave": lambda: world.membership.leave(BOB, room_id),
        "invite": lambda: world.membership.invite(ALICE, room_id, BOB),
    }
    if change == "leave":
        world.run(world.membership.join(BOB, room_id))
    world.run(steps[change]())
    committed = len(world.observer.committed)
    world.run(steps[change]())
    assert len(world.observer.committed) == committed


def test_only_members_are_told_that_somebody_is_invited_already() -> None:
    world = RoomsWorld()
    room_id = room(world, invite=[BOB])
    with pytest.raises(Forbidden):
        world.run(world.membership.invite(UserID("@eve:hs1"), room_id, BOB))


def test_kick_ban_and_unban_start_from_the_right_membership() -> None:
    world = RoomsWorld()
    room_id = public(world)
    membership = world.membership
    with pytest.raises(Forbidden, match="not in this room"):
        world.run(membership.kick(ALICE, room_id, BOB))
    with pytest.raises(BadState):
        world.run(membership.unban(ALICE, room_id, BOB))
    world.run(membership.join(BOB, room_id))
    world.run(membership.kick(ALICE, room_id, BOB, reason="rude"))
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "leave", "reason": "rude"}
    world.run(membership.ban(ALICE, room_id, BOB))
    with pytest.raises(Forbidden, match="not in this room"):
        world.run(membership.kick(ALICE, room_id, BOB))
    with pytest.raises(Forbidden):
        world.run(membership.join(BOB, room_id))
    world.run(membership.unban(ALICE, room_id, BOB))
    world.run(membership.join(BOB, room_id))


def test_nobody_can_be_kicked_by_somebody_with_less_power() -> None:
    world = RoomsWorld()
    room_id = public(world)
    world.run(world.membership.join(BOB, room_id))
    world.run(world.membership.join(UserID("@eve:hs1"), room_id))
    with pytest.raises(Forbidden) as refused:
        world.run(world.membership.kick(BOB, room_id, UserID("@eve:hs1")))
    assert refused.value.rule is not None
    world.run(world.membership.kick(ALICE, room_id, UserID("@eve:hs1")))


def test_a_room_is_forgotten_only_after_it_was_left() -> None:
    world = RoomsWorld()
    room_id = public(world)
    world.run(world.membership.join(BOB, room_id))
    with pytest.raises(StillInRoom):
        world.run(world.actions.forgetting.forget(BOB, room_id))
    world.run(world.membership.leave(BOB, room_id))
    world.run(world.actions.forgetting.forget(BOB, room_id))
    assert world.forgotten == [BOB]
    world.run(world.actions.forgetting.forget(BOB, RoomID("!never:hs1")))
    world.run(world.membership.join(BOB, room_id))
    assert world.membership_of(room_id, BOB) == "join"


def test_knocking_needs_a_room_that_takes_knocks() -> None:
    world = RoomsWorld()
    knockable = room(
        world,
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}],
    )
    world.run(world.membership.knock(BOB, knockable, reason="let me in"))
    assert world.membership_of(knockable, BOB) == "knock"
    world.run(world.membership.invite(ALICE, knockable, BOB))
    world.run(world.membership.join(BOB, knockable))
    with pytest.raises(Forbidden) as refused:
        world.run(world.membership.knock(BOB, room(world)))
    assert refused.value.rule is not None


# Rooms that are not here


def test_a_room_that_is_not_here_is_joined_through_the_servers_that_are_named() -> None:
    world = RoomsWorld()
    world.profiles[BOB] = {"displayname": "Bob"}
    via = [ServerName("hs9"), ServerName("hs1"), ServerName("hs9")]
    world.run(world.membership.join(BOB, AFAR, via=via))
    content = {"membership": "join", "displayname": "Bob"}
    assert world.elsewhere.asked == [("join", (AFAR, BOB, ("hs9", "hs3"), content))]


def test_an_unknown_room_without_a_server_to_ask_is_unknown() -> None:
    world = RoomsWorld()
    for enter in (world.membership.join, world.membership.knock):
        with pytest.raises(UnknownRoom):
            world.run(enter(BOB, RoomID("!nowhere:hs1")))
        with pytest.raises(UnknownRoom):
            world.run(enter(BOB, RoomID("!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM")))
    assert world.elsewhere.asked == []


def test_an_invite_from_afar_is_accepted_and_rejected_through_its_sender() -> None:
    world = RoomsWorld()
    for answer in ("join", "leave"):
        world.run(world.elsewhere.write(AFAR, BOB, "invite", CAROL))
        world.run(getattr(world.membership, answer)(BOB, AFAR))
    assert [(what, details[2]) for what, details in world.elsewhere.asked] == [
        ("join", ("hs2", "hs3")),
        ("leave", ("hs2", "hs3")),
    ]


def test_a_room_that_everybody_here_has_left_is_rejoined_through_those_who_stayed() -> None:
    world = RoomsWorld()
    room_id = public(world)
    world.send(room_id, CAROL, "m.room.member", state_key=CAROL, content={"membership": "join"})
    world.run(world.membership.leave(ALICE, room_id))
    world.run(world.membership.join(ALICE, room_id))
    [(what, (_, _, via, _))] = world.elsewhere.asked
    assert (what, via) == ("join", ("hs2",))


def test_a_room_that_everybody_has_left_can_be_joined_again_here() -> None:
    world = RoomsWorld()
    room_id = public(world)
    world.run(world.membership.leave(ALICE, room_id))
    world.run(world.membership.join(BOB, room_id))
    assert world.elsewhere.asked == []
    assert world.membership_of(room_id, BOB) == "join"


def test_users_of_other_servers_are_invited_through_their_server_unless_the_room_does_not_federate() -> None:
    world = RoomsWorld()
    open_room = room(world)
    world.run(world.membership.invite(ALICE, open_room, CAROL))
    assert [what for what, _ in world.elsewhere.asked] == ["invite"]
    closed = room(world, creation_content={"m.federate": False})
    with pytest.raises(Forbidden):
        world.run(world.membership.invite(ALICE, closed, CAROL))
    assert len(world.elsewhere.asked) == 1


def test_who_was_never_in_a_room_cannot_leave_it() -> None:
    world = RoomsWorld()
    for room_id in (public(world), AFAR):
        with pytest.raises(Forbidden):
            world.run(world.membership.leave(BOB, room_id))


# Guests


def test_guests_join_only_rooms_that_let_them_in() -> None:
    world = RoomsWorld()
    open_room = public(
        world,
        initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
    )
    world.run(world.membership.join(GUEST, open_room, is_guest=True))
    closed = public(world)
    with pytest.raises(Forbidden, match="guests"):
        world.run(world.membership.join(GUEST, closed, is_guest=True))
    world.run(world.membership.join(GUEST, closed))


def test_guests_leave_when_the_room_stops_letting_them_in_and_nobody_else_does() -> None:
    world = RoomsWorld()
    room_id = room(world, preset="private_chat", invite=[GUEST, BOB])
    world.run(world.membership.join(GUEST, room_id, is_guest=True))
    world.run(world.membership.join(BOB, room_id))
    for allowed, membership in (("can_join", "join"), ("forbidden", "leave")):
        content = {"guest_access": allowed}
        world.send(room_id, ALICE, "m.room.guest_access", state_key="", content=content)
        world.clock.advance(0)
        assert world.membership_of(room_id, GUEST) == membership
    assert world.membership_of(room_id, BOB) == "join"


# Restricted rooms


def restricted(world: RoomsWorld, *allowed: str, rule: str = "restricted", **body: Any) -> RoomID:
    conditions = [{"type": "m.room_membership", "room_id": name} for name in allowed]
    join_rules = {"join_rule": rule, "allow": conditions}
    return room(world, initial_state=[{"type": "m.room.join_rules", "content": join_rules}], **body)


@pytest.mark.parametrize("version", [name for name, row in ROOM_VERSIONS.items() if row.restricted_joins])
def test_members_of_an_allowed_room_join_a_restricted_one_and_a_local_user_vouches(version: str) -> None:
    world = RoomsWorld()
    club = public(world)
    room_id = restricted(world, club, room_version=version)
    with pytest.raises(Forbidden, match="in none of the rooms"):
        world.run(world.membership.join(BOB, room_id))
    world.run(world.membership.join(BOB, club))
    world.run(world.membership.join(BOB, room_id))
    content = world.state_content(room_id, "m.room.member", BOB)
    assert content == {"membership": "join", "join_authorised_via_users_server": ALICE}
    world.profiles[BOB] = {"displayname": "Bob"}
    world.run(world.actions.every_room.update_profile(BOB))
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "join", "displayname": "Bob"}


@pytest.mark.parametrize(("rule", "version"), [("restricted", "7"), ("knock_restricted", "9")])
def test_where_a_version_knows_no_such_join_rule_nobody_vouches(rule: str, version: str) -> None:
    world = RoomsWorld()
    club = public(world)
    world.run(world.membership.join(BOB, club))
    room_id = restricted(world, club, room_version=version, rule=rule)
    with pytest.raises(Forbidden) as refusal:
        world.run(world.membership.join(BOB, room_id))
    assert refusal.value.rule == "v12 5.3.7"
    newer = restricted(world, club, room_version=str(int(version) + 1), rule=rule)
    world.run(world.membership.join(BOB, newer))
    assert world.membership_of(newer, BOB) == "join"


def test_an_invite_opens_a_restricted_room_without_anybody_vouching() -> None:
    world = RoomsWorld()
    room_id = restricted(world, "!elsewhere:hs3")
    world.run(world.membership.invite(ALICE, room_id, BOB))
    world.run(world.membership.join(BOB, room_id))
    assert world.state_content(room_id, "m.room.member", BOB) == {"membership": "join"}


def test_the_refusals_of_a_restricted_join_tell_unknown_from_unable() -> None:
    world = RoomsWorld()
    authoriser = world.restricted_joins.authoriser
    with pytest.raises(UnableToAuthoriseJoin):
        world.run(authoriser(restricted(world, "!elsewhere:hs3"), CAROL))
    with pytest.raises(Forbidden):  # there is none that could hold
        world.run(authoriser(restricted(world), CAROL))
    club = public(world)
    world.run(world.membership.join(BOB, club))
    with pytest.raises(Forbidden):
        world.run(authoriser(restricted(world, club), CAROL))
    world.send(club, CAROL, "m.room.member", state_key=CAROL, content={"membership": "join"})
    room_id = restricted(world, club, room_version="11")
    assert world.run(authoriser(room_id, CAROL)) == ALICE
    levels = {"users": {ALICE: 50, BOB: 0}, "invite": 50, "events": {"m.room.power_levels": 50}}
    room_id = restricted(world, club, room_version="11")
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content={**levels, "invite": 50})
    assert world.run(authoriser(room_id, CAROL)) == ALICE
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content={**levels, "users": {ALICE: 50}})
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content={**levels, "users": {ALICE: 49}})
    with pytest.raises(UnableToGrantJoin):
        world.run(authoriser(room_id, CAROL))


def test_where_nobody_here_can_vouch_a_server_in_the_room_is_asked_if_there_is_one() -> None:
    world = RoomsWorld()
    club = public(world)
    world.run(world.membership.join(BOB, club))
    room_id = restricted(world, club, room_version="11")
    levels = {"users": {ALICE: 99, CAROL: 100}, "invite": 100}
    world.send(room_id, ALICE, "m.room.power_levels", state_key="", content=levels)
    with pytest.raises(Forbidden, match="Nobody of this server"):
        world.run(world.membership.join(BOB, room_id))
    world.send(
        room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": "public", "allow": []}
    )
    world.send(room_id, CAROL, "m.room.member", state_key=CAROL, content={"membership": "join"})
    conditions = [{"type": "m.room_membership", "room_id": club}]
    content = {"join_rule": "restricted", "allow": conditions}
    world.send(room_id, ALICE, "m.room.join_rules", state_key="", content=content)
    world.run(world.membership.join(BOB, room_id))
    [(what, (_, _, via, _))] = world.elsewhere.asked
    assert (what, via) == ("join", ("hs2",))


@pytest.mark.parametrize("allow", ["nothing", {}, [1], [{"type": "m.x"}], [{"type": "m.room_membership"}]])
def test_conditions_of_the_wrong_shape_count_as_not_met(allow: Any) -> None:
    world = RoomsWorld()
    room_id = public(world)
    content = {"join_rule": "restricted", "allow": allow}
    world.send(room_id, ALICE, "m.room.join_rules", state_key="", content=content)
    with pytest.raises(Forbidden):
        world.run(world.membership.join(BOB, room_id))


# The state event


def test_setting_the_state_event_goes_the_same_ways() -> None:
    world = RoomsWorld()
    club = public(world)
    room_id = restricted(world, club)
    world.run(world.membership.join(BOB, club))
    forged = {"membership": "join", "join_authorised_via_users_server": BOB, "displayname": "B"}
    event_id = change(world, BOB, room_id, BOB, forged)
    event = world.run(world.rooms.state_event(room_id, "m.room.member", BOB))
    assert event.event_id == event_id
    assert event.content == {
        "membership": "join",
        "displayname": "B",
        "join_authorised_via_users_server": ALICE,
    }
    change(world, ALICE, room_id, CAROL, {"membership": "invite"})
    assert [what for what, _ in world.elsewhere.asked] == ["invite"]
    change(world, ALICE, room_id, BOB, {"membership": "ban"})
    change(world, ALICE, room_id, BOB, {"membership": "leave"})
    with pytest.raises(Forbidden, match="not in this room"):
        change(world, ALICE, room_id, BOB, {"membership": "leave"})


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"membership": "here"},
        {"membership": 1},
        {"membership": []},
        {"membership": "join", "displayname": 1},
    ],
)
def test_a_membership_of_the_wrong_shape_is_bad_content(content: dict[str, Any]) -> None:
    world = RoomsWorld()
    room_id = public(world)
    with pytest.raises(BadContent):
        change(world, BOB, room_id, BOB, content)
    change(world, BOB, room_id, BOB, {"membership": "join", "displayname": "1"})


def test_nobody_joins_or_knocks_for_somebody_else() -> None:
    world = RoomsWorld()
    room_id = public(world)
    for wanted in ("join", "knock"):
        with pytest.raises(Forbidden) as refused:
            change(world, ALICE, room_id, BOB, {"membership": wanted})
        assert refused.value.rule is not None


# Many rooms


def test_a_changed_profile_is_sent_into_every_joined_room_once() -> None:
    world = RoomsWorld()
    rooms = [public(world), public(world)]
    world.profiles[ALICE] = {"displayname": "Alice", "avatar_url": "mxc://hs1/a"}
    world.run(world.actions.every_room.update_profile(ALICE))
    committed = len(world.observer.committed)
    world.run(world.actions.every_room.update_profile(ALICE))
    assert len(world.observer.committed) == committed
    world.profiles[ALICE] = {"displayname": "Al"}
    world.run(world.actions.every_room.update_profile(ALICE))
    for room_id in rooms:
        assert world.state_content(room_id, "m.room.member", ALICE) == {
            "membership": "join",
            "displayname": "Al",
        }


def test_leaving_everything_leaves_rejects_and_takes_back_and_survives_a_refusal() -> None:
    world = RoomsWorld()
    joined, invited = public(world), room(world, invite=[BOB])
    world.run(world.membership.join(BOB, joined))
    world.run(world.elsewhere.write(AFAR, BOB, "knock", BOB))
    world.elsewhere.refusal = Unavailable("hs3 does not answer.")
    world.run(world.actions.every_room.leave_all(BOB))
    assert [what for what, _ in world.elsewhere.asked] == ["leave"]
    assert (world.membership_of(joined, BOB), world.membership_of(invited, BOB)) == ("leave", "leave")
