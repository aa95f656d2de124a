"""MSC3277 as server code: what is put into the graph early stays hidden until its time."""

from __future__ import annotations

import pytest

from minihs.lab.experiments import put_off as ways
from minihs.lab.experiments.put_off import ASIDE, EARLY, FOLLOWED, FUTURES, WAYS, Way, cancel, put_off
from minihs.lab.experiments.scheduled_fates import DELAY_MS, Scene, echo, scene, state_event
from minihs.lab.experiments.scheduled_upkeep import Upkeep, kept_up
from minihs.lab.people import Client
from minihs.lab.report import Report
from minihs.lab.views import view_of

REPORT = Report(name="", question="", seed=1)
"""Experiments write down here what they saw."""
IN_GRAPH = pytest.mark.parametrize("way", ways.IN_GRAPH, ids=lambda way: way.title)


def waiting(way: Way) -> tuple[Scene, str]:
    """Alice has put her event off, and Carol has spoken since."""
    here = scene("3277", way)
    held = here.world.run(put_off(here.alice, way, here.plan()))
    here.carol.send(here.room_id, "meanwhile")
    here.world.settle()
    return here, str(held)


def timeline(person: Client, room_id: str) -> list[str]:
    """The types in the next /sync."""
    events = (
        person.sync().get("rooms", {}).get("join", {}).get(room_id, {}).get("timeline", {}).get("events", [])
    )
    return [event["type"] for event in events]


@IN_GRAPH
def test_servers_that_know_it_say_so_in_their_versions_and_others_do_not(way: Way) -> None:
    def says(way: Way) -> bool:
        versions = scene("versions", way).alice.get("/_matrix/client/versions")
        return bool(versions["unstable_features"].get("org.matrix.msc3277", False))

    assert says(way)
    assert not says(FUTURES)


@IN_GRAPH
def test_it_is_in_the_graph_at_once_and_shown_at_its_time_with_that_time_and_a_mark(way: Way) -> None:
    here, event_id = waiting(way)
    due_ms = here.alice.server.clock.wall_ms() + DELAY_MS
    for person in (here.carol, here.bob):
        assert "org.example.late" not in timeline(person, here.room_id)
        assert not here.shown(person, event_id)
    assert "org.example.late" in timeline(here.alice, here.room_id)
    view = view_of(here.world["hs1"], here.room_id)
    assert view is not None
    assert view.standing(event_id) == "soft-failed"
    here.world.advance(ms=DELAY_MS)
    for person in (here.alice, here.carol, here.bob):
        assert "org.example.late" in timeline(person, here.room_id)
        assert here.shown(person, event_id)
    (shown,) = [event for event in here.bob.messages(here.room_id) if event["event_id"] == event_id]
    assert abs(shown["origin_server_ts"] - due_ms) < 1_000
    row = view_of(here.world["hs2"], here.room_id).row(event_id)  # type: ignore[union-attr]
    assert row is not None
    assert row.event.pdu["scheduled"] is True


@IN_GRAPH
def test_who_slept_while_it_waited_is_shown_it_once(way: Way) -> None:
    """Its echo and its showing have two places in the room's order; only the sender, and only meanwhile, is
    to see the first."""
    here = scene("slept", way)
    people = (here.alice, here.carol, here.bob)
    for person in people:
        person.sync()
    here.world.run(put_off(here.alice, way, here.plan()))
    here.carol.send(here.room_id, "meanwhile")
    here.world.advance(ms=DELAY_MS + 60_000)
    for person in people:
        assert timeline(person, here.room_id) == ["m.room.message", "org.example.late"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.title)
def test_another_device_of_its_sender_is_told_at_once_by_sync_unless_it_is_a_future(way: Way) -> None:
    known = echo(REPORT, 7, way)
    assert (known.told_after_ms is None) is (way is FUTURES)
    assert (known.told_after_ms or 0.0) < 100
    assert known.listed is (way is FUTURES)
    assert known.cancelled


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.title)
def test_what_is_put_off_again_is_on_time_without_its_server_only_where_it_comes_by_mistake(way: Way) -> None:
    elsewhere = way in (FOLLOWED, EARLY)
    assert kept_up(REPORT, 7, way) == Upkeep(
        on_time=elsewhere, in_the_end=True, mistaken=elsewhere, stays=False
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.title)
def test_only_what_is_sent_at_once_is_on_other_servers_before_anybody_speaks(way: Way) -> None:
    here = scene("unspoken", way)
    here.world.run(put_off(here.alice, way, here.plan()))
    here.world.settle()
    assert here.standing("hs2") == ("soft-failed" if way is EARLY else "unknown")
    assert here.shown(here.dora) is (way is EARLY)
    assert not here.shown(here.bob)


@pytest.mark.parametrize(("way", "names_it"), [(FOLLOWED, True), (ASIDE, False)], ids=lambda one: str(one))
def test_what_is_sent_meanwhile_names_it_as_its_previous_event_or_does_not(way: Way, names_it: bool) -> None:
    here, event_id = waiting(way)
    view = view_of(here.world["hs1"], here.room_id)
    assert view is not None
    (later,) = [row.event for row in view.events if row.event.type == "m.room.message"]
    assert (event_id in later.prev_events) is names_it


@IN_GRAPH
def test_a_redaction_cancels_it_also_across_a_restart(way: Way) -> None:
    here, event_id = waiting(way)
    kept = here.world.run(put_off(here.alice, way, here.plan()))
    assert here.world.run(cancel(here.alice, here.room_id, event_id)).status == 200
    here.alice.server.restart()
    here.world.advance(ms=DELAY_MS + 60_000)
    shown = [event["event_id"] for event in here.bob.messages(here.room_id)]
    assert event_id not in shown
    assert kept in shown


@IN_GRAPH
def test_the_same_transaction_id_schedules_once(way: Way) -> None:
    here = scene("txn", way)
    path = f"/rooms/{here.room_id}/send/m.room.message/once"
    at = here.alice.server.clock.wall_ms() + 60_000
    query = {"org.matrix.msc3277.at": at}
    first, second = (here.alice.put(path, {"body": "late"}, query=query)["event_id"] for _ in range(2))
    assert first == second
    here.world.advance(minutes=2)
    assert here.bob.bodies(here.room_id) == ["late"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.title)
@pytest.mark.parametrize("raised", [False, True])
def test_the_right_to_send_it_is_asked_again_at_its_time(way: Way, raised: bool) -> None:
    here = scene("right", way)
    here.world.run(put_off(here.alice, way, here.plan()))
    here.bob.set_power(here.room_id, events={"org.example.late": 50 if raised else 0})
    here.world.advance(ms=DELAY_MS + 60_000)
    assert here.shown(here.bob) is not raised


def test_a_state_event_that_others_followed_splits_the_room_and_one_aside_does_not() -> None:
    assert not state_event(REPORT, 5, FOLLOWED, spoken=True).is_right
    assert state_event(REPORT, 5, ASIDE, spoken=True).is_right
    assert state_event(REPORT, 5, FOLLOWED, spoken=False).is_right
