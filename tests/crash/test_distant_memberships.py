"""Futures that another server must carry out: whichever of the two dies when, the effect is there once.

The other server is asked first; then the membership becomes durable here, in one batch with the outcome. A
death in between asks it once more, which changes nothing. Futures specification, 1, promise 4; Server-Server
API, "Joining Rooms", "Inviting to a room", "Leaving Rooms", "Knocking upon a room".
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from tests.crash.federated_world import (
    ALL_OVER_MS,
    AWAY_MS,
    HERE,
    THERE,
    Beginning,
    Countdown,
    DyingLine,
)
from tests.crash.hands import Gone
from tests.crash.shapes import CLIENT
from tests.crash.soundness import check_database
from tests.support.world import Client, World

ALICE, BOB, CAROL = f"@alice:{HERE}", f"@bob:{THERE}", f"@carol:{THERE}"
UNSTABLE = f"{CLIENT}/unstable/org.matrix.msc4140"


def alice_is_invited_again(alice: Client, bob: Client) -> str:
    """Alice was in Bob's room and left; this server is in it no longer, and Bob wants her back."""
    room_id = alice_has_left(alice, bob)
    assert alice.world.settle()
    bob.post(f"/rooms/{quote(room_id)}/invite", {"user_id": ALICE})
    return room_id


def alice_has_left(alice: Client, bob: Client) -> str:
    """The same, and nobody wants her back; she may knock."""
    room_id = bob.create_room()
    alice.join(room_id, THERE)
    bob.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    alice.leave(room_id)
    return room_id


def bob_has_joined(alice: Client, bob: Client) -> str:
    """Bob is in Alice's room."""
    room_id = alice.create_room()
    bob.join(room_id, HERE)
    return room_id


Request = tuple[str, str, Any]
Step = float | Callable[[str, dict[str, Any]], Request]
"""So many milliseconds, or a request, made of the room's path and of what was replied to the first one."""


def scheduled(user_id: str, membership: str, delay_ms: int = 1_000) -> Step:
    body = {"delay_ms": delay_ms, "content": {"membership": membership}, "state_key": user_id}
    return lambda room, _: ("PUT", f"{CLIENT}/v3/{room}/delayed_event/m.room.member/one", body)


def sent(_room: str, known: dict[str, Any]) -> Request:
    return "POST", f"{CLIENT}/v1/delayed_events/{known['delay_id']}/send", {}


def by_query(room: str, _: Any) -> Request:
    query = "org.matrix.msc4140.delay=1000"
    return "PUT", f"{CLIENT}/v3/{room}/state/m.room.member/{quote(ALICE)}?{query}", {"membership": "join"}


def with_tokens(room: str, _: Any) -> Request:
    path = f"{CLIENT}/v1/{room}/state_future/m.room.member/{quote(ALICE)}"
    return "PUT", f"{path}?future_timeout=5000&future_group_id=g", {"membership": "join"}


def action_of_the_group(room: str, _: Any) -> Request:
    path = f"{CLIENT}/v1/{room}/send_future/m.room.message/beside"
    return "PUT", f"{path}?future_group_id=g", {"msgtype": "m.text", "body": "never sent"}


def batch(room: str, _: Any) -> Request:
    def part(membership: str) -> dict[str, Any]:
        return {"type": "m.room.member", "state_key": ALICE, "content": {"membership": membership}}

    body = {"timeout": 2, "send_now": part("join"), "send_on_timeout": part("leave")}
    return "PUT", f"{CLIENT}/v3/{room}/send/future/one", body


def expiring(room: str, _: Any) -> Request:
    content = {"membership": "join", "m.will_expire": 2}
    return "PUT", f"{CLIENT}/v3/{room}/state/m.room.member/{quote(ALICE)}", content


@dataclass(frozen=True)
class Case:
    """What Alice does, what the membership of `whom` is in the end, and how many events lead to it."""

    meet: Callable[[Client, Client], str]
    steps: tuple[Step, ...]
    membership: str
    whom: str = ALICE
    events: int = 1
    in_the_room: bool = True
    """Whether the events are in the room as this server has it, which is not in the room before a join."""


