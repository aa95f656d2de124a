"""The dialect `merged`: shapes, statuses and errcodes of the futures specification, 2.1."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from minihs.futures.policies import FutureLimits
from tests.support.future_server import C, FutureServer, U

BOTH = pytest.mark.parametrize("root", [f"{C}/v3", U])
CONTENT = {"msgtype": "m.text", "body": "later"}


@pytest.fixture
def server() -> FutureServer:
    return FutureServer()


def schedule_path(
    room_id: str, root: str = f"{C}/v3", event_type: str = "m.room.message", txn: str = "t"
) -> str:
    return f"{root}/rooms/{quote(room_id)}/delayed_event/{quote(event_type, safe='')}/{txn}"


class TestScheduling:
    @BOTH
    def test_a_message_is_scheduled(self, server: FutureServer, root: str) -> None:
        response = server.put(schedule_path(server.create(), root), {"delay_ms": 1000, "content": CONTENT})
        assert response.status == 200
        assert response.json.keys() == {"delay_id"}
        assert len(response.json["delay_id"]) >= 22  # 128 bits in base 64

    @pytest.mark.parametrize(
        ("body", "state_key"), [({}, None), ({"state_key": ""}, ""), ({"state_key": "a"}, "a")]
    )
    def test_a_state_key_makes_a_state_event(
        self, server: FutureServer, body: dict[str, str], state_key: str | None
    ) -> None:
        room_id = server.create()
        server.schedule(room_id, 1_000, type="m.test", content={}, **body)
        server.pass_ms(1_000)
        [event] = server.sent(room_id, "m.test")
        assert event.state_key == state_key

    @pytest.mark.parametrize(
        ("change", "status", "errcode"),
        [
            ({}, 200, None),
            ({"extra": 1}, 200, None),
            ({"delay_ms": ...}, 400, "M_MISSING_PARAM"),
            ({"content": ...}, 400, "M_MISSING_PARAM"),
            ({"delay_ms": 0}, 400, "M_INVALID_PARAM"),
            ({"delay_ms": -1}, 400, "M_INVALID_PARAM"),
            ({"delay_ms": "1000"}, 400, "M_INVALID_PARAM"),
            ({"delay_ms": 1000.5}, 400, "M_INVALID_PARAM"),
            ({"delay_ms": True}, 400, "M_INVALID_PARAM"),
            ({"delay_ms": None}, 400, "M_INVALID_PARAM"),
            ({"delay_ms": 10**30}, 400, "M_DELAY_TOO_LARGE"),
            ({"delay_ms": 86_400_000}, 200, None),
            ({"delay_ms": 86_400_001}, 400, "M_DELAY_TOO_LARGE"),
            ({"content": "text"}, 400, "M_INVALID_PARAM"),
            ({"content": None}, 400, "M_INVALID_PARAM"),
            ({"content": []}, 400, "M_INVALID_PARAM"),
            ({"content": {"n": 1.5}}, 400, "M_BAD_JSON"),
            ({"content": {"n": 2**53 - 1}}, 200, None),
            ({"content": {"n": 2**53}}, 400, "M_BAD_JSON"),
            ({"content": {"text": "x" * 70_000}}, 413, "M_TOO_LARGE"),
            ({"state_key": 1}, 400, "M_INVALID_PARAM"),
            ({"state_key": None}, 400, "M_INVALID_PARAM"),
            ({"state_key": "x" * 255}, 200, None),
            ({"state_key": "x" * 256}, 400, "M_INVALID_PARAM"),
        ],
    )
    def test_bodies(
        self, server: FutureServer, change: dict[str, Any], status: int, errcode: str | None
    ) -> None:
        body = {"delay_ms": 1000, "content": CONTENT, **change}
        body = {key: value for key, value in body.items() if value is not ...}
        response = server.put(schedule_path(server.create()), body)
        assert (response.status, response.errcode) == (status, errcode)
        assert bool(server.run(server.futures.scheduled("@alice:hs1", ("merged",)))) is (status == 200)

    @pytest.mark.parametrize(
        ("body", "errcode"), [(b"", "M_NOT_JSON"), (b"{", "M_NOT_JSON"), (b"[]", "M_BAD_JSON")]
    )
    def test_what_is_no_json_object_is_refused(self, server: FutureServer, body: bytes, errcode: str) -> None:
        path = schedule_path(server.create())
        response = server.http.request("PUT", path, body=body, token="alice")
        assert (response.status, response.errcode) == (400, errcode)

    @pytest.mark.parametrize(("size", "status"), [(64_000, 200), (65_400, 413)])
    def test_only_what_could_never_be_an_event_is_too_large(
        self, server: FutureServer, size: int, status: int
    ) -> None:
        response = server.put(
            schedule_path(server.create()), {"delay_ms": 1000, "content": {"text": "x" * size}}
        )
        assert response.status == status

    def test_a_type_of_more_than_255_bytes_is_refused(self, server: FutureServer) -> None:
        room_id = server.create()
        body = {"delay_ms": 1000, "content": {}}
        assert server.put(schedule_path(room_id, event_type="m" * 255), body).status == 200
        refused = server.put(schedule_path(room_id, event_type="m" * 256), body)
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")

    def test_a_delay_above_the_maximum_has_an_errcode_for_each_path(self, server: FutureServer) -> None:
        room_id = server.create()
        body = {"delay_ms": 86_400_001, "content": {}}
        stable = server.put(schedule_path(room_id), body)
        unstable = server.put(schedule_path(room_id, U), body)
        assert (stable.status, stable.errcode) == (400, "M_DELAY_TOO_LARGE")
        assert (unstable.status, unstable.errcode) == (400, "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE")
        assert "86400000" in stable.json["error"]

    def test_only_who_is_or_was_in_a_known_room_may_schedule(self, server: FutureServer) -> None:
        room_id = server.create()
        body = {"delay_ms": 1000, "content": {}}
        assert server.put(schedule_path(room_id), body).status == 200
        for path, token in ((schedule_path(room_id), "bob"), (schedule_path("!nowhere:hs2"), "alice")):
            refused = server.put(path, body, token)
            assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")

    def test_a_limit_of_zero_forbids_scheduling(self) -> None:
        server = FutureServer(limits=FutureLimits(max_scheduled=0))
        refused = server.put(schedule_path(server.create()), {"delay_ms": 1000, "content": {}})
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")

    def test_scheduling_needs_an_access_token(self, server: FutureServer) -> None:
        refused = server.put(schedule_path(server.create()), {"delay_ms": 1000, "content": {}}, None)
        assert (refused.status, refused.errcode) == (401, "M_MISSING_TOKEN")

    def test_guests_may_use_all_of_it(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@guestx:hs1")
        delay_id = server.schedule(room_id, 1_000, token="guestx")
        assert server.act(delay_id, "restart", "guestx").status == 200
        assert server.lookup(delay_id, "guestx")["delay_id"] == delay_id

    def test_the_parameters_of_another_dialect_are_refused(self, server: FutureServer) -> None:
        path = schedule_path(server.create())
        body = {"delay_ms": 1000, "content": {}}
        for parameter in ("delay", "org.matrix.msc4140.delay", "future_timeout", "parent_future_id"):
            refused = server.put(f"{path}?{parameter}=5", body)
            assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")


class TestIdempotence:
    def test_a_repeat_gets_the_same_reply_and_makes_no_second_future(self, server: FutureServer) -> None:
        room_id = server.create()
        first = server.schedule(room_id, 1_000, txn="same")
        assert server.schedule(room_id, 1_000, txn="same") == first
        server.pass_ms(1_000)
        assert len(server.sent(room_id)) == 1

    def test_stable_and_unstable_spelling_are_one(self, server: FutureServer) -> None:
        room_id = server.create()
        body = {"delay_ms": 1000, "content": {}}
        stable = server.put(schedule_path(room_id), body)
        assert server.put(schedule_path(room_id, U), body).json == stable.json

    def test_a_repeat_after_a_restart_of_the_server_is_known(self, server: FutureServer) -> None:
        room_id = server.create()
        first = server.schedule(room_id, 60_000, txn="same")
        server.restart(cleanly=False)
        assert server.schedule(room_id, 60_000, txn="same") == first

    def test_a_repeat_while_the_first_is_under_way_waits_for_it(self, server: FutureServer) -> None:
        path = schedule_path(server.create())
        body = {"delay_ms": 1000, "content": {}}
        server.hold_writer()
        asked = [server.http.start("PUT", path, json=body, token="alice") for _ in range(3)]
        server.release_writer()
        replies = [server.http.finish(connection).json for connection in asked]
        assert replies[0] == replies[1] == replies[2]
        assert len(server.run(server.futures.scheduled("@alice:hs1", ("merged",)))) == 1

    @pytest.mark.parametrize("token", ["alice/PHONE", "bob"])
    def test_another_devices_transaction_is_another_one(self, server: FutureServer, token: str) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        assert server.schedule(room_id, 1_000) != server.schedule(room_id, 1_000, token=token)

    def test_the_room_is_part_of_the_transaction(self, server: FutureServer) -> None:
        assert server.schedule(server.create(), 1_000) != server.schedule(server.create(), 1_000)


class TestActions:
    def test_send_sends_now(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id)
        response = server.act(delay_id, "send")
        assert (response.status, response.json) == (200, {})
        assert len(server.sent(room_id)) == 1

    def test_cancel_means_never(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id)
        assert server.act(delay_id, "cancel").json == {}
        server.pass_ms(20_000)
        assert server.sent(room_id) == []

    def test_a_failed_send_is_the_callers_to_know_and_the_future_stays(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        levels = {"users": {"@alice:hs1": 100}, "events_default": 50}
        server.send(room_id, "@alice:hs1", "m.room.power_levels", state_key="", content=levels)
        delay_id = server.schedule(room_id, token="bob")
        refused = server.act(delay_id, "send", "bob")
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        assert "finalised" not in server.lookup(delay_id, "bob")
        server.send(
            room_id,
            "@alice:hs1",
            "m.room.power_levels",
            state_key="",
            content={**levels, "events_default": 0},
        )
        assert server.act(delay_id, "send", "bob").status == 200

    @pytest.mark.parametrize(
        ("first", "then", "status"),
        [
            ("send", "send", 200),
            ("cancel", "cancel", 200),
            ("send", "cancel", 409),
            ("send", "restart", 409),
            ("cancel", "send", 409),
            ("cancel", "restart", 409),
        ],
    )
    def test_what_agrees_is_answered_and_what_contradicts_refused(
        self, server: FutureServer, first: str, then: str, status: int
    ) -> None:
        delay_id = server.schedule(server.create())
        assert server.act(delay_id, first).status == 200
        response = server.act(delay_id, then)
        assert (response.status, response.errcode) == (status, "M_UNKNOWN" if status == 409 else None)
        server.restart()
        assert server.act(delay_id, then).status == status

    @pytest.mark.parametrize(("setting", "errcode"), [(404, "M_NOT_FOUND"), (409, "M_UNKNOWN")])
    def test_a_contradiction_on_unstable_paths_is_answered_as_the_setting_says(
        self, setting: int, errcode: str
    ) -> None:
        server = FutureServer(unstable_conflict=setting)
        delay_id = server.schedule(server.create())
        server.act(delay_id, "cancel")
        response = server.post(f"{U}/delayed_events/{delay_id}/send")
        assert (response.status, response.errcode) == (setting, errcode)
        assert server.act(delay_id, "send").status == 409

    @pytest.mark.parametrize("action", ["send", "cancel", "restart"])
    def test_unknown_ids_and_other_peoples_are_not_found(self, server: FutureServer, action: str) -> None:
        room_id = server.create()
        delay_id = server.schedule(room_id)
        for path_id, token in (("unknown", "alice"), (delay_id, "bob")):
            response = server.act(path_id, action, token)
            assert (response.status, response.errcode) == (404, "M_NOT_FOUND")
        assert server.act(delay_id, action).status == 200

    def test_an_unknown_action_is_an_unknown_endpoint(self, server: FutureServer) -> None:
        delay_id = server.schedule(server.create())
        for path in (f"{C}/v1/delayed_events/{delay_id}/explode", f"{U}/delayed_events/{delay_id}/explode"):
            response = server.post(path)
            assert (response.status, response.errcode) == (404, "M_UNRECOGNIZED")

    def test_the_stable_path_needs_an_access_token(self, server: FutureServer) -> None:
        delay_id = server.schedule(server.create())
        assert server.act(delay_id, "restart", None).status == 401


class TestLookup:
    @pytest.mark.parametrize("root", [f"{C}/v1", U])
    def test_a_scheduled_future(self, server: FutureServer, root: str) -> None:
        room_id = server.create()
        before = server.clock.wall_ms()
        delay_id = server.schedule(room_id, 5_000, type="m.test", state_key="k", content={"a": 1})
        found = server.get(f"{root}/delayed_events/{delay_id}").json
        since = found.pop("delayed_since_ts")
        assert before <= since <= server.clock.wall_ms()
        assert found == {
            "delay_id": delay_id,
            "room_id": room_id,
            "type": "m.test",
            "state_key": "k",
            "delay_ms": 5_000,
            "content": {"a": 1},
        }

    def test_a_message_has_no_state_key(self, server: FutureServer) -> None:
        assert "state_key" not in server.lookup(server.schedule(server.create()))

    def test_a_restart_moves_its_start_and_nothing_else(self, server: FutureServer) -> None:
        delay_id = server.schedule(server.create())
        before = server.lookup(delay_id)
        server.pass_ms(3_000)
        server.act(delay_id, "restart")
        after = server.lookup(delay_id)
        assert after.pop("delayed_since_ts") - before.pop("delayed_since_ts") >= 3_000
        assert after == before

    def test_a_cancelled_future_has_neither_event_nor_error(self, server: FutureServer) -> None:
        delay_id = server.schedule(server.create())
        server.act(delay_id, "cancel")
        assert server.lookup(delay_id)["finalised"].keys() == {"finalised_ts"}

    def test_it_looks_the_same_after_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        ids = [server.schedule(room_id, 60_000, txn=f"t{number}") for number in range(3)]
        server.act(ids[0], "send")
        server.act(ids[1], "cancel")
        before = [server.lookup(delay_id) for delay_id in ids]
        server.restart(cleanly=False)
        assert [server.lookup(delay_id) for delay_id in ids] == before

    def test_only_its_owner_sees_it(self, server: FutureServer) -> None:
        delay_id = server.schedule(server.create())
        for root in (f"{C}/v1", U):
            hidden = server.get(f"{root}/delayed_events/{delay_id}", "bob")
            assert (hidden.status, hidden.errcode) == (404, "M_NOT_FOUND")
            assert server.get(f"{root}/delayed_events/{delay_id}", None).status == 401
            assert server.get(f"{root}/delayed_events/{delay_id}").status == 200


class TestWhatIsTold:
    @pytest.mark.parametrize(
        ("limits", "told"),
        [
            (FutureLimits(), {"max_delay_ms": 86_400_000, "max_scheduled": 100}),
            (FutureLimits(max_delay_ms=None), {"max_scheduled": 100}),
            (FutureLimits(max_delay_ms=None, max_scheduled=None), {}),
        ],
    )
    def test_the_capability_tells_the_limits(self, limits: FutureLimits, told: dict[str, int]) -> None:
        assert FutureServer(limits=limits, dialects=("merged",)).dialects.capabilities() == {
            "m.delayed_events": told,
            "org.matrix.msc4140.delayed_events": told,
        }

    def test_versions_tells_of_the_stable_endpoints(self) -> None:
        server = FutureServer(dialects=("merged",))
        assert server.dialects.unstable_features() == {"org.matrix.msc4140.stable": True}


class TestRateLimits:
    def test_a_flood_of_scheduling_is_answered_with_429(self) -> None:
        server = FutureServer(rate_limits=True, limits=FutureLimits(max_scheduled=None))
        room_id = server.create()
        statuses = [
            server.put(schedule_path(room_id, txn=f"t{n}"), {"delay_ms": 60_000, "content": {}}).status
            for n in range(300)
        ]
        assert set(statuses) == {200, 429}
        assert statuses[:100] == [200] * 100

    def test_a_flood_of_actions_is_answered_with_429(self) -> None:
        server = FutureServer(rate_limits=True)
        delay_id = server.schedule(server.create(), 60_000)
        statuses = [server.act(delay_id, "restart").status for _ in range(400)]
        assert set(statuses) == {200, 429}


def test_a_delay_that_no_clock_can_count_is_too_large_where_none_is_the_maximum() -> None:
    server = FutureServer(limits=FutureLimits(max_delay_ms=None))
    path = f"{C}/v3/rooms/{server.create()}/delayed_event/m.room.message"
    refused = server.put(f"{path}/1", {"delay_ms": 2**53, "content": {}})
    assert (refused.status, refused.errcode) == (400, "M_DELAY_TOO_LARGE")
    assert server.put(f"{path}/2", {"delay_ms": 2**53 - 1, "content": {}}).status == 200
