"""The way of a request through the site: routing, credentials, bodies, errors, connections, stopping."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import CancelledError, Deferred

from minihs.events.ids import DeviceID, ServerName, UserID
from minihs.homeserver.accounts.sessions import Requester, UnknownToken
from minihs.homeserver.errors import Forbidden, NotFound, TooLarge
from minihs.http.addresses import TrustedProxies
from minihs.http.channel import DRAINED_BYTES
from minihs.http.errors import MatrixError
from minihs.http.limits import Limit, RateLimiter
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route, Router
from minihs.http.site import CLOSING_MS, ApiFactory, Finished
from minihs.http.whole_request import RequestHeaders
from minihs.platform.clock import VirtualClock, sleep
from tests.support.http import Connection, HttpDriver, encode_request

ALICE = Requester(user_id=UserID("@alice:hs.test"), device_id=DeviceID("PHONE"))
TOKENS = {
    "alice": ALICE,
    "guest": Requester(user_id=UserID("@guest:hs.test"), device_id=DeviceID("D"), is_guest=True),
    "admin": Requester(user_id=UserID("@admin:hs.test"), device_id=DeviceID("D"), is_admin=True),
    "locked": Requester(user_id=UserID("@locked:hs.test"), device_id=DeviceID("D"), is_locked=True),
    "suspended": Requester(user_id=UserID("@sus:hs.test"), device_id=DeviceID("D"), is_suspended=True),
}


class Tokens:
    """Knows the tokens of the table above; "alice" was used lately."""

    def recent(self, token: str) -> Requester | None:
        return ALICE if token == "alice" else None

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:
        if token == "expired":
            raise UnknownToken(soft_logout=True)
        if token not in TOKENS:
            raise UnknownToken
        return TOKENS[token]


class Body(msgspec.Struct):
    name: str
    count: int | None = None
    nested: dict[str, int] = {}


class AllOptional(msgspec.Struct):
    reason: str | None = None


class World:
    """A site with one route of each kind."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.finished: list[Finished] = []
        self.seen: list[ApiRequest] = []
        self.waiting: list[Deferred[None]] = []
        self.cancelled = 0
        routes = [
            self.route("GET", "/_matrix/client/v3/open", Access.OPEN),
            self.route("GET", "/_matrix/client/v3/optional", Access.OPTIONAL),
            self.route("GET", "/_matrix/client/v3/user", Access.USER),
            self.route("PUT", "/_matrix/client/v3/user", Access.USER),
            self.route(
                "POST", "/_matrix/client/v3/logout", Access.USER, while_locked=True, while_suspended=True
            ),
            self.route("GET", "/_matrix/client/v3/member", Access.MEMBER),
            self.route("GET", "/_matrix/client/v3/admin", Access.ADMIN),
            self.route("POST", "/_matrix/client/v3/body", Access.OPEN, body=Body),
            self.route("POST", "/_matrix/client/v3/optional_body", Access.OPEN, body=AllOptional),
            self.route("POST", "/_matrix/client/v3/small", Access.OPEN, body=dict, max_body=64),
            self.route("PUT", "/_matrix/client/v3/rooms/{room_id}/send/{event_type}", Access.USER),
            self.route("GET", "/_matrix/client/v3/limited", Access.OPEN, limit="login"),
            self.route("POST", "/_matrix/federation/v1/send", Access.SERVER, body=Body),
            Route(method="GET", path="/refuse", access=Access.OPEN, handler=self.refuse),
            Route(method="GET", path="/crash", access=Access.OPEN, handler=self.crash),
            Route(method="GET", path="/slow", access=Access.OPEN, handler=self.slow),
            Route(method="GET", path="/poll", access=Access.OPEN, handler=self.poll, long_poll=True),
            Route(method="GET", path="/text", access=Access.OPEN, handler=self.text),
        ]
        self.refusal: Exception = Forbidden("No.")
        self.factory = ApiFactory(
            Router(routes),
            clock=self.clock,
            limiter=RateLimiter(self.clock, {"login": Limit(1.0, 2)}),
            tokens=Tokens(),
            servers=self.authenticate,
            observer=self.finished.append,
            **options,
        )
        self.driver = HttpDriver(self.factory, self.clock)

    def route(self, method: str, path: str, access: Access, **details: Any) -> Route:
        return Route(method=method, path=path, access=access, handler=self.echo, **details)

    async def authenticate(
        self, method: str, uri: bytes, headers: RequestHeaders, body: dict[str, Any] | None
    ) -> ServerName:
        if headers.getRawHeaders(b"Authorization") != [b"X-Matrix good"]:
            raise MatrixError(401, "M_UNAUTHORIZED", "Bad signature.")
        return ServerName("remote.test")

    async def echo(self, request: ApiRequest) -> dict[str, Any]:
        self.seen.append(request)
        return {"args": request.args}

    async def refuse(self, request: ApiRequest) -> dict[str, Any]:
        raise self.refusal

    async def crash(self, request: ApiRequest) -> dict[str, Any]:
        raise ZeroDivisionError("secret-in-a-message")

    async def slow(self, request: ApiRequest) -> dict[str, Any]:
        await sleep(self.clock, 500)
        self.seen.append(request)
        return {"slow": True}

    async def poll(self, request: ApiRequest) -> dict[str, Any]:
        try:
            await sleep(self.clock, 30_000)
        except CancelledError:
            self.cancelled += 1
            return {"early": True}
        return {"early": False}

    async def text(self, request: ApiRequest) -> Reply:
        return Reply(body=b"<p>", headers={"Content-Type": "text/html"})

    def get(self, path: str, **details: Any) -> Any:
        return self.driver.request("GET", path, **details)

    def post(self, path: str, **details: Any) -> Any:
        return self.driver.request("POST", path, **details)


