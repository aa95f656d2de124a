"""The dialect `tokens`: groups, actions and unauthenticated tokens. Futures specification, 2.4."""

from __future__ import annotations

import hmac
from typing import Any

import pytest

from minihs.futures.policies import FutureLimits
from tests.support.future_server import C, FutureServer, U

ROOTS = [f"{C}/v1", f"{C}/v3", U, f"{C}/unstable/io.element.msc3140"]
TOKEN_PATHS = [
    ("POST", f"{C}/v1/future/"),
    ("POST", f"{C}/v3/futures/"),
    ("PUT", f"{C}/v3/futures/"),
    ("POST", f"{U}/future/"),
]


@pytest.fixture
def server() -> FutureServer:
    return FutureServer()


def future(
    server: FutureServer,
    room_id: str,
    query: str = "future_timeout=10000",
    *,
    txn: str = "t",
    root: str = ROOTS[0],
    token: str = "alice",
    body: Any = None,
) -> Any:
    path = f"{root}/rooms/{room_id}/send_future/m.room.message/{txn}?{query}"
    return server.put(path, {"body": txn} if body is None else body, token)


def state_future(server: FutureServer, room_id: str, query: str, key: str = "call") -> Any:
    path = f"{C}/v1/rooms/{room_id}/state_future/m.call.member/{key}?{query}"
    response = server.put(path, {"left": True})
    assert response.status == 200, response.json
    return response.json


def use(server: FutureServer, token: str, **details: Any) -> Any:
    return server.post(f"{C}/v1/future/{token}", token=None, **details)


