"""Transactions from other servers: what becomes of each PDU, and what is answered."""

from __future__ import annotations

import pytest

from minihs.events.event import Event
from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.client import RemoteRefusal
from minihs.store.events import Standing
from tests.support.events import resign
from tests.support.federated import FederatedServer, Wire
from tests.support.hostile_peer import HostilePeer

ALICE, MALLORY = "@alice:hs1", "@mallory:evil"


def meeting(version: str = "12") -> tuple[FederatedServer, HostilePeer, RoomID]:
    """A room of hs1 that Mallory of `evil` has joined."""
    server = FederatedServer("hs1", Wire())
    room_id = server.create(ALICE, version)
    peer = HostilePeer("evil", server)
    peer.enter(room_id, MALLORY)
    return server, peer, room_id


def standing(server: FederatedServer, event: Event) -> Standing | None:
    row = server.run(server.rooms.row(event.event_id))
    return None if row is None else row.standing


def announced(server: FederatedServer) -> list[str]:
    return [committed.event.event_id for committed in server.observer.committed]


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_good_event_becomes_part_of_the_room(version: str) -> None:
    server, peer, room_id = meeting(version)
    event = peer.message(MALLORY)
    assert server.receive("evil", event) == {event.event_id: {}}
    assert standing(server, event) is Standing.ACCEPTED
    assert server.run(server.rooms.extremities(room_id)) == (event.event_id,)
    assert announced(server)[-1] == event.event_id


def test_an_event_that_is_known_is_answered_without_being_looked_at_again() -> None:
    server, peer, _ = meeting()
    event = peer.message(MALLORY)
    server.receive("evil", event)
    before = announced(server)
    assert server.receive("evil", event, event) == {event.event_id: {}}
    assert announced(server) == before


def test_events_of_one_transaction_are_judged_in_their_order() -> None:
    server, peer, room_id = meeting()
    join = peer.room.join("@second:evil")
    message = peer.message("@second:evil")
    assert server.receive("evil", join, message) == {join.event_id: {}, message.event_id: {}}
    assert server.run(server.rooms.extremities(room_id)) == (message.event_id,)


def test_an_event_of_an_unknown_room_is_answered_with_an_error_and_stored_nowhere() -> None:
    server, peer, _ = meeting()
    elsewhere = FederatedServer("hs3", Wire())
    other_room = elsewhere.create("@zoe:hs3", "12")
    event = elsewhere.send(other_room, "@zoe:hs3")
    known = peer.message(MALLORY)
    results = server.receive("evil", event, known)
    assert "not in the room" in results[event.event_id]["error"]
    assert results[known.event_id] == {}
    assert standing(server, event) is None


def test_an_event_with_a_bad_signature_is_dropped_and_the_same_one_well_signed_is_taken() -> None:
    server, peer, _ = meeting()
    good = peer.message(MALLORY)
    signature = good.pdu["signatures"]["evil"]["ed25519:1"]
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    bad = {**good.pdu, "signatures": {"evil": {"ed25519:1": flipped}}}
    assert "signature by evil" in server.receive("evil", bad)[good.event_id]["error"]
    assert standing(server, good) is None
    assert server.receive("evil", good) == {good.event_id: {}}


def test_an_event_whose_keys_cannot_be_had_is_dropped_and_taken_once_they_can() -> None:
    server, peer, _ = meeting()
    event = peer.message(MALLORY)
    server.keys.unknown.add("evil")
    assert "no usable key of evil" in server.receive("evil", event)[event.event_id]["error"]
    assert standing(server, event) is None
    server.keys.unknown.clear()
    assert server.receive("evil", event) == {event.event_id: {}}


def test_an_event_with_a_wrong_content_hash_is_redacted_and_kept() -> None:
    server, peer, _ = meeting()
    event = peer.message(MALLORY, "what was signed")
    changed = {**event.pdu, "content": {"msgtype": "m.text", "body": "something else"}}
    assert server.receive("evil", changed) == {event.event_id: {}}
    row = server.run(server.rooms.row(event.event_id))
    assert row.standing is Standing.ACCEPTED
    assert row.event.content == {}