@pytest.fixture
def world() -> World:
    return World()


def test_a_reply_is_json_with_cors_and_a_date(world: World) -> None:
    response = world.get("/_matrix/client/v3/open")
    assert (response.status, response.json) == (200, {"args": {}})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "X-Requested-With, Content-Type, Authorization"
    assert response.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_an_unknown_path_is_unrecognized(world: World) -> None:
    response = world.get("/_matrix/client/v3/nothing")
    assert (response.status, response.errcode) == (404, "M_UNRECOGNIZED")
    assert response.headers["access-control-allow-origin"] == "*"


def test_a_wrong_method_is_unrecognized_and_told_the_right_ones(world: World) -> None:
    response = world.driver.request("DELETE", "/_matrix/client/v3/user")
    assert (response.status, response.errcode) == (405, "M_UNRECOGNIZED")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"


def test_options_is_answered_without_running_anything(world: World) -> None:
    response = world.driver.request("OPTIONS", "/_matrix/client/v3/user")
    assert (response.status, response.body) == (204, b"")
    assert "GET" in response.headers["access-control-allow-methods"]
    assert world.seen == []


def test_head_has_the_head_of_get_and_no_body(world: World) -> None:
    connection = world.driver.start("HEAD", "/_matrix/client/v3/open")
    data = connection.transport.value()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 11\r\n" in data
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("prefix", ["", "http://hs1", "HTTPS://hs1:8448", "https://[::1]:8448"])
def test_a_target_may_be_written_in_absolute_form(world: World, prefix: str) -> None:
    response = world.get(f"{prefix}/_matrix/client/v3/open?a=http://b/c")
    assert (response.status, response.json) == (200, {"args": {}})
    assert world.seen[0].path == "/_matrix/client/v3/open"
    assert world.seen[0].query.one("a") == "http://b/c"


@pytest.mark.parametrize(
    "target", ["hs1/_matrix/client/v3/open", "ftp://hs1/_matrix/client/v3/open", "http://"]
)
def test_any_other_form_of_target_leads_nowhere(world: World, target: str) -> None:
    response = world.get(target)
    assert (response.status, response.errcode) == (404, "M_UNRECOGNIZED")


def test_identifiers_in_a_path_are_decoded_after_it_is_split(world: World) -> None:
    path = "/_matrix/client/v3/rooms/%21a%2Fb%3Ahs/send/%C3%A9"
    assert world.driver.request("PUT", path, token="alice").json == {
        "args": {"room_id": "!a/b:hs", "event_type": "é"}
    }


@pytest.mark.parametrize("raw", ["%ff", "%zz", "%C3", "%"])
def test_what_is_not_percent_encoded_utf8_is_refused(world: World, raw: str) -> None:
    response = world.driver.request("PUT", f"/_matrix/client/v3/rooms/{raw}/send/x", token="alice")
    assert (response.status, response.errcode) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("path", "token", "status", "errcode"),
    [
        ("user", None, 401, "M_MISSING_TOKEN"),
        ("user", "alice", 200, None),
        ("user", "wrong", 401, "M_UNKNOWN_TOKEN"),
        ("user", "guest", 200, None),
        ("member", "guest", 403, "M_GUEST_ACCESS_FORBIDDEN"),
        ("member", "alice", 200, None),
        ("admin", "alice", 403, "M_FORBIDDEN"),
        ("admin", "admin", 200, None),
        ("optional", None, 200, None),
        ("optional", "wrong", 401, "M_UNKNOWN_TOKEN"),
        ("user", "locked", 401, "M_USER_LOCKED"),
        ("user", "suspended", 200, None),
    ],
)
def test_each_access_admits_those_it_names(
    world: World, path: str, token: str | None, status: int, errcode: str | None
) -> None:
    response = world.get(f"/_matrix/client/v3/{path}", token=token)
    assert (response.status, response.errcode) == (status, errcode)


