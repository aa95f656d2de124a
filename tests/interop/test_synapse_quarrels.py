"""Users of both sides act at random and at once, against each other; the room must end in one state on both.

Unlike the campaigns of `tests/rooms` the forks here are real: each server builds on what it has heard so far.
"""

from __future__ import annotations

import threading
from random import Random

import pytest

from minihs.demo.client import RequestFailed
from tests.interop.conftest import Pair
from tests.support.peers import Peer

pytestmark = [pytest.mark.process, pytest.mark.full]

ACTS = 25
"""How many things each quarreller does."""


def quarrel(peer: Peer, others: list[Peer], room_id: str, host: str, random: Random) -> None:
    """Do this and that, whatever the others do meanwhile; being refused is part of it."""
    for number in range(ACTS):
        somebody = random.choice(others)
        act = random.choice(
            ["kick", "ban", "unban", "invite", "power", "topic", "rules", "talk", "join", "join"]
        )
        try:
            match act:
                case "power":
                    level = random.choice([0, 10, 50, 60])
                    peer.set_power(room_id, somebody.user_id, level)
                case "topic":
                    peer.put_state(room_id, "m.room.topic", {"topic": f"{peer.user_id} {number}"})
                case "rules":
                    rule = random.choice(["public", "public", "invite"])
                    peer.put_state(room_id, "m.room.join_rules", {"join_rule": rule})
                case "talk":
                    peer.send(room_id, f"{number}")
                case "join":
                    peer.join(room_id, via=host)
                case _:
                    peer.act(room_id, act, somebody.user_id)
        except RequestFailed as refused:
            if refused.status not in (400, 403, 404):
                raise


@pytest.mark.parametrize(
    ("side", "version"), [("minihs", "10"), ("synapse", "11"), ("minihs", "12"), ("synapse", "12")]
)
def test_a_quarrel_ends_in_one_state(pair: Pair, side: str, version: str) -> None:
    pair.provokes(" Soft-failing <Event ")
    host, guest = pair.users(side)
    quarrellers = [pair.ours("quarrel") for _ in range(2)] + [pair.theirs("quarrel") for _ in range(2)]
    room_id = host.create(version)
    for peer in (guest, *quarrellers):
        peer.join(room_id, via=host.server_name)
    levels = host.room(room_id, "GET", "state/m.room.power_levels/")
    levels["users"] |= {guest.user_id: 90} | {peer.user_id: 60 for peer in quarrellers}
    levels["events"] |= {"m.room.power_levels": 50, "m.room.join_rules": 50}
    last = host.put_state(room_id, "m.room.power_levels", levels)
    guest.sees(last)

    threads = [
        threading.Thread(
            target=quarrel,
            args=(
                peer,
                [other for other in quarrellers if other is not peer],
                room_id,
                host.server_name,
                Random(f"{version} {side} {number}"),
            ),
        )
        for number, peer in enumerate(quarrellers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # What each of the two says at last is built on all that its server has come to hear of.
    for one, other in ((host, guest), (guest, host), (host, guest)):
        other.sees(one.send(room_id, "enough"))
