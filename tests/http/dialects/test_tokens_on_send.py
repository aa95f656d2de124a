"""The dialect `tokens-on-send`: groups and tokens through ordinary sends. Futures specification, 2.3."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.futures.policies import FutureLimits
from tests.support.future_server import ALL, C, FutureServer, U

PREFIX = "org.matrix.msc4140."


@pytest.fixture
def server() -> FutureServer:
    return FutureServer(dialects=ALL)


def send(
    server: FutureServer,
    room_id: str,
    query: str = "future_timeout=10000",
    *,
    txn: str = "t",
    token: str = "alice",
    body: Any = None,
) -> Any:
    path = f"{C}/v3/rooms/{room_id}/send/m.room.message/{txn}?{query}"
    return server.put(path, {"body": txn} if body is None else body, token)


def state(server: FutureServer, room_id: str, query: str, key: str = "call", **body: Any) -> Any:
    return server.put(f"{C}/v3/rooms/{room_id}/state/m.call.member/{key}?{query}", body).json


def use(server: FutureServer, token: str) -> Any:
    return server.post(f"{C}/v1/future/{token}", token=None)


class TestScheduling:
    @pytest.mark.parametrize("prefix", ["", PREFIX])
    def test_a_timeout_future_has_three_tokens_and_a_group(self, server: FutureServer, prefix: str) -> None:
        room_id = server.create()
        reply = send(server, room_id, f"{prefix}future_timeout=1000").json
        assert reply.keys() == {"send_token", "cancel_token", "refresh_token", "future_group_id"}
        assert server.sent(room_id) == []
        server.pass_ms(999)
        assert server.sent(room_id) == []
        server.pass_ms(1)
        assert [event.content for event in server.sent(room_id)] == [{"body": "t"}]

    def test_an_action_future_has_no_refresh_token(self, server: FutureServer) -> None:
        room_id = server.create()
        group = send(server, room_id).json["future_group_id"]
        reply = send(server, room_id, f"future_group_id={group}", txn="action").json
        assert reply.keys() == {"send_token", "cancel_token", "future_group_id"}
        server.pass_ms(20_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["t"]

    def test_without_a_parameter_it_is_an_ordinary_event(self, server: FutureServer) -> None:
        room_id = server.create()
        assert send(server, room_id, "").json.keys() == {"event_id"}
        assert len(server.sent(room_id)) == 1

    def test_a_state_event_waits_too(self, server: FutureServer) -> None:
        room_id = server.create()
        state(server, room_id, "future_timeout=1000", left=True)
        server.pass_ms(1_000)
        [event] = server.sent(room_id, "m.call.member")
        assert (event.state_key, event.content) == ("call", {"left": True})

    def test_an_action_future_needs_a_group_with_a_timeout_future(self, server: FutureServer) -> None:
        refused = send(server, server.create(), "future_group_id=nobody")
        assert (refused.status, refused.errcode) == (400, "M_UNKNOWN_FUTURE_GROUP")

    def test_another_users_group_is_refused(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        send(server, room_id, "future_timeout=10000&future_group_id=g")
        before = server.stored()
        for query in ("future_group_id=g", "future_timeout=5&future_group_id=g"):
            refused = send(server, room_id, query, token="bob")
            assert (refused.status, refused.errcode) == (400, "M_FORBIDDEN")
        assert server.stored() == before
        assert send(server, room_id, "future_group_id=g", txn="mine").status == 200

    @pytest.mark.parametrize("timeout", [86_400_001, 10**18, 10**40])
    def test_a_timeout_above_the_maximum_is_refused_with_the_maximum(
        self, server: FutureServer, timeout: int
    ) -> None:
        room_id = server.create()
        refused = send(server, room_id, f"future_timeout={timeout}")
        assert (refused.status, refused.errcode) == (400, "M_FUTURE_MAX_TIMEOUT_EXCEEDED")
        assert "86400000" in refused.json["error"]
        assert refused.json["max_timeout_duration"] == 86_400_000
        assert send(server, room_id, "future_timeout=86400000").status == 200

    def test_every_stored_event_counts(self) -> None:
        server = FutureServer(dialects=ALL, limits=FutureLimits(max_scheduled=2))
        room_id = server.create()
        send(server, room_id, "future_timeout=10000&future_group_id=g", txn="a")
        assert send(server, room_id, "future_group_id=g", txn="b").status == 200
        assert send(server, room_id, "future_group_id=g", txn="c").status == 429

    def test_a_repeat_gets_the_same_tokens(self, server: FutureServer) -> None:
        room_id = server.create()
        first = send(server, room_id).json
        assert send(server, room_id).json == first
        server.restart()
        assert send(server, room_id).json == first
        assert send(server, room_id, txn="another").json != first

    def test_the_transaction_is_the_ordinary_endpoints(self, server: FutureServer) -> None:
        """The same path with the same ID is the same request: it cannot once mean "now" and once "later"."""
        room_id = server.create()
        now = send(server, room_id, "").json
        assert send(server, room_id).json == now
        server.pass_ms(20_000)
        assert len(server.sent(room_id)) == 1


class TestLife:
    def test_heartbeats_and_then_silence(self, server: FutureServer) -> None:
        room_id = server.create()
        token = send(server, room_id).json["refresh_token"]
        for _ in range(4):
            server.pass_ms(8_000)
            assert use(server, token).json == {}
        assert server.sent(room_id) == []
        server.pass_ms(10_000)
        assert len(server.sent(room_id)) == 1
        assert use(server, token).status == 410

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", f"{C}/v1/future/"),
            ("POST", f"{C}/v3/futures/"),
            ("PUT", f"{C}/v3/futures/"),
            ("POST", f"{U}/future/"),
        ],
    )
    def test_its_tokens_are_taken_on_every_path_for_tokens(
        self, server: FutureServer, method: str, path: str
    ) -> None:
        room_id = server.create()
        token = send(server, room_id).json["send_token"]
        assert server.http.request(method, path + token).json == {}
        assert len(server.sent(room_id)) == 1

    def test_one_group_sends_at_most_one_event(self, server: FutureServer) -> None:
        room_id = server.create()
        timeout = send(server, room_id, "future_timeout=10000&future_group_id=g").json
        action = send(server, room_id, "future_group_id=g", txn="action").json
        assert use(server, action["send_token"]).json == {}
        server.pass_ms(20_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["action"]
        assert use(server, timeout["cancel_token"]).status == 410

    def test_cancelling_the_last_timeout_future_discards_the_group(self, server: FutureServer) -> None:
        room_id = server.create()
        timeout = send(server, room_id, "future_timeout=10000&future_group_id=g").json
        action = send(server, room_id, "future_group_id=g", txn="action").json
        assert use(server, timeout["cancel_token"]).json == {}
        assert use(server, action["send_token"]).status == 410
        server.pass_ms(20_000)
        assert server.sent(room_id) == []

    def test_it_goes_on_after_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        timeout = send(server, room_id, "future_timeout=10000&future_group_id=g").json
        server.restart(cleanly=False)
        action = send(server, room_id, "future_group_id=g", txn="action").json
        assert use(server, timeout["refresh_token"]).json == {}
        server.pass_ms(11_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["t"]
        assert use(server, action["send_token"]).status == 410

    def test_what_came_due_while_the_server_was_away_is_sent_once(self, server: FutureServer) -> None:
        room_id = server.create()
        send(server, room_id)
        server.restart(cleanly=False, away_ms=60_000)
        server.pass_ms(1)
        server.restart(cleanly=False, away_ms=60_000)
        server.pass_ms(1)
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize("sender", ["@alice:hs1", "@bob:hs1"])
    def test_any_newer_state_ends_it(self, server: FutureServer, sender: str) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        server.send(
            room_id,
            "@alice:hs1",
            "m.room.power_levels",
            state_key="",
            content={"users": {"@alice:hs1": 100}, "events": {"m.call.member": 0}},
        )
        token = state(server, room_id, "future_timeout=10000")["refresh_token"]
        server.send(room_id, sender, "m.call.member", state_key="another", content={})
        assert use(server, token).status == 200
        server.send(room_id, sender, "m.call.member", state_key="call", content={})
        assert use(server, token).status == 410


class TestListing:
    @pytest.mark.parametrize("path", [f"{C}/v1/future", f"{C}/v3/futures", f"{U}/future"])
    @pytest.mark.parametrize("prefix", ["", PREFIX])
    def test_a_future_is_shown_as_its_request_was_made(
        self, server: FutureServer, path: str, prefix: str
    ) -> None:
        room_id = server.create()
        reply = send(server, room_id, f"{prefix}future_timeout=10000").json
        query = f"{prefix}future_timeout=10000&{prefix}future_group_id={reply['future_group_id']}"
        url = f"{C}/v3/rooms/{room_id}/send/m.room.message/t?{query}"
        assert server.get(path).json == [{"url": url, "body": {"body": "t"}, "response": reply}]

    def test_it_is_listed_beside_those_of_other_dialects(self, server: FutureServer) -> None:
        room_id = server.create()
        send(server, room_id, "future_timeout=2000")
        path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/t?future_timeout=1000"
        server.put(path, {"body": "first"})
        assert [item["body"]["body"] for item in server.get(f"{C}/v1/future").json] == ["first", "t"]

    def test_groups_of_both_dialects_have_the_same_names(self, server: FutureServer) -> None:
        room_id = server.create()
        send(server, room_id, "future_timeout=10000&future_group_id=g")
        path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/a?future_group_id=g"
        action = server.put(path, {"body": "action"}).json
        assert use(server, action["send_token"]).json == {}
        server.pass_ms(20_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["action"]