def test_soft_logout_is_said_for_expired_tokens_and_locked_accounts_only(world: World) -> None:
    assert world.get("/_matrix/client/v3/user", token="expired").json["soft_logout"] is True
    assert world.get("/_matrix/client/v3/user", token="locked").json["soft_logout"] is True
    assert "soft_logout" not in world.get("/_matrix/client/v3/user", token="wrong").json


def test_a_suspended_account_reads_but_does_not_write(world: World) -> None:
    refused = world.driver.request("PUT", "/_matrix/client/v3/user", token="suspended")
    assert (refused.status, refused.errcode) == (403, "M_USER_SUSPENDED")
    assert world.post("/_matrix/client/v3/logout", token="suspended").status == 200
    assert world.post("/_matrix/client/v3/logout", token="locked").status == 200


def test_the_token_may_stand_in_the_query_as_old_clients_send_it(world: World) -> None:
    assert world.get("/_matrix/client/v3/user?access_token=alice").status == 200
    assert world.get("/_matrix/client/v3/user?access_token=").errcode == "M_MISSING_TOKEN"


def test_a_signed_request_is_given_to_the_authenticator_before_its_body_is_judged(world: World) -> None:
    path, good = "/_matrix/federation/v1/send", {"Authorization": "X-Matrix good"}
    assert world.post(path, json={}).errcode == "M_UNAUTHORIZED"
    assert world.post(path, json={}, headers=good).errcode == "M_MISSING_PARAM"
    response = world.post(path, json={"name": "x"}, headers=good)
    assert response.status == 200
    assert world.seen[-1].server == "remote.test"
    assert world.seen[-1].body == Body(name="x")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("body", "errcode", "sentence"),
    [
        (b"", "M_NOT_JSON", "needs a JSON object"),
        (b"{", "M_NOT_JSON", "cannot be read as JSON"),
        (b'{"name": NaN}', "M_NOT_JSON", "cannot be read as JSON"),
        (b'{"name": "\xff"}', "M_NOT_JSON", "not UTF-8"),
        (b'{"name": "\\ud800"}', "M_NOT_JSON", "near its end is half of a surrogate pair"),
        (b'{"name": "\\ud800 and more"}', "M_NOT_JSON", "surrogate pair"),
        (b'{"name": "\\\\ud800"', "M_NOT_JSON", "truncated"),
        (b'{"name": "a"} x', "M_NOT_JSON", "trailing"),
        (b"[]", "M_BAD_JSON", "expected an object, got an array"),
        (b'"text"', "M_BAD_JSON", "expected an object, got a string"),
        (b"null", "M_BAD_JSON", "expected an object, got null"),
        (b"{}", "M_MISSING_PARAM", "lacks `name`"),
        (b'{"name": 1}', "M_INVALID_PARAM", "`name` is wrong: expected a string, got an integer"),
        (b'{"name": null}', "M_INVALID_PARAM", "`name`"),
        (b'{"name": "a", "count": 1.5}', "M_INVALID_PARAM", "expected an integer or null, got a number"),
        (b'{"name": "a", "nested": {"b": "c"}}', "M_INVALID_PARAM", "`nested"),
        (b'{"name": "a", "x": ' + b"[" * 201 + b"]" * 201 + b"}", "M_BAD_JSON", "nested more than"),
        (b'{"name": "a", "x": ' + b"[" * 100_000, "M_BAD_JSON", "nested more than"),
        (
            b'{"name": "a", "x": ' + b"1" * 5000 + b', "count": ' + b"1" * 5000 + b"}",
            "M_INVALID_PARAM",
            "out of range",
        ),
    ],
)
def test_a_bad_body_is_refused_with_a_sentence(
    world: World, body: bytes, errcode: str, sentence: str
) -> None:
    response = world.post("/_matrix/client/v3/body", body=body)
    assert (response.status, response.errcode) == (400, errcode)
    assert sentence in response.json["error"]
    assert world.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a", "unknown": true}',
        b'{"name": "b", "name": "a"}',
        b'{"name": "a", "x": ' + b"[" * 199 + b"]" * 199 + b"}",
        b'{"name": "a", "x": "' + b"[{" * 300 + b'"}',
    ],
)
def test_a_good_body_reaches_the_handler_as_its_type(world: World, body: bytes) -> None:
    assert world.post("/_matrix/client/v3/body", body=body).status == 200
    assert world.seen[0].body == Body(name="a")


