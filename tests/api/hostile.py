"""Requests that nobody should send: for one endpoint, every part of a valid request broken in turn.

Deterministic: the same endpoint and valid values give the same requests. Knows no server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from .endpoints import Endpoint, Shape

HUGE = 10**400

# Percent-encoded path segments that are no identifier of anything.
BAD_SEGMENTS: Mapping[str, str] = {
    "empty": "",
    "dots": "..",
    "space": "%20",
    "slash": "%2F",
    "question mark": "%3F",
    "NUL": "%00",
    "line break": "a%0D%0AX-Injected:%201",
    "broken UTF-8": "%FF%FE",
    "overlong UTF-8": "%C0%AF",
    "surrogate": "%ED%A0%80",
    "broken escape": "%zz",
    "unknown": "unknown",
    "quotes": quote("' OR 1=1; DROP TABLE events; --"),
    "long": "x" * 3_000,
    "wide": quote("🦉" * 300),
    "sigil only": "!",
    "negative": "-1",
    "big number": "9" * 400,
    "template": quote("{room_id}"),
    "unknown room": quote("!nowhere:elsewhere.test"),
    "unknown user": quote("@nobody:elsewhere.test"),
    "unknown event": quote("$" + "x" * 43),
    "unknown alias": quote("#nowhere:hs1"),
    "user with port": quote("@a:[::1]:99999"),
}

BAD_QUERY_VALUES: Mapping[str, str] = {
    "empty": "",
    "text": "nonsense",
    "negative": "-5",
    "zero": "0",
    "fraction": "1.5",
    "big number": "9" * 400,
    "exponent": "1e308",
    "full-width digits": quote("１２"),
    "NUL": "%00",
    "broken UTF-8": "%FF",
    "broken escape": "%",
    "JSON": quote('{"a":[1,2'),
    "long": "s" * 5_000,
}

BAD_BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "white space": b"  \r\n",
    "no JSON": b"{not json",
    "half": b'{"a": ',
    "trailing": b"{} {}",
    "list": b"[]",
    "text": b'"text"',
    "number": b"12",
    "null": b"null",
    "true": b"true",
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": 1e999}',
    "broken UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "lone surrogate": b'{"a": "\\ud800"}',
    "lone surrogate key": b'{"\\udfff": 1}',
    "NUL": b'{"a\\u0000": "\\u0000"}',
    "deep list": b'{"a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep object": b'{"a": ' * 5_000 + b"1" + b"}" * 5_000,
    "huge number": b'{"a": ' + b"9" * 5_000 + b"}",
    "twice the same key": b'{"a": 1, "a": {}}',
    "form": b"a=1&b=2",
    "empty object": b"{}",
}

WRONG_VALUES: Mapping[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "beyond 2^53": 2**53,
    "beyond 2^63": 2**63,
    "huge": HUGE,
    "fraction": 0.5,
    "empty text": "",
    "text": "nonsense",
    "NUL": "\0",
    "surrogate": "\ud800",
    "long text": "y" * 70_000,
    "empty list": [],
    "list of null": [None],
    "list of lists": [[[]]],
    "empty object": {},
    "object of null": {"": None},
    "nested": {"a": {"b": {"c": [{"d": 1.5}]}}},
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, and what is odd about it."""

    method: str
    path: str
    query: str = ""
    body: bytes | None = None
    oddity: str

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    def __str__(self) -> str:
        body = b"" if self.body is None else self.body
        shown = body if len(body) < 200 else body[:200] + b"..."
        return f"{self.method} {self.target[:300]} {shown!r} ({self.oddity})"