class TestScheduling:
    @pytest.mark.parametrize("root", ROOTS)
    def test_a_timeout_future_has_three_tokens_and_a_group(self, server: FutureServer, root: str) -> None:
        reply = future(server, server.create(), root=root).json
        assert reply.keys() == {"send_token", "cancel_token", "refresh_token", "future_group_id"}
        tokens = {reply["send_token"], reply["cancel_token"], reply["refresh_token"]}
        assert len(tokens) == 3
        assert len({len(token) for token in tokens}) == 1, "they must look alike"

    def test_an_action_future_has_no_refresh_token(self, server: FutureServer) -> None:
        room_id = server.create()
        group = future(server, room_id).json["future_group_id"]
        reply = future(server, room_id, f"future_group_id={group}", txn="action").json
        assert reply.keys() == {"send_token", "cancel_token", "future_group_id"}
        assert reply["future_group_id"] == group

    def test_a_timeout_of_none_is_no_timeout(self, server: FutureServer) -> None:
        room_id = server.create()
        future(server, room_id, "future_timeout=10000&future_group_id=g")
        reply = future(server, room_id, "future_timeout=none&future_group_id=g", txn="action").json
        assert "refresh_token" not in reply

    @pytest.mark.parametrize("suffix", ["/call", "/", ""])
    def test_a_state_future_becomes_state(self, server: FutureServer, suffix: str) -> None:
        room_id = server.create()
        path = f"{C}/v1/rooms/{room_id}/state_future/m.test{suffix}?future_timeout=1000"
        assert server.put(path, {"a": 1}).status == 200
        server.pass_ms(1_000)
        [event] = server.sent(room_id, "m.test")
        assert event.state_key == suffix.lstrip("/")

    @pytest.mark.parametrize(
        ("query", "status", "errcode"),
        [
            ("future_timeout=1", 200, None),
            ("future_timeout=10&future_group_id=g", 200, None),
            ("", 400, "M_MISSING_PARAM"),
            ("future_timeout=none", 400, "M_MISSING_PARAM"),
            ("future_timeout=0", 400, "M_INVALID_PARAM"),
            ("future_timeout=-1", 400, "M_INVALID_PARAM"),
            ("future_timeout=soon", 400, "M_INVALID_PARAM"),
            ("future_timeout=1.5", 400, "M_INVALID_PARAM"),
            ("future_timeout=10&future_group_id=", 400, "M_INVALID_PARAM"),
            (f"future_timeout=10&future_group_id={'g' * 256}", 400, "M_INVALID_PARAM"),
            ("future_timeout=10&delay=10", 400, "M_INVALID_PARAM"),
            ("future_timeout=10&org.matrix.msc4140.delay=10", 400, "M_INVALID_PARAM"),
        ],
    )
    def test_queries(self, server: FutureServer, query: str, status: int, errcode: str | None) -> None:
        room_id = server.create()
        response = future(server, room_id, query)
        assert (response.status, response.errcode) == (status, errcode)
        assert server.sent(room_id) == []

    def test_a_timeout_above_the_maximum_is_refused_with_the_maximum(self, server: FutureServer) -> None:
        room_id = server.create()
        assert future(server, room_id, "future_timeout=86400000").status == 200
        refused = future(server, room_id, "future_timeout=86400001", txn="more")
        assert refused.status == 400
        assert "86400000" in refused.json["error"]

    def test_an_action_future_needs_a_group_with_a_timeout_future(self, server: FutureServer) -> None:
        refused = future(server, server.create(), "future_group_id=nobody")
        assert (refused.status, refused.errcode) == (409, "M_UNKNOWN_FUTURE_GROUP")

    def test_another_users_group_is_refused(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        future(server, room_id, "future_timeout=10000&future_group_id=g")
        for query in ("future_group_id=g", "future_timeout=5&future_group_id=g"):
            refused = future(server, room_id, query, token="bob")
            assert (refused.status, refused.errcode) == (405, "M_FORBIDDEN")

    @pytest.mark.parametrize(("query", "status"), [("future_timeout=1000&", 200), ("", 409)])
    def test_who_joins_a_group_whose_event_is_being_made_waits_for_its_end(
        self, server: FutureServer, query: str, status: int
    ) -> None:
        room_id = server.create()
        first = future(server, room_id, "future_timeout=10000&future_group_id=g").json
        path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/more?{query}future_group_id=g"
        server.hold_writer()
        sending = server.http.start("POST", f"{C}/v1/future/{first['send_token']}", json={}, token=None)
        server.settle()
        joining = server.http.start("PUT", path, json={"body": "more"}, token="alice")
        server.settle()
        assert sending.take() is joining.take() is None
        server.release_writer()
        assert server.http.finish(sending).status == 200
        assert server.http.finish(joining).status == status
        server.pass_ms(1_000)
        bodies = [event.content["body"] for event in server.sent(room_id)]
        assert bodies == (["t", "more"] if status == 200 else ["t"])

    def test_the_name_of_a_group_is_free_while_its_end_is_on_its_way_to_the_disk(
        self, server: FutureServer
    ) -> None:
        room_id = server.create()
        first = future(server, room_id, "future_timeout=1000&future_group_id=g").json
        path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/more?future_timeout=1000&future_group_id=g"
        server.hold_writer()
        ending = server.http.start("POST", f"{C}/v1/future/{first['cancel_token']}", json={}, token=None)
        server.settle()
        beginning = server.http.start("PUT", path, json={"body": "more"}, token="alice")
        server.settle()
        server.release_writer()
        assert server.http.finish(ending).status == server.http.finish(beginning).status == 200
        server.pass_ms(1_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["more"]

    def test_groups_of_two_users_asked_for_at_once_do_not_mix(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        path = f"{C}/v1/rooms/{room_id}/send_future/m.room.message/t?future_timeout=1000&future_group_id=g"
        asked = [server.http.start("PUT", path, json={}, token=token) for token in ("alice", "bob")]
        # Whoever comes first has the name; which of them that is, the store decides.
        assert sorted(server.http.finish(connection).status for connection in asked) == [200, 405]

    def test_a_repeat_gets_the_same_tokens(self, server: FutureServer) -> None:
        room_id = server.create()
        first = future(server, room_id).json
        assert future(server, room_id, root=U).json == first
        server.restart()
        assert future(server, room_id).json == first

    def test_every_stored_event_counts(self) -> None:
        server = FutureServer(limits=FutureLimits(max_scheduled=2))
        room_id = server.create()
        future(server, room_id, "future_timeout=10000&future_group_id=g", txn="a")
        assert future(server, room_id, "future_group_id=g", txn="b").status == 200
        assert future(server, room_id, "future_group_id=g", txn="c").status == 429

    @pytest.mark.parametrize(("body", "status"), [([], 400), ({"n": 1.5}, 400), ({"t": "x" * 70_000}, 413)])
    def test_what_could_never_be_an_event_is_refused(
        self, server: FutureServer, body: Any, status: int
    ) -> None:
        assert future(server, server.create(), body=body).status == status


class TestTokens:
    @pytest.mark.parametrize(("method", "path"), TOKEN_PATHS)
    def test_the_send_token_sends(self, server: FutureServer, method: str, path: str) -> None:
        room_id = server.create()
        token = future(server, room_id).json["send_token"]
        response = server.http.request(method, path + token)
        assert (response.status, response.json) == (200, {})
        assert len(server.sent(room_id)) == 1

    def test_the_refresh_token_starts_the_timer_again(self, server: FutureServer) -> None:
        room_id = server.create()
        token = future(server, room_id).json["refresh_token"]
        for _ in range(4):
            server.pass_ms(8_000)
            assert use(server, token).json == {}
        assert server.sent(room_id) == []
        server.pass_ms(10_000)
        assert len(server.sent(room_id)) == 1

    def test_the_cancel_token_cancels(self, server: FutureServer) -> None:
        room_id = server.create()
        token = future(server, room_id).json["cancel_token"]
        assert use(server, token).json == {}
        server.pass_ms(20_000)
        assert server.sent(room_id) == []

    def test_tokens_outlive_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = future(server, room_id).json
        server.restart(cleanly=False)
        assert use(server, reply["refresh_token"]).status == 200
        assert use(server, reply["send_token"]).status == 200
        assert len(server.sent(room_id)) == 1

    @pytest.mark.parametrize("kind", ["send_token", "cancel_token", "refresh_token"])
    @pytest.mark.parametrize("spent_by", ["send_token", "cancel_token", "timeout"])
    def test_spent_tokens_are_gone(self, server: FutureServer, kind: str, spent_by: str) -> None:
        reply = future(server, server.create()).json
        if spent_by == "timeout":
            server.pass_ms(10_000)
        else:
            assert use(server, reply[spent_by]).status == 200
        response = use(server, reply[kind])
        assert (response.status, response.errcode) == (410, "M_NOT_FOUND")

    @pytest.mark.parametrize("token", ["unknown", "%F0%9F%8D%8C", "a" * 5_000])
    def test_unknown_tokens_are_gone(self, server: FutureServer, token: str) -> None:
        response = use(server, token)
        assert (response.status, response.errcode) == (410, "M_NOT_FOUND")

    def test_a_failed_send_is_the_callers_to_know_and_the_tokens_stay_good(
        self, server: FutureServer
    ) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        reply = future(server, room_id, token="bob").json
        kick = {"state_key": "@bob:hs1", "content": {"membership": "leave"}}
        server.send(room_id, "@alice:hs1", "m.room.member", **kick)
        refused = use(server, reply["send_token"])
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        server.join(room_id, "@bob:hs1")
        assert use(server, reply["refresh_token"]).status == 200
        assert use(server, reply["send_token"]).status == 200

    def test_a_delay_id_is_no_token(self, server: FutureServer) -> None:
        assert use(server, server.schedule(server.create())).status == 410

    def test_tokens_are_not_stored(self, server: FutureServer) -> None:
        reply = future(server, server.create()).json
        dump = "\n".join(server.database.writing.iterdump())
        assert reply["future_group_id"] in dump
        for kind in ("send_token", "cancel_token", "refresh_token"):
            stored = dump.replace(_stored_reply(dump), "")
            assert reply[kind] not in stored


def _stored_reply(dump: str) -> str:
    """The reply that is kept for a repeat of its transaction, as the specification of transactions wants."""
    return next(line for line in dump.splitlines() if line.startswith('INSERT INTO "transactions"'))


class TestGroups:
    def test_one_group_sends_at_most_one_event(self, server: FutureServer) -> None:
        room_id = server.create()
        query = "future_timeout=10000&future_group_id=g"
        timeout, other = (future(server, room_id, query, txn=txn).json for txn in "ab")
        action = future(server, room_id, "future_group_id=g", txn="c").json
        assert use(server, action["send_token"]).status == 200
        assert [use(server, reply["send_token"]).status for reply in (timeout, other)] == [410, 410]
        server.pass_ms(20_000)
        assert [event.content["body"] for event in server.sent(room_id)] == ["c"]

    def test_a_group_may_span_rooms(self, server: FutureServer) -> None:
        here, there = server.create(), server.create()
        future(server, here, "future_timeout=10000&future_group_id=g")
        action = future(server, there, "future_group_id=g").json
        assert use(server, action["send_token"]).status == 200
        server.pass_ms(20_000)
        assert (len(server.sent(here)), len(server.sent(there))) == (0, 1)

    def test_cancelling_the_last_timeout_future_discards_the_group(self, server: FutureServer) -> None:
        room_id = server.create()
        timeouts = [
            future(server, room_id, "future_timeout=10000&future_group_id=g", txn=txn).json for txn in "ab"
        ]
        action = future(server, room_id, "future_group_id=g", txn="c").json
        use(server, timeouts[0]["cancel_token"])
        assert len(server.get(f"{C}/v1/future").json) == 2
        use(server, timeouts[1]["cancel_token"])
        assert server.get(f"{C}/v1/future").json == []
        assert use(server, action["send_token"]).status == 410

    def test_the_name_of_a_finished_group_is_free_again(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        query = "future_timeout=1000&future_group_id=g"
        assert future(server, room_id, query).status == 200
        server.pass_ms(1_001)
        refused = future(server, room_id, "future_group_id=g", txn="late")
        assert refused.status == 409
        assert future(server, room_id, query, token="bob").status == 200
        server.pass_ms(1_001)
        assert [event.sender for event in server.sent(room_id)] == ["@alice:hs1", "@bob:hs1"]

    def test_a_group_goes_on_after_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        future(server, room_id, "future_timeout=10000&future_group_id=g")
        server.restart()
        action = future(server, room_id, "future_group_id=g", txn="action").json
        assert use(server, action["send_token"]).status == 200
        server.pass_ms(20_000)
        assert len(server.sent(room_id)) == 1

    def test_any_newer_state_ends_a_state_future(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = state_future(server, room_id, "future_timeout=10000")
        server.send(room_id, "@alice:hs1", "m.call.member", state_key="call", content={})
        assert use(server, reply["refresh_token"]).status == 410

    def test_state_that_another_future_of_the_user_became_counts_too(self, server: FutureServer) -> None:
        room_id = server.create()
        waiting = state_future(server, room_id, "future_timeout=10000")
        sent = state_future(server, room_id, "future_timeout=10000")
        use(server, sent["send_token"])
        assert use(server, waiting["refresh_token"]).status == 410

    def test_members_of_its_own_group_do_not_count(self, server: FutureServer) -> None:
        room_id = server.create()
        first = state_future(server, room_id, "future_timeout=10000&future_group_id=g")
        second = state_future(server, room_id, "future_timeout=20000&future_group_id=g")
        assert use(server, second["send_token"]).status == 200
        [event] = server.sent(room_id, "m.call.member")
        assert event.state_key == "call"
        assert use(server, first["send_token"]).status == 410


class TestListing:
    @pytest.mark.parametrize("path", [f"{C}/v1/future", f"{C}/v3/futures", f"{U}/future"])
    def test_scheduled_futures_with_what_was_asked_and_answered(
        self, server: FutureServer, path: str
    ) -> None:
        room_id = server.create()
        reply = future(server, room_id, "future_timeout=10000").json
        group = reply["future_group_id"]
        assert server.get(path).json == [
            {
                "url": f"{C}/v1/rooms/{room_id}/send_future/m.room.message/t"
                f"?future_timeout=10000&future_group_id={group}",
                "body": {"body": "t"},
                "response": reply,
            }
        ]

    def test_an_action_future_shows_no_timeout(self, server: FutureServer) -> None:
        room_id = server.create()
        future(server, room_id, "future_timeout=10000&future_group_id=a%2Fb")
        future(server, room_id, "future_group_id=a%2Fb", txn="action")
        urls = sorted(item["url"].partition("?")[2] for item in server.get(f"{C}/v1/future").json)
        assert urls == ["future_group_id=a%2Fb", "future_timeout=10000&future_group_id=a%2Fb"]

    def test_only_the_callers_own_are_listed(self, server: FutureServer) -> None:
        future(server, server.create())
        assert server.get(f"{C}/v1/future", "bob").json == []
        assert server.get(f"{C}/v1/future", None).status == 401

    def test_those_of_other_dialects_are_not_listed_in_this_shape(self, server: FutureServer) -> None:
        server.schedule(server.create())
        assert server.get(f"{C}/v1/future").json == []


def test_what_has_no_delay_id_for_its_owner_is_not_shown_by_one(server: FutureServer) -> None:
    assert future(server, server.create()).status == 200
    ((delay_id,),) = server.database.writing.execute("SELECT delay_id FROM futures")
    assert server.get(f"{C}/v1/delayed_events/{delay_id}").status == 404
    listed = server.get(f"{U}/delayed_events?delay_id={delay_id}").json
    assert listed["scheduled"] == listed["finalised"] == []


class TestLockout:
    @pytest.mark.parametrize("rate_limits", [True, False])
    def test_five_unknown_tokens_in_a_row_lock_an_address_out(self, rate_limits: bool) -> None:
        server = FutureServer(rate_limits=rate_limits)
        good = future(server, server.create()).json["refresh_token"]
        assert [use(server, f"guess{n}").status for n in range(7)] == [410] * 5 + [429] * 2
        assert use(server, good).status == 200, "good ones go on working"
        assert use(server, "guess", host="10.0.0.9").status == 410, "another address is not concerned"

    def test_what_a_guess_is_compared_by_takes_a_time_that_does_not_tell(
        self, server: FutureServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = future(server, server.create()).json["refresh_token"]
        with monkeypatch.context() as never_equal:
            never_equal.setattr(hmac, "compare_digest", lambda *_: False)
            assert use(server, good).status == 410, "nothing else compares"
        assert use(server, good).status == 200

    def test_the_lock_opens_after_ten_seconds(self, server: FutureServer) -> None:
        for number in range(5):
            use(server, f"guess{number}")
        locked = use(server, "guess")
        assert (locked.status, locked.headers["retry-after"]) == (429, "10")
        server.pass_ms(10_001)
        assert [use(server, f"again{n}").status for n in range(6)] == [410] * 5 + [429]

    def test_a_good_token_starts_the_count_again(self, server: FutureServer) -> None:
        good = future(server, server.create()).json["refresh_token"]
        for _ in range(3):
            assert [use(server, f"guess{n}").status for n in range(4)] == [410] * 4
            assert use(server, good).status == 200

    def test_spent_tokens_do_not_count(self, server: FutureServer) -> None:
        spent = future(server, server.create()).json["cancel_token"]
        use(server, spent)
        assert [use(server, spent).status for _ in range(20)] == [410] * 20
