"""Judging events by their auth events alone."""

from __future__ import annotations

import random

import pytest

from minihs.events.event import Event
from minihs.events.versions import ROOM_VERSIONS
from minihs.rooms.outliers import JudgedOutliers, judge_outliers
from tests.support.events import RoomBuilder

ALICE, BOB = "@alice:hs1", "@bob:hs2"


def judge(*events: Event, known: tuple[Event, ...] = (), refused: tuple[Event, ...] = ()) -> JudgedOutliers:
    return judge_outliers(
        events,
        known={event.event_id: event for event in (*known, *refused)},
        known_refused={event.event_id for event in refused},
    )


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_whole_room_is_allowed_whatever_the_order(version: str) -> None:
    room = RoomBuilder.create(ALICE, version=version)
    room.join(BOB)
    room.message(BOB)
    events = list(room.timeline)
    random.Random(7).shuffle(events)
    judged = judge(*events)
    assert {event.event_id for event in judged.allowed} == set(room.events)
    assert (judged.refused, judged.undecided) == ((), ())
    seen: set[str] = set()
    for event in judged.allowed:
        assert seen.issuperset(event.auth_events)
        seen.add(event.event_id)


@pytest.mark.parametrize("version", ["11", "12"])
def test_what_builds_on_a_refused_event_is_refused_with_it(version: str) -> None:
    room = RoomBuilder.create(ALICE, version=version, join_rule="invite")
    join = room.join(BOB)
    message = room.message(BOB)
    judged = judge(*room.timeline)
    assert [(event, reason.partition(":")[0]) for event, reason in judged.refused] == [
        (join, "v12 5.3.7"),
        (message, "v12 3.3"),
    ]
    assert join not in judged.allowed


def test_an_event_without_its_auth_events_cannot_be_decided() -> None:
    room = RoomBuilder.create(ALICE)
    join = room.join(BOB)
    message = room.message(BOB)
    before = tuple(event for event in room.timeline if event not in (join, message))
    assert judge(message, known=before).undecided == (message,)
    assert judge(message, join, known=before).allowed == (join, message)


def test_the_create_event_that_a_room_id_implies_must_be_there_and_good() -> None:
    room = RoomBuilder.create(ALICE, version="12")
    create, join = room.timeline[:2]
    assert judge(join).undecided == (join,)
    [(refused, reason)] = judge(join, refused=(create,)).refused
    assert (refused, reason.partition(":")[0]) == (join, "v12 2")
    assert judge(join, known=(create,)).allowed == (join,)
