"""Bodies of requests: what is read, what is refused with which sentence, and how much of it."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from minihs.http.channel import DRAINED_BYTES
from tests.support.http import Connection
from tests.support.site import AllOptional, Body, Site


@pytest.fixture
def site() -> Site:
    return Site()


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
def test_a_bad_body_is_refused_with_a_sentence(site: Site, body: bytes, errcode: str, sentence: str) -> None:
    response = site.post("/_matrix/client/v3/body", body=body)
    assert (response.status, response.errcode) == (400, errcode)
    assert sentence in response.json["error"]
    assert site.seen == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "a", "unknown": true}',
        b'{"name": "b", "name": "a"}',
        b'{"name": "a", "x": ' + b"[" * 199 + b"]" * 199 + b"}",
        b'{"name": "a", "x": "' + b"[{" * 300 + b'"}',
    ],
)
def test_a_good_body_reaches_the_handler_as_its_type(site: Site, body: bytes) -> None:
    assert site.post("/_matrix/client/v3/body", body=body).status == 200
    assert site.seen[0].body == Body(name="a")


def test_a_string_that_never_ends_is_read_in_linear_time(site: Site) -> None:
    body = b"[" * 300 + b'"' + b'\\"' * 400_000
    assert site.post("/_matrix/client/v3/body", body=body).errcode == "M_BAD_JSON"


def test_a_body_that_needs_nothing_may_be_left_out(site: Site) -> None:
    assert site.post("/_matrix/client/v3/optional_body").status == 200
    assert site.seen[0].body == AllOptional()


def test_a_body_over_the_limit_of_its_route_is_too_large(site: Site) -> None:
    assert site.post("/_matrix/client/v3/small", body=b'{"a":"' + b"x" * 56 + b'"}').status == 200
    response = site.post("/_matrix/client/v3/small", body=b'{"a":"' + b"x" * 57 + b'"}')
    assert (response.status, response.errcode) == (413, "M_TOO_LARGE")


@pytest.mark.parametrize(
    "body", [b'{"name": "n", "text": "%s"}', b"%s", b"[[%s"], ids=["good", "no JSON", "cut off"]
)
def test_a_body_is_let_go_with_its_reply(site: Site, body: bytes) -> None:
    """Not when the interpreter next looks for circles, which is after many more bodies."""
    large = body % (b"x" * 50_000)
    site.post("/_matrix/client/v3/body", body=large)
    site.seen.clear()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(10):
            site.post("/_matrix/client/v3/body", body=large)
            site.seen.clear()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < 4 * len(large)


def test_a_chunked_body_is_read_and_bounded(site: Site) -> None:
    head = b"POST /_matrix/client/v3/body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection = Connection(site.factory, site.clock)
    connection.send(head + b'9\r\n{"name": \r\n4\r\n"a"}\r\n0\r\n\r\n')
    assert site.driver.finish(connection).status == 200
    chunk = b"%x\r\n%b\r\n" % (1 << 20, b" " * (1 << 20))
    connection.send(head + chunk * 2 + b"0\r\n\r\n")
    assert site.driver.finish(connection).errcode == "M_TOO_LARGE"
    connection.send(head + chunk * 7)
    assert site.driver.finish(connection).errcode == "M_TOO_LARGE"
    assert connection.closed


def test_a_declared_length_beyond_reason_is_refused_before_the_body_comes(site: Site) -> None:
    connection = Connection(site.factory, site.clock)
    length = (1 << 20) + DRAINED_BYTES + 1
    connection.send(
        b"POST /_matrix/client/v3/body HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        % length
    )
    assert site.driver.finish(connection).errcode == "M_TOO_LARGE"
    assert connection.closed
    connection.send(b"x" * 100)
    assert connection.take() is None
