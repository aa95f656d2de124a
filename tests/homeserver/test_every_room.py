"""What is done in every room of a user at once."""

from __future__ import annotations

from minihs.homeserver.errors import Unavailable
from tests.support.rooms_world import AFAR, ALICE, BOB, RoomsWorld


def test_a_changed_profile_is_sent_into_every_joined_room_once() -> None:
    world = RoomsWorld()
    rooms = [world.public(), world.public()]
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
    joined, invited = world.public(), world.room(invite=[BOB])
    world.run(world.membership.join(BOB, joined))
    world.run(world.elsewhere.write(AFAR, BOB, "knock", BOB))
    world.elsewhere.refusal = Unavailable("hs3 does not answer.")
    world.run(world.actions.every_room.leave_all(BOB))
    assert [what for what, _ in world.elsewhere.asked] == ["leave"]
    assert (world.membership_of(joined, BOB), world.membership_of(invited, BOB)) == ("leave", "leave")
