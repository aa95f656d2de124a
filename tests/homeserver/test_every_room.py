"""What is done in every room of a user at once."""

from __future__ import annotations

import pytest

from minihs.events.ids import RoomID, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.errors import (
    Unavailable,
)
from tests.support.rooms_world import RoomsWorld

ALICE, BOB, CAROL, GUEST = (
    UserID("@alice:hs1"),
    UserID("@bob:hs1"),
    UserID("@carol:hs2"),
    UserID("@guest:hs1"),
)
AFAR = RoomID("!room:hs3")
EVERY_VERSION = pytest.mark.parametrize("version", ROOM_VERSIONS)


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