def valid_request(
    endpoint: Endpoint,
    arguments: Mapping[str, str],
    example: Mapping[str, Any],
    whole_body: Mapping[str, Any] | None = None,
) -> Request:
    """The endpoint as a client would call it, with `arguments` for its path and `example` values by name.

    `whole_body` is the body where it is more than such values, an event for instance.
    """
    query = {
        name: _example(shape, name, example)
        for name, shape in endpoint.query.items()
        if "needed" in shape or example.get(name) is not None
    }
    body = None
    if endpoint.raw_body:
        body = b"\x89PNG"
    elif whole_body is not None:
        body = encode(whole_body)
    elif endpoint.body is not None:
        body = encode(_example(endpoint.body, "", example))
    elif endpoint.method in ("POST", "PUT"):
        body = b"{}"
    return Request(
        method=endpoint.method,
        path=endpoint.filled({name: quote(value, safe="") for name, value in arguments.items()}),
        query=urlencode(query, doseq=True),
        body=body,
        oddity="none",
    )


def hostile_requests(
    endpoint: Endpoint,
    arguments: Mapping[str, str],
    example: Mapping[str, Any],
    whole_body: Mapping[str, Any] | None = None,
) -> Iterator[Request]:
    """Valid requests with one part broken: a path argument, a query value, the body or a value in it."""
    valid = valid_request(endpoint, arguments, example, whole_body)
    encoded = {name: quote(value, safe="") for name, value in arguments.items()}
    for name in endpoint.parameters:
        for oddity, segment in BAD_SEGMENTS.items():
            path = endpoint.filled({**encoded, name: segment})
            yield replace(valid, path=path, oddity=f"{name}: {oddity}")
    for name in endpoint.query:
        for oddity, value in BAD_QUERY_VALUES.items():
            yield replace(valid, query=f"{name}={value}", oddity=f"query {name}: {oddity}")
        yield replace(valid, query=f"{name}=a&{name}=b", oddity=f"query {name}: twice")
    if endpoint.method in ("POST", "PUT"):
        for oddity, body in BAD_BODIES.items():
            yield replace(valid, body=body, oddity=f"body: {oddity}")
    shape, whole = endpoint.body, whole_body
    if whole is not None:
        shape = _shape_of(whole)
    elif shape:
        whole = _example(shape, "", example)
    if shape:
        for place, changed in _broken(shape, whole, ""):
            yield replace(valid, body=encode(changed), oddity=f"body {place}")


def encode(value: Any) -> bytes:
    """JSON as a careless sender writes it: lone surrogates and all."""
    return json.dumps(value).encode()


def _example(shape: Shape, name: str, example: Mapping[str, Any]) -> Any:
    if name in example:
        return example[name]
    if "enum" in shape:
        return shape["enum"][0]
    kind = shape.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object" or "properties" in shape:
        wanted = shape.get("required", ())
        return {
            key: _example(value, key, example)
            for key, value in shape.get("properties", {}).items()
            if key in wanted or key in example
        }
    if kind == "array":
        return []
    return {"integer": 1, "number": 1, "boolean": True}.get(kind, "text")


def _shape_of(value: Any) -> Shape:
    if isinstance(value, Mapping):
        return {"type": "object", "properties": {key: _shape_of(inner) for key, inner in value.items()}}
    return {"type": "array"} if isinstance(value, list) else {}


def _broken(shape: Shape, valid: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Variants of an object in which one property is missing or holds a wrong value, two levels deep."""
    if not isinstance(valid, dict):
        return
    for key, inner in shape.get("properties", {}).items():
        here = f"{place}{key}"
        if key in valid:
            yield f"{here}: missing", {other: value for other, value in valid.items() if other != key}
        for oddity, value in WRONG_VALUES.items():
            yield f"{here}: {oddity}", {**valid, key: value}
        if inner.get("type") == "array":
            for oddity, value in WRONG_VALUES.items():
                yield f"{here}[]: {oddity}", {**valid, key: [value]}
        if inner.get("properties") and place.count(".") < 1:
            for deeper, changed in _broken(inner, valid.get(key, {}), f"{here}."):
                yield deeper, {**valid, key: changed}
    yield f"{place}unknown key", {**valid, "org.example.unknown": {"a": [None, 1.5, "x"]}}
