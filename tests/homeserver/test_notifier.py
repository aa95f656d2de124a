"""The notifier by itself: turns, timers and waiters."""

from __future__ import annotations

from minihs.events.ids import UserID
from minihs.homeserver.sync.notifier import WAKES_PER_TURN, Notifier
from minihs.platform.clock import VirtualClock

ALICE, BOB = UserID("@alice:hs1"), UserID("@bob:hs1")


class TurnClock(VirtualClock):
    """A virtual clock whose `turn` runs only what was planned before it, as an event loop does."""

    def turn(self) -> None:
        planned, self.calls[:] = (
            [call for call in self.calls if call.getTime() <= self.seconds()],
            [call for call in self.calls if call.getTime() > self.seconds()],
        )
        for call in planned:
            call.func(*call.args, **call.kw)


def test_nobody_is_woken_inside_the_call_that_wakes() -> None:
    clock = VirtualClock()
    notifier = Notifier(clock)
    waiting = notifier.listen(ALICE).wait(1_000)
    notifier.wake([ALICE])
    assert not waiting.called
    clock.advance(0)
    assert waiting.result is True


def test_only_the_named_users_are_woken() -> None:
    clock = VirtualClock()
    notifier = Notifier(clock)
    waiting = notifier.listen(ALICE).wait(1_000)
    notifier.wake([BOB])
    clock.advance(0)
    assert not waiting.called


def test_a_turn_answers_only_some_and_the_next_turns_the_rest() -> None:
    clock = TurnClock()
    notifier = Notifier(clock)
    waits = [notifier.listen(ALICE).wait(1_000) for _ in range(WAKES_PER_TURN + 1)]
    notifier.wake([ALICE])
    clock.turn()
    assert [wait.called for wait in waits].count(True) == WAKES_PER_TURN
    clock.turn()
    assert all(wait.called for wait in waits)


def test_news_between_two_waits_is_not_missed() -> None:
    notifier = Notifier(VirtualClock())
    waiter = notifier.listen(ALICE)
    notifier.wake([ALICE])
    assert waiter.wait(1_000).result is True


def test_news_is_reported_once() -> None:
    clock = VirtualClock()
    notifier = Notifier(clock)
    waiter = notifier.listen(ALICE)
    notifier.wake([ALICE])
    notifier.wake([ALICE])
    waiter.wait(1_000)
    clock.advance(0)
    waiting = waiter.wait(1_000)
    clock.advance(0)
    assert not waiting.called


def test_a_wait_times_out_and_leaves_no_timer() -> None:
    clock = VirtualClock()
    waiting = Notifier(clock).listen(ALICE).wait(1_000)
    clock.advance(1)
    assert waiting.result is False
    assert clock.getDelayedCalls() == []


def test_a_closed_waiter_is_forgotten() -> None:
    clock = VirtualClock()
    notifier = Notifier(clock)
    waiter = notifier.listen(ALICE)
    waiter.wait(1_000)
    waiter.close()
    waiter.close()
    assert notifier.listening == 0
    assert clock.getDelayedCalls() == []
    notifier.wake([ALICE])
    assert clock.getDelayedCalls() == []
