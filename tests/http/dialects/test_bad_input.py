"""Every query parameter of every dialect, with values that it does not take: nothing is stored."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from minihs.http.dialects.spelling import PREFIX
from tests.support.future_server import ALL, C, FutureServer, U


class Door(NamedTuple):
    """A way in which a dialect takes a number of milliseconds."""

    dialects: tuple[str, ...]
    path: str
    parameter: str
    too_large: str
    """The errcode for a number above the maximum."""


WITH_FUTURE_ID = ("will-expire", "batch", "tokens", "future-id", "delay-query", "merged")

DOORS = {
    "delay-query": Door(ALL, "v3/rooms/{}/send/m.x/t", "delay", "M_UNKNOWN"),
    "delay-query, prefixed": Door(ALL, "v3/rooms/{}/send/m.x/t", f"{PREFIX}delay", "M_UNKNOWN"),
    "delay-query, state": Door(ALL, "v3/rooms/{}/state/m.x/k", "delay", "M_UNKNOWN"),
    "tokens": Door(ALL, "v1/rooms/{}/send_future/m.x/t", "future_timeout", "M_INVALID_PARAM"),
    "tokens, state": Door(ALL, "v3/rooms/{}/state_future/m.x/k", "future_timeout", "M_INVALID_PARAM"),
    "tokens-on-send": Door(ALL, "v3/rooms/{}/send/m.x/t", "future_timeout", "M_FUTURE_MAX_TIMEOUT_EXCEEDED"),
    "tokens-on-send, prefixed": Door(
        ALL, "v3/rooms/{}/state/m.x/k", f"{PREFIX}future_timeout", "M_FUTURE_MAX_TIMEOUT_EXCEEDED"
    ),
    "future-id": Door(
        WITH_FUTURE_ID, "v3/rooms/{}/send/m.x/t", "future_timeout", "M_FUTURE_MAX_TIMEOUT_EXCEEDED"
    ),
    "future-id, state": Door(
        WITH_FUTURE_ID, "v3/rooms/{}/state/m.x/k", f"{PREFIX}future_timeout", "M_FUTURE_MAX_TIMEOUT_EXCEEDED"
    ),
}

NO_NUMBERS = [
    "",
    "0",
    "00",
    "-1",
    "-86400001",
    "+5",
    "1.5",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "%201000",
    "1000%20",
    "1000%0A",
    "soon",
    "null",
    "true",
    "[1000]",
    "NaN",
    "Infinity",
    "%D9%A1%D9%A0",  # Arabic digits
    "%EF%BC%91",  # a full-width digit
    "%C2%B2",  # a superscript digit
    "%FF",
]
NUMBERS = ["1", "1000", "001000", "%31%30%30%30", "86400000"]
TOO_LARGE = ["86400001", "9007199254740993", "9223372036854775808", "1" * 30, "1" * 5_000]


class Visitor:
    """Knocks on one door of one server."""

    def __init__(self, name: str) -> None:
        self.door = DOORS[name]
        self.server = FutureServer(dialects=self.door.dialects)
        self.path = f"{C}/{self.door.path.format(self.server.create())}"

    def ask(self, query: str) -> Any:
        return self.server.put(f"{self.path}?{query.replace('NAME', self.door.parameter)}", {"body": "x"})

    def refused(self, query: str) -> Any:
        before = self.server.stored()
        response = self.ask(query)
        assert response.status == 400, (query, response.json)
        assert self.server.stored() == before, query
        return response


@pytest.fixture(params=DOORS)
def visitor(request: pytest.FixtureRequest) -> Visitor:
    return Visitor(request.param)


class TestMilliseconds:
    def test_what_is_no_number_is_refused(self, visitor: Visitor) -> None:
        for value in NO_NUMBERS:
            assert visitor.refused(f"NAME={value}").errcode == "M_INVALID_PARAM", value

    def test_what_is_too_large_is_refused_with_the_maximum(self, visitor: Visitor) -> None:
        for value in TOO_LARGE:
            refused = visitor.refused(f"NAME={value}")
            assert refused.errcode == visitor.door.too_large, value
            assert "86400000" in str(refused.json), value

    def test_two_values_are_refused(self, visitor: Visitor) -> None:
        for query in ("NAME=1000&NAME=2000", "NAME=1000&NAME=", "NAME=1000&NAME=soon"):
            assert visitor.refused(query).errcode == "M_INVALID_PARAM", query

    def test_an_encoded_name_is_the_name(self, visitor: Visitor) -> None:
        encoded = "".join(f"%{ord(letter):02X}" for letter in visitor.door.parameter)
        assert visitor.refused(f"{encoded}=0").errcode == "M_INVALID_PARAM"

    def test_numbers_are_taken(self, visitor: Visitor) -> None:
        for value in NUMBERS:
            response = visitor.ask(f"NAME={value}")
            assert response.status == 200, (value, response.json)
            assert response.json.keys() != {"event_id"}, value


NAMES = {
    "tokens": ("v1/rooms/{}/send_future/m.x/t", "future_group_id"),
    "tokens-on-send": ("v3/rooms/{}/send/m.x/t", "future_group_id"),
    "tokens-on-send, prefixed": ("v3/rooms/{}/send/m.x/t", f"{PREFIX}future_group_id"),
}


@pytest.mark.parametrize("door", NAMES)
class TestGroupNames:
    def ask(self, door: str, query: str) -> Any:
        path, parameter = NAMES[door]
        server = FutureServer(dialects=ALL)
        before = server.stored()
        room_id = server.create()
        timeout = parameter.replace("group_id", "timeout")
        url = f"{C}/{path.format(room_id)}?{timeout}=1000&{query.replace('NAME', parameter)}"
        before = server.stored()
        response = server.put(url, {"body": "x"})
        assert (server.stored() == before) == (response.status != 200)
        return response

    @pytest.mark.parametrize(
        "query", ["NAME=", f"NAME={'g' * 256}", f"NAME={'%C3%A9' * 128}", "NAME=a&NAME=a", "NAME=%FF"]
    )
    def test_what_is_no_name_is_refused(self, door: str, query: str) -> None:
        refused = self.ask(door, query)
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")

    @pytest.mark.parametrize(
        ("encoded", "name"),
        [
            ("g", "g"),
            ("g" * 255, "g" * 255),
            ("%F0%9F%8D%8C", "\N{BANANA}"),
            ("a%2Fb%3Fc%26d%3De%25", "a/b?c&d=e%"),
            ("%00", "\0"),
            ("'%3B--", "';--"),
        ],
    )
    def test_any_other_text_is_one(self, door: str, encoded: str, name: str) -> None:
        assert self.ask(door, f"NAME={encoded}").json["future_group_id"] == name


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{C}/v1/future/{{}}", None),
        ("POST", f"{C}/v3/futures/{{}}", None),
        ("PUT", f"{C}/v3/futures/{{}}", None),
        ("POST", f"{U}/future/{{}}", None),
        ("POST", f"{C}/v3/futures/refresh", "future_token"),
        ("PUT", f"{C}/v3/futures/action/x", "future_token"),
        ("PUT", f"{C}/v3/expiration/refresh", "expire_refresh_token"),
        ("PUT", f"{C}/v3/expiration/end", "expire_refresh_token"),
    ],
)
class TestTokens:
    """Guessed, cut and foreign tokens on every path that takes one."""

    def ask(self, server: FutureServer, method: str, path: str, body: str | None, token: str) -> Any:
        json = None if body is None else {body: token}
        # Each from another address, so that the lock-out of guessers is not what answers.
        self.asked = getattr(self, "asked", 0) + 1
        return server.http.request(method, path.format(token), json=json, host=f"10.0.0.{self.asked}")

    def test_what_is_no_token_is_gone_and_changes_nothing(
        self, method: str, path: str, body: str | None
    ) -> None:
        server = FutureServer(dialects=ALL)
        room_id = server.create()
        tokens = server.put(f"{C}/v3/rooms/{room_id}/send/m.x/a?future_timeout=60000", {}).json
        group = tokens.pop("future_group_id")
        batch = {"timeout": 60, "send_on_timeout": {"type": "m.x", "content": {}}}
        tokens["batch"] = server.put(f"{C}/v3/rooms/{room_id}/send/future/b", batch).json["future_token"]
        expiring = server.put(f"{C}/v3/rooms/{room_id}/send/m.x/c", {"m.will_expire": 60}).json
        tokens["expiring"] = expiring["expire_refresh_token"]
        server.pass_ms(1_000)
        wrong = ["x", "-", "a" * 2_000, "~", "..", group, server.schedule(room_id)]
        before, timers = server.stored(), self.timers(server)
        for token in tokens.values():
            wrong += [token[:-1], token[1:], f"{token}A", f"{token}=", token.swapcase(), token[::-1]]
        for token in wrong:
            refused = self.ask(server, method, path, body, token)
            assert (refused.status, refused.errcode) == (410, "M_NOT_FOUND"), token
        assert server.stored() == before
        assert self.timers(server) == timers

    def timers(self, server: FutureServer) -> Any:
        return server.run(
            server.database.reader.all("SELECT future_id, due_ms FROM future_timers ORDER BY future_id")
        )
