"""The dialect `batch`: now, on timeout and on action in one request. Futures specification, 2.5."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from minihs.futures.policies import FutureLimits
from tests.support.future_server import ALL, C, FutureServer, U

ROOTS = [f"{C}/v3", f"{C}/v1", U]


@pytest.fixture
def server() -> FutureServer:
    return FutureServer(dialects=ALL)


def text(body: str) -> dict[str, Any]:
    return {"type": "m.room.message", "content": {"body": body}}


def call(n: int, key: str = "call") -> dict[str, Any]:
    return {"type": "m.call.member", "state_key": key, "content": {"n": n}}


def batch(
    server: FutureServer,
    room_id: str,
    *,
    txn: str = "t",
    root: str = ROOTS[0],
    user: str = "alice",
    **body: Any,
) -> Any:
    body = {"timeout": 10, "send_on_timeout": text("timeout"), **body}
    return server.put(f"{root}/rooms/{room_id}/send/future/{txn}", body, user)


def act(server: FutureServer, token: str, action: str, **details: Any) -> Any:
    return server.post(f"{C}/v3/futures/action/{action}", {"future_token": token}, None, **details)


def refresh(server: FutureServer, token: str) -> Any:
    return server.post(f"{C}/v3/futures/refresh", {"future_token": token}, None)


def use(server: FutureServer, token: str) -> Any:
    return server.post(f"{C}/v1/future/{token}", token=None)


def texts(server: FutureServer, room_id: str) -> list[str]:
    return [event.content["body"] for event in server.sent(room_id)]


class TestScheduling:
    @pytest.mark.parametrize("root", ROOTS)
    def test_the_least_is_a_timeout_and_what_is_sent_then(self, server: FutureServer, root: str) -> None:
        room_id = server.create()
        reply = batch(server, room_id, root=root).json
        assert reply.keys() == {"future_token", "send_on_timeout"}
        assert reply["send_on_timeout"].keys() == {"send_token", "refresh_token", "cancel_token"}
        server.pass_ms(9_999)
        assert server.sent(room_id) == []
        server.pass_ms(1)
        assert texts(server, room_id) == ["timeout"]

    @pytest.mark.parametrize("root", ROOTS)
    def test_everything_at_once(self, server: FutureServer, root: str) -> None:
        room_id = server.create()
        reply = batch(
            server, room_id, root=root, send_now=text("now"), send_on_action={"a": text("a"), "b": text("b")}
        ).json
        [now] = server.sent(room_id)
        assert now.content == {"body": "now"}
        assert reply["send_now"] == {"event_id": now.event_id, "eventId": now.event_id}
        assert reply["send_on_action"].keys() == {"a", "b"}
        assert all(part.keys() == {"send_token"} for part in reply["send_on_action"].values())

    def test_the_event_that_is_sent_now_is_named_in_the_others(self, server: FutureServer) -> None:
        room_id = server.create()
        redaction = {"type": "m.room.redaction", "content": {"redacts": "$m.send_now.event_id"}}
        answer = {"type": "m.test", "content": {"to": ["$m.send_now.event_id"]}}
        reply = batch(
            server,
            room_id,
            send_now=text("gone soon"),
            send_on_timeout=redaction,
            send_on_action={"x": answer},
        ).json
        event_id = reply["send_now"]["event_id"]
        listed = server.get(f"{C}/v3/futures").json[0]
        assert listed["send_on_timeout"]["content"] == {"redacts": event_id}
        assert listed["send_on_action"]["x"]["content"] == {"to": [event_id]}
        server.pass_ms(10_000)
        [sent] = server.sent(room_id, "m.room.redaction")
        assert sent.redacts == event_id

    def test_a_body_that_is_no_batch_is_an_ordinary_message(self, server: FutureServer) -> None:
        room_id = server.create()
        for number, root in enumerate(ROOTS):
            path = f"{root}/rooms/{room_id}/send/future/t{number}"
            reply = server.put(path, {"body": "what will be?"})
            assert reply.json == server.put(path, {"body": "what will be?"}).json
            [event] = server.sent(room_id, "future")[number:]
            assert reply.json == {"event_id": event.event_id}

    def test_the_three_spellings_are_one_transaction(self, server: FutureServer) -> None:
        room_id = server.create()
        replies = [batch(server, room_id, root=root, send_now=text("now")).json for root in ROOTS]
        assert replies[0] == replies[1] == replies[2]
        server.restart()
        assert batch(server, room_id, send_now=text("now")).json == replies[0]
        assert texts(server, room_id) == ["now"]
        assert batch(server, room_id, txn="other").json != replies[0]

    def test_a_state_event_of_that_type_is_no_batch(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = server.put(f"{C}/v3/rooms/{room_id}/state/future/key", {"timeout": 5})
        assert reply.json.keys() == {"event_id"}

    def test_a_timeout_above_the_maximum_is_refused_with_the_maximum(self, server: FutureServer) -> None:
        room_id = server.create()
        for seconds in (86_401, 2**53, 10**30):
            refused = batch(server, room_id, timeout=seconds, send_now=text("now"))
            assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
            assert "86400" in refused.json["error"]
        assert server.sent(room_id) == []
        assert batch(server, room_id, timeout=86_400).status == 200


class TestTogetherOrNotAtAll:
    def test_a_part_that_could_never_be_an_event_lets_nothing_be_sent(self, server: FutureServer) -> None:
        room_id = server.create()
        before = server.stored()
        large = {"type": "m.test", "content": {"text": "x" * 66_000}}
        for parts in (
            {"send_on_timeout": large},
            {"send_on_action": {"a": large}},
            {"send_now": large},
            {"send_on_action": {"a": {"type": "x" * 256, "content": {}}}},
        ):
            refused = batch(server, room_id, **{"send_now": text("now"), **parts})
            assert refused.status in (400, 413)
            assert server.stored() == before

    def test_what_may_not_be_sent_now_schedules_nothing(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        before = server.stored()
        refused = batch(server, room_id, user="bob", send_now=call(1))
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        assert server.stored() == before
        assert batch(server, room_id, user="bob", send_now=text("now")).status == 200

    def test_what_may_not_be_sent_yet_is_scheduled(self, server: FutureServer) -> None:
        """The right to send is judged at send time."""
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        assert batch(server, room_id, user="bob", send_on_timeout=call(1)).status == 200

    def test_every_part_counts(self) -> None:
        server = FutureServer(dialects=ALL, limits=FutureLimits(max_scheduled=2))
        room_id = server.create()
        parts = {"send_now": text("now"), "send_on_action": {"a": text("a"), "b": text("b")}}
        refused = batch(server, room_id, **parts)
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM"), "no waiting would help"
        assert server.sent(room_id) == []
        fewer = {"send_now": text("now"), "send_on_action": {"a": text("a")}}
        assert batch(server, room_id, **fewer).status == 200
        assert batch(server, room_id, txn="u", **fewer).status == 429

    @pytest.mark.parametrize("table", ["events", "futures", "future_timers", "future_tokens", "transactions"])
    def test_a_batch_that_fails_stores_nothing(self, server: FutureServer, table: str) -> None:
        room_id = server.create()
        before = server.stored()
        server.database.writing.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        parts = {"send_now": call(1), "send_on_action": {"a": call(2)}}
        assert batch(server, room_id, **parts).status == 503
        server.database.writing.execute("DROP TRIGGER full")
        assert server.stored() == before
        server.pass_ms(60_000)
        assert server.sent(room_id) == []
        assert batch(server, room_id, **parts).status == 200
        server.pass_ms(10_000)
        assert texts(server, room_id) == ["timeout"]

    def test_a_crash_before_it_is_durable_leaves_nothing(self, server: FutureServer) -> None:
        room_id = server.create()
        before = server.stored()
        server.hold_writer()
        body = {"timeout": 1, "send_on_timeout": text("timeout"), "send_now": text("now")}
        server.http.start("PUT", f"{C}/v3/rooms/{room_id}/send/future/t", json=body, token="alice")
        server.pass_ms(5_000)
        server.crash()
        server.open()
        server.open_futures()
        server.pass_ms(5_000)
        assert server.stored() == before


class TestTokens:
    def test_refreshing_restarts_the_timer(self, server: FutureServer) -> None:
        room_id = server.create()
        token = batch(server, room_id).json["future_token"]
        for method in ("POST", "PUT") * 2:
            server.pass_ms(9_000)
            path = f"{C}/v3/futures/refresh"
            assert server.http.request(method, path, json={"future_token": token}).json == {}
        assert server.sent(room_id) == []
        server.pass_ms(10_000)
        assert texts(server, room_id) == ["timeout"]

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    @pytest.mark.parametrize("name", ["a", "hang up", "ünïcode/%", "refresh", "timeout", "send_on_timeout"])
    def test_an_action_sends_its_event_and_ends_the_rest(
        self, server: FutureServer, method: str, name: str
    ) -> None:
        room_id = server.create()
        reply = batch(server, room_id, send_on_action={name: text("action"), "other": text("other")}).json
        path = f"{C}/v3/futures/action/{quote(name, safe='')}"
        assert server.http.request(method, path, json={"future_token": reply["future_token"]}).json == {}
        server.pass_ms(20_000)
        assert texts(server, room_id) == ["action"]
        for spent in (
            refresh(server, reply["future_token"]),
            act(server, reply["future_token"], "other"),
            use(server, reply["send_on_timeout"]["send_token"]),
        ):
            assert (spent.status, spent.errcode) == (410, "M_NOT_FOUND")

    def test_an_unknown_action_is_not_found_and_ends_nothing(self, server: FutureServer) -> None:
        room_id = server.create()
        token = batch(server, room_id, send_on_action={"a": text("a")}).json["future_token"]
        for name in ("b", "A", "timeout", "action%2Fa"):
            refused = act(server, token, name)
            assert (refused.status, refused.errcode) == (404, "M_NOT_FOUND")
        assert act(server, token, "a").json == {}

    def test_each_part_has_tokens_of_its_own(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = batch(server, room_id, send_on_action={"a": text("a")}).json
        server.pass_ms(9_000)
        assert use(server, reply["send_on_timeout"]["refresh_token"]).json == {}
        server.pass_ms(9_000)
        assert server.sent(room_id) == []
        assert use(server, reply["send_on_action"]["a"]["send_token"]).json == {}
        assert texts(server, room_id) == ["a"]

    def test_the_timeout_can_be_sent_early(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = batch(server, room_id, send_on_action={"a": text("a")}).json
        assert use(server, reply["send_on_timeout"]["send_token"]).json == {}
        assert texts(server, room_id) == ["timeout"]
        assert act(server, reply["future_token"], "a").status == 410

    def test_cancelling_the_timeout_discards_the_batch(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = batch(server, room_id, send_on_action={"a": text("a")}).json
        assert use(server, reply["send_on_timeout"]["cancel_token"]).json == {}
        assert act(server, reply["future_token"], "a").status == 410
        server.pass_ms(20_000)
        assert server.sent(room_id) == []

    def test_tokens_outlive_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        token = batch(server, room_id, send_on_action={"a": text("a")}).json["future_token"]
        server.restart(cleanly=False)
        assert refresh(server, token).json == {}
        assert act(server, token, "b").status == 404
        assert act(server, token, "a").json == {}
        server.restart(cleanly=False)
        assert act(server, token, "a").status == 410
        assert texts(server, room_id) == ["a"]

    def test_a_failed_action_is_the_callers_to_know_and_the_batch_goes_on(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        reply = batch(server, room_id, user="bob", send_on_action={"a": call(1), "b": text("b")}).json
        refused = act(server, reply["future_token"], "a")
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        assert act(server, reply["future_token"], "b").json == {}

    def test_an_action_while_another_is_under_way_hears_its_outcome(self, server: FutureServer) -> None:
        room_id = server.create()
        parts = {"a": text("a"), "b": text("b")}
        token = batch(server, room_id, send_on_action=parts).json["future_token"]
        asked = [
            server.http.start("POST", f"{C}/v3/futures/action/{name}", json={"future_token": token})
            for name in ("a", "b", "a")
        ]
        statuses = [server.http.finish(connection).status for connection in asked]
        assert sorted(statuses) == [200, 410, 410]
        assert texts(server, room_id) == [("a", "b", "a")[statuses.index(200)]]

    @pytest.mark.parametrize("path", ["refresh", "action/a"])
    @pytest.mark.parametrize(
        ("body", "status", "errcode"),
        [
            ({}, 400, "M_MISSING_PARAM"),
            ({"future_token": None}, 400, "M_INVALID_PARAM"),
            ({"future_token": 1}, 400, "M_INVALID_PARAM"),
            ({"future_token": ""}, 410, "M_NOT_FOUND"),
            ({"future_token": "guess"}, 410, "M_NOT_FOUND"),
            ({"future_token": "\N{BANANA}" * 1000}, 410, "M_NOT_FOUND"),
        ],
    )
    def test_bodies(
        self, server: FutureServer, path: str, body: dict[str, Any], status: int, errcode: str
    ) -> None:
        refused = server.post(f"{C}/v3/futures/{path}", body, None)
        assert (refused.status, refused.errcode) == (status, errcode)

    def test_tokens_are_each_for_one_thing(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = batch(server, room_id, send_on_action={"a": text("a")}).json
        for token in (*reply["send_on_timeout"].values(), reply["send_on_action"]["a"]["send_token"]):
            assert refresh(server, token).status == 410
            assert act(server, token, "a").status == 410
        assert use(server, reply["future_token"]).status == 410
        assert server.sent(room_id) == []

    def test_guessing_counts_together_with_the_other_dialects(self, server: FutureServer) -> None:
        guesses = [
            use(server, "guess1"),
            refresh(server, "guess2"),
            act(server, "guess3", "a"),
            server.put(f"{C}/v3/expiration/refresh", {"expire_refresh_token": "guess4"}, None),
            server.put(f"{C}/v3/expiration/end", {"expire_refresh_token": "guess5"}, None),
        ]
        assert [guess.status for guess in guesses] == [410] * 5
        token = batch(server, server.create()).json["future_token"]
        for guess in (use(server, "guess6"), refresh(server, "guess7"), act(server, "guess8", "a")):
            assert (guess.status, guess.errcode) == (429, "M_LIMIT_EXCEEDED")
        assert refresh(server, token).json == {}, "good ones go on working"
        assert act(server, "guess", "a", host="10.0.0.9").status == 410

    def test_a_good_token_of_another_kind_does_not_start_the_count_again(self, server: FutureServer) -> None:
        good = batch(server, server.create()).json["future_token"]
        assert [use(server, f"guess{n}").status for n in range(4)] == [410] * 4
        assert use(server, good).status == 410, "it is for another path"
        assert [use(server, f"guess{n}").status for n in range(4, 6)] == [410, 429]

    def test_good_tokens_of_another_kind_are_not_guesses(self, server: FutureServer) -> None:
        reply = batch(server, server.create()).json
        for _ in range(10):
            assert refresh(server, reply["send_on_timeout"]["send_token"]).status == 410
        assert use(server, "guess").status == 410


class TestNewerState:
    def set_call(
        self, server: FutureServer, room_id: str, key: str = "call", sender: str = "@alice:hs1"
    ) -> None:
        server.send(room_id, sender, "m.call.member", state_key=key, content={"n": 0})

    def test_a_batch_lives_only_while_its_state_event_is_current(self, server: FutureServer) -> None:
        room_id = server.create()
        parts = {"send_now": call(1), "send_on_action": {"a": text("a")}}
        token = batch(server, room_id, **parts).json["future_token"]
        self.set_call(server, room_id, "another")
        assert refresh(server, token).json == {}
        self.set_call(server, room_id)
        assert refresh(server, token).status == 410
        assert act(server, token, "a").status == 410
        server.pass_ms(20_000)
        assert server.sent(room_id) == []

    def test_also_after_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        token = batch(server, room_id, send_now=call(1)).json["future_token"]
        server.restart()
        self.set_call(server, room_id)
        assert refresh(server, token).status == 410

    def test_the_state_event_that_is_sent_now_does_not_end_its_own_batch(self, server: FutureServer) -> None:
        room_id = server.create()
        batch(server, room_id, send_now=call(1), send_on_timeout=call(2))
        server.pass_ms(10_000)
        assert [event.content["n"] for event in server.sent(room_id, "m.call.member")] == [1, 2]

    def test_a_batch_is_ended_by_the_state_event_of_the_next(self, server: FutureServer) -> None:
        room_id = server.create()
        first = batch(server, room_id, txn="a", send_now=call(1), send_on_timeout=call(2)).json
        second = batch(server, room_id, txn="b", send_now=call(3), send_on_timeout=call(4)).json
        assert refresh(server, first["future_token"]).status == 410
        assert refresh(server, second["future_token"]).json == {}
        server.pass_ms(10_000)
        assert [event.content["n"] for event in server.sent(room_id, "m.call.member")] == [1, 3, 4]

    def test_without_a_state_event_now_newer_state_ends_the_part_that_it_replaces(
        self, server: FutureServer
    ) -> None:
        room_id = server.create()
        parts = {"a": call(1, "other"), "b": text("b")}
        token = batch(server, room_id, send_on_timeout=text("timeout"), send_on_action=parts).json[
            "future_token"
        ]
        self.set_call(server, room_id, "other")
        assert act(server, token, "a").status == 404
        assert act(server, token, "b").json == {}

    def test_the_end_of_the_timeout_is_the_end_of_the_batch(self, server: FutureServer) -> None:
        room_id = server.create()
        parts = {"send_on_timeout": call(1), "send_on_action": {"a": text("a")}}
        token = batch(server, room_id, **parts).json["future_token"]
        self.set_call(server, room_id)
        assert act(server, token, "a").status == 410

    def test_newer_state_wins_against_a_timer_that_rings_at_that_moment(self, server: FutureServer) -> None:
        room_id = server.create()
        batch(server, room_id, send_now=call(1), send_on_timeout=call(2))
        server.hold_writer()
        path = f"{C}/v3/rooms/{room_id}/state/m.call.member/call"
        sending = server.http.start("PUT", path, json={"n": 3}, token="alice")
        server.pass_ms(10_000)
        server.release_writer()
        assert server.http.finish(sending).status == 200
        server.pass_ms(20_000)
        assert [event.content["n"] for event in server.sent(room_id, "m.call.member")] == [1, 3]


class TestListing:
    def test_a_batch_is_listed_as_it_was_asked_for_with_its_tokens(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = batch(
            server,
            room_id,
            timeout=20,
            send_now=call(1),
            send_on_timeout=call(2),
            send_on_action={"a": text("$m.send_now.event_id")},
        ).json
        event_id = reply["send_now"]["event_id"]
        assert server.get(f"{C}/v3/futures").json == [
            {
                "room_id": room_id,
                "timeout": 20,
                "future_token": reply["future_token"],
                "send_now": {**call(1), "event_id": event_id, "eventId": event_id},
                "send_on_timeout": {**call(2), **reply["send_on_timeout"]},
                "send_on_action": {"a": {**text(event_id), **reply["send_on_action"]["a"]}},
            }
        ]
        assert server.get(f"{C}/v3/futures", "bob").json == []

    def test_each_future_is_listed_in_the_shape_of_its_own_dialect(self, server: FutureServer) -> None:
        room_id = server.create()
        batch(server, room_id, send_on_action={"a": text("a")})
        server.put(f"{C}/v3/rooms/{room_id}/send/m.room.message/x?future_timeout=1000", {})
        server.put(f"{C}/v1/rooms/{room_id}/send_future/m.room.message/x?future_timeout=500", {})
        server.schedule(room_id)
        server.put(f"{C}/v3/rooms/{room_id}/send/m.room.message/y", {"m.will_expire": 5})
        for path in (f"{C}/v3/futures", f"{C}/v1/future"):
            shapes = [sorted(item) for item in server.get(path).json]
            single = ["body", "response", "url"]
            whole = ["future_token", "room_id", "send_on_action", "send_on_timeout", "timeout"]
            assert shapes == [whole, single, single], (
                "a batch has a part that no timer sends, and comes first"
            )
        assert len(server.get(f"{U}/future").json) == 2

    def test_a_batch_that_is_over_is_listed_no_more(self, server: FutureServer) -> None:
        batch(server, server.create())
        server.pass_ms(10_000)
        assert server.get(f"{C}/v3/futures").json == []


class TestMixtures:
    @pytest.mark.parametrize("root", ROOTS)
    @pytest.mark.parametrize(
        "query",
        [
            "delay=5",
            "org.matrix.msc4140.delay=5",
            "future_timeout=5",
            "future_group_id=g",
            "parent_future_id=x",
        ],
    )
    def test_a_batch_takes_no_parameter_of_another_dialect(
        self, server: FutureServer, root: str, query: str
    ) -> None:
        room_id = server.create()
        before = server.stored()
        body = {"timeout": 5, "send_on_timeout": text("x"), "send_now": text("now")}
        refused = server.put(f"{root}/rooms/{room_id}/send/future/t?{query}", body)
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert server.stored() == before

    @pytest.mark.parametrize("root", ROOTS)
    def test_a_batch_will_not_expire_itself(self, server: FutureServer, root: str) -> None:
        room_id = server.create()
        before = server.stored()
        refused = batch(server, room_id, root=root, **{"m.will_expire": 5})
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert server.stored() == before

    def test_a_delayed_message_of_that_type_is_no_batch(self, server: FutureServer) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/send/future/t?delay=1000"
        assert server.put(path, {"body": "later"}).json.keys() == {"delay_id"}

    def test_a_batch_is_refused_where_the_dialect_is_off(self) -> None:
        server = FutureServer(dialects=("tokens", "merged"))
        room_id = server.create()
        refused = batch(server, room_id)
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert "batch" in refused.json["error"]
        path = f"{C}/v3/rooms/{room_id}/send/future/t"
        assert server.put(path, {"body": "ordinary"}).status == 200
        for root in ROOTS[1:]:
            assert batch(server, room_id, root=root).errcode == "M_UNRECOGNIZED"
        for path in ("refresh", "action/a"):
            refused = server.post(f"{C}/v3/futures/{path}", {"future_token": "x"}, None)
            assert refused.status in (404, 410)
