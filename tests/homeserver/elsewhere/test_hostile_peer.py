"""A peer that sends what nobody should: each lie beside its true twin, and what the server has kept of it."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.event import Event
from minihs.events.hashes import content_hash, event_id_of
from minihs.events.ids import EventID, RoomID
from minihs.events.signatures import sign_pdu
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.gaps import EVENTS_PER_QUESTION, MAX_STATES
from minihs.federation.outliers import MAX_SINGLE_FETCHES
from minihs.store.events import Standing
from tests.homeserver.elsewhere.test_inbound_transactions import ALICE, MALLORY, meeting, standing
from tests.support.events import RoomBuilder, resign, signer_of
from tests.support.federated import FederatedServer, Wire
from tests.support.hostile_peer import HostilePeer


def counts(server: FederatedServer) -> dict[str, int]:
    """How many rows each table has to which other servers' requests could add."""
    tables = (
        "events",
        "event_edges",
        "inbound_pdus",
        "memberships",
        "distant_rooms",
        "rooms",
        "state_groups",
    )
    return {
        table: server.run(server.database.reader.one(f"SELECT COUNT(*) FROM {table}"))[0] for table in tables
    }


def error_of(server: FederatedServer, event: Event) -> str | None:
    found = server.receive("evil", event)[event.event_id].get("error")
    return None if found is None else str(found)


def signed(event: Event, **changes: Any) -> tuple[EventID, dict[str, Any]]:
    """A PDU like that of `event`, hashed and signed, that need not be one."""
    pdu = {key: value for key, value in {**event.pdu, **changes}.items() if key != "signatures"}
    pdu["hashes"] = {"sha256": content_hash(pdu)}
    pdu = sign_pdu(pdu, event.version, signer_of("evil"))
    return event_id_of(pdu, event.version), pdu


@pytest.mark.parametrize("version", ["3", "12"])
@pytest.mark.parametrize("number", [20, 21, 1_000_000])
def test_an_event_names_at_most_20_previous_events(version: str, number: int) -> None:
    server, peer, _ = meeting(version)
    known = peer.room.timeline[-1].event_id
    event_id, pdu = signed(peer.message(MALLORY), prev_events=[known] * number)
    before = counts(server)
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": [pdu]}
    [(answered_id, result)] = server.ask("evil", "PUT", "/_matrix/federation/v1/send/1", body=body)[
        "pdus"
    ].items()
    assert answered_id == event_id
    row = server.run(server.rooms.row(event_id))
    if number <= 20:
        assert result == {}
        assert row is not None
        return
    assert "more than 20" in result["error"]
    assert (row, peer.asked) == (None, [])
    assert counts(server) == before


@pytest.mark.parametrize("number", [20, 21])
def test_history_with_more_than_20_previous_events_is_not_taken_either(number: int) -> None:
    server, peer, _ = meeting()
    earlier = peer.message(MALLORY, "earlier")
    wide_id, wide = signed(peer.message(MALLORY, "wide"), prev_events=[earlier.event_id] * number)
    peer.lies["get_missing_events"] = lambda *_: {"events": [earlier.pdu, wide]}
    peer.refuse("state_ids", "state")
    latest = resign(peer.message(MALLORY), prev_events=[wide_id])
    error = error_of(server, latest)
    assert (error is None) is (number == 20)
    assert (server.run(server.rooms.row(wide_id)) is None) is (number == 21)


@pytest.mark.parametrize("endpoint", ["get_missing_events", "event_auth"])
def test_an_answer_that_goes_in_circles_is_given_up(endpoint: str) -> None:
    server, peer, _ = meeting()
    missing = peer.message(MALLORY, "missing")
    latest = peer.message(MALLORY, "latest")
    if endpoint == "event_auth":
        member = peer.room.member(MALLORY, MALLORY, "join", content={"displayname": "unknown"})
        latest = peer.room.make(MALLORY, "m.room.message", {}, auth_events=[member], prev_events=[missing])
    key = "events" if endpoint == "get_missing_events" else "auth_chain"
    peer.lies[endpoint] = lambda *_: {key: [latest.pdu] * 100}
    peer.refuse("state_ids", "state", "event")
    assert error_of(server, latest) is not None
    assert len(peer.asked) < 20
    peer.lies.clear()
    assert error_of(server, latest) is None


