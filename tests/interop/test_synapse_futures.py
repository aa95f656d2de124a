"""Futures of ours, by the merged proposal, in rooms shared with a real Synapse: what its user sees of them.

What the two servers' delayed events have in common is told in `test_synapse_delayed_events`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.interop.conftest import Pair, every_version
from tests.interop.future_rooms import FAR_MS, NOTE, assert_ordinary, message, shared_room
from tests.support.peers import Peer, quote, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]


def hold_until(futures: list[tuple[Peer, str]], look: Callable[[], bool], what: str) -> None:
    """Restart the futures, as a heartbeat does, until something has come about that they are to meet."""

    def holding() -> bool:
        for owner, delay_id in futures:
            owner.manage(delay_id, "restart")
        return look()

    until(holding, what)


@every_version
def test_a_future_of_ours_is_an_ordinary_event_to_synapse(pair: Pair, version: str) -> None:
    ours, theirs = pair.users("minihs")
    room_id = shared_room(ours, theirs, version)
    scheduled_ms = int(time.time() * 1000)
    delay_id = ours.schedule(room_id, "m.room.message", message("later"), 400)
    event = theirs.sees_body("later")
    assert event["event_id"] == ours.outcome(delay_id)["event_id"]
    assert event["origin_server_ts"] >= scheduled_ms + 400
    assert_ordinary(theirs, room_id, event["event_id"], "later")
    state_id = ours.schedule(room_id, NOTE, {"text": "state"}, 100, state_key="key")
    theirs.sees(ours.outcome(state_id)["event_id"])
    assert theirs.state(room_id)[NOTE, "key"][1] == {"text": "state"}


def test_synapse_knows_nothing_of_a_future_that_is_restarted_until_it_is_sent(pair: Pair) -> None:
    ours, theirs = pair.users("minihs")
    room_id = shared_room(ours, theirs)
    delay_id = ours.schedule(room_id, "m.room.message", message("held"), 1_500)
    ends = time.monotonic() + 2.0  # longer than the delay: a heart beats in real time
    hold_until([(ours, delay_id)], lambda: time.monotonic() > ends, "the last heartbeat")
    last = ours.send(room_id, "still alive")
    restarted_ms = ours.future(delay_id)["delayed_since_ts"]
    event = theirs.sees_body("held")
    assert event["origin_server_ts"] >= restarted_ms + 1_500
    read = [event["event_id"] for event in theirs.messages(room_id)]
    assert read.index(event["event_id"]) < read.index(last)  # the newest comes first


def test_a_future_of_ours_is_sent_at_once_when_it_is_told_to(pair: Pair) -> None:
    ours, theirs = pair.users("minihs")
    room_id = shared_room(ours, theirs)
    delay_id = ours.schedule(room_id, "m.room.message", message("now"), FAR_MS)
    ours.manage(delay_id, "send")
    assert_ordinary(theirs, room_id, ours.outcome(delay_id)["event_id"], "now")


def test_synapse_never_hears_of_a_cancelled_future(pair: Pair) -> None:
    ours, theirs = pair.users("minihs")
    room_id = shared_room(ours, theirs)
    cancelled = ours.schedule(room_id, "m.room.message", message("never"), 300)
    ours.manage(cancelled, "cancel")
    after = ours.schedule(room_id, "m.room.message", message("after it"), 600)
    theirs.sees(ours.outcome(after)["event_id"])
    assert "event_id" not in ours.outcome(cancelled)
    assert "never" not in [event["content"].get("body") for event in theirs.messages(room_id)]


@every_version
def test_a_future_is_refused_when_synapses_user_has_taken_the_power_away(pair: Pair, version: str) -> None:
    ours, theirs = pair.users("minihs")
    room_id = shared_room(ours, theirs, version)
    scheduler, spared = pair.ours("scheduler"), pair.ours("spared")
    for user in (scheduler, spared):
        user.join(room_id, via=ours.server_name)
        ours.set_power(room_id, user.user_id, 50)
    until(lambda: theirs.power_of(room_id, spared.user_id) == 50, "the power levels")
    refused = scheduler.schedule(room_id, NOTE, {"text": "refused"}, 1_000, state_key="refused")
    sent = spared.schedule(room_id, NOTE, {"text": "sent"}, 1_000, state_key="sent")
    theirs.set_power(room_id, scheduler.user_id, 0)
    hold_until(
        [(scheduler, refused), (spared, sent)],
        lambda: ours.power_of(room_id, scheduler.user_id) == 0,
        "the power taken away",
    )
    assert scheduler.outcome(refused)["error"]["errcode"] == "M_FORBIDDEN"
    theirs.sees(spared.outcome(sent)["event_id"])
    notes = {key for event_type, key in theirs.state(room_id) if event_type == NOTE}
    assert notes == {"sent"}


def test_a_future_is_sent_when_synapses_user_has_given_the_power(pair: Pair) -> None:
    ours, theirs = pair.users("minihs")
    room_id = shared_room(ours, theirs)
    scheduler = pair.ours("scheduler")
    scheduler.join(room_id, via=ours.server_name)
    assert refusal(lambda: scheduler.put_state(room_id, NOTE, {}, "gained")) == "M_FORBIDDEN"
    delay_id = scheduler.schedule(room_id, NOTE, {"text": "gained"}, 1_000, state_key="gained")
    theirs.set_power(room_id, scheduler.user_id, 50)
    hold_until(
        [(scheduler, delay_id)],
        lambda: ours.power_of(room_id, scheduler.user_id) == 50,
        "the power given",
    )
    theirs.sees(scheduler.outcome(delay_id)["event_id"])


@pytest.mark.parametrize("change", ["kick", "ban"])
def test_a_future_is_refused_when_synapses_user_has_removed_its_sender(pair: Pair, change: str) -> None:
    theirs, ours, room_id = pair.room("synapse")
    pair.joins(pair.ours("witness"), room_id, theirs)
    delay_id = ours.schedule(room_id, "m.room.message", message("gone"), 1_000)
    theirs.act(room_id, change, ours.user_id)
    removed = {"kick": "leave", "ban": "ban"}[change]
    hold_until([(ours, delay_id)], lambda: ours.membership_of(ours, room_id) == removed, "the removal")
    assert ours.outcome(delay_id)["error"]["errcode"] == "M_FORBIDDEN"
    assert "gone" not in [event["content"].get("body") for event in theirs.messages(room_id)]


def test_a_redaction_as_a_future_redacts_on_synapse(pair: Pair) -> None:
    ours, theirs = pair.users("minihs")
    for version in ("10", "12"):
        room_id = shared_room(ours, theirs, version)
        event_id = ours.send(room_id, "for a moment")
        theirs.sees(event_id)
        delay_id = ours.schedule(room_id, "m.room.redaction", {"redacts": event_id}, 200)
        theirs.sees(ours.outcome(delay_id)["event_id"])
        assert theirs.room(room_id, "GET", f"event/{quote(event_id)}")["content"] == {}
