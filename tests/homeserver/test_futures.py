"""Futures on a server: what the specification promises in its section 1, whatever the dialect."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.futures.policies import FutureLimits
from minihs.homeserver.errors import Forbidden, Unavailable
from minihs.homeserver.futures.sending import Standing
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from tests.support.future_server import C, FutureServer

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.fixture
def server() -> FutureServer:
    return FutureServer()


class TestSending:
    def test_a_future_leaves_no_trace_before_its_time(self, server: FutureServer) -> None:
        room_id = server.create()
        before = len(server.observer.committed), server.run(server.rooms.extremities(room_id))
        server.schedule(room_id, 10_000)
        server.pass_ms(9_999)
        assert (len(server.observer.committed), server.run(server.rooms.extremities(room_id))) == before

    def test_a_future_becomes_an_event_when_its_delay_has_passed(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id, 10_000)
        server.pass_ms(10_000)
        [event] = server.sent(room_id)
        assert event.sender == ALICE
        assert event.content == {"msgtype": "m.text", "body": "later"}
        assert event.origin_server_ts == server.clock.wall_ms()
        assert server.lookup(delay_id)["finalised"] == {
            "event_id": event.event_id,
            "finalised_ts": server.clock.wall_ms(),
        }

    def test_the_event_is_made_on_the_room_as_it_is_then(self, server: FutureServer) -> None:
        room_id = server.create()
        server.schedule(room_id, 10_000)
        newest = server.send(room_id, ALICE)
        server.pass_ms(10_000)
        event = server.sent(room_id)[-1]
        assert event.prev_events == (newest.event_id,)
        assert event.depth == newest.depth + 1

    def test_power_lost_since_then_means_that_it_is_not_sent(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, BOB)
        delay_id = server.schedule(room_id, 10_000, token="bob")
        server.send(
            room_id,
            ALICE,
            "m.room.power_levels",
            state_key="",
            content={"users": {ALICE: 100}, "events_default": 50},
        )
        server.pass_ms(10_000)
        assert server.sent(room_id) == []
        finalised = server.lookup(delay_id, "bob")["finalised"]
        assert finalised["error"]["errcode"] == "M_FORBIDDEN"
        assert "event_id" not in finalised

    def test_power_gained_since_then_means_that_it_is(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, BOB)
        server.schedule(
            room_id, 10_000, token="bob", type="m.room.topic", state_key="", content={"topic": "x"}
        )
        server.send(
            room_id, ALICE, "m.room.power_levels", state_key="", content={"users": {ALICE: 100, BOB: 50}}
        )
        server.pass_ms(10_000)
        [topic] = server.sent(room_id, "m.room.topic")
        assert topic.sender == BOB

    def test_who_was_kicked_sends_nothing(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, BOB)
        delay_id = server.schedule(room_id, 10_000, token="bob")
        server.send(room_id, ALICE, "m.room.member", state_key=BOB, content={"membership": "leave"})
        server.pass_ms(10_000)
        assert server.sent(room_id) == []
        assert server.lookup(delay_id, "bob")["finalised"]["error"]["errcode"] == "M_FORBIDDEN"

    def test_who_has_left_may_schedule_and_be_back_in_time(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, BOB)
        server.send(room_id, BOB, "m.room.member", state_key=BOB, content={"membership": "leave"})
        server.schedule(room_id, 10_000, token="bob")
        server.join(room_id, BOB)
        server.pass_ms(10_000)
        assert [event.sender for event in server.sent(room_id)] == [BOB]

    def test_a_redaction_names_its_target_where_the_rooms_version_wants_it(self) -> None:
        for version, in_content in (("10", False), ("11", True)):
            server = FutureServer()
            room_id = server.create(version=version)
            target = server.send(room_id, ALICE)
            server.schedule(
                room_id, 1_000, type="m.room.redaction", content={"redacts": target.event_id, "reason": "old"}
            )
            server.pass_ms(1_000)
            [redaction] = server.sent(room_id, "m.room.redaction")
            assert redaction.redacts == target.event_id
            assert ("redacts" in redaction.content) is in_content
            assert ("redacts" in redaction.pdu) is not in_content

    def test_the_account_is_judged_at_send_time(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id, 10_000)
        server.standings[ALICE] = Standing(refusal=Forbidden("This account is suspended."))
        server.pass_ms(10_000)
        assert server.sent(room_id) == []
        assert server.lookup(delay_id)["finalised"]["error"]["error"] == "This account is suspended."


class TestTime:
    def test_a_restart_starts_the_delay_again(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id, 10_000)
        for _ in range(5):
            server.pass_ms(9_000)
            assert server.act(delay_id, "restart").status == 200
        assert server.sent(room_id) == []
        server.pass_ms(9_990)
        assert server.sent(room_id) == []
        server.pass_ms(20)
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
    def test_a_step_of_the_wall_clock_neither_fires_nor_stalls(
        self, server: FutureServer, step_ms: int
    ) -> None:
        room_id = server.create()
        server.schedule(room_id, 10_000)
        server.clock.step_wall(step_ms)
        server.pass_ms(9_900)
        assert server.sent(room_id) == []
        server.pass_ms(110)
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
    def test_a_step_that_was_seen_is_not_taken_for_time_by_the_next_process(
        self, server: FutureServer, step_ms: int
    ) -> None:
        room_id = server.create()
        server.schedule(room_id, 60_000)
        server.clock.step_wall(step_ms)
        server.pass_ms(20_000)
        server.restart(away_ms=10_000)
        server.pass_ms(29_900)
        assert server.sent(room_id) == []
        server.pass_ms(150)
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
    def test_a_step_right_before_the_process_dies_is_not_taken_for_time_where_the_machine_tells(
        self, step_ms: int
    ) -> None:
        server = FutureServer(clock=VirtualClock(tells_boot=True))
        room_id = server.create()
        server.schedule(room_id, 60_000)
        server.pass_ms(10_000)
        server.clock.step_wall(step_ms)
        server.restart(cleanly=False)
        server.pass_ms(49_990)
        assert server.sent(room_id) == []
        server.pass_ms(20)
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
    def test_a_step_that_was_seen_is_not_taken_for_time_over_a_restart_of_the_machine(
        self, step_ms: int
    ) -> None:
        server = FutureServer(clock=VirtualClock(tells_boot=True))
        room_id = server.create()
        server.schedule(room_id, 60_000)
        server.clock.step_wall(step_ms)
        server.pass_ms(20_000)
        server.restart(cleanly=False, meanwhile=lambda: server.clock.reboot(away_ms=10_000))
        server.pass_ms(29_900)
        assert server.sent(room_id) == []
        server.pass_ms(150)
        assert len(server.sent(room_id)) == 1

    def test_what_came_due_while_the_machine_was_suspended_is_sent_soon_after(self) -> None:
        server = FutureServer(clock=VirtualClock(tells_boot=True))
        room_id = server.create()
        server.schedule(room_id, 3_600_000)
        server.clock.sleep_ms(3_500_000)
        server.pass_ms(99_000)
        assert server.sent(room_id) == []
        server.clock.sleep_ms(3_600_000)
        server.pass_ms(10_000)
        assert len(server.sent(room_id)) == 1

    def test_time_passes_while_the_server_is_down(self, server: FutureServer) -> None:
        room_id = server.create()
        server.schedule(room_id, 10_000)
        server.restart(cleanly=False, away_ms=9_900)
        server.pass_ms(99)
        assert server.sent(room_id) == []
        server.pass_ms(20)
        assert len(server.sent(room_id)) == 1

    def test_what_was_overdue_goes_out_at_once_in_order_of_due_times(self, server: FutureServer) -> None:
        room_id = server.create()
        for number, delay_ms in enumerate((3_000, 1_000, 2_000)):
            server.schedule(room_id, delay_ms, txn=f"t{number}", content={"body": str(delay_ms)})
        server.restart(cleanly=False, away_ms=60_000)
        server.settle()
        assert [event.content["body"] for event in server.sent(room_id)] == ["1000", "2000", "3000"]

    def test_equal_due_times_go_out_in_order_of_scheduling(self, server: FutureServer) -> None:
        room_id = server.create()
        for number in range(20):
            server.schedule(
                room_id, 5_000 - int(server.clock.monotonic_ms()), txn=f"t{number}", content={"n": number}
            )
        server.pass_ms(5_000)
        assert [event.content["n"] for event in server.sent(room_id)] == list(range(20))

    def test_a_thousand_due_together_are_all_sent_once(self) -> None:
        server = FutureServer(limits=FutureLimits(max_scheduled=None))
        room_id = server.create()
        for number in range(1_000):
            server.schedule(room_id, 60_000, txn=f"t{number}", content={"n": number})
        server.pass_ms(61_000)
        server.settle()
        sent = server.sent(room_id)
        assert sorted(event.content["n"] for event in sent) == list(range(1_000))


class TestExactlyOnce:
    def test_a_crash_before_the_send_is_durable_loses_and_doubles_nothing(self, server: FutureServer) -> None:
        room_id = server.create()
        server.schedule(room_id, 10_000)
        server.hold_writer()
        server.pass_ms(10_000)  # due, decided, and in the writer's queue
        server.crash()
        assert server.sent(room_id) == []
        server.open()
        server.open_futures()
        server.pass_ms(10)
        assert len(server.sent(room_id)) == 1

    def test_a_sent_future_is_not_sent_by_the_next_process(self, server: FutureServer) -> None:
        room_id = server.create()
        server.schedule(room_id, 10_000)
        server.pass_ms(10_000)
        server.restart(cleanly=False, away_ms=100_000)
        server.pass_ms(100_000)
        assert len(server.sent(room_id)) == 1

    def test_event_outcome_and_delay_id_are_stored_together(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id, 10_000)
        server.pass_ms(10_000)
        [event] = server.sent(room_id)
        row = server.run(server.service.events.maybe_row(event.event_id))
        assert row.delay_id == delay_id

    def test_a_command_that_comes_while_a_send_is_under_way_hears_its_outcome(
        self, server: FutureServer
    ) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id, 10_000)
        path = f"/_matrix/client/v1/delayed_events/{delay_id}"
        first = server.http.start("POST", f"{path}/send", json={}, token="alice")
        second = server.http.start("POST", f"{path}/cancel", json={}, token="alice")
        third = server.http.start("POST", f"{path}/send", json={}, token="alice")
        assert server.http.finish(first).status == 200
        assert server.http.finish(second).status == 409
        assert server.http.finish(third).status == 200
        assert len(server.sent(room_id)) == 1

    def test_a_batch_that_fails_leaves_the_future_scheduled_and_is_tried_again(
        self, server: FutureServer
    ) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id, 10_000)
        server.database.writing.execute(
            "CREATE TRIGGER full BEFORE UPDATE OF outcome ON futures BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        server.pass_ms(10_000)
        assert server.sent(room_id) == []
        assert "finalised" not in server.lookup(delay_id)
        server.database.writing.execute("DROP TRIGGER full")
        server.pass_ms(1_000)
        server.pass_ms(1_000)
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize("fails", [5, 6])
    def test_a_send_that_cannot_be_tried_is_tried_five_times_more_and_has_then_failed(
        self, server: FutureServer, monkeypatch: pytest.MonkeyPatch, fails: int
    ) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id, 10_000)
        tries: list[float] = []
        send = server.sending.send

        async def try_to_send(*args: Any, **details: Any) -> Any:
            tries.append(server.clock.monotonic_ms())
            if len(tries) <= fails:
                raise Unavailable("hs2 is away.")
            return await send(*args, **details)

        monkeypatch.setattr(server.sending, "send", try_to_send)
        server.pass_ms(10_000)
        for _ in range(600):
            if len(tries) == 6:
                break
            assert "finalised" not in server.lookup(delay_id)
            server.pass_ms(100)
        pauses_ms = [after - before for before, after in pairwise(tries)]
        assert pauses_ms == pytest.approx([1_000, 2_000, 4_000, 8_000, 16_000], abs=200)
        outcome = server.lookup(delay_id)["finalised"]
        assert len(server.sent(room_id)) == 6 - fails
        assert ("event_id" in outcome) == (fails == 5)
        if fails == 6:
            assert outcome["error"] == {"errcode": "M_UNKNOWN", "error": "hs2 is away."}
            server.pass_ms(60_000)
            assert len(tries) == 6


class SlowToTell(InlineWorkers):
    """Commits at once, and says so later."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        told: Deferred[Any] = Deferred()
        self.clock.call_later(50, told.callback, work(*args, **kwargs))
        return told


