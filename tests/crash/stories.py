"""Short stories of futures, each about one kind of command; crashes are tried at every step of each.

A story is told to whatever is behind its hand: a world on a virtual clock, or a process. Delays are given
in units of `pace_ms`, so that a process does not take minutes over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.crash.hands import Hand
from tests.crash.ledger import Act
from tests.crash.shapes import WITH_FUTURE_ID


@dataclass
class Teller:
    """The client of a story, how time passes for it, and how long a unit of time is."""

    hand: Hand
    advance: Callable[[float], None]
    pace_ms: int = 1_000

    def wait(self, units: float) -> None:
        """Let so many units pass."""
        self.advance(units * self.pace_ms)

    def delay(self, units: float) -> int:
        return int(units * self.pace_ms)


Story = Callable[[Teller], None]


def heartbeats(teller: Teller) -> None:
    """A future is kept from being sent for a while; then the heartbeats stop, and it is sent."""
    hand = teller.hand
    mark = hand.schedule(teller.delay(4))
    for _ in range(3):
        teller.wait(1)
        hand.restart(mark)
    teller.wait(5)
    hand.look()


def given_up(teller: Teller) -> None:
    """A future is cancelled, twice; another one is not."""
    hand = teller.hand
    first, second = hand.schedule(teller.delay(20)), hand.schedule(teller.delay(3))
    hand.cancel(first)
    hand.cancel(first)
    teller.wait(4)
    hand.cancel(second)
    hand.look()


def sent_on_command(teller: Teller) -> None:
    """A future is sent before its time, twice."""
    hand = teller.hand
    mark = hand.schedule(teller.delay(20))
    hand.restart(mark)
    hand.send(mark)
    hand.send(mark)
    hand.look()


def state_when_due(teller: Teller) -> None:
    """A future that is a state event outlives another one (rule `never`) and is sent when it is due."""
    hand = teller.hand
    mark = hand.schedule(teller.delay(3), state_key=hand.name)
    hand.replace(mark)
    teller.wait(4)
    hand.look()


def by_query(teller: Teller) -> None:
    """What shipped clients do."""
    hand = teller.hand
    first, second = (hand.schedule(teller.delay(units), dialect="delay-query") for units in (2, 20))
    third = hand.schedule(teller.delay(20), dialect="delay-query", state_key=hand.name)
    hand.restart(first)
    hand.cancel(second)
    hand.replace(third)  # one's own state does not end it
    hand.send(third)
    teller.wait(3)
    hand.look()


def all_at_once(teller: Teller) -> None:
    """Requests that contradict one another arrive while the first is under way; then as the time comes."""
    hand = teller.hand
    first, second = hand.schedule(teller.delay(20)), hand.schedule(teller.delay(2))
    assert hand.together(
        (Act.RESTART, first), (Act.SEND, first), (Act.CANCEL, first), (Act.SEND, first), (Act.RESTART, first)
    ) == [200, 200, 409, 200, 409]
    hand.together((Act.SCHEDULE, second), (Act.RESTART, second), (Act.SCHEDULE, second))
    teller.wait(2)
    hand.together((Act.CANCEL, second), (Act.RESTART, second), (Act.SEND, second))
    hand.look()


def state_races(teller: Teller) -> None:
    """A newer state event and a command to send arrive together, in either order."""
    hand = teller.hand
    first = hand.schedule(teller.delay(20), dialect="tokens", state_key=hand.name)
    assert hand.together((Act.REPLACE, first), (Act.SEND, first)) == [200, 410]
    second = hand.schedule(teller.delay(20), dialect="tokens", state_key=hand.name)
    assert hand.together((Act.SEND, second), (Act.REPLACE, second)) == [200, 200]
    hand.look()


def a_group_is_sent(teller: Teller) -> None:
    """Of a group, an action future is sent on command: the rest is discarded."""
    hand = teller.hand
    leave = hand.schedule(teller.delay(20), dialect="tokens", group="call")
    hang_up = hand.schedule(None, dialect="tokens", group="call")
    hand.schedule(None, dialect="tokens", group="call")
    hand.restart(leave)
    hand.send(hang_up)
    hand.look()


def a_group_is_discarded(teller: Teller) -> None:
    """With its last timeout future a group is given up."""
    hand = teller.hand
    first = hand.schedule(teller.delay(20), dialect="tokens", group="call")
    second = hand.schedule(teller.delay(30), dialect="tokens", group="call")
    hand.schedule(None, dialect="tokens", group="call")
    hand.cancel(first)
    hand.cancel(second)
    hand.look()


def a_group_is_due(teller: Teller) -> None:
    """Nobody says anything any more: the timeout future is sent and ends its group."""
    hand = teller.hand
    leave = hand.schedule(teller.delay(3), dialect="tokens", group="call")
    hang_up = hand.schedule(None, dialect="tokens", group="call")
    hand.restart(leave)
    teller.wait(4)
    hand.send(hang_up)
    hand.look()


def newer_state_wins(teller: Teller) -> None:
    """A future that is a state event is ended by a newer one (rule `any`)."""
    hand = teller.hand
    mark = hand.schedule(teller.delay(20), dialect="tokens", state_key=hand.name)
    hand.restart(mark)
    hand.replace(mark)
    hand.look()


def a_group_on_send_is_sent(teller: Teller) -> None:
    """Groups and tokens through the ordinary endpoints: an action ends the group."""
    hand = teller.hand
    leave = hand.schedule(teller.delay(20), dialect="tokens-on-send", group="call")
    hang_up = hand.schedule(None, dialect="tokens-on-send", group="call")
    hand.restart(leave)
    hand.send(hang_up)
    hand.look()


def groups_on_send_end(teller: Teller) -> None:
    """One group is due, one is given up, one is ended by newer state."""
    hand = teller.hand
    leave = hand.schedule(teller.delay(3), dialect="tokens-on-send", group="call")
    hand.schedule(None, dialect="tokens-on-send", group="call")
    given_up = hand.schedule(teller.delay(20), dialect="tokens-on-send", group="other")
    hand.schedule(None, dialect="tokens-on-send", group="other")
    state = hand.schedule(teller.delay(20), dialect="tokens-on-send", state_key=hand.name)
    hand.restart(leave)
    hand.cancel(given_up)
    hand.replace(state)
    teller.wait(4)
    hand.look()


def a_child_is_sent(teller: Teller) -> None:
    """A parent and its child by their future IDs: the child is sent and ends both."""
    hand = teller.hand
    parent = hand.schedule(teller.delay(20), dialect="future-id", group="call")
    child = hand.schedule(None, dialect="future-id", group="call")
    hand.restart(parent)
    hand.send(child)
    hand.look()


def families_end(teller: Teller) -> None:
    """One parent is due, one is given up with its child, one is ended by newer state."""
    hand = teller.hand
    parent = hand.schedule(teller.delay(3), dialect="future-id", group="call")
    hand.schedule(None, dialect="future-id", group="call")
    given_up = hand.schedule(teller.delay(20), dialect="future-id", group="other")
    hand.schedule(None, dialect="future-id", group="other")
    state = hand.schedule(teller.delay(20), dialect="future-id", state_key=hand.name)
    hand.restart(parent)
    hand.cancel(given_up)
    hand.replace(state)
    teller.wait(4)
    hand.look()


def a_batch(teller: Teller) -> None:
    """Now, and what is to follow, come together; an action ends it."""
    hand = teller.hand
    mark = hand.schedule(teller.delay(20), dialect="batch")
    hand.restart(mark)
    hand.send(mark)
    hand.look()


def a_batch_is_given_up(teller: Teller) -> None:
    """Without its timeout a batch is discarded; what was sent at once stays."""
    hand = teller.hand
    mark = hand.schedule(teller.delay(20), dialect="batch")
    hand.cancel(mark)
    hand.look()


def a_batch_is_due(teller: Teller) -> None:
    """After a heartbeat nobody says anything any more: the batch's timeout is sent."""
    hand = teller.hand
    mark = hand.schedule(teller.delay(3), dialect="batch")
    hand.restart(mark)
    teller.wait(4)
    hand.look()


