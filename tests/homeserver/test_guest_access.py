"""Guests: which rooms they may join, and when they have to leave."""

from __future__ import annotations

import pytest

from minihs.homeserver.errors import Forbidden
from tests.support.rooms_world import ALICE, BOB, GUEST, RoomsWorld


def test_guests_join_only_rooms_that_let_them_in() -> None:
    world = RoomsWorld()
    open_room = world.public(
        initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}],
    )
    world.run(world.membership.join(GUEST, open_room, is_guest=True))
    closed = world.public()
    with pytest.raises(Forbidden, match="guests"):
        world.run(world.membership.join(GUEST, closed, is_guest=True))
    world.run(world.membership.join(GUEST, closed))


def test_guests_leave_when_the_room_stops_letting_them_in_and_nobody_else_does() -> None:
    world = RoomsWorld()
    room_id = world.room(preset="private_chat", invite=[GUEST, BOB])
    world.run(world.membership.join(GUEST, room_id, is_guest=True))
    world.run(world.membership.join(BOB, room_id))
    for allowed, membership in (("can_join", "join"), ("forbidden", "leave")):
        content = {"guest_access": allowed}
        world.send(room_id, ALICE, "m.room.guest_access", state_key="", content=content)
        world.clock.advance(0)
        assert world.membership_of(room_id, GUEST) == membership
    assert world.membership_of(room_id, BOB) == "join"
