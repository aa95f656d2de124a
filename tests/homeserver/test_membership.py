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
    UnknownRoom,
)
from minihs.homeserver.member_change import MemberChange
from tests.support.rooms_world import AFAR, ALICE, BOB, CAROL, RoomsWorld

EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS)


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
    open_room = world.public(room_version=version)
    world.run(world.membership.join(BOB, open_room))
    private = world.room(room_version=version)
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
    room_id = world.public()
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
    room_id = world.room(invite=[BOB])
    with pytest.raises(Forbidden):
        world.run(world.membership.invite(UserID("@eve:hs1"), room_id, BOB))


def test_kick_ban_and_unban_start_from_the_right_membership() -> None:
    world = RoomsWorld()
    room_id = world.public()
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
    room_id = world.public()
    world.run(world.membership.join(BOB, room_id))
    world.run(world.membership.join(UserID("@eve:hs1"), room_id))
    with pytest.raises(Forbidden) as refused:
        world.run(world.membership.kick(BOB, room_id, UserID("@eve:hs1")))
    assert refused.value.rule is not None
    world.run(world.membership.kick(ALICE, room_id, UserID("@eve:hs1")))


def test_a_room_is_forgotten_only_after_it_was_left() -> None:
    world = RoomsWorld()
    room_id = world.public()
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
    knockable = world.room(
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}],
    )
    world.run(world.membership.knock(BOB, knockable, reason="let me in"))
    assert world.membership_of(knockable, BOB) == "knock"
    world.run(world.membership.invite(ALICE, knockable, BOB))
    world.run(world.membership.join(BOB, knockable))
    with pytest.raises(Forbidden) as refused:
        world.run(world.membership.knock(BOB, world.room()))
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
    room_id = world.public()
    world.send(room_id, CAROL, "m.room.member", state_key=CAROL, content={"membership": "join"})
    world.run(world.membership.leave(ALICE, room_id))
    world.run(world.membership.join(ALICE, room_id))
    [(what, (_, _, via, _))] = world.elsewhere.asked
    assert (what, via) == ("join", ("hs2",))


def test_a_room_that_everybody_has_left_can_be_joined_again_here() -> None:
    world = RoomsWorld()
    room_id = world.public()
    world.run(world.membership.leave(ALICE, room_id))
    world.run(world.membership.join(BOB, room_id))
    assert world.elsewhere.asked == []
    assert world.membership_of(room_id, BOB) == "join"


def test_users_of_other_servers_are_invited_through_their_server_unless_the_room_does_not_federate() -> None:
    world = RoomsWorld()
    open_room = world.room()
    world.run(world.membership.invite(ALICE, open_room, CAROL))
    assert [what for what, _ in world.elsewhere.asked] == ["invite"]
    closed = world.room(creation_content={"m.federate": False})
    with pytest.raises(Forbidden):
        world.run(world.membership.invite(ALICE, closed, CAROL))
    assert len(world.elsewhere.asked) == 1


def test_who_was_never_in_a_room_cannot_leave_it() -> None:
    world = RoomsWorld()
    for room_id in (world.public(), AFAR):
        with pytest.raises(Forbidden):
            world.run(world.membership.leave(BOB, room_id))


# The state event


def test_setting_the_state_event_goes_the_same_ways() -> None:
    world = RoomsWorld()
    club = world.public()
    room_id = world.restricted(club)
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
    room_id = world.public()
    with pytest.raises(BadContent):
        change(world, BOB, room_id, BOB, content)
    change(world, BOB, room_id, BOB, {"membership": "join", "displayname": "1"})


def test_nobody_joins_or_knocks_for_somebody_else() -> None:
    world = RoomsWorld()
    room_id = world.public()
    for wanted in ("join", "knock"):
        with pytest.raises(Forbidden) as refused:
            change(world, ALICE, room_id, BOB, {"membership": wanted})
        assert refused.value.rule is not None
