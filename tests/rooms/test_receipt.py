"""The checks on receipt of a PDU: each with its verdict, and the order in which they speak."""

from __future__ import annotations

import pytest

from minihs.events.event import Event
from minihs.rooms.dag import MissingEvents
from minihs.rooms.power import CREATE
from minihs.rooms.receipt import (
    Accept,
    CitedEvents,
    Reject,
    SoftFail,
    check_citations,
    check_rights,
)
from tests.support.events import RoomBuilder

ALICE, BOB = "@alice:hs1", "@bob:hs2"
both_versions = pytest.mark.parametrize("version", ["11", "12"])


def room_of(version: str) -> RoomBuilder:
    room = RoomBuilder.create(ALICE, version=version)
    room.join(BOB)
    return room


def cited_in(room: RoomBuilder, *rejected: Event) -> CitedEvents:
    create = room.state[CREATE] if room.version.room_id_is_create_hash else None
    return CitedEvents(
        events=room.events, rejected=frozenset(event.event_id for event in rejected), create=create
    )


def hello(room: RoomBuilder) -> Event:
    return room.make(BOB, "m.room.message", {"body": "hello"})


@both_versions
class TestRights:
    def test_an_event_that_was_and_is_allowed_is_accepted(self, version: str) -> None:
        room = room_of(version)
        assert check_rights(hello(room), cited_in(room), room.state, room.state) == Accept()

    def test_an_event_that_its_auth_events_do_not_allow_is_rejected(self, version: str) -> None:
        room = room_of(version)
        stranger = room.make("@eve:hs3", "m.room.message", {})
        verdict = check_rights(stranger, cited_in(room), room.state, room.state)
        assert verdict == Reject("v12 6", "check 4, its auth events: the sender is not joined to the room")

    def test_an_event_that_cites_a_rejected_event_is_rejected(self, version: str) -> None:
        room = room_of(version)
        membership = room.state["m.room.member", BOB]
        verdict = check_rights(hello(room), cited_in(room, membership), room.state, room.state)
        assert isinstance(verdict, Reject)
        assert verdict.rule == "v12 3.3"
        assert verdict.reason.startswith("check 4, its auth events: ")

    def test_an_event_that_the_state_before_it_does_not_allow_is_rejected(self, version: str) -> None:
        room = room_of(version)
        event = hello(room)
        room.member(ALICE, BOB, "ban")
        verdict = check_rights(event, cited_in(room), room.state, room.state)
        assert verdict == Reject(
            "v12 6", "check 5, the state before it: the sender is not joined to the room"
        )

    def test_an_event_that_only_the_current_state_does_not_allow_soft_fails(self, version: str) -> None:
        room = room_of(version)
        event, before = hello(room), dict(room.state)
        room.member(ALICE, BOB, "ban")
        verdict = check_rights(event, cited_in(room), before, room.state)
        assert verdict == SoftFail(
            "v12 6", "check 6, the current state: the sender is not joined to the room"
        )

    def test_history_is_not_held_against_the_current_state(self, version: str) -> None:
        room = room_of(version)
        event, before = hello(room), dict(room.state)
        room.member(ALICE, BOB, "ban")
        assert check_rights(event, cited_in(room), before, None) == Accept()

    def test_an_outlier_is_judged_by_its_auth_events_alone(self, version: str) -> None:
        room = room_of(version)
        event = hello(room)
        room.member(ALICE, BOB, "ban")
        assert check_citations(event, cited_in(room)) == Accept()
        assert isinstance(check_citations(event, cited_in(room, room.events[event.auth_events[-1]])), Reject)

    def test_no_verdict_is_given_while_a_cited_event_is_missing(self, version: str) -> None:
        room = room_of(version)
        event = hello(room)
        missing = room.state["m.room.member", BOB].event_id
        known = {event_id: other for event_id, other in room.events.items() if event_id != missing}
        with pytest.raises(MissingEvents) as caught:
            check_citations(event, CitedEvents(events=known, create=room.state[CREATE]))
        assert caught.value.ids == (missing,)


def test_an_event_of_version_12_without_an_accepted_create_event_is_rejected() -> None:
    room = room_of("12")
    verdict = check_citations(hello(room), CitedEvents(events=room.events, create=None))
    assert isinstance(verdict, Reject)
    assert verdict.rule == "v12 2"
