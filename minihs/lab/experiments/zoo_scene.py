"""Where the animals of `ghost_zoo` are looked at: one server, Alice, and a room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from minihs.lab.evidence import Evidence, Watch
from minihs.lab.handles import Handle, Plan, schedule
from minihs.lab.people import Client
from minihs.lab.servers import LabServer
from minihs.lab.world import World
from minihs.server import Policies

CALL = "org.example.call.member"
JOINED = {"call": "on"}
MINUTE_MS = 60_000


class Sighting(msgspec.Struct, frozen=True):
    """Whether a failure showed, what was seen of it, and how that came: a case for each world it took."""

    shows: bool
    seen: str
    cases: tuple[Evidence, ...]


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
    watch: Watch

    @property
    def server(self) -> LabServer:
        """Alice's server."""
        return self.alice.server

    def say(self, text: str) -> None:
        """What no request tells."""
        self.watch.say(text)

    def begin_here(self) -> None:
        """All that was until now is what the story starts from."""
        self.watch = Watch(self.world, self.room_id)

    def waits(self, ms: float) -> None:
        """Time passes."""
        self.say(f"{ms / 1000:g} s pass")
        self.world.advance(ms=ms)

    def comes_back(self) -> None:
        """The server's process is killed if it runs, and started on its database."""
        self.server.restart()
        self.say("hs1 is started again")

    def ends(self, found: str, which: str = "") -> Evidence:
        """All that was seen; `which` tells apart the worlds of one sighting."""
        case = self.watch.ends("", which, found)
        self.world.stop()
        return case

    def sighting(self, shows: bool, seen: str) -> Sighting:
        """What was seen, where one world was enough to see it."""
        return Sighting(shows, seen, (self.ends(seen),))

    def later(self, body: str, delay_ms: int, dialect: str = "merged") -> Handle:
        """Alice schedules a message."""
        content = {"msgtype": "m.text", "body": body}
        plan = Plan(room_id=self.room_id, type="m.room.message", content=content, delay_ms=delay_ms)
        self.say(f"alice schedules the message {body!r}, due in {delay_ms / 1000:g} s")
        return schedule(self.alice, plan, dialect)

    def leaving(self, delay_ms: int, dialect: str, who: Client | None = None) -> Handle:
        """Somebody schedules the end of a membership in the call: Alice when nobody is named."""
        who = who or self.alice
        plan = Plan(room_id=self.room_id, type=CALL, content={}, state_key=who.user_id, delay_ms=delay_ms)
        self.say(f"{who.name} schedules to leave the call in {delay_ms / 1000:g} s")
        return schedule(who, plan, dialect)

    def in_call(self, content: Any = JOINED) -> None:
        """Alice's membership in the call."""
        self.say(f"alice is in the call: {', '.join(f'{key} {value}' for key, value in content.items())}")
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
    return Scene(world, alice, room_id, Watch(world, room_id))
