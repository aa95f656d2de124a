"""Delegation by `.well-known`: fetched over the network in memory, within bounds, and cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from wsgiref.handlers import format_date_time

import pytest

from minihs.events.ids import ServerName
from minihs.federation.connecting import Connector
from minihs.federation.well_known import (
    DEFAULT_LIFE_MS,
    FIRST_FAILURE_LIFE_MS,
    MAX_BODY_BYTES,
    MAX_FAILURE_LIFE_MS,
    MAX_LIFE_MS,
    MAX_REDIRECTS,
    MIN_LIFE_MS,
    WellKnownClient,
)
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route, Router
from minihs.http.site import ApiFactory
from tests.support.federation import World

GOOD = {"m.server": "delegated.test:443"}


class Web(World):
    """`a.test`, which answers at port 443 with `answer`, and somebody who asks."""

    def __init__(self, answer: Callable[[ApiRequest], Any], *, private: bool = True) -> None:
        super().__init__()
        self.asked = 0
        self.answer = answer
        here = self.network.host("10.0.0.1", "here.test")
        self.there = self.network.host("10.0.0.2", "a.test")
        routes = [
            Route(method="GET", path=path, access=Access.OPEN, handler=self.handle)
            for path in ("/.well-known/matrix/server", "/next/{number}")
        ]
        site = ApiFactory(Router(routes), clock=self.clock, limiter=RateLimiter(self.clock))
        self.there.listen(site, "", 443, tls=True)
        connector = Connector(here, self.clock, allow_private_addresses=private)
        self.client = WellKnownClient(connector, self.clock)

    async def handle(self, request: ApiRequest) -> Any:
        self.asked += 1
        return self.answer(request)

    def lookup(self) -> tuple[str | None, int]:
        """The name, and for how long it is known."""
        found = self.finish(self.client.lookup("a.test"))
        return found.delegated_name, round(found.ends_ms - self.clock.monotonic_ms())


def test_a_delegation_is_found() -> None:
    assert Web(lambda _: Reply(body=GOOD)).lookup() == ("delegated.test:443", DEFAULT_LIFE_MS)


@pytest.mark.parametrize(
    ("control", "life_ms"),
    [
        ("max-age=7200", 7_200_000),
        ("public, Max-Age=7200", 7_200_000),
        ("max-age=999999999", MAX_LIFE_MS),
        ("max-age=1", MIN_LIFE_MS),
        ("no-store", MIN_LIFE_MS),
        ("no-cache, max-age=7200", MIN_LIFE_MS),
        ("private", DEFAULT_LIFE_MS),
    ],
)
def test_cache_control_is_respected_within_bounds(control: str, life_ms: int) -> None:
    assert Web(lambda _: Reply(body=GOOD, headers={"Cache-Control": control})).lookup()[1] == life_ms


@pytest.mark.parametrize(
    ("after_s", "control", "life_ms"),
    [
        (7_200, None, 7_200_000),
        (7_200, "max-age=600", 600_000),
        (7_200, "no-cache", MIN_LIFE_MS),
        (-7_200, None, MIN_LIFE_MS),
        (10**8, None, MAX_LIFE_MS),
        (None, None, MIN_LIFE_MS),  # "Expires: 0"
    ],
)
def test_expires_counts_where_cache_control_says_nothing(
    after_s: int | None, control: str | None, life_ms: int
) -> None:
    def answer(_: ApiRequest) -> Reply:
        now_s = web.clock.wall_ms() // 1000
        headers = {"Expires": "0" if after_s is None else format_date_time(now_s + after_s)}
        return Reply(body=GOOD, headers=headers if control is None else {**headers, "Cache-Control": control})

    web = Web(answer)
    assert web.lookup()[1] == life_ms


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=404, body=GOOD),
        Reply(body=b"no JSON", headers={"Content-Type": "application/json"}),
        Reply(body=[]),
        Reply(body={}),
        Reply(body={"m.server": 5}),
        Reply(body={"m.server": "bad name"}),
        Reply(body={"m.server": "a.test:99999"}),
        Reply(body={**GOOD, "padding": "x" * MAX_BODY_BYTES}),
        Reply(body=b"[" * 60_000, headers={"Content-Type": "application/json"}),
    ],
    ids=["status", "JSON", "list", "missing", "type", "grammar", "port", "size", "depth"],
)
def test_an_unusable_answer_is_remembered_as_none(reply: Reply) -> None:
    web = Web(lambda _: reply)
    assert web.lookup() == (None, FIRST_FAILURE_LIFE_MS)
    web.lookup()
    assert web.asked == 1


def test_failures_are_asked_again_ever_more_rarely_and_a_success_ends_that() -> None:
    web = Web(lambda _: Reply(status=500, body={}))
    lives = []
    for _ in range(9):
        lives.append(web.lookup()[1])
        web.pass_time(lives[-1])
    assert lives[:3] == [FIRST_FAILURE_LIFE_MS, FIRST_FAILURE_LIFE_MS * 2, FIRST_FAILURE_LIFE_MS * 4]
    assert lives[-1] == MAX_FAILURE_LIFE_MS
    web.answer = lambda _: Reply(body=GOOD)
    assert web.lookup()[0] == "delegated.test:443"


def test_redirects_are_followed_up_to_a_bound() -> None:
    def redirect(request: ApiRequest) -> Reply:
        number = int(request.args.get("number", "0"))
        if number == last:
            return Reply(body=GOOD)
        return Reply(status=302, headers={"Location": f"/next/{number + 1}"})

    last = MAX_REDIRECTS
    assert Web(redirect).lookup()[0] == "delegated.test:443"
    last = MAX_REDIRECTS + 1
    assert Web(redirect).lookup()[0] is None


@pytest.mark.parametrize(
    "location", ["http://a.test/next/1", "https://user@a.test/next/1", "file:///etc", ""]
)
def test_a_redirect_to_anything_but_plain_https_is_not_followed(location: str) -> None:
    web = Web(lambda _: Reply(status=301, headers={"Location": location}))
    assert web.lookup()[0] is None
    assert web.asked <= MAX_REDIRECTS + 1


def test_private_addresses_are_refused_here_too() -> None:
    web = Web(lambda _: Reply(body=GOOD), private=False)
    assert web.lookup()[0] is None
    assert web.asked == 0


def test_a_host_that_never_answers_is_given_up() -> None:
    from minihs.lab.memory_network import Link

    web = Web(lambda _: Reply(body=GOOD))
    web.network.set_link("10.0.0.1", "10.0.0.2", Link.SILENT)
    assert web.lookup()[0] is None


def test_a_delegated_server_is_reached_at_its_delegated_place() -> None:
    world = World()
    one = world.node("hs1.test")
    web = world.network.host("10.9.9.9", "hs2.test")
    route = Route(
        method="GET",
        path="/.well-known/matrix/server",
        access=Access.OPEN,
        handler=lambda _: _answer({"m.server": "real.test:1234"}),
    )
    web.listen(
        ApiFactory(Router([route]), clock=world.clock, limiter=RateLimiter(world.clock)), "", 443, tls=True
    )
    from tests.support.federation import Node

    two = Node(world.network, world.network.host("10.9.9.8", "real.test"), "hs2.test")
    two.listen(1234)
    answer = world.finish(
        one.client.put(ServerName("hs2.test"), "/_matrix/federation/v1/send/1", {"pdus": []})
    )
    assert answer == {"pdus": {}}


async def _answer(body: dict[str, Any]) -> dict[str, Any]:
    return body