def test_a_string_that_never_ends_is_read_in_linear_time(world: World) -> None:
    body = b"[" * 300 + b'"' + b'\\"' * 400_000
    assert world.post("/_matrix/client/v3/body", body=body).errcode == "M_BAD_JSON"


def test_a_body_that_needs_nothing_may_be_left_out(world: World) -> None:
    assert world.post("/_matrix/client/v3/optional_body").status == 200
    assert world.seen[0].body == AllOptional()


def test_a_body_over_the_limit_of_its_route_is_too_large(world: World) -> None:
    assert world.post("/_matrix/client/v3/small", body=b'{"a":"' + b"x" * 56 + b'"}').status == 200
    response = world.post("/_matrix/client/v3/small", body=b'{"a":"' + b"x" * 57 + b'"}')
    assert (response.status, response.errcode) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize(
    "body", [b'{"name": "n", "text": "%s"}', b"%s", b"[[%s"], ids=["good", "no JSON", "cut off"]
)
def test_a_body_is_let_go_with_its_reply(world: World, body: bytes) -> None:
    """Not when the interpreter next looks for circles, which is after many more bodies."""
    large = body % (b"x" * 50_000)
    world.post("/_matrix/client/v3/body", body=large)
    world.seen.clear()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(10):
            world.post("/_matrix/client/v3/body", body=large)
            world.seen.clear()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < 4 * len(large)


def test_a_chunked_body_is_read_and_bounded(world: World) -> None:
    head = b"POST /_matrix/client/v3/body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = Connection(world.factory, world.clock)
    connection.send(head + b'9\r\n{"name": \r\n4\r\n"a"}\r\n0\r\n\r\n')
    assert world.driver.finish(connection).status == 200
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
    connection.send(head + chunk * 2 + b"0\r\n\r\n")
    assert world.driver.finish(connection).errcode == "M_TOO_LARGE"
    connection.send(head + chunk * 7)
    assert world.driver.finish(connection).errcode == "M_TOO_LARGE"
    assert connection.closed


def test_a_declared_length_beyond_reason_is_refused_before_the_body_comes(world: World) -> None:
    connection = Connection(world.factory, world.clock)
    length = (1 << 20) + DRAINED_BYTES + 1
    connection.send(
        b"POST /_matrix/client/v3/body HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        % length
    )
    assert world.driver.finish(connection).errcode == "M_TOO_LARGE"
    assert connection.closed
    connection.send(b"x" * 100)
    assert connection.take() is None


@pytest.mark.parametrize(
    ("data", "status_line"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET / HTTP/1.1\r\nbroken header\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
    ],
)
def test_what_is_no_http_gets_a_matrix_error_and_loses_its_connection(
    world: World, data: bytes, status_line: bytes
) -> None:
    connection = Connection(world.factory, world.clock)
    connection.send(data)
    assert connection.transport.value().startswith(status_line)
    assert world.driver.finish(connection).errcode in {"M_UNKNOWN", "M_TOO_LARGE"}
    assert connection.closed


def test_requests_on_one_connection_are_answered_in_order(world: World) -> None:
    connection = Connection(world.factory, world.clock)
    connection.send(encode_request("GET", "/slow") + encode_request("GET", "/_matrix/client/v3/open"))
    assert world.driver.finish(connection).json == {"slow": True}
    assert world.driver.finish(connection).json == {"args": {}}
    assert not connection.closed


def test_connection_close_is_honoured(world: World) -> None:
    connection = world.driver.start("GET", "/_matrix/client/v3/open", headers={"Connection": "close"})
    assert world.driver.finish(connection).headers["connection"] == "close"
    assert connection.closed


@pytest.mark.parametrize(
    ("refusal", "status", "errcode"),
    [
        (Forbidden("No."), 403, "M_FORBIDDEN"),
        (NotFound("No."), 404, "M_NOT_FOUND"),
        (TooLarge("No."), 413, "M_TOO_LARGE"),
        (MatrixError(409, "M_UNKNOWN", "No."), 409, "M_UNKNOWN"),
    ],
)
def test_a_refusal_is_translated_by_the_table(
    world: World, refusal: Exception, status: int, errcode: str
) -> None:
    world.refusal = refusal
    response = world.get("/refuse")
    assert (response.status, response.errcode, response.json["error"]) == (status, errcode, "No.")