def test_an_outcome_is_not_told_before_its_event_is_shown(server: FutureServer) -> None:
    room_id = server.create()
    delay_id = server.schedule(room_id, 1_000)
    server.writer._workers = SlowToTell(server.clock)
    server.clock.advance(1.01)
    path = f"{C}/v1/delayed_events/{delay_id}"
    asked = server.http.start("GET", path, token="alice")
    server.clock.advance(0)
    assert asked.take() is None, "the commit is done, and nobody knows of it yet"
    for _ in range(2):  # its commit, and one behind it
        server.pass_ms(60)
    response = asked.take()
    assert response is not None
    assert response.json["finalised"]["event_id"] == server.sent(room_id)[0].event_id


def test_what_follows_from_an_outcome_is_not_answered_before_that_is_durable(server: FutureServer) -> None:
    path = f"{C}/v1/delayed_events/{server.schedule(server.create(), 10_000)}"
    server.hold_writer()
    asked = []
    for action in ("cancel", "cancel", "send"):
        asked.append(server.http.start("POST", f"{path}/{action}", json={}, token="alice"))
        server.settle()
    assert [connection.take() for connection in asked] == [None, None, None]
    server.release_writer()
    assert [server.http.finish(connection).status for connection in asked] == [200, 200, 409]


def test_what_is_due_at_once_in_one_room_does_not_wait_for_one_commit_after_another(
    server: FutureServer,
) -> None:
    room_id = server.create()
    for number in range(10):
        server.schedule(room_id, 1_000, txn=f"t{number}")
    server.writer._workers = SlowToTell(server.clock)
    server.clock.advance(1)
    for _ in range(3):
        server.pass_ms(50)
    assert len(server.sent(room_id)) == 10


def test_timers_are_read_from_the_store_page_by_page_in_order_of_their_times(server: FutureServer) -> None:
    room_id = server.create()
    for number, delay_ms in enumerate((30_000, 10_000, 20_000, 10_000)):
        server.schedule(room_id, delay_ms, txn=f"t{number}")
    store = server.future_service.store
    first = server.run(store.all_due_after((-1, -1), 3))
    rest = server.run(store.all_due_after(first[-1], 3))
    assert len(first) == 3
    assert [future_id for _, future_id in first + rest] == [2, 4, 3, 1]
