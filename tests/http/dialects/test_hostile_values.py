"""Each parameter of each dialect, wherever it stands, with each value that it does not take.

Every pair of `every_parameter` and `wrong_values` is asked for: the documented errcode answers, nothing is
stored, no timer moves.
"""

from __future__ import annotations

import json as json_of
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.http.dialects.table import NAMES
from tests.http.dialects.every_parameter import BATCHES, LISTING, MERGED, PARAMETERS, SCHEDULING, Parameter
from tests.http.dialects.wrong_values import WRONG, Absent, Raw
from tests.support.future_server import ALL, C, FutureServer, U


class Scene:
    """One server with a future of each dialect of alice's, of bob's, and a finalised one."""

    def __init__(self, dialects: tuple[str, ...]) -> None:
        self.dialects = dialects
        self.server = FutureServer(dialects=dialects)
        self.room_id = self.server.create()
        self.server.join(self.room_id, "@bob:hs1")
        self.known: dict[str, str] = {"room": self.room_id}
        self.asked = 0
        for user in ("alice", "bob"):
            for kind, (needs, path, body, key) in SCHEDULING.items():
                if needs in dialects:
                    reply = self.server.put(path.format(self.room_id, f"{user}-{kind}"), body, user)
                    assert reply.status == 200, reply.json
                    self.known[f"{user}:{kind}"] = reply.json[key]
        if "future-id" in dialects:
            parent = self.known["alice:parent"]
            path = f"{C}/v3/rooms/{self.room_id}/send/m.x/c?parent_future_id={parent}"
            self.known["alice:child"] = self.server.put(path, {}).json["future_id"]
            self.known["spent"] = self.server.put(
                f"{C}/v3/rooms/{self.room_id}/send/m.x/s?future_timeout=60000", {}
            ).json["future_id"]
            over = {"future_id": self.known["spent"], "action": "cancel"}
            assert self.server.post(f"{C}/v1/update_future", over).status == 200

    def stored(self) -> Any:
        timers = self.server.run(
            self.server.database.reader.all("SELECT future_id, due_ms FROM future_timers ORDER BY future_id")
        )
        return self.server.stored(), timers

    def ask(self, parameter: Parameter, value: Any) -> Any:
        """The request that has `value` in the place of one parameter, from an address of its own."""
        self.asked += 1
        path, body = parameter.path, parameter.body
        if parameter.place == "path":
            path = path.replace("<*>", str(value), 1)
        elif parameter.place == "query":
            values = value if isinstance(value, list) else [] if value is Absent else [value]
            query = "&".join(f"{parameter.name}={one}" for one in values)
            path += ("&" if "?" in path else "?") + query
        else:
            body = self._with(body, parameter.name.split("/"), value)
        for name, known in self.known.items():
            path = path.replace(f"<{name}>", quote(known, safe=""))
        raw = self._written(body)
        return self.server.http.request(
            parameter.method,
            path.replace("<txn>", f"t{self.asked}"),
            body=raw if parameter.method != "GET" else b"",
            token=parameter.token,
            host=f"10.0.{self.asked // 250}.{self.asked % 250}",
        )

    def _with(self, body: Any, keys: list[str], value: Any) -> Any:
        changed = dict(body)
        if len(keys) > 1:
            changed[keys[0]] = self._with(body[keys[0]], keys[1:], value)
        elif value is Absent:
            changed.pop(keys[0], None)
        else:
            changed[keys[0]] = value
        return changed

    def _written(self, body: Any) -> bytes:
        text = json_of.dumps(body, default=str)
        for raw in sorted(_raws(body), key=len, reverse=True):
            text = text.replace(json_of.dumps(raw), raw)
        for name, known in self.known.items():
            text = text.replace(f"<{name}>", known)
        return text.encode()


def _raws(value: Any) -> Iterator[Raw]:
    if isinstance(value, Raw):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _raws(inner)


TOO_LARGE = {f"{C}/v3": "M_DELAY_TOO_LARGE", f"{U}/ro"[: len(C) + 3]: "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE"}


def ids(parameter: Parameter) -> str:
    path = parameter.path.removeprefix(f"{C}/")
    return f"{parameter.dialect}: {parameter.name} of {parameter.method} {path}"


SCENES: dict[tuple[str, ...], Scene] = {}


def scene_of(dialect: str) -> Scene:
    names = ("future-id",) if dialect == "future-id" else ALL
    if names not in SCENES:
        SCENES[names] = Scene(names)
    return SCENES[names]


