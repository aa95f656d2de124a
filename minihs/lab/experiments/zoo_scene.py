"""Where the animals of `ghost_zoo` are looked at: one server, Alice, and a room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from minihs.lab.handles import Handle, Plan, schedule
from minihs.lab.people import Client
from minihs.lab.servers import LabServer
from minihs.lab.world import World
from minihs.server import Policies

CALL = "org.example.call.member"
JOINED = {"call": "on"}
MINUTE_MS = 60_000


class Sighting(msgspec.Struct, frozen=True):
    """Whether a failure showed, and what was seen of it."""

    shows: bool
    seen: str


class Animal(msgspec.Struct, frozen=True):
    """A failure. `look(seed, wrong)` plays it, as minihs is or with the cause of the failure."""

    name: str
    reported: str
    cause: str
    look: Callable[[int, bool], Sighting]


class Scene(msgspec.Struct):
    """One server, Alice with a room, and what became of it."""

    world: World
    alice: Client
    room_id: str

    @property
    def server(self) -> LabServer:
        """Alice's server."""
        return self.alice.server

    def later(self, body: str, delay_ms: int, dialect: str = "merged") -> Handle:
        """Alice schedules a message."""
        content = {"msgtype": "m.text", "body": body}
        plan = Plan(room_id=self.room_id, type="m.room.message", content=content, delay_ms=delay_ms)
        return schedule(self.alice, plan, dialect)

    def leaving(self, delay_ms: int, dialect: str, who: Client | None = None) -> Handle:
        """Somebody schedules the end of a membership in the call: Alice when nobody is named."""
        who = who or self.alice
        plan = Plan(room_id=self.room_id, type=CALL, content={}, state_key=who.user_id, delay_ms=delay_ms)
        return schedule(who, plan, dialect)

    def in_call(self, content: Any = JOINED) -> None:
        """Alice's membership in the call."""
        self.alice.set_state(self.room_id, CALL, content, self.alice.user_id)

    def is_in_call(self) -> bool:
        """Whether the room has Alice in the call."""
        return bool(self.alice.state(self.room_id)[CALL, self.alice.user_id]["content"])

    def bodies(self) -> list[str]:
        """The messages in the room."""
        return self.alice.bodies(self.room_id)


def scene(seed: int, *, policies: Policies | None = None, **settings: Any) -> Scene:
    """A world with Alice in a room; `settings` are written with `__` for the dot."""
    named = {key.replace("__", "."): value for key, value in settings.items()}
    world = World(["hs1"], seed=seed, policies=policies, settings=named)
    alice = world.user("alice", "hs1")
    room_id = alice.create_room(power_level_content_override={"events": {CALL: 0}})
    return Scene(world, alice, room_id)
