"""What belongs to another dialect is refused on every path of every dialect, and where nothing is delayed."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from minihs.http.dialects.mixing import FIELDS, PARAMETERS
from minihs.http.dialects.spelling import PREFIX
from minihs.http.routing import Route
from tests.support.future_server import ALL, C, FutureServer, U
from tests.support.world import World

SERVERS = {
    "all but future-id": FutureServer(dialects=ALL),
    "future-id": FutureServer(dialects=("future-id",)),
}
ROUTES = [(name, route) for name, server in SERVERS.items() for route in server.dialects.routes()]
TOKENS_OWN = {"future_timeout", "future_group_id"}


def route_id(value: Any) -> str:
    return value if isinstance(value, str) else f"{value.method} {value.path}"


def own_parameters(route: Route) -> set[str]:
    return TOKENS_OWN if "_future/" in route.path else set()


def example(kind: Any) -> Any:
    """A value of the type of a body's field."""
    if kind in (str, int):
        return kind(7)
    choices = [choice for choice in get_args(kind) if isinstance(choice, str)]
    return choices[0] if choices else {} if str(kind).startswith("dict") else "7"


def body_of(route: Route) -> dict[str, Any]:
    if route.body is None:
        return {}
    return {
        field.encode_name: example(field.type)
        for field in msgspec.structs.fields(route.body)
        if field.required
    }


def ask(name: str, route: Route, query: str = "", **more: Any) -> Any:
    server = SERVERS[name]
    path = route.path.replace("{room_id}", "!r:hs1").replace("{", "").replace("}", "")
    json = None if route.method == "GET" else {**body_of(route), **more}
    before = server.stored()
    response = server.http.request(route.method, f"{path}?{query}", json=json, token="alice")
    assert server.stored() == before
    return response


def is_mixed(response: Any) -> bool:
    """Whether a request was refused because of what it mixes, and of nothing else."""
    sentence = response.json.get("error", "") if isinstance(response.json, dict) else ""
    mixed = "another dialect" in sentence or "No generation" in sentence
    assert not mixed or (response.status, response.errcode) == (400, "M_INVALID_PARAM")
    return mixed


@pytest.mark.parametrize(("name", "route"), ROUTES, ids=route_id)
def test_query_parameters_of_other_dialects(name: str, route: Route) -> None:
    own = own_parameters(route)
    assert not is_mixed(ask(name, route)), "the request is one that the endpoint takes"
    for parameter in PARAMETERS:
        for spelled in (parameter, PREFIX + parameter):
            response = ask(name, route, f"{spelled}=1000")
            assert is_mixed(response) is (spelled not in own), spelled
            if spelled not in own:
                assert spelled in response.json["error"]
                assert PARAMETERS[parameter][0] in response.json["error"]
    assert is_mixed(ask(name, route, f"{PREFIX}dleay=1000"))
    assert not is_mixed(ask(name, route, "colour=blue"))


WITH_FIELDS = [(name, route) for name, route in ROUTES if route.body is not None]
ALL_FIELDS = {
    **FIELDS,
    "timeout": ("batch",),
    "m.send_on_timeout": ("batch",),
    "m.will_expire": ("will-expire",),
}
OWNERS = {
    "delayed_event": "merged",
    "delayed_events": "delay-query",
    "update": "future-id",
    "futures": "batch",
}


@pytest.mark.parametrize(("name", "route"), WITH_FIELDS, ids=route_id)
def test_keys_of_other_dialects_in_a_body(name: str, route: Route) -> None:
    last = next(part for part in reversed(route.path.split("/")) if part[:1] != "{")
    dialect = OWNERS.get(last.partition("_future")[0]) or OWNERS.get(route.path.split("/")[4], "will-expire")
    for field, owners in ALL_FIELDS.items():
        if dialect in owners:
            assert not is_mixed(ask(name, route, **{field: 7} if field not in body_of(route) else {}))
        else:
            response = ask(name, route, **{field: 7})
            assert is_mixed(response), field
            assert field in response.json["error"]
            assert owners[0] in response.json["error"]
    assert not is_mixed(ask(name, route, colour="blue"))


TEXT = {"type": "m.room.message", "content": {"body": "x"}}
BATCH = {"timeout": 5, "send_on_timeout": TEXT}


@pytest.mark.parametrize("root", [f"{C}/v1", f"{C}/v3", U])
@pytest.mark.parametrize("field", sorted({**FIELDS, "m.will_expire": ()}.keys() - {"future_token"}))
def test_keys_of_other_dialects_in_a_batch(root: str, field: str) -> None:
    server = FutureServer(dialects=ALL)
    path = f"{root}/rooms/{server.create()}/send/future"
    before = server.stored()
    refused = server.put(f"{path}/a", {**BATCH, field: 7})
    assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
    assert server.stored() == before
    assert server.put(f"{path}/a", {**BATCH, "colour": 7}).status == 200


OWN_PATHS = {
    "merged": ("v3/rooms/{}/delayed_event/{}/t", lambda content: {"delay_ms": 1000, "content": content}),
    "tokens": ("v1/rooms/{}/send_future/{}/t?future_timeout=1000", lambda content: content),
    "tokens, state": ("v1/rooms/{}/state_future/{}/k?future_timeout=1000", lambda content: content),
}


@pytest.mark.parametrize("door", OWN_PATHS)
def test_events_that_another_dialect_would_send_in_parts(door: str) -> None:
    server = FutureServer(dialects=ALL)
    path, body = OWN_PATHS[door]
    room_id = server.create()
    before = server.stored()
    for event_type, content in (("m.x", {"m.will_expire": 5}), ("future", BATCH)):
        refused = server.put(f"{C}/{path.format(room_id, event_type)}", body(content))
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM"), content
    assert server.stored() == before
    for event_type, content in (("m.x", {"m.will_expire": "running"}), ("m.x", BATCH), ("future", {})):
        path_of = path.format(room_id, event_type).replace("/t", f"/{event_type}{len(content)}")
        assert server.put(f"{C}/{path_of}", body(content)).status == 200, content


def test_a_delay_where_nothing_is_delayed_is_refused_and_nothing_done() -> None:
    """An ignored delay would leave, kick or redact at once."""
    world = World("hs1")
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    target = alice.send(room_id, "stays")
    kick = {"user_id": bob.user_id}
    for method, path, json in (
        ("POST", f"/rooms/{room_id}/leave", {}),
        ("POST", f"/rooms/{room_id}/kick", kick),
        ("POST", f"/rooms/{room_id}/ban", kick),
        ("PUT", f"/rooms/{room_id}/redact/{target}/t", {}),
    ):
        for parameter in (*PARAMETERS, f"{PREFIX}delay", f"{PREFIX}dleay"):
            refused = alice.request(method, path, json=json, query={parameter: "5000"})
            assert (refused.status, refused.json["errcode"]) == (400, "M_INVALID_PARAM"), (path, parameter)
            assert parameter in refused.json["error"]
    assert alice.bodies(room_id) == ["stays"]
    assert alice.state(room_id)["m.room.member", bob.user_id]["content"]["membership"] == "join"
    assert alice.request("POST", f"/rooms/{room_id}/kick", json=kick, query={"colour": "blue"}).status == 200
    world.stop()
