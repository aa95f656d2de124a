"""Futures in rooms shared with a real Synapse: ours as its user sees them, its own as ours sees them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.interop.conftest import Pair
from tests.support.peers import Peer, assert_same_state, quote, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

NOTE = "org.example.note"
FAR_MS = 3_600_000

every_version = pytest.mark.parametrize("version", ["10", "11", "12"])


def message(body: str) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body}


def shared_room(host: Peer, guest: Peer, version: str = "12") -> str:
    """A room of `host`'s in which both may set power levels and notes."""
    room_id = host.create(version, power_level_content_override={"events": {NOTE: 50}})
    guest.join(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "join")
    host.set_power(room_id, guest.user_id, 90)
    until(lambda: guest.power_of(room_id, guest.user_id) == 90, "the guest's power")
    return room_id


def hold_until(futures: list[tuple[Peer, str]], look: Callable[[], bool], what: str) -> None:
    """Restart the futures, as a heartbeat does, until something has come about that they are to meet."""

    def holding() -> bool:
        for owner, delay_id in futures:
            owner.manage(delay_id, "restart")
        return look()

    until(holding, what)


def assert_ordinary(reader: Peer, room_id: str, event_id: str, body: str) -> dict[str, Any]:
    """The event came down `reader`'s sync and says nothing of having been delayed."""
    event = reader.sees(event_id)
    assert event["content"] == message(body)
    assert "delay_id" not in event.get("unsigned", {})
    assert "org.matrix.msc4140.delay_id" not in event.get("unsigned", {})
    return event


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
    assert_same_state(room_id, ours, theirs)


def test_synapse_knows_nothing_of_a_future_that_is_restarted_until_it_is_sent(pair: Pair) -> None:
    ours, theirs = pair.users("minihs")
    room_id = shared_room(ours, theirs)
    delay_id = ours.schedule(room_id, "m.room.message", message("held"), 1_500)
    beats = []
    for number in range(4):
        time.sleep(0.45)  # a heart beats in real time; all beats together outlast the delay
        ours.manage(delay_id, "restart")
        beats.append(f"heartbeat {number}")
        ours.send(room_id, beats[-1])
    restarted_ms = ours.future(delay_id)["delayed_since_ts"]
    event = theirs.sees_body("held")
    assert event["origin_server_ts"] >= restarted_ms + 1_500
    bodies = [event["content"].get("body") for event in reversed(theirs.messages(room_id))]
    assert bodies[-5:] == [*beats, "held"]
    assert_same_state(room_id, ours, theirs)


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
    assert_same_state(room_id, ours, theirs)


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
    assert_same_state(room_id, ours, theirs)


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
    assert_same_state(room_id, ours, theirs)


@pytest.mark.parametrize("change", ["kick", "ban"])
def test_a_future_is_refused_when_synapses_user_has_removed_its_sender(pair: Pair, change: str) -> None:
    theirs, ours = pair.users("synapse")
    room_id = theirs.create("12")
    ours.join(room_id, via=theirs.server_name)
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


@every_version
def test_a_delayed_event_of_synapses_is_an_ordinary_event_to_us(pair: Pair, version: str) -> None:
    theirs, ours = pair.users("synapse")
    room_id = shared_room(theirs, ours, version)
    theirs.delay(room_id, "m.room.message", message("later"), 300, None)
    event = ours.sees_body("later")
    assert_ordinary(ours, room_id, event["event_id"], "later")
    told = theirs.delay(room_id, NOTE, {"text": "told to"}, FAR_MS, "key")
    held = theirs.delay(room_id, "m.room.message", message("never"), FAR_MS, None)
    theirs.manage_delayed(told, "restart")
    theirs.manage_delayed(told, "send")
    theirs.manage_delayed(held, "cancel")
    until(lambda: (NOTE, "key") in ours.state(room_id), "the state that was delayed")
    assert_same_state(room_id, ours, theirs)
    assert "never" not in [event["content"].get("body") for event in ours.messages(room_id)]


@pytest.mark.parametrize("side", ["minihs", "synapse"])
def test_one_client_program_does_the_same_on_both_servers(pair: Pair, side: str) -> None:
    """The `delay-query` dialect of ours against the implementation that clients were written for."""
    user, reader = pair.users(side)
    room_id = shared_room(user, reader)
    delay_id = user.delay(room_id, NOTE, {"text": "a leave"}, FAR_MS, "call")
    listed = user.request("GET", "/_matrix/client/unstable/org.matrix.msc4140/delayed_events")
    (mine,) = [item for item in listed["delayed_events"] if item["delay_id"] == delay_id]
    wanted = {"room_id": room_id, "type": NOTE, "state_key": "call", "delay": FAR_MS}
    assert {key: mine[key] for key in wanted} == wanted
    assert mine["content"] == {"text": "a leave"}
    user.manage_delayed(delay_id, "restart")
    user.manage_delayed(delay_id, "send")
    until(lambda: (NOTE, "call") in reader.state(room_id), "the event on the other side")
    for action in ("restart", "cancel"):
        assert refusal(lambda action=action: user.manage_delayed(delay_id, action)) == "M_NOT_FOUND"
    assert refusal(lambda: user.manage_delayed("unknown", "send")) == "M_NOT_FOUND"
    # Of two spellings in use we have the one that shipped clients understand, Synapse the newer one.
    too_large = {"minihs": "M_UNKNOWN", "synapse": "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE"}[side]
    assert refusal(lambda: user.delay(room_id, NOTE, {}, 25 * FAR_MS, "call")) == too_large
    assert_same_state(room_id, user, reader)
