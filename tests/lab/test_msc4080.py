"""MSC4080 as far as sending in advance needs it: clients sign, whoever holds the event sends it."""

from __future__ import annotations

import pytest

from minihs.lab.experiments.presigned_call import CALL, PresignedCall, Signed
from minihs.lab.http_client import in_path
from minihs.lab.proposals.msc4080 import ClientKey, key_of

MINUTE_MS = 60_000


def scene(kept_ms: int | None = None) -> tuple[PresignedCall, str, Signed]:
    """Alice is in the call and has signed her leave. `kept_ms`: servers take what they made so lately."""
    call = PresignedCall("4080", kept_ms)
    room_id = call.open_room()
    call.world.settle()
    return call, room_id, call.sign(room_id, {})


def ended(call: PresignedCall, room_id: str, signed: Signed) -> list[str]:
    """Servers on which the leave is in force."""
    return [name for name in ("hs1", "hs2") if call.of_alice(name, room_id) == signed.event_id]


def test_making_an_event_adds_nothing_to_the_room_and_gives_it_without_signatures() -> None:
    call, room_id, signed = scene()
    assert ended(call, room_id, signed) == []
    assert call.view("hs1", room_id).row(signed.event_id) is None
    assert list(signed.pdu["signatures"]) == [call.alice.user_id]


def test_its_endpoints_have_the_unstable_paths_of_the_proposal_too() -> None:
    call, room_id, _signed = scene()
    root = "/_matrix/client/unstable/org.matrix.msc4080"
    path = f"{root}/rooms/{in_path(room_id)}/state/{CALL}/{in_path(call.alice.user_id)}"
    made = call.alice.put(path, {"to": "sign"})
    assert made["pdu"]["content"] == {"to": "sign"}
    answer = call.bob.request("PUT", f"{root}/send_pdus/1", json={})
    assert (answer.status, answer.errcode) == (405, "M_UNRECOGNIZED")
    nothing = call.bob.request("POST", f"{root}/send_pdus/1", json={"pdus": []})
    assert nothing.errcode != "M_UNRECOGNIZED"


def test_what_is_handed_over_at_once_is_sent_at_once_to_every_server() -> None:
    call, room_id, signed = scene()
    assert call.hand_over(call.bob, signed) == {"event_id": signed.event_id}
    call.world.settle()
    assert ended(call, room_id, signed) == ["hs1", "hs2"]


def test_with_a_time_out_it_is_sent_at_its_time_also_after_a_restart_of_its_holder() -> None:
    call, room_id, signed = scene()
    reply = call.hand_over(call.bob, signed, future_timeout=MINUTE_MS)
    assert sorted(reply) == ["cancel_token", "future_group_id", "refresh_token", "send_token"]
    call.world["hs2"].restart()
    call.world.advance(ms=MINUTE_MS - 1_000)
    assert ended(call, room_id, signed) == []
    call.world.advance(ms=2_000)
    assert ended(call, room_id, signed) == ["hs1", "hs2"]


@pytest.mark.parametrize(
    ("token", "after_half", "at_its_time"),
    [("send_token", True, True), ("cancel_token", False, False), ("refresh_token", False, False)],
)
def test_its_tokens_send_cancel_and_refresh_it(token: str, after_half: bool, at_its_time: bool) -> None:
    call, room_id, signed = scene()
    reply = call.hand_over(call.bob, signed, future_timeout=MINUTE_MS)
    call.world.advance(ms=MINUTE_MS / 2)
    assert call.act(call.bob, reply[token]) == 200
    call.world.settle()
    assert bool(ended(call, room_id, signed)) is after_half
    call.world.advance(ms=MINUTE_MS / 2 + 1_000)
    assert bool(ended(call, room_id, signed)) is at_its_time
    call.world.advance(ms=MINUTE_MS / 2)
    assert bool(ended(call, room_id, signed)) is (token != "cancel_token")
    assert call.act(call.bob, reply["send_token"]) == 410


@pytest.mark.parametrize("by_server", [False, True])
def test_the_senders_server_cannot_speak_for_a_client_that_signs(by_server: bool) -> None:
    """What the server made and signed by itself is not taken elsewhere; the twin is signed by the client."""
    call, room_id, signed = scene()
    if by_server:
        call.alice.set_state(room_id, CALL, {"call": "forged"}, call.alice.user_id)
    else:
        call.hand_over(call.alice, signed)
    call.world.settle()
    here, there = (call.of_alice(name, room_id) for name in ("hs1", "hs2"))
    assert (here == there) is not by_server


@pytest.mark.parametrize(("kept_ms", "says"), [
    (None, None),
    (MINUTE_MS, "This server has not made the event: ask it for one, and sign that."),
])  # fmt: skip
def test_the_remedy_lets_no_other_server_take_what_was_signed(kept_ms: int | None, says: str | None) -> None:
    call, room_id, signed = scene(kept_ms)
    body = {"pdus": [{"room_version": "12", "pdu": signed.pdu}]}
    answer = call.bob.request("POST", "/_matrix/client/v1/send_pdus/1", json=body)
    assert answer.json.get("error") == says
    call.world.settle()
    assert ended(call, room_id, signed) == ([] if says else ["hs1", "hs2"])


@pytest.mark.parametrize(("waits_ms", "status"), [(MINUTE_MS - 1_000, 200), (MINUTE_MS + 1_000, 400)])
def test_the_remedy_takes_what_this_server_made_for_as_long_as_it_remembers(
    waits_ms: int, status: int
) -> None:
    call, _, signed = scene(MINUTE_MS)
    call.world.advance(ms=waits_ms)
    body = {"pdus": [{"room_version": "12", "pdu": signed.pdu}]}
    assert call.alice.request("POST", "/_matrix/client/v1/send_pdus/1", json=body).status == status


def test_the_remedy_takes_nothing_that_was_changed() -> None:
    call, _, signed = scene(MINUTE_MS)
    body = {"pdus": [{"room_version": "12", "pdu": {**signed.pdu, "content": {"reason": "another"}}}]}
    assert call.alice.request("POST", "/_matrix/client/v1/send_pdus/1", json=body).status == 400


def test_a_users_id_is_a_key_or_it_is_not() -> None:
    key = ClientKey("somebody", "hs1")
    assert key_of(key.user_id) is not None
    for user_id in ("@alice:hs1", "@key=:hs1", "@key=abcd:hs1", "@key=zz:hs1"):
        assert key_of(user_id) is None
