"""Requests read in one go: as Twisted reads them line by line, and left to it when anything is unusual."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from minihs.http.channel import ApiChannel
from minihs.http.whole_request import read_whole_request

PLAIN = b"PUT /a/%20b?c=d HTTP/1.1\r\nHost: hs1\r\nAuthorization: Bearer t\r\nContent-Length: 2\r\n\r\n{}"
NAMES = (b"Host", b"authorization", b"X-Forwarded-For")


class Recorder:
    """A factory that notes each request and answers it with its number."""

    max_body = 100

    def __init__(self) -> None:
        self.channels: dict[int, ApiChannel] = {}
        self.seen: list[tuple[Any, ...]] = []

    def serve(self, http: Any) -> None:
        values = [list(http.requestHeaders.getRawHeaders(name) or ()) for name in NAMES]
        self.seen.append((http.method, http.uri, http.path, http.raw_query, *values, http.raw_body))
        http.respond(200, b"%d" % len(self.seen))

    def channel_closed(self, channel: ApiChannel) -> None:
        """Nobody waits for it."""

    def log(self, request: Any) -> None:
        """Nothing is kept."""


def outcome(*parts: bytes) -> tuple[list[tuple[Any, ...]], bytes, bool]:
    """The requests that came of `parts`, what was answered, and whether the connection was closed."""
    factory, channel, transport = Recorder(), ApiChannel(), StringTransport()
    channel.factory = factory
    channel.timeOut = 60
    channel.callLater = Clock().callLater
    channel.makeConnection(transport)
    for part in parts:
        if not transport.disconnecting:
            channel.dataReceived(part)
    return factory.seen, transport.value(), transport.disconnecting


def single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def test_a_plain_request_is_taken_whole() -> None:
    whole = read_whole_request(PLAIN)
    assert whole is not None
    assert (whole.method, whole.target, whole.body) == (b"PUT", b"/a/%20b?c=d", b"{}")
    assert whole.headers.getRawHeaders(b"AUTHORIZATION") == [b"Bearer t"]
    assert whole.headers.getRawHeaders(b"Cookie") is None
    assert outcome(PLAIN) == outcome(*single_bytes(PLAIN))
    assert outcome(PLAIN)[0][0][:2] == (b"PUT", b"/a/%20b?c=d")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Content-Length: 2", b"Content-Length: 3"),  # the rest is still under way
        (b"Content-Length: 2", b"Content-Length: 1"),  # another request follows
        (b"Content-Length: 2", b"Content-Length: +2"),
        (b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
        (b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 2", b"Expect: 100-continue\r\nContent-Length: 2"),
        (b"Content-Length: 2", b"Connection: close\r\nContent-Length: 2"),
        (b"Content-Length: 2", b"Connection: keep-alive, close\r\nContent-Length: 2"),
        (b"Content-Length: 2", b"Content-Length : 2"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"HTTP/1.1", b"HTTP/2.0"),
        (b"PUT ", b"BREW "),
        (b"/a/%20b", b"/a b"),
        (b"Host: hs1\r\n", b"Host: hs1\r\n folded\r\n"),
        (b"Host: hs1\r\n", b"Host: hs1\n"),
        (b"Host: hs1\r\n", b"Host: h\x00s1\r\n"),
        (b"Host: hs1\r\n", b"no colon\r\n"),
        (b"Host: hs1\r\n", b": no name\r\n"),
        (b"Host: hs1\r\n", b"Host: " + 9_000 * b"x" + b"\r\n"),
    ],
)
def test_whatever_is_unusual_is_left_to_twisted(old: bytes, new: bytes) -> None:
    assert old in PLAIN
    unusual = PLAIN.replace(old, new)
    assert read_whole_request(unusual) is None
    assert outcome(unusual) == outcome(*single_bytes(unusual))


lines = st.lists(
    st.sampled_from(
        [
            b"Host: hs1",
            b"X-Forwarded-For:1.2.3.4",
            b"x-forwarded-for: \t5.6.7.8 \t",
            b"AUTHORIZATION: Bearer \xc3\xa9",
            b"Connection: Keep-Alive",
            b"Content-Length: 0",
            b"Content-Length: 4",
            b"Content-Length: 004",
            b"Empty:",
            b"Bad Name: 1",
            b" folded",
        ]
    ),
    max_size=5,
)
requests = st.builds(
    lambda first, head, body: first + b"\r\n" + b"".join(line + b"\r\n" for line in head) + b"\r\n" + body,
    st.sampled_from(
        [b"GET /a?b=c HTTP/1.1", b"POST /%2F HTTP/1.1", b"GET  /a HTTP/1.1", b"HEAD /\xb0 HTTP/1.1"]
    ),
    lines,
    st.sampled_from([b"", b"body", b"GET /next HTTP/1.1\r\n\r\n"]),
)


@given(requests)
def test_a_request_means_the_same_whole_and_byte_by_byte(data: bytes) -> None:
    assert outcome(data) == outcome(*single_bytes(data))


@given(requests, requests)
def test_one_request_after_the_other_on_one_connection(first: bytes, second: bytes) -> None:
    assert outcome(first, second) == outcome(*single_bytes(first + second))


def test_a_whole_body_over_the_limit_is_refused_as_one_that_comes_in_parts() -> None:
    large = PLAIN.replace(b"Length: 2", b"Length: 101").replace(b"{}", 101 * b"x")
    assert outcome(large) == outcome(*single_bytes(large))
    allowed = PLAIN.replace(b"Length: 2", b"Length: 100").replace(b"{}", 100 * b"x")
    assert outcome(allowed)[0][0][-1] == 100 * b"x"


def test_the_idle_time_runs_between_requests_and_not_during_one() -> None:
    clock = Clock()
    factory, channel, transport = Recorder(), ApiChannel(), StringTransport()
    held: list[Any] = []
    factory.serve = held.append  # type: ignore[method-assign]
    channel.factory = factory
    channel.timeOut = 60
    channel.callLater = clock.callLater
    channel.makeConnection(transport)
    channel.dataReceived(PLAIN)
    clock.advance(100)
    assert not transport.disconnecting, "a long poll is not idle"
    held[0].respond(200, b"{}")
    clock.advance(59)
    assert not transport.disconnecting
    clock.advance(2)
    assert transport.disconnecting