def expiry(teller: Teller) -> None:
    """An event expires, and its copy says so; another one is ended."""
    hand = teller.hand
    expires, ends = (hand.schedule(teller.delay(20), dialect="will-expire") for _ in range(2))
    hand.restart(expires)
    hand.send(ends)
    teller.wait(22)
    hand.look()


STORIES: tuple[Story, ...] = (
    heartbeats,
    given_up,
    sent_on_command,
    by_query,
    a_group_is_sent,
    a_group_is_discarded,
    a_group_is_due,
    newer_state_wins,
    a_child_is_sent,
    a_batch,
    expiry,
)
"""With `MORE_ENDINGS` and `VIRTUAL_STORIES` all that a dialect can do, for every dialect: schedule, restart,
cancel, send, due, newer state, the end of a group."""

MORE_ENDINGS: tuple[Story, ...] = (
    a_group_on_send_is_sent,
    groups_on_send_end,
    families_end,
    a_batch_is_given_up,
    state_when_due,
)
"""Steps that other stories have too, in other dialects: told where a crash is cheap."""


VIRTUAL_STORIES: tuple[Story, ...] = (all_at_once, state_races, a_batch_is_due, *MORE_ENDINGS)
"""For worlds with a line that can `call_together`, and in which seconds cost nothing."""


def dialects_for(story: Story) -> tuple[str, ...] | None:
    """What the server of a story must speak; None when any server will do."""
    return WITH_FUTURE_ID if story in (a_child_is_sent, families_end) else None


def look(teller: Teller) -> None:
    """Nothing more happens than that somebody looks at the room."""
    teller.hand.look()


OVERDUE_AFTER = 6
"""So many units after `a_few_left_waiting`, all of its futures are due but one."""


def a_few_left_waiting(teller: Teller) -> None:
    """What is there when a server dies for longer than most of its futures wait."""
    hand = teller.hand
    for units in (3, 2, 4):
        hand.schedule(teller.delay(units))
    leave = hand.schedule(teller.delay(5), dialect="tokens", group="call")
    hand.schedule(None, dialect="tokens", group="call")
    hand.restart(leave)
    far = hand.schedule(teller.delay(60))
    hand.restart(far)


OTHERS_LEFT_WAITING = ("delay-query", "tokens-on-send", "batch", "will-expire")

MORE_THAN_A_SLICE = 20
"""So many overdue futures do not go out in one commit (`scheduler.SLICE_SENDS`)."""


def many_left_waiting(teller: Teller) -> None:
    """The same, with one of each other dialect, and more than go out at once."""
    a_few_left_waiting(teller)
    hand = teller.hand
    for dialect in OTHERS_LEFT_WAITING:
        hand.schedule(teller.delay(6), dialect=dialect)
    for _ in range(MORE_THAN_A_SLICE):
        hand.schedule(teller.delay(6))