@pytest.fixture(scope="module", autouse=True)
def scenes() -> Iterator[None]:
    yield
    SCENES.clear()


@pytest.mark.parametrize("parameter", PARAMETERS, ids=ids)
def test_what_a_parameter_does_not_take_is_refused_and_nothing_is_stored(parameter: Parameter) -> None:
    scene = scene_of(parameter.dialect)
    before = scene.stored()
    for value, (status, errcode) in WRONG[parameter.kind]:
        response = scene.ask(parameter, value)
        expected = TOO_LARGE[parameter.path[: len(C) + 3]] if errcode == "too large" else errcode
        assert (response.status, response.errcode) == (status, expected), (value, response.json)
        assert response.json["error"], value
        assert scene.stored() == before, value


def test_every_dialect_that_takes_a_parameter_is_in_the_table() -> None:
    elsewhere = {"tokens", "tokens-on-send", "msc4309"}  # test_bad_input; the last takes none
    assert {parameter.dialect for parameter in PARAMETERS} | elsewhere == set(NAMES)
    assert {parameter.kind for parameter in PARAMETERS} == set(WRONG)


BODIES: list[tuple[str, str, str]] = [
    ("merged", "PUT", MERGED[0]),
    ("delay-query", "PUT", f"{C}/v3/rooms/<room>/send/m.x/<txn>?delay=1000"),
    ("delay-query", "POST", f"{LISTING}/x"),
    ("tokens", "PUT", f"{C}/v1/rooms/<room>/send_future/m.x/<txn>?future_timeout=1000"),
    ("tokens", "PUT", f"{C}/v1/rooms/<room>/state_future/m.x/k?future_timeout=1000"),
    ("tokens-on-send", "PUT", f"{C}/v3/rooms/<room>/send/m.x/<txn>?future_timeout=1000"),
    ("future-id", "PUT", f"{C}/v3/rooms/<room>/send/m.x/<txn>?future_timeout=1000"),
    ("future-id", "POST", f"{C}/v1/update_future"),
    ("batch", "PUT", BATCHES[0]),
    ("batch", "POST", f"{C}/v3/futures/refresh"),
    ("batch", "POST", f"{C}/v3/futures/action/a"),
    ("will-expire", "PUT", f"{C}/v3/expiration/refresh"),
    ("will-expire", "PUT", f"{C}/v3/expiration/end"),
]
NO_BODIES: list[tuple[bytes, set[Any]]] = [
    (b"", {"M_NOT_JSON", "M_MISSING_PARAM"}),
    (b"{", {"M_NOT_JSON"}),
    (b"nothing", {"M_NOT_JSON"}),
    (b"{'a': 1}", {"M_NOT_JSON"}),
    (b'{"a": NaN}', {"M_NOT_JSON"}),
    (b'\xff{"a": 1}', {"M_NOT_JSON"}),
    (b'{"a": "\xff"}', {"M_NOT_JSON", "M_MISSING_PARAM"}),
    (b'{"a": "\\ud800"}', {"M_NOT_JSON"}),
    (b"[]", {"M_BAD_JSON"}),
    (b"5", {"M_BAD_JSON"}),
    (b"null", {"M_BAD_JSON"}),
    (b'"x"', {"M_BAD_JSON"}),
    (b'{"a":' * 500 + b"1" + b"}" * 500, {"M_BAD_JSON"}),
    (b'{"a":' * 100_000, {"M_BAD_JSON"}),
]


@pytest.mark.parametrize(("dialect", "method", "path"), BODIES)
def test_what_is_no_json_object_is_no_body(dialect: str, method: str, path: str) -> None:
    scene = scene_of(dialect)
    before = scene.stored()
    path = path.replace("<room>", scene.room_id).replace("<txn>", "body")
    for raw, errcodes in NO_BODIES:
        response = scene.server.http.request(method, path, body=raw, token="alice")
        assert response.status == 400, (raw[:40], response.json)
        assert response.errcode in errcodes, (raw[:40], response.json)
        assert scene.stored() == before


@pytest.mark.parametrize("parameter", [one for one in PARAMETERS if one.good is not None], ids=ids)
def test_the_same_request_with_a_good_value_is_answered(parameter: Parameter) -> None:
    """The twin of each refusal: nothing else was wrong with the request. Last here, since it makes scenes."""
    response = Scene(scene_of(parameter.dialect).dialects).ask(parameter, parameter.good)
    assert response.status == 200, response.json
