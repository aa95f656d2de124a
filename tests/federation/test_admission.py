"""Checks 1 to 3 on PDUs: what is dropped, what is redacted, what passes."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.event import Event
from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.admission import INLINE_PDUS, Admission, Dropped
from minihs.platform.workers import InlineWorkers
from tests.support.deferreds import finish, start
from tests.support.events import RoomBuilder
from tests.support.federated import TestKeys

ALICE, BOB = "@alice:hs1", "@bob:hs2"


class CountingWorkers(InlineWorkers):
    def __init__(self) -> None:
        self.runs = 0

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        self.runs += 1
        return super().run(work, *args, **kwargs)


def admit(room: RoomBuilder, pdu: object, keys: TestKeys | None = None) -> Event:
    from minihs.platform.clock import VirtualClock

    admission = Admission(keys or TestKeys(), InlineWorkers())
    return finish(VirtualClock(), start(admission.admit(pdu, room.version, room.room_id)))


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_genuine_event_passes_unchanged(version: str) -> None:
    room = RoomBuilder.create(ALICE, version=version)
    for event in room.timeline:
        assert admit(room, event.pdu) == event


def test_a_wrong_content_hash_leaves_the_redacted_event() -> None:
    room = RoomBuilder.create(ALICE)
    event = room.make(ALICE, "m.room.message", {"body": "true"})
    kept = admit(room, {**event.pdu, "content": {"body": "false"}})
    assert (kept.event_id, kept.content) == (event.event_id, {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"signatures": {}}, "no signature by hs1"),
        ({"signatures": {"hs1": {"ed25519:1": "AAAA"}}}, "wrong"),
        ({"sender": BOB}, "no signature by hs2"),
        ({"depth": "deep"}, "depth"),
        ({"room_id": "!elsewhere:hs1"}, "belongs to"),
        ({"prev_events": ["$x"] * 21}, "prev_events"),
        ({"content": {"number": 1.5}}, "fraction"),
    ],
)
def test_what_is_not_genuine_is_dropped_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    room = RoomBuilder.create(ALICE)
    event = room.make(ALICE, "m.room.message", {"body": "hello"})
    with pytest.raises(Dropped, match=reason):
        admit(room, {**event.pdu, **changes})
    admit(room, event.pdu)


@pytest.mark.parametrize("pdu", [None, 7, "text", [], True])
def test_what_is_no_object_is_dropped(pdu: object) -> None:
    with pytest.raises(Dropped, match="must be a JSON object"):
        admit(RoomBuilder.create(ALICE), pdu)


def test_without_keys_nothing_can_be_told() -> None:
    room = RoomBuilder.create(ALICE)
    keys = TestKeys()
    keys.unknown.add("hs1")
    with pytest.raises(Dropped, match="no usable key of hs1"):
        admit(room, room.timeline[0].pdu, keys)


@pytest.mark.parametrize("count", [3, INLINE_PDUS + 1, 250])
def test_many_events_are_admitted_in_their_order_with_an_id_for_each_pdu(count: int) -> None:
    from minihs.platform.clock import VirtualClock

    room = RoomBuilder.create(ALICE)
    events = [room.message(ALICE, str(number)) for number in range(count)]
    forged = {**events[1].pdu, "signatures": {}}
    pdus: list[object] = [*(event.pdu for event in events), "junk", events[0].pdu]
    pdus[1] = forged
    workers = CountingWorkers()
    admission = Admission(TestKeys(), workers)
    admitted = finish(VirtualClock(), start(admission.admit_all(pdus, room.version, room.room_id)))
    assert list(admitted.events) == [events[0].event_id, *(event.event_id for event in events[2:])]
    assert len(admitted.dropped) == 2
    assert admitted.ids == (*(event.event_id for event in events), None, events[0].event_id)
    assert (workers.runs > 0) == (count + 2 > INLINE_PDUS)


def test_nothing_of_another_room_is_admitted() -> None:
    room, other = RoomBuilder.create(ALICE), RoomBuilder.create(ALICE, content={"other": 1})
    with pytest.raises(Dropped, match="belongs to"):
        admit(room, other.timeline[0].pdu)
    assert other.room_id != RoomID(room.room_id)
