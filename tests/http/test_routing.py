"""The router alone."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.http.routing import Access, BadPath, Match, MethodNotAllowed, NotFound, Route, Router, paths


async def handler(request: Any) -> dict[str, Any]:
    return {}


def route(method: str, path: str) -> Route:
    return Route(method=method, path=path, access=Access.OPEN, handler=handler)


ROUTER = Router(
    [
        route("GET", "/a"),
        route("GET", "/a/"),
        route("GET", "/rooms/{room_id}/state"),
        route("GET", "/rooms/{room_id}/state/{type}"),
        route("PUT", "/rooms/{room}/state/{type}/{key}"),
        route("GET", "/rooms/{room_id}/state/{type}/{state_key}"),
        route("GET", "/rooms/special/state/x/y/z"),
        route("GET", "/rooms/{room_id}/{anything}/x/y/w"),
        route("POST", "/rooms/{room_id}/redact"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template", "args"),
    [
        ("GET", "/a", "/a", {}),
        ("GET", "/a/", "/a/", {}),
        ("HEAD", "/a", "/a", {}),
        ("GET", "/rooms/!r:hs/state", "/rooms/{room_id}/state", {"room_id": "!r:hs"}),
        ("GET", "/rooms/r/state/t", "/rooms/{room_id}/state/{type}", {"room_id": "r", "type": "t"}),
        (
            "GET",
            "/rooms/r/state/t/",
            "/rooms/{room_id}/state/{type}/{state_key}",
            {"room_id": "r", "type": "t", "state_key": ""},
        ),
        (
            "PUT",
            "/rooms/r/state/t/k",
            "/rooms/{room}/state/{type}/{key}",
            {"room": "r", "type": "t", "key": "k"},
        ),
        ("GET", "/rooms/special/state/x/y/z", "/rooms/special/state/x/y/z", {}),
        (
            "GET",
            "/rooms/special/state/x/y/w",
            "/rooms/{room_id}/{anything}/x/y/w",
            {"room_id": "special", "anything": "state"},
        ),
        ("GET", "/rooms/a%2Fb%25/state", "/rooms/{room_id}/state", {"room_id": "a/b%"}),
        ("GET", "/rooms/a+b/state", "/rooms/{room_id}/state", {"room_id": "a+b"}),
        ("GET", "/rooms/%E2%98%83/state", "/rooms/{room_id}/state", {"room_id": "☃"}),
    ],
)
def test_a_path_leads_to_its_route(method: str, path: str, template: str, args: dict[str, str]) -> None:
    found = ROUTER.resolve(method.encode(), path.encode())
    assert isinstance(found, Match)
    assert (found.route.path, found.args) == (template, args)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/b",
        "/a/b",
        "a",
        "/rooms//state",
        "/rooms/r",
        "//a",
        "/rooms/r/state/t/k/",
    ],
)
def test_other_paths_lead_nowhere(path: str) -> None:
    assert isinstance(ROUTER.resolve(b"GET", path.encode()), NotFound)


def test_a_wrong_method_is_told_the_right_ones_in_order() -> None:
    found = ROUTER.resolve(b"DELETE", b"/rooms/r/state/t/k")
    assert found == MethodNotAllowed(("GET", "HEAD", "OPTIONS", "PUT"))
    assert ROUTER.resolve(b"HEAD", b"/rooms/r/redact") == MethodNotAllowed(("OPTIONS", "POST"))


@pytest.mark.parametrize("raw", [b"%ff", b"%c3", b"%", b"%1", b"%gg", b"\xff"])
def test_bytes_that_are_no_text_are_told_apart_from_unknown_paths(raw: bytes) -> None:
    assert isinstance(ROUTER.resolve(b"GET", b"/rooms/" + raw + b"/state"), BadPath)


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_text_survives_percent_encoding(room_id: str, event_type: str) -> None:
    path = f"/rooms/{quote(room_id, safe='')}/state/{quote(event_type, safe='')}"
    found = ROUTER.resolve(b"GET", path.encode())
    assert isinstance(found, Match)
    assert found.args == {"room_id": room_id, "type": event_type}


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail(raw: bytes) -> None:
    ROUTER.resolve(b"GET", raw)
    ROUTER.resolve(b"GET", b"/rooms/" + raw)


def test_two_routes_cannot_be_one() -> None:
    with pytest.raises(ValueError, match=r"two routes for GET /rooms/\{b\}"):
        Router([route("GET", "/rooms/{a}"), route("GET", "/rooms/{b}")])
    with pytest.raises(ValueError, match="starts with a slash"):
        Router([route("GET", "rooms")])


def test_several_spellings_are_written_once() -> None:
    assert paths("/x/{r0,v3}/y/{id}", "/z") == ("/x/r0/y/{id}", "/x/v3/y/{id}", "/z")
    assert paths("/{a,b}/{c,d}") == ("/a/c", "/a/d", "/b/c", "/b/d")
