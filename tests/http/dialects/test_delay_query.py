"""The dialect `delay-query` as shipped clients speak it: the futures specification, 2.2."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.futures.policies import FutureLimits
from tests.support.future_server import C, FutureServer, U

DELAY = "org.matrix.msc4140.delay"


@pytest.fixture
def server() -> FutureServer:
    return FutureServer()


def send_path(room_id: str, query: str, txn: str = "t") -> str:
    return f"{C}/v3/rooms/{room_id}/send/m.room.message/{txn}?{query}"


def delayed(server: FutureServer, room_id: str, delay_ms: int = 10_000, txn: str = "t") -> str:
    response = server.put(send_path(room_id, f"{DELAY}={delay_ms}", txn), {"body": txn})
    assert response.status == 200, response.json
    return str(response.json["delay_id"])


class TestScheduling:
    @pytest.mark.parametrize("name", [DELAY, "delay"])
    def test_a_delay_makes_a_message_wait(self, server: FutureServer, name: str) -> None:
        room_id = server.create()
        response = server.put(send_path(room_id, f"{name}=1000"), {"body": "x"})
        assert response.json.keys() == {"delay_id"}
        assert server.sent(room_id) == []
        server.pass_ms(1_000)
        assert len(server.sent(room_id)) == 1

    def test_a_delay_makes_state_wait(self, server: FutureServer) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/state/m.test/key?{DELAY}=1000"
        assert server.put(path, {"a": 1}).json.keys() == {"delay_id"}
        server.pass_ms(1_000)
        [event] = server.sent(room_id, "m.test")
        assert event.state_key == "key"

    def test_without_a_delay_it_is_an_ordinary_message(self, server: FutureServer) -> None:
        room_id = server.create()
        assert server.put(send_path(room_id, ""), {"body": "x"}).json.keys() == {"event_id"}
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize(
        ("query", "status", "errcode"),
        [
            (f"{DELAY}=1", 200, None),
            (f"{DELAY}=86400000", 200, None),
            (f"{DELAY}=0", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=-5", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=soon", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=1.5", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=%D9%A1", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=1000&delay=1000", 200, None),
            (f"{DELAY}=1000&delay=2000", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=1000&org.matrix.msc4354.sticky_duration_ms=60000", 200, None),
            (f"{DELAY}=1000&org.matrix.msc4354.sticky_duration_ms=-1", 400, "M_INVALID_PARAM"),
            (f"{DELAY}=1000&org.matrix.msc4354.sticky_duration_ms=3600001", 400, "M_INVALID_PARAM"),
        ],
    )
    def test_queries(self, server: FutureServer, query: str, status: int, errcode: str | None) -> None:
        room_id = server.create()
        response = server.put(send_path(room_id, query), {"body": "x"})
        assert (response.status, response.errcode) == (status, errcode)
        assert server.sent(room_id) == [], "it was sent at once"

    def test_too_large_a_delay_is_told_as_shipped_clients_understand_it(self, server: FutureServer) -> None:
        response = server.put(send_path(server.create(), f"{DELAY}=86400001"), {})
        assert response.status == 400
        assert {key: value for key, value in response.json.items() if key != "error"} == {
            "errcode": "M_UNKNOWN",
            "org.matrix.msc4140.errcode": "M_MAX_DELAY_EXCEEDED",
            "org.matrix.msc4140.max_delay": 86_400_000,
        }

    def test_too_many_scheduled_is_a_limit(self) -> None:
        server = FutureServer(limits=FutureLimits(max_scheduled=1))
        room_id = server.create()
        delayed(server, room_id)
        response = server.put(send_path(room_id, f"{DELAY}=1000", "more"), {})
        assert (response.status, response.errcode) == (429, "M_LIMIT_EXCEEDED")
        assert int(response.headers["retry-after"]) == 10

    def test_a_repeat_gets_the_same_delay_id(self, server: FutureServer) -> None:
        room_id = server.create()
        assert delayed(server, room_id) == delayed(server, room_id)

    def test_the_sender_reads_the_delay_id_of_the_event(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = delayed(server, room_id, 1_000)
        server.pass_ms(1_000)
        [event] = server.sent(room_id)
        assert server.run(server.service.events.maybe_row(event.event_id)).delay_id == delay_id

    def test_the_sticky_duration_is_kept(self, server: FutureServer) -> None:
        query = f"{DELAY}=1000&org.matrix.msc4354.sticky_duration_ms=60000"
        delay_id = server.put(send_path(server.create(), query), {}).json["delay_id"]
        stored = server.run(server.futures.lookup(delay_id, "@alice:hs1"))
        assert stored.payload.sticky_duration_ms == 60_000

    def test_the_sticky_duration_is_applied_at_send_time(self, server: FutureServer) -> None:
        room_id = server.create()
        delayed(server, room_id, 1_000, "plain")
        query = f"{DELAY}=2000&org.matrix.msc4354.sticky_duration_ms=60000"
        server.put(send_path(room_id, query, "sticky"), {})
        server.pass_ms(3_000)
        plain, sticky = server.sent(room_id)
        assert "msc4354_sticky" not in plain.pdu
        assert sticky.pdu["msc4354_sticky"] == {"duration_ms": 60_000}


class TestManagement:
    @pytest.mark.parametrize("action", ["send", "cancel", "restart"])
    @pytest.mark.parametrize("in_body", [True, False])
    @pytest.mark.parametrize("token", ["alice", None])
    def test_the_id_is_the_capability(
        self, server: FutureServer, action: str, in_body: bool, token: str | None
    ) -> None:
        delay_id = delayed(server, server.create())
        path = f"{U}/delayed_events/{delay_id}"
        response = (
            server.post(path, {"action": action}, token)
            if in_body
            else server.post(f"{path}/{action}", token=token)
        )
        assert (response.status, response.json) == (200, {})

    def test_an_action_without_a_body_is_enough_where_the_path_names_it(self, server: FutureServer) -> None:
        delay_id = delayed(server, server.create())
        response = server.http.request("POST", f"{U}/delayed_events/{delay_id}/restart")
        assert response.status == 200

    def test_a_token_that_is_given_must_be_the_owners(self, server: FutureServer) -> None:
        delay_id = delayed(server, server.create())
        path = f"{U}/delayed_events/{delay_id}/restart"
        assert server.post(path, token="alice").status == 200
        refused = server.post(path, token="bob")
        assert (refused.status, refused.errcode) == (404, "M_NOT_FOUND")
        assert server.post(path, token="no-such-token").status == 401

    def test_the_setting_asks_for_a_token(self) -> None:
        server = FutureServer(unauthenticated_management=False)
        delay_id = delayed(server, server.create())
        for path in (f"{U}/delayed_events/{delay_id}", f"{U}/delayed_events/{delay_id}/restart"):
            assert server.post(path, {"action": "restart"}).status == 200
            refused = server.post(path, {"action": "restart"}, None)
            assert (refused.status, refused.errcode) == (401, "M_MISSING_TOKEN")

    @pytest.mark.parametrize(
        ("body", "errcode"),
        [
            ({}, "M_MISSING_PARAM"),
            ({"action": "explode"}, "M_INVALID_PARAM"),
            ({"action": 1}, "M_INVALID_PARAM"),
            ({"action": None}, "M_INVALID_PARAM"),
        ],
    )
    def test_bodies(self, server: FutureServer, body: dict[str, Any], errcode: str) -> None:
        delay_id = delayed(server, server.create())
        response = server.post(f"{U}/delayed_events/{delay_id}", body)
        assert (response.status, response.errcode) == (400, errcode)

    def test_what_agrees_is_answered_and_what_contradicts_not_found(self, server: FutureServer) -> None:
        delay_id = delayed(server, server.create())
        path = f"{U}/delayed_events/{delay_id}"
        assert [
            server.post(f"{path}/{action}").status for action in ("send", "send", "cancel", "restart")
        ] == [
            200,
            200,
            404,
            404,
        ]

    def test_guessing_ids_is_charged_to_the_address_and_heartbeats_are_not(self) -> None:
        server = FutureServer(rate_limits=True)
        delay_id = delayed(server, server.create(), 60_000)
        statuses = {
            server.post(f"{U}/delayed_events/guess{number}/restart", token=None).status
            for number in range(1_000)
        }
        assert statuses == {404, 429}
        assert server.post(f"{U}/delayed_events/{delay_id}/restart", token=None).status == 200

    def test_a_flood_of_heartbeats_of_one_future_is_answered_with_429(self) -> None:
        server = FutureServer(rate_limits=True)
        delay_id = delayed(server, server.create(), 60_000)
        statuses = {
            server.post(f"{U}/delayed_events/{delay_id}/restart", token=None).status for _ in range(100)
        }
        assert statuses == {200, 429}


class TestListing:
    def test_scheduled_ones_come_in_order_of_due_time_under_both_names(self, server: FutureServer) -> None:
        room_id = server.create()
        later, sooner = delayed(server, room_id, 9_000, "a"), delayed(server, room_id, 5_000, "b")
        reply = server.get(f"{U}/delayed_events").json
        assert reply["delayed_events"] == reply["scheduled"]
        assert [item["delay_id"] for item in reply["scheduled"]] == [sooner, later]
        assert reply["finalised"] == []
        item = reply["scheduled"][0]
        assert item["delay"] == item["delay_ms"] == 5_000
        assert item["running_since"] == item["delayed_since_ts"]
        assert item.keys() == {
            "delay_id",
            "room_id",
            "type",
            "delay",
            "delay_ms",
            "running_since",
            "delayed_since_ts",
            "content",
        }

    def test_finalised_ones_come_with_their_outcome_the_latest_first(self, server: FutureServer) -> None:
        room_id = server.create()
        ids = {txn: delayed(server, room_id, 60_000, txn) for txn in "abc"}
        due = delayed(server, room_id, 1_000, "due")
        server.pass_ms(1_010)
        server.pass_ms(5)
        server.act(ids["a"], "send")
        server.pass_ms(10)
        server.act(ids["b"], "cancel")
        reply = server.get(f"{U}/delayed_events?status=finalised").json
        assert reply.keys() == {"finalised"}
        told = [
            (item["delayed_event"]["delay_id"], item["outcome"], item["reason"], "event_id" in item)
            for item in reply["finalised"]
        ]
        assert told == [
            (ids["b"], "cancel", "action", False),
            (ids["a"], "send", "action", True),
            (due, "send", "delay", True),
        ]
        assert all(type(item["origin_server_ts"]) is int for item in reply["finalised"])

    def test_an_error_is_told(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        path = send_path(room_id, f"{DELAY}=1000")
        server.put(path, {}, "bob")
        server.send(
            room_id, "@alice:hs1", "m.room.member", state_key="@bob:hs1", content={"membership": "ban"}
        )
        server.pass_ms(1_000)
        [item] = server.get(f"{U}/delayed_events", "bob").json["finalised"]
        assert (item["outcome"], item["reason"]) == ("cancel", "error")
        assert item["error"]["errcode"] == "M_FORBIDDEN"

    def test_one_status_leaves_the_other_out(self, server: FutureServer) -> None:
        reply = server.get(f"{U}/delayed_events?status=scheduled").json
        assert reply.keys() == {"delayed_events", "scheduled"}
        refused = server.get(f"{U}/delayed_events?status=lost")
        assert (refused.status, refused.errcode) == (400, "M_UNKNOWN")

    def test_ids_can_be_asked_for(self, server: FutureServer) -> None:
        room_id = server.create()
        ids = [delayed(server, room_id, 5_000 + number, f"t{number}") for number in range(3)]
        server.act(ids[2], "cancel")
        reply = server.get(f"{U}/delayed_events?delay_id={ids[0]}&delay_id={ids[2]}&delay_id=unknown").json
        assert [item["delay_id"] for item in reply["scheduled"]] == [ids[0]]
        assert [item["delayed_event"]["delay_id"] for item in reply["finalised"]] == [ids[2]]

    def test_nobody_elses_are_shown(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_id = delayed(server, room_id)
        reply = server.get(f"{U}/delayed_events", "bob").json
        assert reply["scheduled"] == reply["finalised"] == []
        assert server.get(f"{U}/delayed_events?delay_id={delay_id}", "bob").json["scheduled"] == []
        assert server.get(f"{U}/delayed_events", None).status == 401

    def test_those_of_the_merged_dialect_are_shown_too(self, server: FutureServer) -> None:
        delay_id = server.schedule(server.create())
        [item] = server.get(f"{U}/delayed_events").json["scheduled"]
        assert item["delay_id"] == delay_id

    def test_pages_hold_everything_once(self) -> None:
        server = FutureServer(limits=FutureLimits(max_scheduled=None))
        room_id = server.create()
        ids = [delayed(server, room_id, 60_000, f"t{number}") for number in range(210)]
        for delay_id in ids[:105]:
            server.act(delay_id, "cancel")
        seen_scheduled, seen_finalised, query = [], [], ""
        for _ in range(3):
            reply = server.get(f"{U}/delayed_events{query}").json
            seen_scheduled += [item["delay_id"] for item in reply["scheduled"]]
            seen_finalised += [item["delayed_event"]["delay_id"] for item in reply["finalised"]]
            if "next_batch" not in reply:
                break
            query = f"?from={reply['next_batch']}"
        assert seen_scheduled == ids[105:]
        assert sorted(seen_finalised) == sorted(ids[:105])

    @pytest.mark.parametrize("token", ["x", "s", "s_", "sx_y", "q5_y", "s5_y~z", "s99999999999999999999_y"])
    def test_a_made_up_page_is_refused(self, server: FutureServer, token: str) -> None:
        refused = server.get(f"{U}/delayed_events?from={token}")
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")

    def test_text_7_has_a_path_for_each_list(self, server: FutureServer) -> None:
        room_id = server.create()
        waiting, gone = delayed(server, room_id, 5_000, "a"), delayed(server, room_id, 5_000, "b")
        server.act(gone, "cancel")
        scheduled = server.get(f"{U}/delayed_events/scheduled").json
        finalised = server.get(f"{U}/delayed_events/finalised").json
        assert [item["delay_id"] for item in scheduled["delayed_events"]] == [waiting]
        assert [item["delayed_event"]["delay_id"] for item in finalised["finalised_events"]] == [gone]


def test_versions_and_capabilities_tell_of_it() -> None:
    dialects = FutureServer(dialects=("delay-query",)).dialects
    assert dialects.unstable_features() == {"org.matrix.msc4140": True}
    assert "org.matrix.msc4140.delayed_events" in dialects.capabilities()