def test_an_event_that_the_rules_refuse_is_kept_as_rejected_and_the_answer_names_the_rule() -> None:
    server, peer, room_id = meeting()
    state_before = server.state(room_id)
    refused = peer.room.make(MALLORY, "m.room.topic", {"topic": "mine"}, "")
    error = server.receive("evil", refused)[refused.event_id]["error"]
    assert error.startswith("v12 8:")
    assert standing(server, refused) is Standing.REJECTED
    assert server.state(room_id) == state_before
    assert refused.event_id not in announced(server)
    assert server.run(server.rooms.extremities(room_id)) != (refused.event_id,)
    allowed = peer.room.make(MALLORY, "m.room.message", {"topic": "mine"})
    assert server.receive("evil", allowed) == {allowed.event_id: {}}


def test_what_follows_a_rejected_event_is_judged_without_it() -> None:
    server, peer, room_id = meeting()
    rejected = peer.room.make(MALLORY, "m.room.topic", {"topic": "mine"}, "")
    peer.room.events[rejected.event_id] = rejected
    following = peer.room.make(MALLORY, "m.room.message", {"body": "on top"}, prev_events=[rejected])
    results = server.receive("evil", rejected, following)
    assert "error" in results[rejected.event_id]
    assert results[following.event_id] == {}
    assert ("m.room.topic", "") not in server.state(room_id)
    assert server.run(server.rooms.extremities(room_id)) == (following.event_id,)


def test_an_event_that_cites_a_rejected_one_is_rejected() -> None:
    server, peer, _ = meeting()
    rejected = peer.room.make(MALLORY, "m.room.power_levels", {"users": {MALLORY: 100}}, "")
    server.receive("evil", rejected)
    member = peer.room.state["m.room.member", MALLORY]
    citing = peer.room.make(MALLORY, "m.room.message", {}, auth_events=[rejected, member])
    assert server.receive("evil", citing)[citing.event_id]["error"].startswith("v12 3.3:")
    true = peer.room.make(MALLORY, "m.room.message", {})
    assert server.receive("evil", true) == {true.event_id: {}}


def test_a_banned_user_who_builds_on_the_past_is_soft_failed() -> None:
    server, peer, room_id = meeting()
    ban = server.send(room_id, ALICE, "m.room.member", state_key=MALLORY, content={"membership": "ban"})
    evading = peer.message(MALLORY)
    assert server.receive("evil", evading) == {evading.event_id: {}}
    assert standing(server, evading) is Standing.SOFT_FAILED
    assert evading.event_id not in announced(server)
    assert server.run(server.rooms.extremities(room_id)) == (ban.event_id,)


def test_one_bad_pdu_does_not_touch_the_rest() -> None:
    server, peer, _ = meeting()
    first, second = peer.message(MALLORY, "first"), peer.message(MALLORY, "second")
    odd = {"room_id": peer.room.room_id, "type": 7}
    results = server.receive("evil", "nothing", 7, [], {}, first, odd, {"room_id": "nowhere"}, second)  # type: ignore[arg-type]
    assert results == {first.event_id: {}, second.event_id: {}}


def test_an_event_of_another_room_that_claims_this_one_is_dropped() -> None:
    server, peer, _ = meeting()
    event = peer.message(MALLORY)
    other = server.create("@alice:hs1", "12")
    moved = resign(event, room_id=other)
    results = server.receive("evil", moved)
    assert "error" in results[moved.event_id]
    assert standing(server, moved) in (None, Standing.REJECTED)


def test_a_server_that_the_access_control_list_keeps_out_is_ignored_until_it_is_let_in() -> None:
    server, peer, room_id = meeting()

    def acl(*denied: str) -> None:
        server.send(
            room_id, ALICE, "m.room.server_acl", state_key="", content={"allow": ["*"], "deny": list(denied)}
        )

    acl("evil")
    event = peer.message(MALLORY)
    assert "access control list" in server.receive("evil", event)[event.event_id]["error"]
    assert standing(server, event) is None
    acl("other")
    assert server.receive("evil", event) == {event.event_id: {}}


