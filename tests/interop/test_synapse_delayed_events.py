"""One client program, as shipped clients are, with delayed events on our server and on Synapse.

Whoever schedules is on the side that is named, the other one watches from the other server. The program
speaks the dialect that both serve (`delay-query`); what ours alone has is told in `test_synapse_futures`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.interop.conftest import Pair, either_side, every_version
from tests.interop.future_rooms import FAR_MS, NOTE, assert_ordinary, message, shared_room
from tests.support.peers import Peer, bodies, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]


def hold_until(user: Peer, delay_id: str, look: Callable[[], bool], what: str) -> None:
    """Restart a delayed event, as a heartbeat does, until something has come about that it is to meet."""

    def holding() -> bool:
        user.manage_delayed(delay_id, "restart")
        return look()

    until(holding, what)


def ended(user: Peer, delay_id: str) -> None:
    """Wait until the delayed event is no longer among those that are scheduled."""
    until(
        lambda: delay_id not in [item["delay_id"] for item in user.delayed_events()], "the end of the delay"
    )


@every_version
@either_side
def test_a_delayed_event_is_an_ordinary_event_to_the_other_side(pair: Pair, side: str, version: str) -> None:
    user, reader = pair.users(side)
    room_id = shared_room(user, reader, version)
    user.delay(room_id, "m.room.message", message("later"), 300, None)
    assert_ordinary(reader, room_id, reader.sees_body("later")["event_id"], "later")
    user.delay(room_id, NOTE, {"text": "state"}, 100, "key")
    until(lambda: (NOTE, "key") in reader.state(room_id), "the state that was delayed")
    assert reader.state(room_id)[NOTE, "key"][1] == {"text": "state"}


@either_side
def test_a_delayed_event_is_held_back_by_restarts_and_comes_after_the_last(pair: Pair, side: str) -> None:
    user, reader = pair.users(side)
    room_id = shared_room(user, reader)
    delay_id = user.delay(room_id, "m.room.message", message("held"), 1_500, None)
    ends = time.monotonic() + 2.0  # longer than the delay: a heart beats in real time
    hold_until(user, delay_id, lambda: time.monotonic() > ends, "the last heartbeat")
    last = user.send(room_id, "still alive")
    held = reader.sees_body("held")["event_id"]
    read = [event["event_id"] for event in reader.messages(room_id)]
    assert read.index(held) < read.index(last)  # the newest comes first


@either_side
def test_a_delayed_event_is_sent_when_told_to_and_never_when_cancelled(pair: Pair, side: str) -> None:
    user, reader = pair.users(side)
    room_id = shared_room(user, reader)
    told = user.delay(room_id, "m.room.message", message("now"), FAR_MS, None)
    cancelled = user.delay(room_id, "m.room.message", message("never"), 400, None)
    user.manage_delayed(cancelled, "cancel")
    user.delay(room_id, "m.room.message", message("after it"), 600, None)
    user.manage_delayed(told, "send")
    assert_ordinary(reader, room_id, reader.sees_body("now")["event_id"], "now")
    reader.sees_body("after it")
    assert "never" not in bodies(reader.messages(room_id))


@either_side
def test_a_delayed_event_is_not_sent_when_the_other_side_has_taken_the_power_away(
    pair: Pair, side: str
) -> None:
    user, other = pair.users(side)
    room_id = shared_room(other, user)
    other.sees(other.set_power(room_id, user.user_id, 50))
    until(lambda: user.power_of(room_id, user.user_id) == 50, "the power to set notes")
    delay_id = user.delay(room_id, NOTE, {"text": "refused"}, 1_500, "key")
    other.set_power(room_id, user.user_id, 0)
    hold_until(user, delay_id, lambda: user.power_of(room_id, user.user_id) == 0, "the power taken away")
    ended(user, delay_id)
    user.delay(room_id, "m.room.message", message("after it"), 100, None)
    other.sees_body("after it")
    assert (NOTE, "key") not in other.state(room_id)


@either_side
@pytest.mark.parametrize("change", ["kick", "ban"])
def test_a_delayed_event_is_not_sent_when_the_other_side_has_removed_its_sender(
    pair: Pair, side: str, change: str
) -> None:
    other, user = reversed(pair.users(side))
    room_id = other.create("12")
    for member in (user, witness := pair.neighbour(user, "witness")):
        pair.joins(member, room_id, other)
    delay_id = user.delay(room_id, "m.room.message", message("gone"), 1_500, None)
    other.act(room_id, change, user.user_id)
    removed = {"kick": "leave", "ban": "ban"}[change]
    hold_until(user, delay_id, lambda: witness.membership_of(user, room_id) == removed, "the removal")
    ended(user, delay_id)
    witness.delay(room_id, "m.room.message", message("after it"), 100, None)
    other.sees_body("after it")
    assert "gone" not in bodies(other.messages(room_id))


@either_side
def test_delayed_state_is_cancelled_by_state_from_the_other_side(pair: Pair, side: str) -> None:
    """The rule of this dialect: a state event by somebody else ends those that wait with its type and key."""
    user, other = pair.users(side)
    room_id = shared_room(user, other)
    ends = user.delay(room_id, NOTE, {"text": "late"}, FAR_MS, "taken")
    stays = user.delay(room_id, NOTE, {"text": "mine"}, FAR_MS, "free")
    other.put_state(room_id, NOTE, {"text": "in between"}, "taken")
    ended(user, ends)
    assert refusal(lambda: user.manage_delayed(ends, "send")) == "M_NOT_FOUND"
    user.manage_delayed(stays, "send")
    until(lambda: (NOTE, "free") in other.state(room_id), "the delayed state that nobody contradicted")
    assert other.state(room_id)[NOTE, "taken"][1] == {"text": "in between"}


@either_side
def test_a_leave_in_advance_empties_ones_membership_of_a_call(pair: Pair, side: str) -> None:
    """What calls do: set a member event, leave its end behind, restart that while the call lasts, vanish."""
    user, other = pair.users(side)
    member = "org.matrix.msc3401.call.member"
    room_id = user.create("12", power_level_content_override={"events": {member: 0}})
    pair.joins(other, room_id, user)
    key = f"_{user.user_id}_DEVICE_m.call"
    leave = user.delay(room_id, member, {}, 1_500, key)
    user.put_state(room_id, member, {"application": "m.call", "device_id": "DEVICE"}, key)
    hold_until(user, leave, lambda: (member, key) in other.state(room_id), "the membership of the call")
    assert other.state(room_id)[member, key][1]["application"] == "m.call"
    until(lambda: other.state(room_id)[member, key][1] == {}, "the end of the membership")
    assert user.delayed_events() == []


@either_side
def test_the_same_requests_get_the_same_answers(pair: Pair, side: str) -> None:
    user, reader = pair.users(side)
    room_id = shared_room(user, reader)
    delay_id = user.delay(room_id, NOTE, {"text": "a leave"}, FAR_MS, "call")
    (mine,) = user.delayed_events()
    wanted = {"delay_id": delay_id, "room_id": room_id, "type": NOTE, "state_key": "call", "delay": FAR_MS}
    assert {key: mine[key] for key in wanted} == wanted
    assert mine["content"] == {"text": "a leave"}
    user.manage_delayed(delay_id, "restart")
    user.manage_delayed(delay_id, "send")
    until(lambda: (NOTE, "call") in reader.state(room_id), "the event on the other side")
    for action in ("restart", "cancel"):
        assert refusal(lambda action=action: user.manage_delayed(delay_id, action)) == "M_NOT_FOUND"
    assert refusal(lambda: user.manage_delayed("unknown", "send")) == "M_NOT_FOUND"
    assert refusal(lambda: user.manage_delayed(delay_id, "dance")) == "M_INVALID_PARAM"
    # Of two spellings in use we have the one that shipped clients understand, Synapse the newer one.
    too_large = {"minihs": "M_UNKNOWN", "synapse": "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE"}[side]
    assert refusal(lambda: user.delay(room_id, NOTE, {}, 25 * FAR_MS, "call")) == too_large