def test_a_loop_of_auth_events_cannot_be_told() -> None:
    """IDs are hashes: what claims to close a loop has another ID, and the loop stays open."""
    server, peer, _ = meeting()
    first = peer.room.member(MALLORY, MALLORY, "join", content={"displayname": "one"})
    second = peer.room.make(
        MALLORY, "m.room.member", {"membership": "join"}, MALLORY, auth_events=[first], prev_events=[first]
    )
    looped = resign(first, auth_events=[*first.auth_events, second.event_id])
    peer.lies["event_auth"] = lambda *_: {"auth_chain": [looped.pdu, second.pdu]}
    peer.lies["event"] = lambda *_: {"pdus": [looped.pdu]}
    peer.lies["get_missing_events"] = lambda *_: {"events": [looped.pdu, second.pdu]}
    peer.refuse("state_ids", "state")
    assert error_of(server, second) is not None
    assert standing(server, second) is None
    assert len(peer.asked) < 20


@pytest.mark.parametrize("foreign", [True, False])
def test_auth_events_of_another_room_give_no_rights(foreign: bool) -> None:
    server, peer, _ = meeting()
    other = HostilePeer("evil", server)
    other.enter(server.create(ALICE), MALLORY)
    event = peer.room.make(MALLORY, "m.room.message", {"body": "hello"})
    if foreign:
        theirs = other.room.state["m.room.member", MALLORY]
        peer.room.events.update(other.room.events)
        event = resign(event, auth_events=[*event.auth_events, theirs.event_id])
    error = error_of(server, event)
    assert (error is None) is not foreign
    assert standing(server, event) is (Standing.REJECTED if foreign else Standing.ACCEPTED)


def test_what_was_not_asked_for_is_neither_verified_nor_kept() -> None:
    """A peer that adds thousands of its own, well-signed events to an auth chain makes us keep none."""
    server, peer, _ = meeting()
    known = [peer.room.timeline[-1]]
    peer.room.join("@second:evil")
    message = peer.message("@second:evil", prev_events=known)
    junk = [peer.resign(message, content={"body": str(number)}, depth=5) for number in range(300)]
    honest = peer._event_auth
    peer.lies["event_auth"] = lambda *asked: {
        "auth_chain": [*honest(*asked)["auth_chain"], *(event.pdu for event in junk)]
    }
    server.keys.verified.clear()
    before = counts(server)["events"]
    server.receive("evil", message)
    assert counts(server)["events"] <= before + 2
    assert not {event.event_id for event in junk} & set(server.keys.verified)


def test_a_state_of_thousands_of_unknown_events_costs_a_bounded_number_of_questions() -> None:
    server, peer, room_id = meeting()
    edge = peer.message(MALLORY, "edge")
    made_up = [f"$made-up-{number}" for number in range(5_000)]
    peer.refuse("get_missing_events")
    peer.lies["state_ids"] = lambda *_: {"pdu_ids": made_up, "auth_chain_ids": made_up}
    peer.lies["state"] = lambda *_: {"pdus": [{"type": "junk"}] * 5_000, "auth_chain": []}
    latest = peer.room.make(MALLORY, "m.room.message", {}, prev_events=[edge])
    before, state = counts(server), server.state(room_id)
    assert error_of(server, latest) is not None
    assert (peer.asked.count("state_ids"), peer.asked.count("state")) == (1, 1)
    assert (counts(server), server.state(room_id)) == (before, state)
    few = made_up[: MAX_SINGLE_FETCHES - 1]
    peer.lies["state_ids"] = lambda *_: {"pdu_ids": few, "auth_chain_ids": few}
    peer.asked.clear()
    assert error_of(server, latest) is not None
    assert peer.asked.count("event") <= MAX_SINGLE_FETCHES + 1
    peer.lies.clear()
    assert error_of(server, latest) is None


def test_a_state_that_contradicts_itself_changes_nothing_that_the_room_has_decided() -> None:
    server, peer, room_id = meeting()
    topic = server.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "ours"})
    edge = peer.message(MALLORY, "edge")
    members = [peer.room.member(MALLORY, MALLORY, "join", content={"displayname": name}) for name in "abc"]
    honest = peer.room.state
    told = [event.event_id for event in (*honest.values(), *members, *members[::-1])]
    peer.refuse("get_missing_events")
    peer.lies["state_ids"] = lambda *_: {"pdu_ids": told, "auth_chain_ids": []}
    latest = peer.room.make(MALLORY, "m.room.message", {}, prev_events=[edge])
    server.receive("evil", latest)
    assert server.state(room_id)["m.room.topic", ""] == topic.event_id
    again = server.send(room_id, ALICE)
    assert standing(server, again) is Standing.ACCEPTED


def test_many_unknown_branches_are_not_all_asked_for() -> None:
    server, peer, _ = meeting()
    branches = [EventID(f"$branch-{number}") for number in range(20)]
    peer.lies["get_missing_events"] = lambda *_: {"events": []}
    latest = resign(peer.message(MALLORY), prev_events=branches)
    assert error_of(server, latest) is not None
    assert peer.asked.count("state_ids") <= max(MAX_STATES, len(branches))
    assert peer.asked.count("get_missing_events") <= len(EVENTS_PER_QUESTION)