CASES = {
    "a join when it is due": Case(alice_is_invited_again, (scheduled(ALICE, "join"), 3_000), "join"),
    "a join by query": Case(alice_is_invited_again, (by_query, 3_000), "join"),
    "a join on command": Case(alice_is_invited_again, (scheduled(ALICE, "join", 60_000), sent, 500), "join"),
    "a join in a group": Case(alice_is_invited_again, (with_tokens, action_of_the_group, 6_000), "join"),
    "a leave": Case(alice_is_invited_again, (scheduled(ALICE, "leave"), 3_000), "leave", in_the_room=False),
    "a knock": Case(alice_has_left, (scheduled(ALICE, "knock"), 3_000), "knock", in_the_room=False),
    "an invite": Case(bob_has_joined, (scheduled(CAROL, "invite"), 3_000), "invite", CAROL),
    "a batch that begins with a join": Case(alice_is_invited_again, (batch, 4_000), "leave", events=2),
    "a join that expires": Case(alice_is_invited_again, (expiring, 4_000), "join", events=2),
}


@dataclass
class Doing:
    """Alice's steps. One that is not answered, or with "try again", is tried again by the next `go_on`."""

    line: DyingLine
    token: str
    room: str
    steps: tuple[Step, ...]
    known: dict[str, Any] = field(default_factory=dict)

    def go_on(self, world: World) -> None:
        while self.steps:
            step = self.steps[0]
            if callable(step):
                status, reply = self.line.call(*step(self.room, self.known), token=self.token)
                if status == 503:  # the other server is away, and Alice is asked to try again
                    raise Gone
                assert status == 200, reply
                self.known = self.known or reply
            else:
                world.advance(step)
                if not self.line.server.up:
                    raise Gone
            self.steps = self.steps[1:]


def live(beginning: Beginning, case: Case, dies: str, at_turn: int | None) -> int:
    """Let it happen, with the death of a server at a turn; judge in the end. The number of turns."""
    world = beginning.again(seed=at_turn or 0)
    if case.whom == CAROL:
        world.user("carol", on=THERE)
    before = member_events(world, beginning, case)
    # A leave is not held up by a server that is away.
    alone = dies == THERE and case is CASES["a leave"]
    turns = Countdown(world, at_turn, lambda: world[dies].crash())
    room = f"rooms/{quote(beginning.room_id)}"
    doing = Doing(DyingLine(world[HERE]), beginning.tokens[HERE], room, case.steps)
    with suppress(Gone):
        doing.go_on(world)
    taken = turns.end()
    world.advance(AWAY_MS)
    if not world[dies].up:
        world[dies].start()
    doing.go_on(world)
    world.advance(ALL_OVER_MS)
    judge(world, beginning, case, doing.known, knowing=(HERE,) if alone else (HERE, THERE))
    here, there = (
        events - before for events, before in zip(member_events(world, beginning, case), before, strict=True)
    )
    assert here == (case.events if case.in_the_room else 0), f"{here} events here"
    # One more where a server that had asked did not live to keep what came of it.
    assert case.events - alone <= there <= case.events + (at_turn is not None), f"{there} events there"
    world.stop()
    return taken


def judge(
    world: World, beginning: Beginning, case: Case, known: dict[str, Any], knowing: tuple[str, ...]
) -> None:
    """What the servers have stored is the effect, and the outcome says so."""
    for name in (HERE, THERE):
        check_database(world[name].database)
    for name in knowing:
        database = world[name].database
        (membership,) = database.writing.execute(
            "SELECT membership FROM memberships WHERE room_id = ? AND user_id = ?",
            (beginning.room_id, case.whom),
        ).fetchone()
        assert membership == case.membership, f"{membership} on {name}"
    futures = (
        world[HERE].database.writing.execute("SELECT outcome FROM futures ORDER BY future_id").fetchall()
    )
    assert futures.count((1,)) == 1, f"outcomes {futures}"
    if "delay_id" in known:
        path = f"{CLIENT}/v1/delayed_events/{known['delay_id']}"
        _, lookup = DyingLine(world[HERE]).call("GET", path, None, token=beginning.tokens[HERE])
        assert "event_id" in lookup["finalised"], lookup


def member_events(world: World, beginning: Beginning, case: Case) -> list[int]:
    """So many member events about the user are in the room, as either server has it."""
    return [
        world[name]
        .database.writing.execute(
            "SELECT COUNT(*) FROM events WHERE room_id = ? AND state_key = ? AND standing = 0",
            (beginning.room_id, case.whom),
        )
        .fetchone()[0]
        for name in (HERE, THERE)
    ]


@pytest.mark.parametrize("dies", [HERE, THERE])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_whatever_turn_a_server_dies_at_both_have_the_membership_and_the_future_its_outcome(
    case: Case, dies: str
) -> None:
    beginning = Beginning(case.meet)
    turns = live(beginning, case, dies, None)
    assert turns > 10
    for turn in range(1, turns + 1):
        live(beginning, case, dies, turn)
