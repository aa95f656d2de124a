"""The dialect `future-id`: one ID, parents, actions for the owner alone. Futures specification, 2.3."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.future_server import C, FutureServer, U

PREFIX = "org.matrix.msc4140."
DIALECTS = ("future-id", "tokens", "delay-query", "merged")


@pytest.fixture
def server() -> FutureServer:
    return FutureServer(dialects=DIALECTS)


def send(
    server: FutureServer,
    room_id: str,
    query: str = "future_timeout=10000",
    *,
    txn: str = "t",
    token: str = "alice",
) -> Any:
    return server.put(f"{C}/v3/rooms/{room_id}/send/m.room.message/{txn}?{query}", {"body": txn}, token)


def future_id(server: FutureServer, room_id: str, query: str = "future_timeout=10000", txn: str = "t") -> str:
    response = send(server, room_id, query, txn=txn)
    assert response.status == 200, response.json
    assert response.json.keys() == {"future_id"}
    return str(response.json["future_id"])


def update(server: FutureServer, future: str, action: str, token: str | None = "alice") -> Any:
    return server.post(f"{C}/v1/update_future", {"future_id": future, "action": action}, token)


class TestScheduling:
    @pytest.mark.parametrize("prefix", ["", PREFIX])
    def test_a_timeout_makes_an_event_wait(self, server: FutureServer, prefix: str) -> None:
        room_id = server.create()
        future_id(server, room_id, f"{prefix}future_timeout=1000")
        server.pass_ms(999)
        assert server.sent(room_id) == []
        server.pass_ms(1)
        assert len(server.sent(room_id)) == 1

    def test_a_child_belongs_to_its_parents_group(self, server: FutureServer) -> None:
        room_id = server.create()
        parent = future_id(server, room_id)
        child = future_id(server, room_id, f"parent_future_id={parent}", "child")
        assert update(server, child, "send").json == {}
        server.pass_ms(20_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["child"]
        assert update(server, parent, "send").status == 410

    def test_a_child_may_have_a_timeout_of_its_own(self, server: FutureServer) -> None:
        room_id = server.create()
        parent = future_id(server, room_id)
        future_id(server, room_id, f"parent_future_id={parent}&future_timeout=5000", "child")
        assert update(server, parent, "cancel").json == {}
        server.pass_ms(5_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["child"]

    def test_cancelling_the_parent_discards_children_without_a_timeout(self, server: FutureServer) -> None:
        room_id = server.create()
        parent = future_id(server, room_id)
        child = future_id(server, room_id, f"parent_future_id={parent}", "child")
        update(server, parent, "cancel")
        assert update(server, child, "send").status == 410

    @pytest.mark.parametrize(
        "parent", ["unknown", "", "%F0%9F%8D%8C", "child", "finished", "token", "delay_id"]
    )
    def test_only_a_scheduled_parent_can_be_one(self, server: FutureServer, parent: str) -> None:
        room_id = server.create()
        if parent == "child":
            parent = future_id(server, room_id, f"parent_future_id={future_id(server, room_id)}", "child")
        elif parent == "finished":
            parent = future_id(server, room_id, "future_timeout=1")
            server.pass_ms(1)
        elif parent == "token":
            path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/x?future_timeout=9000"
            parent = server.put(path, {}).json["send_token"]
        elif parent == "delay_id":
            parent = server.schedule(room_id)
        before = server.stored()
        refused = send(server, room_id, f"parent_future_id={parent}", txn="refused")
        assert (refused.status, refused.errcode) == (400, "M_UNKNOWN_FUTURE_PARENT_FUTURE_ID")
        assert server.stored() == before

    def test_another_users_future_is_no_parent(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        parent = future_id(server, room_id)
        refused = send(server, room_id, f"parent_future_id={parent}", token="bob")
        assert (refused.status, refused.errcode) == (400, "M_FORBIDDEN")

    def test_a_timeout_above_the_maximum_is_refused_with_the_maximum(self, server: FutureServer) -> None:
        refused = send(server, server.create(), "future_timeout=86400001")
        assert (refused.status, refused.errcode) == (400, "M_FUTURE_MAX_TIMEOUT_EXCEEDED")
        assert refused.json["max_timeout_duration"] == 86_400_000

    def test_groups_by_name_belong_to_a_dialect_that_is_off(self, server: FutureServer) -> None:
        refused = send(server, server.create(), "future_timeout=1000&future_group_id=g")
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert "tokens-on-send" in refused.json["error"]

    def test_a_repeat_gets_the_same_id(self, server: FutureServer) -> None:
        room_id = server.create()
        first = future_id(server, room_id)
        server.restart()
        assert future_id(server, room_id) == first
        server.pass_ms(20_000)
        assert len(server.sent(room_id)) == 1

    def test_any_newer_state_ends_it(self, server: FutureServer) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/state/m.call.member/call"
        future = server.put(f"{path}?future_timeout=1000", {"left": True}).json["future_id"]
        server.put(path, {"left": False})
        assert update(server, future, "refresh").status == 410
        server.pass_ms(2_000)
        assert [event.content for event in server.sent(room_id, "m.call.member")] == [{"left": False}]


class TestActions:
    @pytest.mark.parametrize("path", [f"{C}/v1/update_future", f"{U}/update_future"])
    def test_send_sends_now(self, server: FutureServer, path: str) -> None:
        room_id = server.create()
        body = {"future_id": future_id(server, room_id), "action": "send"}
        assert server.post(path, body).json == {}
        assert len(server.sent(room_id)) == 1

    def test_refresh_starts_the_timer_again(self, server: FutureServer) -> None:
        room_id = server.create()
        future = future_id(server, room_id)
        for _ in range(3):
            server.pass_ms(9_000)
            assert update(server, future, "refresh").json == {}
        assert server.sent(room_id) == []
        server.pass_ms(10_000)
        assert len(server.sent(room_id)) == 1

    def test_a_child_without_a_timeout_cannot_be_refreshed(self, server: FutureServer) -> None:
        room_id = server.create()
        child = future_id(server, room_id, f"parent_future_id={future_id(server, room_id)}", "child")
        refused = update(server, child, "refresh")
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")

    @pytest.mark.parametrize("action", ["send", "cancel", "refresh"])
    def test_only_the_owner_may_act(self, server: FutureServer, action: str) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        future = future_id(server, room_id)
        refused = update(server, future, action, "bob")
        assert (refused.status, refused.errcode) == (410, "M_NOT_FOUND")
        assert update(server, future, action, None).status == 401
        assert update(server, future, action).status == 200

    @pytest.mark.parametrize("action", ["send", "cancel", "refresh"])
    @pytest.mark.parametrize("end", ["send", "cancel", "timeout"])
    def test_a_finished_future_is_gone(self, server: FutureServer, action: str, end: str) -> None:
        future = future_id(server, server.create())
        if end == "timeout":
            server.pass_ms(10_000)
        else:
            update(server, future, end)
        assert update(server, future, action).status == 410

    @pytest.mark.parametrize(
        ("body", "errcode"),
        [
            ({}, "M_MISSING_PARAM"),
            ({"future_id": "x"}, "M_MISSING_PARAM"),
            ({"action": "send"}, "M_MISSING_PARAM"),
            ({"future_id": 1, "action": "send"}, "M_INVALID_PARAM"),
            ({"future_id": "x", "action": "restart"}, "M_INVALID_PARAM"),
            ({"future_id": "x", "action": 1}, "M_INVALID_PARAM"),
            ({"future_id": "x", "action": "SEND"}, "M_INVALID_PARAM"),
        ],
    )
    def test_bodies(self, server: FutureServer, body: dict[str, Any], errcode: str) -> None:
        refused = server.post(f"{C}/v1/update_future", body)
        assert (refused.status, refused.errcode) == (400, errcode)

    @pytest.mark.parametrize("action", ["send", "cancel", "restart"])
    def test_its_id_is_no_capability_on_other_dialects_paths(self, server: FutureServer, action: str) -> None:
        future = future_id(server, server.create())
        assert server.post(f"{U}/delayed_events/{future}/{action}", token=None).status == 404
        assert server.post(f"{C}/v1/delayed_events/{future}/{action}").status == 404
        assert server.post(f"{C}/v1/future/{future}", token=None).status == 410
        assert update(server, future, "send").status == 200

    def test_a_delay_id_and_a_token_are_no_future_ids(self, server: FutureServer) -> None:
        room_id = server.create()
        assert update(server, server.schedule(room_id), "send").status == 410
        path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/x?future_timeout=9000"
        for token in server.put(path, {}).json.values():
            assert update(server, token, "send").status == 410
        assert server.sent(room_id) == []


class TestListing:
    @pytest.mark.parametrize("prefix", ["", PREFIX])
    def test_parents_and_children_as_they_were_asked_for(self, server: FutureServer, prefix: str) -> None:
        room_id = server.create()
        parent = future_id(server, room_id, f"{prefix}future_timeout=10000")
        child = future_id(server, room_id, f"{prefix}parent_future_id={parent}", "child")
        send_path = f"{C}/v3/rooms/{room_id}/send/m.room.message"
        assert server.get(f"{C}/v1/future").json == [
            {
                "url": f"{send_path}/child?{prefix}parent_future_id={parent}",
                "body": {"body": "child"},
                "response": {"future_id": child},
            },
            {
                "url": f"{send_path}/t?{prefix}future_timeout=10000",
                "body": {"body": "t"},
                "response": {"future_id": parent},
            },
        ]
        assert server.get(f"{C}/v1/future", "bob").json == []

    def test_the_listings_of_tokens_do_not_show_them_elsewhere(self, server: FutureServer) -> None:
        future_id(server, server.create())
        assert server.get(f"{C}/v3/futures").json == []
