"""The order of due sends on a store that answers later sends sooner."""

from __future__ import annotations

from minihs.events.ids import RoomID
from minihs.homeserver.futures.send_order import PATIENCE_MS, SendOrder, Turn
from minihs.platform.clock import VirtualClock
from tests.support.deferreds import start

ONE, OTHER = RoomID("!one:hs1"), RoomID("!other:hs1")


class Sends:
    """Sends that note when they come to their turn."""

    def __init__(self, count: int) -> None:
        self.clock = VirtualClock()
        self.order = SendOrder(self.clock)
        self.turns = [self.order.begin() for _ in range(count)]
        self.came: list[int] = []

    def come(self, number: int, room_id: RoomID = ONE) -> None:
        async def come(turn: Turn) -> None:
            await self.order.come(turn, room_id)
            self.came.append(number)

        start(come(self.turns[number]))
        self.clock.advance(0)

    def end(self, number: int) -> None:
        self.order.end(self.turns[number])
        self.clock.advance(0)


def test_sends_in_the_order_of_their_beginning_never_wait() -> None:
    sends = Sends(3)
    for number in range(3):
        sends.come(number)
        assert sends.came[-1] == number
        sends.end(number)


def test_a_later_send_waits_for_earlier_ones_of_its_room() -> None:
    sends = Sends(3)
    sends.come(2)
    sends.come(1)
    assert sends.came == []
    sends.come(0)
    assert sends.came == [0]
    sends.end(0)
    assert sends.came == [0, 1]
    sends.end(1)
    assert sends.came == [0, 1, 2]


def test_sends_to_other_rooms_are_waited_for_only_until_it_is_known_that_they_go_there() -> None:
    sends = Sends(2)
    sends.come(1)
    assert sends.came == []
    sends.come(0, OTHER)
    assert sorted(sends.came) == [0, 1]


def test_nobody_waits_for_a_send_that_has_ended() -> None:
    sends = Sends(3)
    sends.come(2)
    sends.end(1)
    assert sends.came == []
    sends.end(0)
    assert sends.came == [2]
    sends.end(0)


def test_a_send_that_takes_too_long_is_waited_for_no_more() -> None:
    sends = Sends(3)
    sends.come(0)
    sends.come(1)
    sends.come(2)
    sends.clock.advance((PATIENCE_MS - 1) / 1000)
    assert sends.came == [0]
    sends.clock.advance(0.001)
    sends.clock.advance(0)
    assert sends.came == [0, 1]
    sends.end(1)
    assert sends.came == [0, 1, 2]
    sends.end(0)
    sends.end(2)
    assert sends.clock.getDelayedCalls() == []


def test_patience_with_a_send_that_ends_leaves_no_timer() -> None:
    sends = Sends(2)
    sends.come(0)
    sends.come(1)
    assert len(sends.clock.getDelayedCalls()) == 1
    sends.end(0)
    assert (sends.came, sends.clock.getDelayedCalls()) == ([0, 1], [])
