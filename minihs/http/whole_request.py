"""Reads a request that arrives whole and alone, as nearly all do, in one go instead of line by line.

Only what is plain is taken; parts, pipelining, chunks, folded lines, odd bytes and whatever else is unusual
are Twisted's, and so is every refusal. What is taken reads as Twisted would read it. Source: RFC 9112, 2-6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import msgspec

MAX_HEAD_BYTES = 8 * 1024
"""Of a head that is read here; Twisted has limits of its own beyond."""

_REQUEST_LINE = re.compile(rb"(GET|PUT|POST|DELETE|OPTIONS|HEAD) ([!-~]+) HTTP/1\.1\r\n")
_HEADER = re.compile(rb"^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\x00\r\n]*)\r\n", re.MULTILINE)
_LEFT_TO_TWISTED = (b"transfer-encoding", b"expect", b"upgrade")


class RequestHeaders(Protocol):
    """What is needed of the headers of a request; Twisted's `Headers` are such, too."""

    def getRawHeaders(self, name: bytes, /) -> Sequence[bytes] | None:  # noqa: N802 - as Twisted has it
        """All values of a header, in their order; None when it is absent."""


class PlainHeaders:
    """The headers of a request that was read here."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[bytes, list[bytes]]) -> None:
        self._values = values

    def getRawHeaders(self, name: bytes, /) -> Sequence[bytes] | None:  # noqa: N802
        return self._values.get(name.lower())


class WholeRequest(msgspec.Struct, frozen=True, gc=False):
    """One request of HTTP/1.1 after which the connection stays open."""

    method: bytes
    target: bytes
    headers: PlainHeaders
    body: bytes


def read_whole_request(data: bytes) -> WholeRequest | None:
    """The request that `data` is, if it is one and nothing else, and is plain; None when Twisted must see."""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 2
    line = _REQUEST_LINE.match(data)
    if line is None or end < 2:
        return None
    found = _HEADER.findall(data, line.end(), end)
    if len(found) != data.count(b"\n", line.end(), end):
        return None
    values: dict[bytes, list[bytes]] = {}
    for name, value in found:
        values.setdefault(name.lower(), []).append(value.strip(b" \t"))
    for name in _LEFT_TO_TWISTED:
        if name in values:
            return None
    connection = values.get(b"connection")
    if connection is not None and (len(connection) > 1 or connection[0].lower() != b"keep-alive"):
        return None
    body = data[end + 2 :]
    lengths = values.get(b"content-length")
    if lengths is None:
        if body:
            return None
    elif len(lengths) > 1 or not lengths[0].isdigit() or int(lengths[0]) != len(body):
        return None
    return WholeRequest(line[1], line[2], PlainHeaders(values), body)
