"""Users of both sides act at random and at once, against each other; the room must end in one state on both.

Unlike the campaigns of `tests/rooms` the forks here are real: each server builds on what it has heard so far,
which is nothing of the other's while they are parted.
"""

from __future__ import annotations

import threading
from random import Random

import pytest

from minihs.demo.client import RequestFailed
from tests.interop.conftest import Pair
from tests.support.peers import Peer
from tests.support.processes import AnyServer

pytestmark = [pytest.mark.process, pytest.mark.full]

ACTS = 25
"""How many things each quarreller does."""

PARTED_ACTS = 8
"""The same, each time that the servers are parted."""

DEEDS = [
    *("kick", "ban", "unban", "invite", "leave", "knock", "join", "join", "join"),
    *("power", "levels", "rules", "topic", "own", "talk", "redact"),
]


def act(peer: Peer, others: list[Peer], room_id: str, host: str, random: Random, number: int) -> None:
    """Do something, if the room lets one."""
    somebody = random.choice(others)
    match deed := random.choice(DEEDS):
        case "power":
            peer.set_power(room_id, somebody.user_id, random.choice([0, 10, 50, 60]))
        case "levels":
            levels = peer.room(room_id, "GET", "state/m.room.power_levels/")
            wanted = {random.choice(["ban", "kick", "invite", "state_default"]): random.choice([0, 50, 60])}
            peer.put_state(room_id, "m.room.power_levels", {**levels, **wanted})
        case "rules":
            rule = random.choice(["public", "public", "invite", "knock"])
            peer.put_state(room_id, "m.room.join_rules", {"join_rule": rule})
        case "topic":
            peer.put_state(room_id, "m.room.topic", {"topic": f"{peer.user_id} {number}"})
        case "own":
            peer.put_state(room_id, "org.example.own", {"number": number}, random.choice(["", peer.user_id]))
        case "talk":
            peer.send(room_id, f"{number}")
        case "redact":
            peer.redact(room_id, peer.send(room_id, f"{number}"))
        case "join":
            peer.join(room_id, via=host)
        case "knock":
            peer.knock(room_id, via=host)
        case "leave":
            peer.act(room_id, "leave")
        case _:
            peer.act(room_id, deed, somebody.user_id)


def quarrel(peer: Peer, others: list[Peer], room_id: str, host: str, random: Random, acts: int) -> None:
    """Do this and that, whatever the others do meanwhile; being refused is part of it."""
    for number in range(acts):
        try:
            act(peer, others, room_id, host, random, number)
        except RequestFailed as refused:
            # Who was thrown out cannot come in again while the other server is away.
            if refused.status not in (400, 403, 404, 502, 503):
                raise


def all_quarrel(pair: Pair, quarrellers: list[Peer], room_id: str, seed: str, acts: int) -> None:
    """All at once."""
    threads = [
        threading.Thread(
            target=quarrel,
            args=(
                peer,
                [other for other in quarrellers if other is not peer],
                room_id,
                peer.server_name,
                Random(f"{seed} {number}"),
                acts,
            ),
        )
        for number, peer in enumerate(quarrellers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def set_the_stage(
    pair: Pair, side: str, version: str, *more: AnyServer
) -> tuple[Peer, Peer, list[Peer], str]:
    """A room in which two of each server may do much, and a host and a guest who stay out of it."""
    pair.provokes(" Soft-failing <Event ")
    host, guest, room_id = pair.room(side, version)
    servers = (pair.minihs, pair.synapse, *more)
    quarrellers = [pair.cast.user(server, "quarrel") for server in servers for _ in range(2)]
    for peer in quarrellers:
        pair.joins(peer, room_id, host)
    levels = host.room(room_id, "GET", "state/m.room.power_levels/")
    levels["users"] |= {guest.user_id: 90} | {peer.user_id: 60 for peer in quarrellers}
    levels["events"] |= {"m.room.power_levels": 50, "m.room.join_rules": 50}
    guest.sees(host.put_state(room_id, "m.room.power_levels", levels))
    return host, guest, quarrellers, room_id


def make_peace(host: Peer, guest: Peer, room_id: str) -> None:
    """What each of the two says at last is built on all that its server has come to hear of."""
    for one, other in ((host, guest), (guest, host), (host, guest)):
        other.sees(one.send(room_id, "enough"))


stages = pytest.mark.parametrize(
    ("side", "version"), [("minihs", "10"), ("synapse", "11"), ("minihs", "12"), ("synapse", "12")]
)


@stages
def test_a_quarrel_ends_in_one_state(pair: Pair, side: str, version: str) -> None:
    host, guest, quarrellers, room_id = set_the_stage(pair, side, version)
    all_quarrel(pair, quarrellers, room_id, f"{side} {version}", ACTS)
    make_peace(host, guest, room_id)


@stages
def test_a_quarrel_of_parted_servers_ends_in_one_state(pair: Pair, side: str, version: str) -> None:
    host, guest, quarrellers, room_id = set_the_stage(pair, side, version)
    for part in range(3):
        with pair.parted():
            all_quarrel(pair, quarrellers, room_id, f"parted {side} {version} {part}", PARTED_ACTS)
            said = [peer.send(room_id, "nobody is there") for peer in (host, guest)]
        host.send(room_id, "peace?")  # signs of life
        guest.send(room_id, "peace?")
        guest.sees(said[0])
        host.sees(said[1])
    make_peace(host, guest, room_id)


@pytest.mark.parametrize(("side", "version"), [("minihs", "11"), ("synapse", "12")])
def test_a_quarrel_of_three_servers_of_which_always_one_is_deaf_ends_in_one_state(
    pair: Pair, side: str, version: str
) -> None:
    """What a server misses it has to ask for, of one that has it; not of who sent it, whom nobody reaches."""
    third = pair.start(pair.stage.minihs(f"third-{version}", linked="localhost"))
    host, guest, quarrellers, room_id = set_the_stage(pair, side, version, third)
    visitor = pair.cast.user(third, "visitor")
    pair.joins(visitor, room_id, host)
    guest.sees_membership(visitor, room_id, "join")
    peaceful = (host, guest, visitor)
    for deaf in (f"third-{version}", "minihs", "synapse"):
        with pair.parted(deaf):
            all_quarrel(pair, quarrellers, room_id, f"three {side} {version} {deaf}", PARTED_ACTS)
        said = [peer.send(room_id, "peace?") for peer in peaceful]
        for peer in peaceful:
            for event_id in said:
                peer.sees(event_id)
    for one in (*peaceful, *peaceful):
        event_id = one.send(room_id, "enough")
        for other in peaceful:
            other.sees(event_id)
