"""A crash at every write: with what the system had cached, without it, and with some of it torn.

One server on a virtual clock, over real files whose writes and syncs are recorded; then every moment of the
record is taken as a crash. Futures specification, 1, promises 4, 5, 6 and 11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import succeed

from minihs.homeserver.futures.sending import FutureSending
from minihs.store.futures import FutureStore
from minihs.store.transactions import TransactionStore
from minihs.store.writer import Writer
from tests.crash.campaign import Campaign
from tests.crash.hands import marked_events
from tests.crash.ledger import Act, Ledger
from tests.crash.promises import mark_of
from tests.crash.recorded_disk import can_record
from tests.crash.recorded_world import Life, Recording, record
from tests.crash.shapes import DIALECTS, is_beside
from tests.crash.stories import (
    MORE_THAN_A_SLICE,
    OTHERS_LEFT_WAITING,
    STORIES,
    VIRTUAL_STORIES,
    Story,
    Teller,
    a_group_is_due,
    dialects_for,
    heartbeats,
    many_left_waiting,
    sent_on_command,
)

pytestmark = pytest.mark.skipif(not can_record(), reason="this build of Python hides its SQLite")

AWAY_MS = 10_000
"""Longer than most futures of `many_left_waiting` wait."""


def told(story: Story, begin: Callable[[], None] = lambda: None, **details: Any) -> Recording:
    """The record of a server that lives through a story; `begin` is called when the story begins."""

    def script(life: Life) -> None:
        begin()
        story(Teller(life.hand("alice"), life.advance))

    dialects = dialects_for(story)
    return record(script, **details, **({} if dialects is None else {"futures__dialects": dialects}))


def test_the_stories_tell_of_everything_that_a_dialect_can_do() -> None:
    told_of: dict[str, set[Act | None]] = {}
    for story in STORIES + VIRTUAL_STORIES:
        ledger = told(story).ledger
        for request in ledger.requests:
            if request.succeeded and request.mark in ledger.plans:
                told_of.setdefault(ledger.plans[request.mark].dialect, set()).add(request.act)
        for mark in _sent_by_time(ledger):
            told_of[ledger.plans[mark].dialect].add(None)
    everything = {Act.SCHEDULE, Act.RESTART, Act.CANCEL, Act.SEND, None}
    assert {dialect: everything - acts for dialect, acts in told_of.items()} == {
        dialect: {Act.CANCEL} if dialect == "will-expire" else set() for dialect in DIALECTS
    }


def _sent_by_time(ledger: Ledger) -> set[str]:
    """Futures whose events somebody saw, and that nobody told to go."""
    seen = {
        mark_of(event)
        for request in ledger.requests
        if request.act is Act.LOOK
        for event in marked_events(request.reply)
        if not is_beside(event)
    }
    return seen - {request.mark for request in ledger.requests if request.act is Act.SEND}


@pytest.mark.parametrize("story", STORIES + VIRTUAL_STORIES, ids=lambda story: story.__name__)
def test_no_crash_at_any_write_breaks_a_promise(story: Story) -> None:
    campaign = Campaign(told(story), torn=0)
    campaign.run(thinned=True)
    assert campaign.restarts >= 2 * len(campaign.recording.ledger.requests), "crashes were left out"


@pytest.mark.full
@pytest.mark.parametrize("story", STORIES + VIRTUAL_STORIES, ids=lambda story: story.__name__)
def test_no_crash_that_tears_what_was_not_synced_breaks_a_promise(story: Story) -> None:
    campaign = Campaign(told(story), torn=2)
    campaign.run()
    print(f"{story.__name__}: {campaign.summary()}")
    assert campaign.restarts >= 2 * len(campaign.recording.ledger.requests), "crashes were left out"


def test_no_crash_while_catching_up_breaks_a_promise() -> None:
    before = told(many_left_waiting)
    disk = before.at_its_end()

    def script(life: Life) -> None:
        life.advance(1_000)
        sent = life.hand("bob").look()
        later = [mark_of(event) for event in sent if not is_beside(event)]
        assert later[:4] == ["alice.2", "alice.1", "alice.3", "alice.4"]
        # What batches and expiring events sent at once is there, too.
        assert len(sent) == 4 + len(OTHERS_LEFT_WAITING) + 2 + MORE_THAN_A_SLICE

    ended_ms = before.log[-1][0]
    after = record(script, start=disk.dropped(), start_ms=ended_ms + AWAY_MS, before=before)
    campaign = Campaign(after)
    campaign.run(thinned=True)
    assert campaign.restarts >= 5, "everything was sent in one commit"


def test_a_crash_after_a_long_absence_finds_everything_overdue() -> None:
    campaign = Campaign(told(a_group_is_due), torn=0)
    campaign.run(away_ms=3_600_000, thinned=True)
    assert campaign.restarts


def test_no_crash_of_a_first_start_leaves_a_server_that_cannot_start() -> None:
    campaign = Campaign(told(lambda teller: teller.hand.send(teller.hand.schedule(1_000))), torn=0)
    campaign.run_setup()
    assert campaign.points > 50
    assert campaign.restarts >= 3, "nothing, an empty database, and one with an account"


def _replies_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply is written when its batch is on its way to the disk."""
    submit = Writer.submit

    def hasty(writer: Writer, *args: Any) -> Any:
        submit(writer, *args)
        return succeed(None)

    monkeypatch.setattr(Writer, "submit", hasty)


def _forgets_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FutureStore, "restart", lambda *_: None)


def _forgets_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransactionStore, "add_reply", lambda *_: None)


def _finalises_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event and the outcome of its future are two batches."""
    send = FutureSending._send

    async def split(sending: Any, future: Any, turn: Any, also: Any) -> Any:
        return await send(sending, future, turn, lambda _batch, _event: None)

    monkeypatch.setattr(FutureSending, "_send", split)


@pytest.mark.parametrize(
    ("fault", "story"),
    [
        (_replies_too_soon, heartbeats),
        (_forgets_restarts, heartbeats),
        (_forgets_replies, heartbeats),
        (_finalises_afterwards, sent_on_command),
    ],
    ids=lambda value: value.__name__,
)
def test_a_server_with_a_fault_is_caught(
    fault: Callable[[pytest.MonkeyPatch], None], story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = Campaign(told(story, lambda: fault(monkeypatch)))
    monkeypatch.undo()
    with pytest.raises(AssertionError, match="crash at"):
        campaign.run()


def test_a_disk_that_is_not_synced_is_caught() -> None:
    campaign = Campaign(told(heartbeats, synchronous="OFF"))
    with pytest.raises(AssertionError, match="crash at"):
        campaign.run()
