"""What was committed before a crash reaches the other server, once and in order, whichever of the two dies.

Futures specification, 1, promise 4; Server-Server API, "Transactions".
"""

from __future__ import annotations

import pytest

from minihs.federation.queue import DestinationQueue
from tests.crash.federated_world import HERE, THERE, SharedRoom, live
from tests.crash.stories import Teller

EVERY = 5
"""One of so many turns is tried in the everyday suite."""


def call(teller: Teller) -> None:
    """A short call: an event at once, a heartbeat, a future that is sent, one that is due, one given up."""
    hand = teller.hand
    talk = hand.schedule(teller.delay(4), dialect="batch")
    leave = hand.schedule(teller.delay(1), state_key=hand.name)
    teller.wait(0.1)
    hand.restart(talk)
    spare = hand.schedule(teller.delay(50))
    hand.send(talk)
    teller.wait(0.1)
    hand.cancel(spare)
    teller.wait(2)
    hand.cancel(leave)
    hand.look()


def die_at_turns(shared: SharedRoom, dies: str, every: int = 1) -> int:
    """Let a server die at each turn, or one of so many; the number of deaths."""
    turns = range(1, live(shared, call, dies, None) + 1, every)
    for turn in turns:
        live(shared, call, dies, turn)
    return len(turns)


@pytest.fixture(scope="module")
def shared() -> SharedRoom:
    return SharedRoom()


@pytest.mark.parametrize("dies", [HERE, THERE])
def test_whatever_turn_a_server_dies_at_both_rooms_become_the_same(shared: SharedRoom, dies: str) -> None:
    assert die_at_turns(shared, dies, every=EVERY) > 5


def test_a_server_that_takes_what_it_sent_for_received_is_caught(
    shared: SharedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DestinationQueue, "failed", DestinationQueue.delivered)
    with pytest.raises(AssertionError, match="there"):
        die_at_turns(shared, THERE)


@pytest.mark.full
@pytest.mark.parametrize("dies", [HERE, THERE])
def test_no_turn_is_a_bad_moment_to_die(shared: SharedRoom, dies: str) -> None:
    print(f"{die_at_turns(shared, dies)} crashes of {dies}")