def test_a_flood_of_unknown_rooms_leaves_nothing_behind() -> None:
    server, peer, _ = meeting()
    before = counts(server)
    pdus: list[Any] = [
        {**peer.room.make(MALLORY, "m.room.message", {}).pdu, "room_id": f"!room{number}:evil"}
        for number in range(50)
    ]
    for number in range(20):
        body = {"origin": "evil", "origin_server_ts": 1, "pdus": pdus}
        reply = server.ask("evil", "PUT", f"/_matrix/federation/v1/send/flood{number}", body=body)
        assert all("not in the room" in result["error"] for result in reply["pdus"].values())
    assert counts(server) == before
    good = peer.message(MALLORY)
    assert error_of(server, good) is None


@pytest.mark.parametrize("depth", [0, 1, 2**53 - 1])
def test_a_depth_that_lies_decides_nothing(depth: int) -> None:
    server, peer, room_id = meeting()
    event = resign(peer.message(MALLORY), depth=depth)
    assert error_of(server, event) is None
    ours = server.send(room_id, ALICE)
    assert ours.prev_events == (event.event_id,)
    assert standing(server, ours) is Standing.ACCEPTED


@pytest.mark.parametrize("version", ["3", "11", "12"])
@pytest.mark.parametrize("how", ["alone", "beside a good one", "not at all"])
def test_a_previous_event_of_another_room_does_not_bring_that_rooms_state(version: str, how: str) -> None:
    server, peer, room_id = meeting(version)
    elsewhere = HostilePeer("evil", server)
    elsewhere.enter(server.create(ALICE, version), MALLORY)
    event = peer.message(MALLORY)
    theirs = elsewhere.room.timeline[-1].event_id
    prevs = {"alone": [theirs], "beside a good one": [theirs, *event.prev_events]}.get(how, event.prev_events)
    event = resign(event, prev_events=prevs)
    peer.room.events[event.event_id] = event
    before, state = counts(server), server.state(room_id)
    error = error_of(server, event)
    if how == "not at all":
        assert error is None
        return
    assert error is not None
    assert "could not be fetched" in error
    assert standing(server, event) is None
    assert (counts(server), server.state(room_id)) == (before, state)


def founder(version: str) -> tuple[FederatedServer, HostilePeer, RoomID]:
    """A room of `evil` that Alice of hs1 has joined: here evil's own create events pass the rules."""
    wire = Wire()
    evil = FederatedServer("evil", wire)
    room_id = evil.create(MALLORY, version)
    server = FederatedServer("hs1", wire)
    server.join(ALICE, room_id, "evil")
    peer = HostilePeer("evil", server)
    peer.room = RoomBuilder(ROOM_VERSIONS[version])
    peer.room.room_id = room_id
    for event_id in server.state(room_id).values():
        row = server.run(server.rooms.row(EventID(event_id)))
        assert row is not None
        peer.room.add(row.event)
    peer.room.timeline.sort(key=lambda event: event.depth)
    return server, peer, room_id


@pytest.mark.parametrize("version", ["3", "10", "11"])
@pytest.mark.parametrize("state_key", ["", "second", None])
def test_a_second_create_event_does_not_begin_the_room_anew(version: str, state_key: str | None) -> None:
    server, peer, room_id = founder(version)
    first = peer.room.state["m.room.create", ""]
    second = resign(first, state_key=state_key, content={**first.content, "m.federate": False})
    state = server.state(room_id)
    error = error_of(server, second)
    assert error is not None
    assert "has its create event" in error
    assert standing(server, second) is None
    assert server.state(room_id) == state
    assert error_of(server, peer.message(MALLORY)) is None


@pytest.mark.parametrize("same", [True, False])
def test_a_state_with_another_create_event_is_that_of_another_room(same: bool) -> None:
    server, peer, room_id = founder("11")
    first = peer.room.state["m.room.create", ""]
    told = dict(peer.room.state)
    if not same:
        told["m.room.create", ""] = resign(first, content={**first.content, "m.federate": False})
        peer.room.events[told["m.room.create", ""].event_id] = told["m.room.create", ""]
    edge = peer.message(MALLORY, "edge")
    peer.states[edge.event_id] = told
    peer.refuse("get_missing_events")
    state = server.state(room_id)
    latest = peer.room.make(MALLORY, "m.room.message", {}, state=told, prev_events=[edge])
    assert (error_of(server, latest) is None) is same
    assert server.state(room_id) == state
    assert standing(server, latest) is (Standing.ACCEPTED if same else None)