@pytest.mark.parametrize("redacted", [True, False])
def test_a_redacted_access_control_list_allows_nobody(redacted: bool) -> None:
    server, peer, room_id = meeting()
    acl = server.send(
        room_id, ALICE, "m.room.server_acl", state_key="", content={"allow": ["*"], "deny": ["other"]}
    )
    first = peer.message(MALLORY)
    assert server.receive("evil", first) == {first.event_id: {}}
    if redacted:
        server.send(room_id, ALICE, "m.room.redaction", content={}, redacts=acl.event_id)
    second = peer.message(MALLORY)
    assert ("error" in server.receive("evil", second)[second.event_id]) == redacted


def test_the_reply_to_a_repeated_transaction_is_the_same_also_after_a_restart() -> None:
    server, peer, _ = meeting()
    good = peer.message(MALLORY)
    refused = peer.room.make(MALLORY, "m.room.topic", {"topic": "mine"}, "")
    reply = server.receive("evil", good, refused, txn_id="once")
    seen = list(server.keys.verified)
    assert server.receive("evil", good, refused, txn_id="once") == reply
    server.open()
    assert server.receive("evil", good, refused, txn_id="once") == reply
    assert server.keys.verified == seen


def test_transactions_of_different_servers_with_the_same_id_are_different() -> None:
    server, peer, _ = meeting()
    server.receive("evil", txn_id="once")
    event = peer.message(MALLORY)
    assert server.receive("hs9", event, txn_id="once") == {event.event_id: {}}


def test_a_transaction_holds_at_most_50_pdus_and_100_edus() -> None:
    server, peer, room_id = meeting()
    events = [peer.message(MALLORY, str(number)) for number in range(51)]
    with pytest.raises(RemoteRefusal) as refusal:
        server.receive("evil", *events)
    assert (refusal.value.status, refusal.value.errcode) == (400, "M_BAD_JSON")
    assert server.receive("evil", *events[:50]) == {event.event_id: {} for event in events[:50]}
    assert server.run(server.rooms.extremities(room_id)) == (events[49].event_id,)
    path = "/_matrix/federation/v1/send/edus"
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": [], "edus": [{}] * 101}
    with pytest.raises(RemoteRefusal):
        server.ask("evil", "PUT", path, body=body)
    assert server.ask("evil", "PUT", path, body={**body, "edus": [{}] * 100}) == {"pdus": {}}


def test_a_transaction_in_the_name_of_another_server_is_refused() -> None:
    server, _, _ = meeting()
    body = {"origin": "hs1", "origin_server_ts": 1, "pdus": []}
    with pytest.raises(RemoteRefusal) as refusal:
        server.ask("evil", "PUT", "/_matrix/federation/v1/send/1", body=body)
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


def test_edus_are_handed_on_unless_the_room_keeps_the_server_out() -> None:
    server, _, room_id = meeting()
    kept_out = server.create(
        ALICE,
        extra=[{"type": "m.room.server_acl", "state_key": "", "content": {"allow": ["hs1"]}}],
    )

    def typing(room: str) -> dict[str, object]:
        return {"edu_type": "m.typing", "content": {"room_id": room, "user_id": MALLORY, "typing": True}}

    receipts = {room_id: {"m.read": {}}, kept_out: {"m.read": {}}, "!unknown:hs7": {"m.read": {}}}
    edus = [
        typing(room_id),
        typing(kept_out),
        7,
        {"edu_type": "m.typing", "content": 7},
        {"edu_type": "m.presence", "content": {}},
        {"edu_type": "m.receipt", "content": receipts},
        {"edu_type": "m.receipt", "content": {kept_out: {}}},
    ]
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": [], "edus": edus}
    server.ask("evil", "PUT", "/_matrix/federation/v1/send/1", body=body)
    assert server.edus == [
        ("m.typing", "evil", typing(room_id)["content"]),
        ("m.receipt", "evil", {room_id: {"m.read": {}}}),
    ]