def test_a_bug_is_logged_and_says_nothing(world: World, logged_failures: list[Any]) -> None:
    response = world.get("/crash?access_token=sesame")
    assert (response.status, response.json) == (
        500,
        {"errcode": "M_UNKNOWN", "error": "Internal server error"},
    )
    (event,) = logged_failures
    assert event["route"] == "/crash"
    assert "sesame" not in repr({key: value for key, value in event.items() if key != "log_failure"})


def test_a_limit_is_charged_by_address_and_says_when_to_come_back(world: World) -> None:
    for _ in range(2):
        assert world.get("/_matrix/client/v3/limited").status == 200
    refused = world.get("/_matrix/client/v3/limited")
    assert (refused.status, refused.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert refused.json["retry_after_ms"] == 1000
    assert refused.headers["retry-after"] == "1"
    assert world.get("/_matrix/client/v3/limited", host="10.0.0.9").status == 200
    world.clock.advance(1)
    assert world.get("/_matrix/client/v3/limited").status == 200


def test_a_forwarded_address_counts_only_from_a_trusted_proxy() -> None:
    world = World(trusted_proxies=TrustedProxies(["127.0.0.0/8", "10.1.0.1"]))
    forwarded = {"X-Forwarded-For": "1.1.1.1, 2.2.2.2, 10.1.0.1"}
    world.get("/_matrix/client/v3/open", headers=forwarded)
    world.get("/_matrix/client/v3/open", headers=forwarded, host="9.9.9.9")
    assert [request.client_address for request in world.seen] == ["2.2.2.2", "9.9.9.9"]


def test_an_observer_hears_of_every_request_by_its_template(world: World) -> None:
    world.driver.request("PUT", "/_matrix/client/v3/rooms/!a:b/send/t", token="alice")
    world.get("/nothing")
    world.get("/slow")
    assert [(seen.route, seen.method, seen.status) for seen in world.finished] == [
        ("/_matrix/client/v3/rooms/{room_id}/send/{event_type}", "PUT", 200),
        ("", "GET", 404),
        ("/slow", "GET", 200),
    ]
    assert world.finished[2].seconds == pytest.approx(0.5, abs=0.01)


def test_a_handler_goes_on_when_its_client_goes_away(world: World) -> None:
    connection = world.driver.start("GET", "/slow")
    connection.drop()
    world.clock.advance(1)
    assert len(world.seen) == 1
    assert world.finished[0].status == 200


def test_a_long_poll_is_cancelled_when_its_client_goes_away(world: World) -> None:
    connection = world.driver.start("GET", "/poll")
    connection.drop()
    assert world.cancelled == 1
    assert world.clock.getDelayedCalls() == []


def test_stopping_ends_long_polls_finishes_replies_and_closes_connections(world: World) -> None:
    idle = Connection(world.factory, world.clock)
    polling = world.driver.start("GET", "/poll")
    slow = world.driver.start("GET", "/slow")
    stopped = Deferred.fromCoroutine(world.factory.stop())
    assert idle.closed
    assert world.driver.finish(polling).json == {"early": True}
    assert not stopped.called
    assert world.driver.finish(slow).json == {"slow": True}
    assert polling.closed
    assert slow.closed
    for connection in (idle, polling, slow):
        assert not stopped.called  # what was written to a connection may still be on its way
        connection.drop()
    assert stopped.called
    assert world.clock.getDelayedCalls() == []
    late = Connection(world.factory, world.clock)
    late.send(encode_request("GET", "/_matrix/client/v3/open"))
    assert world.driver.finish(late).status == 503


def test_stopping_gives_up_on_what_never_ends(world: World) -> None:
    world.driver.start("GET", "/slow")
    stopped = Deferred.fromCoroutine(world.factory.stop(grace_ms=100))
    world.clock.advance(0.2)
    assert not stopped.called
    world.clock.advance(CLOSING_MS / 1000)
    assert stopped.called


def test_a_reply_may_be_something_else_than_json(world: World) -> None:
    response = world.get("/text")
    assert (response.body, response.headers["content-type"]) == (b"<p>", "text/html")


@pytest.mark.parametrize(
    "route",
    [
        {"access": Access.OPEN, "limit": "nobody-knows"},
        {"access": Access.SERVER},
        {"access": Access.USER},
    ],
)
def test_a_site_that_cannot_check_a_route_is_not_made(route: dict[str, Any]) -> None:
    clock = VirtualClock()
    router = Router([Route(method="GET", path="/x", handler=lambda _: None, **route)])  # type: ignore[arg-type,return-value]
    with pytest.raises(ValueError, match="GET /x"):
        ApiFactory(router, clock=clock, limiter=RateLimiter(clock))
