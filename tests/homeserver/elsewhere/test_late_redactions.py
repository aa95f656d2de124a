"""Redactions that come before their target, with it, or only with history: what is shown of the target."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.event import Event
from minihs.events.ids import EventID
from tests.homeserver.elsewhere.test_inbound_transactions import ALICE, MALLORY, meeting
from tests.support.events import RoomBuilder
from tests.support.federated import FederatedServer, Wire
from tests.support.hostile_peer import HostilePeer


def redaction_of(target: Event, room: RoomBuilder, sender: str, **options: Any) -> Event:
    """A redaction as the room's version writes it."""
    if room.version.redacts_in_content:
        return room.make(sender, "m.room.redaction", {"redacts": target.event_id}, **options)
    return room.make(sender, "m.room.redaction", {}, redacts=target.event_id, **options)


def content(server: FederatedServer, event_id: str) -> Any:
    row = server.run(server.rooms.row(EventID(event_id)))
    return row.event.content


def side_by_side(peer: HostilePeer, redacting: str, sender: str = MALLORY) -> tuple[Event, Event]:
    """A message and its redaction, neither of which follows the other: they may come in either order."""
    fork = peer.room.timeline[-1:]
    target = peer.room.make(sender, "m.room.message", {"body": "secret"}, prev_events=fork)
    peer.room.events[target.event_id] = target
    return target, redaction_of(target, peer.room, redacting, prev_events=fork)


@pytest.mark.parametrize("version", ["3", "10", "11", "12"])
@pytest.mark.parametrize("first", ["target", "redaction"])
@pytest.mark.parametrize("together", [True, False])
def test_a_redaction_applies_in_whichever_order_the_two_events_come(
    version: str, first: str, together: bool
) -> None:
    server, peer, _ = meeting(version)
    target, redaction = side_by_side(peer, MALLORY)
    ordered = (target, redaction) if first == "target" else (redaction, target)
    for events in [ordered] if together else [(event,) for event in ordered]:
        assert all(result == {} for result in server.receive("evil", *events).values())
    for _ in range(2):
        assert content(server, target.event_id) == {}
        server.open()
    if first == "redaction":
        [shown] = [one for one in server.observer.committed if one.event.event_id == target.event_id]
        assert (shown.event.content, shown.row.redacted_by) == ({}, redaction.event_id)


def test_a_redaction_that_comes_first_needs_the_right_for_it_as_well() -> None:
    """Mallory has no power; Zoe's messages are of another server."""
    server, peer, room_id = meeting("11")
    other = HostilePeer("hs7", server)
    other.enter(room_id, "@zoe:hs7")
    target = other.message("@zoe:hs7", "secret")
    redaction = redaction_of(target, peer.room, MALLORY)
    assert server.receive("evil", redaction) == {redaction.event_id: {}}
    server.receive("hs7", target)
    assert content(server, target.event_id)["body"] == "secret"


@pytest.mark.parametrize("in_time", [True, False])
def test_what_counts_is_the_power_that_the_redactor_had_then(in_time: bool) -> None:
    """By the state before the redaction: not by that before the target, which may come much later."""
    server, peer, room_id = meeting("11")
    other = HostilePeer("hs7", server)
    other.enter(room_id, "@zoe:hs7")
    target = other.message("@zoe:hs7", "secret")
    levels = {"users": {ALICE: 100, MALLORY: 50}}
    levels_event = server.send(room_id, ALICE, "m.room.power_levels", state_key="", content=levels)
    before = dict(peer.room.state)
    peer.room.events[levels_event.event_id] = levels_event
    peer.room.state["m.room.power_levels", ""] = levels_event
    tip = [levels_event] if in_time else peer.room.timeline[-1:]
    redaction = redaction_of(
        target, peer.room, MALLORY, prev_events=tip, state=peer.room.state if in_time else before
    )
    assert server.receive("evil", redaction) == {redaction.event_id: {}}
    server.receive("hs7", target)
    assert (content(server, target.event_id) == {}) is in_time


def forgetful(asked: FederatedServer, original: Event) -> Any:
    """Answers as `asked` does, but with an event as it was before it was redacted."""

    async def answer(method: str, path: str, args: Any, body: Any) -> Any:
        answered = await asked.answer(method, path, args, body)
        for place, pdu in enumerate(answered.get("pdus", ())):
            if pdu.get("hashes") == original.pdu["hashes"]:
                answered["pdus"][place] = dict(original.pdu)
        return answered

    return answer


@pytest.mark.parametrize("redacted", ["before the join", "after the join", "never"])
def test_history_comes_in_redacted_form_whatever_the_server_that_is_asked_has_kept(redacted: str) -> None:
    wire = Wire()
    hs1, hs2 = FederatedServer("hs1", wire), FederatedServer("hs2", wire)
    room_id = hs1.create(ALICE)
    original = hs1.send(room_id, ALICE, content={"body": "secret"})
    if redacted == "before the join":
        hs1.send(room_id, ALICE, "m.room.redaction", content={}, redacts=original.event_id)
    hs2.join("@bob:hs2", room_id, "hs1")
    if redacted == "after the join":
        redaction = hs1.send(room_id, ALICE, "m.room.redaction", content={}, redacts=original.event_id)
        assert hs2.receive("hs1", redaction) == {redaction.event_id: {}}
    wire.peers["hs1"] = forgetful(hs1, original)
    assert hs2.run(hs2.federation.backfill.before(room_id)) is True
    for _ in range(2):
        assert content(hs2, original.event_id) == ({"body": "secret"} if redacted == "never" else {})
        hs2.open()
    assert content(hs1, original.event_id) == content(hs2, original.event_id)


@pytest.mark.parametrize("redacted", [True, False])
def test_state_that_is_fetched_after_its_redaction_is_redacted(redacted: bool) -> None:
    """A topic that hs1 hears of only as part of the state at a gap."""
    server, peer, _ = meeting("11")
    server.send(
        peer.room.room_id,
        ALICE,
        "m.room.power_levels",
        state_key="",
        content={"users": {ALICE: 100}, "state_default": 0},
    )
    levels = server.run(server.rooms.state_event(peer.room.room_id, "m.room.power_levels"))
    peer.room.add(levels)
    fork = peer.room.timeline[-1:]
    topic = peer.room.state_event(MALLORY, "m.room.topic", "", {"topic": "secret"}, prev_events=fork)
    if redacted:
        redaction = redaction_of(topic, peer.room, MALLORY, prev_events=fork)
        assert server.receive("evil", redaction) == {redaction.event_id: {}}
    edge = peer.message(MALLORY, "edge")
    peer.refuse("get_missing_events")
    latest = peer.room.make(MALLORY, "m.room.message", {}, prev_events=[edge])
    assert server.receive("evil", latest) == {latest.event_id: {}}
    assert content(server, topic.event_id) == ({} if redacted else {"topic": "secret"})
