"""Random rooms for comparisons with other implementations: forked, quarrelsome, with badly kept clocks.

Everything follows from the `Random` that is given. Nothing is authorised: rooms hold what no server keeps.
"""

from __future__ import annotations

from random import Random
from typing import Any

from minihs.events.event import Event, trusted_event
from minihs.events.hashes import event_id_of
from minihs.events.ids import UserID
from minihs.events.versions import RoomVersion
from minihs.rooms.resolution import resolve
from tests.rooms.drawing import ALICE, BOB, Body, Branch, Drawing, join_rule, member, power, topic

CAROL, DAVE = UserID("@carol:hs2"), UserID("@dave:hs2")
PEOPLE = (ALICE, BOB, CAROL, DAVE)
LEVELS = ("users_default", "events_default", "state_default", "ban", "kick", "redact", "invite")
TYPES = ("m.room.topic", "m.room.message", "m.room.power_levels", "m.room.member", "m.room.aliases")


def random_level(random: Random, version: RoomVersion) -> Any:
    """A power level as rooms of this version may write it."""
    level = random.choice([0, 0, 25, 50, 50, 75, 100, 100, 101])
    if version.string_power_levels and random.random() < 0.15:
        return random.choice([str(level), f" {level}", f"+{level}", f"0{level}"])
    return level


def random_levels(random: Random, version: RoomVersion) -> dict[str, Any]:
    """The content of a power-levels event."""
    own: dict[str, Any] = {} if version.privileged_creators else {ALICE: 100}
    some = random.sample(PEOPLE, random.randint(0, 3))
    users = own | {
        user: random_level(random, version)
        for user in some
        if user != ALICE or not version.privileged_creators
    }
    content: dict[str, Any] = {
        name: random_level(random, version) for name in LEVELS if random.random() < 0.15
    }
    for group, names in (("events", TYPES), ("notifications", ("room", "x"))):
        if random.random() < 0.3:
            content[group] = {name: random_level(random, version) for name in names if random.random() < 0.5}
    return {**content, "users": users}


def random_body(random: Random, version: RoomVersion) -> Body:
    """A state event of any kind that the rules tell apart."""
    match random.choices(["member", "rules", "power", "topic", "aliases"], [45, 14, 20, 18, 3])[0]:
        case "member":
            memberships = ["join", "join", "leave", "ban", "invite", "knock"]
            user, membership = random.choice(PEOPLE), random.choice(memberships)
            vouched = {"join_authorised_via_users_server": random.choice(PEOPLE)}
            return member(
                user, membership, **(vouched if membership == "join" and random.random() < 0.3 else {})
            )
        case "rules":
            rules = ["public", "public", "invite", "knock", "restricted", "knock_restricted", "private"]
            return join_rule(random.choice(rules))
        case "power":
            content = random_levels(random, version)
            return power(content.pop("users"), **content)
        case "aliases":
            return ("m.room.aliases", random.choice(["hs1", "hs2"]), {"aliases": []})
        case _:
            return topic(random.choice("xyz"))


def likely_sender(random: Random, body: Body) -> UserID:
    """Who sends it: mostly somebody who may."""
    _, state_key, content = body
    if content.get("membership") in ("join", "knock") and random.random() < 0.9:
        return UserID(state_key)
    return random.choice((ALICE, *PEOPLE))


def random_room(random: Random, version: str) -> tuple[Drawing, list[Branch]]:
    """A room in which things happen on several branches, and the state after each event."""
    room = Drawing(version)
    branches = [room.begin()]
    for number in range(random.randint(3, 18)):
        parents = [random.choice(branches[-5:]) for _ in range(random.choice([1, 1, 1, 2]))]
        state = resolve([parent.state for parent in parents], room.events, room.version)
        body = random_body(random, room.version)
        tips = tuple(tip for parent in parents for tip in parent.tip)
        branch = Branch(room, state, tips).then(
            f"${number}", likely_sender(random, body), *body, at=random.randint(1, 6)
        )
        branches.append(branch)
    return room, branches


def with_real_ids(room: Drawing) -> dict[str, Event]:
    """The drawn events by name, with the IDs that their hashes give them, as if signed by everybody."""
    real: dict[str, Event] = {}
    for name, event in room.events.items():
        pdu: dict[str, Any] = {
            **event.pdu,
            "prev_events": [real[prev].event_id for prev in event.prev_events],
            "auth_events": [real[cited].event_id for cited in event.auth_events],
            "hashes": {"sha256": name},
            "signatures": {"hs1": {"ed25519:1": "A"}, "hs2": {"ed25519:1": "A"}},
        }
        if "room_id" in pdu and room.version.room_id_is_create_hash:
            pdu["room_id"] = real["$create"].room_id
        real[name] = trusted_event(pdu, room.version, event_id_of(pdu, room.version))
    return real
