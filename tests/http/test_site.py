"""The way of a request through the site: routing, credentials, errors, connections, stopping."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.homeserver.errors import Forbidden, NotFound, TooLarge
from minihs.http.addresses import TrustedProxies
from minihs.http.errors import MatrixError
from minihs.http.limits import RateLimiter
from minihs.http.routing import Access, Route, Router
from minihs.http.site import CLOSING_MS, ApiFactory
from minihs.platform.clock import VirtualClock
from tests.support.http import Connection, encode_request
from tests.support.site import Body, Site


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_reply_is_json_with_cors_and_a_date(site: Site) -> None:
    response = site.get("/_matrix/client/v3/open")
    assert (response.status, response.json) == (200, {"args": {}})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "X-Requested-With, Content-Type, Authorization"
    assert response.headers["date"] == "Tue, 14 Nov 2023 22:13:20 GMT"


def test_an_unknown_path_is_unrecognized(site: Site) -> None:
    response = site.get("/_matrix/client/v3/nothing")
    assert (response.status, response.errcode) == (404, "M_UNRECOGNIZED")
    assert response.headers["access-control-allow-origin"] == "*"


def test_a_wrong_method_is_unrecognized_and_told_the_right_ones(site: Site) -> None:
    response = site.driver.request("DELETE", "/_matrix/client/v3/user")
    assert (response.status, response.errcode) == (405, "M_UNRECOGNIZED")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"


def test_options_is_answered_without_running_anything(site: Site) -> None:
    response = site.driver.request("OPTIONS", "/_matrix/client/v3/user")
    assert (response.status, response.body) == (204, b"")
    assert "GET" in response.headers["access-control-allow-methods"]
    assert site.seen == []


def test_head_has_the_head_of_get_and_no_body(site: Site) -> None:
    connection = site.driver.start("HEAD", "/_matrix/client/v3/open")
    data = connection.transport.value()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 11\r\n" in data
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("prefix", ["", "http://hs1", "HTTPS://hs1:8448", "https://[::1]:8448"])
def test_a_target_may_be_written_in_absolute_form(site: Site, prefix: str) -> None:
    response = site.get(f"{prefix}/_matrix/client/v3/open?a=http://b/c")
    assert (response.status, response.json) == (200, {"args": {}})
    assert site.seen[0].path == "/_matrix/client/v3/open"
    assert site.seen[0].query.one("a") == "http://b/c"


@pytest.mark.parametrize(
    "target", ["hs1/_matrix/client/v3/open", "ftp://hs1/_matrix/client/v3/open", "http://"]
)
def test_any_other_form_of_target_leads_nowhere(site: Site, target: str) -> None:
    response = site.get(target)
    assert (response.status, response.errcode) == (404, "M_UNRECOGNIZED")


def test_identifiers_in_a_path_are_decoded_after_it_is_split(site: Site) -> None:
    path = "/_matrix/client/v3/rooms/%21a%2Fb%3Ahs/send/%C3%A9"
    assert site.driver.request("PUT", path, token="alice").json == {
        "args": {"room_id": "!a/b:hs", "event_type": "é"}
    }


@pytest.mark.parametrize("raw", ["%ff", "%zz", "%C3", "%"])
def test_what_is_not_percent_encoded_utf8_is_refused(site: Site, raw: str) -> None:
    response = site.driver.request("PUT", f"/_matrix/client/v3/rooms/{raw}/send/x", token="alice")
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
    site: Site, path: str, token: str | None, status: int, errcode: str | None
) -> None:
    response = site.get(f"/_matrix/client/v3/{path}", token=token)
    assert (response.status, response.errcode) == (status, errcode)


def test_soft_logout_is_said_for_expired_tokens_and_locked_accounts_only(site: Site) -> None:
    assert site.get("/_matrix/client/v3/user", token="expired").json["soft_logout"] is True
    assert site.get("/_matrix/client/v3/user", token="locked").json["soft_logout"] is True
    assert "soft_logout" not in site.get("/_matrix/client/v3/user", token="wrong").json


def test_a_suspended_account_reads_but_does_not_write(site: Site) -> None:
    refused = site.driver.request("PUT", "/_matrix/client/v3/user", token="suspended")
    assert (refused.status, refused.errcode) == (403, "M_USER_SUSPENDED")
    assert site.post("/_matrix/client/v3/logout", token="suspended").status == 200
    assert site.post("/_matrix/client/v3/logout", token="locked").status == 200


def test_the_token_may_stand_in_the_query_as_old_clients_send_it(site: Site) -> None:
    assert site.get("/_matrix/client/v3/user?access_token=alice").status == 200
    assert site.get("/_matrix/client/v3/user?access_token=").errcode == "M_MISSING_TOKEN"


def test_a_signed_request_is_given_to_the_authenticator_before_its_body_is_judged(site: Site) -> None:
    path, good = "/_matrix/federation/v1/send", {"Authorization": "X-Matrix good"}
    assert site.post(path, json={}).errcode == "M_UNAUTHORIZED"
    assert site.post(path, json={}, headers=good).errcode == "M_MISSING_PARAM"
    response = site.post(path, json={"name": "x"}, headers=good)
    assert response.status == 200
    assert site.seen[-1].server == "remote.test"
    assert site.seen[-1].body == Body(name="x")
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("data", "status_line"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET / HTTP/1.1\r\nbroken header\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"HTTP/1.1 431 Request Header Fields Too Large\r\n"),
    ],
)
def test_what_is_no_http_gets_a_matrix_error_and_loses_its_connection(
    site: Site, data: bytes, status_line: bytes
) -> None:
    connection = Connection(site.factory, site.clock)
    connection.send(data)
    assert connection.transport.value().startswith(status_line)
    assert site.driver.finish(connection).errcode in {"M_UNKNOWN", "M_TOO_LARGE"}
    assert connection.closed


def test_requests_on_one_connection_are_answered_in_order(site: Site) -> None:
    connection = Connection(site.factory, site.clock)
    connection.send(encode_request("GET", "/slow") + encode_request("GET", "/_matrix/client/v3/open"))
    assert site.driver.finish(connection).json == {"slow": True}
    assert site.driver.finish(connection).json == {"args": {}}
    assert not connection.closed


def test_connection_close_is_honoured(site: Site) -> None:
    connection = site.driver.start("GET", "/_matrix/client/v3/open", headers={"Connection": "close"})
    assert site.driver.finish(connection).headers["connection"] == "close"
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
    site: Site, refusal: Exception, status: int, errcode: str
) -> None:
    site.refusal = refusal
    response = site.get("/refuse")
    assert (response.status, response.errcode, response.json["error"]) == (status, errcode, "No.")


def test_a_bug_is_logged_and_says_nothing(site: Site, logged_failures: list[Any]) -> None:
    response = site.get("/crash?access_token=sesame")
    assert (response.status, response.json) == (
        500,
        {"errcode": "M_UNKNOWN", "error": "Internal server error"},
    )
    (event,) = logged_failures
    assert event["route"] == "/crash"
    assert "sesame" not in repr({key: value for key, value in event.items() if key != "log_failure"})


def test_a_limit_is_charged_by_address_and_says_when_to_come_back(site: Site) -> None:
    for _ in range(2):
        assert site.get("/_matrix/client/v3/limited").status == 200
    refused = site.get("/_matrix/client/v3/limited")
    assert (refused.status, refused.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert refused.json["retry_after_ms"] == 1000
    assert refused.headers["retry-after"] == "1"
    assert site.get("/_matrix/client/v3/limited", host="10.0.0.9").status == 200
    site.clock.advance(1)
    assert site.get("/_matrix/client/v3/limited").status == 200


def test_a_forwarded_address_counts_only_from_a_trusted_proxy() -> None:
    site = Site(trusted_proxies=TrustedProxies(["127.0.0.0/8", "10.1.0.1"]))
    forwarded = {"X-Forwarded-For": "1.1.1.1, 2.2.2.2, 10.1.0.1"}
    site.get("/_matrix/client/v3/open", headers=forwarded)
    site.get("/_matrix/client/v3/open", headers=forwarded, host="9.9.9.9")
    assert [request.client_address for request in site.seen] == ["2.2.2.2", "9.9.9.9"]


def test_an_observer_hears_of_every_request_by_its_template(site: Site) -> None:
    site.driver.request("PUT", "/_matrix/client/v3/rooms/!a:b/send/t", token="alice")
    site.get("/nothing")
    site.get("/slow")
    assert [(seen.route, seen.method, seen.status) for seen in site.finished] == [
        ("/_matrix/client/v3/rooms/{room_id}/send/{event_type}", "PUT", 200),
        ("", "GET", 404),
        ("/slow", "GET", 200),
    ]
    assert site.finished[2].seconds == pytest.approx(0.5, abs=0.01)


def test_a_handler_goes_on_when_its_client_goes_away(site: Site) -> None:
    connection = site.driver.start("GET", "/slow")
    connection.drop()
    site.clock.advance(1)
    assert len(site.seen) == 1
    assert site.finished[0].status == 200


def test_a_long_poll_is_cancelled_when_its_client_goes_away(site: Site) -> None:
    connection = site.driver.start("GET", "/poll")
    connection.drop()
    assert site.cancelled == 1
    assert site.clock.getDelayedCalls() == []


def test_stopping_ends_long_polls_finishes_replies_and_closes_connections(site: Site) -> None:
    idle = Connection(site.factory, site.clock)
    polling = site.driver.start("GET", "/poll")
    slow = site.driver.start("GET", "/slow")
    stopped = Deferred.fromCoroutine(site.factory.stop())
    assert idle.closed
    assert site.driver.finish(polling).json == {"early": True}
    assert not stopped.called
    assert site.driver.finish(slow).json == {"slow": True}
    assert polling.closed
    assert slow.closed
    for connection in (idle, polling, slow):
        assert not stopped.called  # what was written to a connection may still be on its way
        connection.drop()
    assert stopped.called
    assert site.clock.getDelayedCalls() == []
    late = Connection(site.factory, site.clock)
    late.send(encode_request("GET", "/_matrix/client/v3/open"))
    assert site.driver.finish(late).status == 503


def test_stopping_gives_up_on_what_never_ends(site: Site) -> None:
    site.driver.start("GET", "/slow")
    stopped = Deferred.fromCoroutine(site.factory.stop(grace_ms=100))
    site.clock.advance(0.2)
    assert not stopped.called
    site.clock.advance(CLOSING_MS / 1000)
    assert stopped.called


def test_a_reply_may_be_something_else_than_json(site: Site) -> None:
    response = site.get("/text")
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
