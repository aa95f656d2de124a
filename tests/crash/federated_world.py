"""Two servers that share a room, one of which dies at some turn of the world's clock and comes back later.

A world is made once and copied for every crash: only the turns after its setup are tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from minihs.federation.signing_keys import SigningKeys
from minihs.store.database import Database, open_database
from tests.crash.comeback import gather_evidence, repeat_requests
from tests.crash.hands import NUMBER_HEADER, Gone, Hand
from tests.crash.ledger import Ledger
from tests.crash.promises import check
from tests.crash.soundness import check_database
from tests.crash.stories import Story, Teller
from tests.support.world import Client, HomeServer, World

HERE, THERE = "hs1", "hs2"
AWAY_MS = 3_000
ALL_OVER_MS = 60_000
PATIENCE_MS = 5_000


class DyingLine:
    """A way to a server of a world that may die while it is asked."""

    def __init__(self, server: HomeServer) -> None:
        self.server = server

    def call(self, method: str, path: str, body: Any, *, token: str, number: int = 0) -> tuple[int, Any]:
        server = self.server
        if not server.up:
            raise Gone
        headers = {NUMBER_HEADER: str(number)}
        connection = server.driver.start(method, path, json=body, token=token, headers=headers)
        deadline_ms = server.world.now_ms + PATIENCE_MS
        while True:
            if not server.up:  # what a dead server may still have to say, nobody hears
                raise Gone
            response = connection.take()
            if response is not None:
                break
            assert server.world.now_ms < deadline_ms, "no reply"
            server.world.clock.turn()
        connection.drop()
        return response.status, response.json

    def call_together(
        self, calls: Sequence[tuple[int, str, str, Any]], *, token: str
    ) -> list[tuple[int, Any]]:
        raise NotImplementedError("such stories are told in worlds that nobody else hurries")

    def wall_ms(self) -> int:
        return self.server.world.clock.wall_ms()


@dataclass
class Transactions:
    """What was sent to other servers: the events of each transaction, and how often each event went."""

    contents: dict[str, list[str]] = field(default_factory=dict)
    deliveries: dict[str, int] = field(default_factory=dict)

    def watch(self, world: World) -> None:
        """Read along from now on."""
        sent = world.wire.sent

        def reading(exchange: Any, count: int, body: bytes) -> None:
            sent(exchange, count, body)
            if exchange.pdus:
                self._note(f"{exchange.source} {exchange.path}", msgspec.json.decode(body)["pdus"])

        world.wire.sent = reading  # type: ignore[method-assign]

    def _note(self, transaction: str, pdus: list[Any]) -> None:
        events = [hashlib.sha256(msgspec.json.encode(pdu)).hexdigest() for pdu in pdus]
        before = self.contents.setdefault(transaction, events)
        assert before == events, f"{transaction} has other events when it is repeated"
        for event in events:
            self.deliveries[event] = self.deliveries.get(event, 0) + 1


class Beginning:
    """Alice here and Bob there, and the room that they have in common when `meet` has done what it does."""

    def __init__(self, meet: Callable[[Client, Client], str]) -> None:
        world = World(HERE, THERE)
        alice, bob = world[HERE].user("alice"), world[THERE].user("bob")
        self.room_id = meet(alice, bob)
        assert world.settle()
        self.tokens = {HERE: str(alice.token), THERE: str(bob.token)}
        self._keys: dict[str, SigningKeys] = {name: world[name].keys for name in (HERE, THERE)}
        self._ends_ms = world.clock.wall_ms()
        world.stop()
        self._databases = {name: world[name].database for name in (HERE, THERE)}

    def again(self, seed: int) -> World:
        """The same two servers, started on what they had."""
        world = World(seed=seed)
        world.clock.step_wall(self._ends_ms - world.clock.wall_ms())
        for name in (HERE, THERE):
            world.add(name, database=_copy(self._databases[name]), keys=self._keys[name])
        return world


class SharedRoom(Beginning):
    """A room that was made here, and that Bob has joined."""

    def __init__(self) -> None:
        super().__init__(_bob_joins)


def _bob_joins(alice: Client, bob: Client) -> str:
    room_id = alice.create_room()
    bob.join(room_id, HERE)
    return room_id


def live(shared: SharedRoom, story: Story, dies: str, at_turn: int | None) -> int:
    """Let a story happen here, with the death of a server at a turn; judge both servers in the end.

    Returns the number of turns that the story took; less than `at_turn` means that nobody died.
    """
    world = shared.again(seed=at_turn or 0)
    transactions = Transactions()
    transactions.watch(world)
    turns = Countdown(world, at_turn, lambda: world[dies].crash())
    ledger = Ledger()
    hand = Hand("alice", ledger, DyingLine(world[HERE]), shared.tokens[HERE], shared.room_id)
    try:
        story(Teller(hand, lambda ms: world.advance(ms)))
    except Gone:
        assert dies == HERE
    taken = turns.end()
    world.advance(AWAY_MS)
    if not world[dies].up:
        world[dies].start()
    repeat_requests(hand, also_actions=(at_turn or 0) % 2 == 0)
    world.advance(ALL_OVER_MS)
    check(ledger, gather_evidence(hand))
    timelines = [_timeline(world[name], shared) for name in (HERE, THERE)]
    assert timelines[0] == timelines[1], f"here {timelines[0]}, there {timelines[1]}"
    too_often = {event: count for event, count in transactions.deliveries.items() if count > 2}
    assert not too_often, f"events were sent more than once in a life: {too_often}"
    for name in (HERE, THERE):
        check_database(world[name].database)
    world.stop()
    return taken


def _timeline(server: HomeServer, shared: SharedRoom) -> list[str]:
    """The events after Bob's coming, oldest first."""
    path = f"/_matrix/client/v3/rooms/{shared.room_id}/messages?dir=b&limit=200"
    status, reply = DyingLine(server).call("GET", path, None, token=shared.tokens[server.name])
    assert status == 200, reply
    events = list(reversed(reply["chunk"]))
    came = max(index for index, event in enumerate(events) if event["type"] == "m.room.member")
    return [event["event_id"] for event in events[came:]]


class Countdown:
    """Counts the turns of a world, and calls `then` before the chosen one."""

    def __init__(self, world: World, at_turn: int | None, then: Callable[[], None]) -> None:
        self._world = world
        self._turn = world.clock.turn
        self._at_turn = at_turn
        self._then = then
        self._count = 0
        world.clock.turn = self._counting  # type: ignore[method-assign]

    def end(self) -> int:
        """Stop counting; how many turns there were."""
        self._world.clock.turn = self._turn  # type: ignore[method-assign]
        return self._count

    def _counting(self) -> None:
        self._count += 1
        if self._count == self._at_turn:
            self._then()
        self._turn()


def _copy(database: Database) -> Database:
    copied = open_database()
    database.writing.backup(copied.writing)
    return copied
