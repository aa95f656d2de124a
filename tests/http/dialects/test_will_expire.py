"""The dialect `will-expire`: an event and the copy that says it is over. Futures specification, 2.6."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.sending import Standing
from tests.support.future_server import ALL, C, FutureServer

EXPIRATION = f"{C}/v3/expiration"


@pytest.fixture
def server() -> FutureServer:
    return FutureServer(dialects=ALL)


def send(server: FutureServer, room_id: str, seconds: Any = 10, txn: str = "t", **content: Any) -> Any:
    path = f"{C}/v3/rooms/{room_id}/send/m.room.message/{txn}"
    return server.put(path, {"m.will_expire": seconds, "body": "hello", **content})


def set_state(
    server: FutureServer, room_id: str, content: Any, key: str = "call", user: str = "alice"
) -> Any:
    return server.put(f"{C}/v3/rooms/{room_id}/state/m.call.member/{key}", content, user)


def refresh(server: FutureServer, token: str) -> Any:
    return server.put(f"{EXPIRATION}/refresh", {"expire_refresh_token": token}, None)


def end(server: FutureServer, token: str) -> Any:
    return server.put(f"{EXPIRATION}/end", {"expire_refresh_token": token}, None)


def words(server: FutureServer, room_id: str, event_type: str = "m.room.message") -> list[Any]:
    return [event.content.get("m.will_expire") for event in server.sent(room_id, event_type)]


class TestLife:
    def test_the_event_is_sent_at_once_as_running(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = send(server, room_id).json
        [event] = server.sent(room_id)
        assert event.content == {"m.will_expire": "running", "body": "hello"}
        assert reply.keys() == {"event_id", "eventId", "expire_refresh_token"}
        assert reply["event_id"] == reply["eventId"] == event.event_id

    def test_on_timeout_a_copy_says_that_it_is_expired(self, server: FutureServer) -> None:
        room_id = server.create()
        event_id = send(server, room_id).json["event_id"]
        server.pass_ms(9_999)
        assert words(server, room_id) == ["running"]
        server.pass_ms(1)
        [_, copy] = server.sent(room_id)
        assert copy.content == {
            "body": "hello",
            "m.will_expire": "expired",
            "m.relates_to": {"event_id": event_id, "rel_type": "m.expire.relationship"},
        }

    def test_on_end_a_copy_says_that_it_is_ended(self, server: FutureServer) -> None:
        room_id = server.create()
        reply = send(server, room_id).json
        assert end(server, reply["expire_refresh_token"]).json == {}
        [_, copy] = server.sent(room_id)
        assert copy.content["m.will_expire"] == "ended"
        assert copy.content["m.relates_to"]["event_id"] == reply["event_id"]
        server.pass_ms(60_000)
        assert words(server, room_id) == ["running", "ended"]

    def test_refreshing_starts_the_timer_again(self, server: FutureServer) -> None:
        room_id = server.create()
        token = send(server, room_id).json["expire_refresh_token"]
        for _ in range(4):
            server.pass_ms(9_000)
            assert refresh(server, token).json == {}
        assert words(server, room_id) == ["running"]
        server.pass_ms(10_000)
        assert words(server, room_id) == ["running", "expired"]

    @pytest.mark.parametrize("use", [refresh, end])
    @pytest.mark.parametrize("over", ["expired", "ended"])
    def test_the_token_of_what_is_over_is_spent(self, server: FutureServer, use: Any, over: str) -> None:
        token = send(server, server.create()).json["expire_refresh_token"]
        if over == "ended":
            end(server, token)
        else:
            server.pass_ms(10_000)
        response = use(server, token)
        assert (response.status, response.errcode) == (410, "M_NOT_FOUND")

    def test_a_relation_of_the_original_is_not_copied(self, server: FutureServer) -> None:
        room_id = server.create()
        relation = {"rel_type": "m.thread", "event_id": "$thread"}
        event_id = send(server, room_id, **{"m.relates_to": relation}).json["event_id"]
        server.pass_ms(10_000)
        original, copy = server.sent(room_id)
        assert original.content["m.relates_to"] == relation
        assert copy.content["m.relates_to"] == {"event_id": event_id, "rel_type": "m.expire.relationship"}

    def test_it_works_outside_the_ciphertext_of_an_encrypted_event(self, server: FutureServer) -> None:
        room_id = server.create()
        secret = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEn…", "session_id": "s"}
        path = f"{C}/v3/rooms/{room_id}/send/m.room.encrypted/t"
        event_id = server.put(path, {**secret, "m.will_expire": 1}).json["event_id"]
        server.pass_ms(1_000)
        running, expired = server.sent(room_id, "m.room.encrypted")
        assert running.content == {**secret, "m.will_expire": "running"}
        relation = {"event_id": event_id, "rel_type": "m.expire.relationship"}
        assert expired.content == {**secret, "m.will_expire": "expired", "m.relates_to": relation}

    def test_a_state_event_keeps_its_place(self, server: FutureServer) -> None:
        room_id = server.create()
        set_state(server, room_id, {"m.will_expire": 5, "device": "PHONE"})
        server.pass_ms(5_000)
        running, expired = server.sent(room_id, "m.call.member")
        assert running.key == expired.key == ("m.call.member", "call")
        assert expired.content["device"] == "PHONE"

    def test_it_goes_on_after_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        token = send(server, room_id).json["expire_refresh_token"]
        server.restart(cleanly=False)
        assert refresh(server, token).json == {}
        server.restart(cleanly=False, away_ms=60_000)
        server.pass_ms(1)
        assert words(server, room_id) == ["running", "expired"]
        assert end(server, token).status == 410

    def test_what_the_sender_may_not_do_any_more_is_not_done(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message/t"
        token = server.put(path, {"m.will_expire": 10}, "bob").json["expire_refresh_token"]
        kick = {"state_key": "@bob:hs1", "content": {"membership": "leave"}}
        server.send(room_id, "@alice:hs1", "m.room.member", **kick)
        refused = end(server, token)
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        assert refresh(server, token).json == {}, "a failed end leaves it running"
        server.join(room_id, "@bob:hs1")
        assert end(server, token).json == {}
        assert words(server, room_id) == ["running", "ended"]

    def test_a_suspended_accounts_copy_fails(self, server: FutureServer) -> None:
        room_id = server.create()
        send(server, room_id)
        server.standings["@alice:hs1"] = Standing(refusal=RuntimeError("suspended"))
        server.pass_ms(60_000)
        assert words(server, room_id) == ["running"]


class TestTogetherOrNotAtAll:
    def test_an_event_that_is_refused_starts_no_timer(self, server: FutureServer) -> None:
        room_id = server.create()
        server.join(room_id, "@bob:hs1")
        before = server.stored()
        refused = set_state(server, room_id, {"m.will_expire": 5}, user="bob")
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
        assert server.stored() == before
        assert set_state(server, room_id, {"m.will_expire": 5}).status == 200

    def test_a_full_share_sends_nothing(self) -> None:
        """Both copies are stored, so both count."""
        server = FutureServer(dialects=ALL, limits=FutureLimits(max_scheduled=3))
        room_id = server.create()
        assert send(server, room_id).status == 200
        refused = send(server, room_id, txn="more")
        assert (refused.status, refused.errcode) == (429, "M_LIMIT_EXCEEDED")
        assert len(server.sent(room_id)) == 1
        server.pass_ms(10_000)
        assert send(server, room_id, txn="again").status == 200

    @pytest.mark.parametrize("table", ["events", "futures", "future_tokens"])
    def test_a_batch_that_fails_stores_neither(self, server: FutureServer, table: str) -> None:
        room_id = server.create()
        before = server.stored()
        server.database.writing.execute(
            f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        assert send(server, room_id).status == 503
        server.database.writing.execute("DROP TRIGGER full")
        assert server.stored() == before
        server.pass_ms(60_000)
        assert server.sent(room_id) == []
        assert send(server, room_id).status == 200, "the transaction may be tried again"
        server.pass_ms(10_000)
        assert words(server, room_id) == ["running", "expired"]

    def test_a_crash_before_it_is_durable_leaves_neither(self, server: FutureServer) -> None:
        room_id = server.create()
        before = server.stored()
        server.hold_writer()
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message/t"
        server.http.start("PUT", path, json={"m.will_expire": 1}, token="alice")
        server.pass_ms(5_000)
        server.crash()
        server.open()
        server.open_futures()
        server.pass_ms(5_000)
        assert server.stored() == before

    def test_nothing_is_shown_or_started_before_it_is_durable(self, server: FutureServer) -> None:
        room_id = server.create()
        server.hold_writer()
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message/t"
        asked = server.http.start("PUT", path, json={"m.will_expire": 1}, token="alice")
        server.pass_ms(5_000)
        assert server.sent(room_id) == []
        server.release_writer()
        assert server.http.finish(asked).status == 200
        server.pass_ms(1)
        assert words(server, room_id) == ["running", "expired"]

    def test_a_repeat_gets_the_same_reply_and_sends_nothing(self, server: FutureServer) -> None:
        room_id = server.create()
        first = send(server, room_id).json
        assert send(server, room_id).json == first
        server.restart()
        assert send(server, room_id).json == first
        server.pass_ms(10_000)
        assert words(server, room_id) == ["running", "expired"]

    def test_two_at_the_same_moment_are_one(self, server: FutureServer) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message/t"
        asked = [server.http.start("PUT", path, json={"m.will_expire": 9}, token="alice") for _ in range(3)]
        replies = [server.http.finish(connection).json for connection in asked]
        assert replies[0] == replies[1] == replies[2]
        assert words(server, room_id) == ["running"]


class TestNewerState:
    @pytest.mark.parametrize("content", [{"n": 2}, {"m.will_expire": "ended"}, {"m.will_expire": 30}])
    def test_newer_state_ends_the_timer(self, server: FutureServer, content: Any) -> None:
        room_id = server.create()
        token = set_state(server, room_id, {"m.will_expire": 5}).json["expire_refresh_token"]
        set_state(server, room_id, content)
        assert refresh(server, token).status == 410
        assert end(server, token).status == 410
        server.pass_ms(5_000)
        assert "expired" not in words(server, room_id, "m.call.member")

    def test_newer_state_that_will_expire_begins_its_own(self, server: FutureServer) -> None:
        room_id = server.create()
        set_state(server, room_id, {"m.will_expire": 5, "n": 1})
        server.pass_ms(4_000)
        reply = set_state(server, room_id, {"m.will_expire": 5, "n": 2}).json
        server.pass_ms(4_999)
        assert refresh(server, reply["expire_refresh_token"]).json == {}
        server.pass_ms(5_000)
        last = server.sent(room_id, "m.call.member")[-1]
        assert (last.content["n"], last.content["m.will_expire"]) == (2, "expired")
        assert last.content["m.relates_to"]["event_id"] == reply["event_id"]
        assert words(server, room_id, "m.call.member") == ["running", "running", "expired"]

    def test_state_elsewhere_does_not_end_it(self, server: FutureServer) -> None:
        room_id, other_room = server.create(), server.create()
        token = set_state(server, room_id, {"m.will_expire": 5}).json["expire_refresh_token"]
        set_state(server, room_id, {}, key="another")
        set_state(server, other_room, {})
        server.put(f"{C}/v3/rooms/{room_id}/state/m.other/call", {})
        assert refresh(server, token).json == {}

    def test_newer_state_ends_it_after_a_restart_of_the_server(self, server: FutureServer) -> None:
        room_id = server.create()
        token = set_state(server, room_id, {"m.will_expire": 5}).json["expire_refresh_token"]
        server.restart()
        set_state(server, room_id, {})
        assert refresh(server, token).status == 410

    def test_of_two_that_are_on_their_way_together_the_later_one_runs(self, server: FutureServer) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/state/m.call.member/call"
        server.hold_writer()
        asked = [
            server.http.start("PUT", path, json={"m.will_expire": 5, "n": n}, token="alice") for n in (1, 2)
        ]
        server.pass_ms(1)
        server.release_writer()
        first, second = (server.http.finish(connection).json["expire_refresh_token"] for connection in asked)
        assert refresh(server, first).status == 410
        assert refresh(server, second).json == {}
        server.pass_ms(5_000)
        assert [event.content["n"] for event in server.sent(room_id, "m.call.member")] == [1, 2, 2]

    def test_messages_do_not_end_each_other(self, server: FutureServer) -> None:
        room_id = server.create()
        first = send(server, room_id, txn="a").json["expire_refresh_token"]
        send(server, room_id, txn="b")
        assert refresh(server, first).json == {}


class TestBadInput:
    @pytest.mark.parametrize("seconds", [0, -1, -(10**30), 86_401, 2**53, 2**63, 10**30])
    @pytest.mark.parametrize("endpoint", ["send/m.room.message/t", "state/m.test/key"])
    def test_a_time_that_is_none_is_refused(self, server: FutureServer, seconds: int, endpoint: str) -> None:
        room_id = server.create()
        before = server.stored()
        path = f"{C}/v3/rooms/{room_id}/{endpoint}"
        refused = server.put(path, {"m.will_expire": seconds})
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert server.stored() == before
        assert server.put(path, {"m.will_expire": 86_400}).status == 200

    def test_a_time_without_a_limit_is_still_one_that_json_can_carry(self) -> None:
        server = FutureServer(dialects=ALL, limits=FutureLimits(max_delay_ms=None))
        room_id = server.create()
        assert send(server, room_id, 10**30).errcode == "M_INVALID_PARAM"
        assert send(server, room_id, 10**9).status == 200

    @pytest.mark.parametrize("value", ["running", "10", "", True, None, [10], {"seconds": 10}])
    def test_what_is_no_integer_is_the_senders_own_content(self, server: FutureServer, value: Any) -> None:
        room_id = server.create()
        assert send(server, room_id, value).json.keys() == {"event_id"}
        assert words(server, room_id) == [value]

    @pytest.mark.parametrize("body", [b'{"m.will_expire": 10.5}', b'{"m.will_expire": 1e99}'])
    def test_a_fraction_is_in_no_event(self, server: FutureServer, body: bytes) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message/t"
        refused = server.http.request("PUT", path, body=body, token="alice")
        assert (refused.status, refused.errcode) == (400, "M_BAD_JSON")

    def test_what_could_be_no_event_is_refused_with_its_copies(self, server: FutureServer) -> None:
        room_id = server.create()
        before = server.stored()
        # The copies are larger than the event itself: they name it.
        assert send(server, room_id, text="x" * 65_100).status == 413
        assert server.stored() == before

    @pytest.mark.parametrize("use", ["refresh", "end"])
    @pytest.mark.parametrize(
        ("body", "status", "errcode"),
        [
            ({}, 400, "M_MISSING_PARAM"),
            ({"expire_refresh_token": None}, 400, "M_INVALID_PARAM"),
            ({"expire_refresh_token": 1}, 400, "M_INVALID_PARAM"),
            ({"expire_refresh_token": ["x"]}, 400, "M_INVALID_PARAM"),
            ({"expire_refresh_token": ""}, 410, "M_NOT_FOUND"),
            ({"expire_refresh_token": "unknown"}, 410, "M_NOT_FOUND"),
            ({"expire_refresh_token": "\N{BANANA}"}, 410, "M_NOT_FOUND"),
            ({"expire_refresh_token": "x" * 10_000}, 410, "M_NOT_FOUND"),
        ],
    )
    def test_tokens(
        self, server: FutureServer, use: str, body: dict[str, Any], status: int, errcode: str
    ) -> None:
        refused = server.put(f"{EXPIRATION}/{use}", body, None)
        assert (refused.status, refused.errcode) == (status, errcode)

    def test_a_truncated_or_extended_token_is_unknown(self, server: FutureServer) -> None:
        token = send(server, server.create()).json["expire_refresh_token"]
        for wrong in (token[:-1], token + "A", token.lower(), token[::-1]):
            assert refresh(server, wrong).status == 410
        assert refresh(server, token).json == {}

    def test_a_token_of_another_dialect_is_for_something_else(self, server: FutureServer) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message/x?future_timeout=10000"
        tokens = server.put(path, {}).json
        ours = send(server, room_id).json["expire_refresh_token"]
        for name in ("send_token", "cancel_token", "refresh_token"):
            assert end(server, tokens[name]).status == 410
        assert server.post(f"{C}/v1/future/{ours}", token=None).status == 410
        assert server.post(f"{C}/v3/futures/refresh", {"future_token": ours}, None).status == 410
        assert words(server, room_id) == ["running"]
        assert end(server, ours).json == {}

    @pytest.mark.parametrize("query", ["delay=1000", "org.matrix.msc4140.delay=1", "future_timeout=1000"])
    def test_two_dialects_in_one_request_are_refused(self, server: FutureServer, query: str) -> None:
        room_id = server.create()
        before = server.stored()
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message/t?{query}"
        refused = server.put(path, {"m.will_expire": 10})
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert "will-expire" in refused.json["error"]
        assert server.stored() == before

    def test_an_unknown_room_is_one_that_the_user_is_not_in(self, server: FutureServer) -> None:
        refused = send(server, "!nowhere:hs1")
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
