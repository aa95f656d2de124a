"""Notes in a record when the server reads a request and when it replies, by the number that requests carry.

For processes and worlds of tests: the classes of `http` are wrapped from outside, and nothing is there
in an ordinary server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minihs.http.channel import ApiHTTPRequest
from minihs.http.site import ApiFactory
from tests.crash.hands import NUMBER_HEADER
from tests.crash.recorded_disk import Asked, Replied


@contextmanager
def observed_requests(note: Callable[[Asked | Replied], None]) -> Iterator[None]:
    """Call `note` for numbered requests: as soon as they are read, and right before a reply is written."""
    serve, respond = ApiFactory.serve, ApiHTTPRequest.respond

    def noted_serve(site: ApiFactory, http: Any) -> None:
        number = number_of(http)
        if number is not None:
            note(Asked(number))
        serve(site, http)

    def noted_respond(http: Any, status: int, body: bytes, **details: Any) -> None:
        number = number_of(http)
        if number is not None:
            note(Replied(number, status, body))
        respond(http, status, body, **details)

    site_class: Any = ApiFactory
    request_class: Any = ApiHTTPRequest
    site_class.serve, request_class.respond = noted_serve, noted_respond
    try:
        yield
    finally:
        site_class.serve, request_class.respond = serve, respond


def number_of(http: Any) -> int | None:
    """The number of a request, if it has one."""
    values = http.requestHeaders.getRawHeaders(NUMBER_HEADER.encode())
    return int(values[0]) if values else None
