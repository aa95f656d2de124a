"""Typing: timeouts, EDUs out and in."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID, ServerName, UserID
from minihs.homeserver.errors import Forbidden
from minihs.homeserver.sync.typing import MAX_TIMEOUT_MS, REMOTE_TIMEOUT_MS, REPEAT_EDU_MS, Typing
from minihs.platform.clock import VirtualClock
from tests.support.deferreds import run

ALICE, FAR = UserID("@alice:hs1"), UserID("@carol:hs2")
ROOM = RoomID("!room:hs1")
HS2 = ServerName("hs2")


class World:
    """Typing with everything around it recorded."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.members = {ALICE, FAR}
        self.edus: list[Any] = []
        self.woken: list[RoomID] = []
        self.typing = Typing(
            self.clock,
            is_joined=self.is_joined,
            publish_edu=lambda room_id, edu: self.edus.append(edu["content"]["typing"]),
            wake_room=self.woken.append,
        )

    async def is_joined(self, user_id: UserID, room_id: RoomID) -> bool:
        return user_id in self.members and room_id == ROOM

    def set(self, timeout_ms: int | None) -> None:
        run(self.clock, self.typing.set(ALICE, ROOM, timeout_ms))

    def inbound(self, origin: str = "hs2", **content: Any) -> None:
        content = {"room_id": ROOM, "user_id": FAR, "typing": True, **content}
        run(self.clock, self.typing.inbound_edu(ServerName(origin), content))

    def users(self) -> list[str]:
        return list(self.typing.users(ROOM))


@pytest.fixture
def world() -> World:
    return World()


def test_typing_lasts_as_long_as_the_client_said(world: World) -> None:
    world.set(5_000)
    world.clock.advance(4.999)
    assert world.users() == [ALICE]
    world.clock.advance(0.001)
    assert world.users() == []
    assert world.edus == [True, False]
    assert world.woken == [ROOM, ROOM]


def test_saying_it_again_prolongs_it_and_is_no_news(world: World) -> None:
    world.set(5_000)
    world.clock.advance(4)
    world.set(5_000)
    world.clock.advance(4)
    assert (world.users(), world.woken) == ([ALICE], [ROOM])


def test_nobody_types_for_ever(world: World) -> None:
    world.set(10**15)
    world.clock.advance(MAX_TIMEOUT_MS / 1000)
    assert world.users() == []


def test_stopping_is_told_once(world: World) -> None:
    world.set(5_000)
    world.set(None)
    world.set(None)
    assert (world.users(), world.edus, len(world.woken)) == ([], [True, False], 2)
    assert world.clock.getDelayedCalls() == []


def test_other_servers_are_reminded_while_it_goes_on(world: World) -> None:
    for _ in range(2):
        world.set(60_000)
        world.clock.advance((REPEAT_EDU_MS - 1) / 1000)
    assert world.edus == [True]
    world.set(60_000)
    assert world.edus == [True, True]


def test_who_is_not_joined_cannot_type(world: World) -> None:
    world.members.clear()
    with pytest.raises(Forbidden):
        world.set(5_000)
    assert world.users() == []


def test_other_servers_users_type_and_stop(world: World) -> None:
    world.inbound()
    assert world.users() == [FAR]
    world.inbound(typing=False)
    assert (world.users(), world.edus) == ([], [])


def test_other_servers_users_stop_by_themselves(world: World) -> None:
    world.inbound()
    world.clock.advance(REMOTE_TIMEOUT_MS / 1000)
    assert world.users() == []


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "hs3"},
        {"user_id": ALICE},
        {"user_id": "@stranger:hs2"},
        {"user_id": 5},
        {"room_id": "!elsewhere:hs1"},
        {"room_id": None},
        {"room_id": []},
        {"typing": "yes"},
        {"typing": 1},
    ],
)
def test_an_edu_that_makes_no_sense_is_ignored(world: World, change: dict[str, Any]) -> None:
    world.inbound(**change)
    assert world.users() == []


def test_who_leaves_has_stopped(world: World) -> None:
    world.set(5_000)
    world.typing.user_left(ALICE, ROOM)
    assert world.users() == []


def test_positions_tell_which_rooms_changed(world: World) -> None:
    before = world.typing.position
    world.set(5_000)
    assert world.typing.changed_rooms(before) == [ROOM]
    assert world.typing.changed_rooms(world.typing.position) == []
    assert not world.typing.is_from_before(before)
    assert world.typing.is_from_before(before - 1)
    assert world.typing.is_from_before(world.typing.position + 1)
