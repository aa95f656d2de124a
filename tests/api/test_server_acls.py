"""Server ACLs on every route of the federation listener: who is kept out gets 403, who is let in an answer.

The tables below name every route there is; one that is new fails here until somebody has decided. Source:
Server-Server API, "Server Access Control Lists (ACLs)".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.http import Response

from .endpoints import Endpoint
from .hostile import valid_request
from .scene import Stage
from .suspect import Suspect

V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"

PROTECTED = {
    f"GET {V1}/make_join/{{roomId}}/{{userId}}",
    f"GET {V1}/make_leave/{{roomId}}/{{userId}}",
    f"GET {V1}/make_knock/{{roomId}}/{{userId}}",
    f"PUT {V1}/send_join/{{roomId}}/{{eventId}}",
    f"PUT {V2}/send_join/{{roomId}}/{{eventId}}",
    f"PUT {V1}/send_leave/{{roomId}}/{{eventId}}",
    f"PUT {V2}/send_leave/{{roomId}}/{{eventId}}",
    f"PUT {V1}/send_knock/{{roomId}}/{{eventId}}",
    f"PUT {V1}/invite/{{roomId}}/{{eventId}}",
    f"PUT {V2}/invite/{{roomId}}/{{eventId}}",
    f"GET {V1}/state/{{roomId}}",
    f"GET {V1}/state_ids/{{roomId}}",
    f"GET {V1}/backfill/{{roomId}}",
    f"GET {V1}/event_auth/{{roomId}}/{{eventId}}",
    f"POST {V1}/get_missing_events/{{roomId}}",
    # Beyond the specification's list, because they speak of one room as well:
    f"GET {V1}/event/{{eventId}}",
    f"GET {V1}/hierarchy/{{roomId}}",
    f"GET {V1}/timestamp_to_event/{{roomId}}",
    f"PUT {V1}/exchange_third_party_invite/{{roomId}}",
}
BY_EVENT = {f"PUT {V1}/send/{{txnId}}"}
"""Each PDU and EDU of a transaction by itself: see the last test."""
OF_NO_ROOM = {
    f"GET {V1}/version": "about the server",
    "GET /_matrix/key/v2/server": "about the server",
    "POST /_matrix/key/v2/query": "about servers",
    "GET /_matrix/key/v2/query/{serverName}": "about servers",
    f"GET {V1}/query/profile": "about a user",
    f"GET {V1}/query/{{queryType}}": "about nothing",
    f"GET {V1}/query/directory": "about an alias, which is this server's and not the room's",
    f"GET {V1}/user/devices/{{userId}}": "about a user",
    f"GET {V1}/publicRooms": "what is published is for everybody",
    f"POST {V1}/publicRooms": "what is published is for everybody",
}
BY_DEFAULT = {
    f"PUT {V1}/invite/{{roomId}}/{{eventId}}": 400,  # for room versions 1 and 2 only
}
"""How a good request of a server that is let in is answered, where it is not 200."""


@pytest.fixture(scope="module")
def suspect() -> Iterator[Suspect]:
    suspect = Suspect()
    yield suspect
    suspect.close()


@pytest.fixture(scope="module")
def stage(suspect: Suspect) -> Stage:
    return Stage(suspect.world)


def keep_out(stage: Stage, *denied: str) -> None:
    """Put these servers on the list of every room of the stage."""
    for room_id in stage.federation_rooms:
        stage.host.set_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": list(denied)})
    stage.world.advance(500)


def asked(suspect: Suspect, stage: Stage, name: str, *denied: str) -> Response:
    """The answer to a request of hs2 that would be good if nobody were kept out."""
    method, path = name.split(" ")
    endpoint = Endpoint(api="server-server", chapter="", method=method, path=path, access="server")
    endpoint = SPECIFIED.get(re.sub(r"/v[12]/", "/", name), endpoint)
    endpoint = Endpoint(
        api="server-server",
        chapter=endpoint.chapter,
        method=method,
        path=path,
        access="server",
        query=endpoint.query,
        body=endpoint.body,
    )
    scene = stage.scene(endpoint)
    keep_out(stage, *denied)
    try:
        return suspect.ask(valid_request(endpoint, scene.arguments, scene.example, scene.body))
    finally:
        keep_out(stage)


def specified() -> dict[str, Endpoint]:
    from .endpoints import ENDPOINTS

    return {re.sub(r"/v[12]/", "/", str(row)): row for row in ENDPOINTS if row.api == "server-server"}


SPECIFIED = specified()


def test_every_route_is_in_one_table(suspect: Suspect) -> None:
    def anonymous(name: str) -> str:
        return re.sub(r"{\w+}", "{}", name)

    tables = [PROTECTED, BY_EVENT, set(OF_NO_ROOM)]
    listed = sorted(anonymous(name) for table in tables for name in table)
    routes = {anonymous(f"{route.method} {route.path}") for route in suspect.federation_router.routes}
    assert listed == sorted(route for route in routes if not route.startswith("GET /.well-known"))


@pytest.mark.parametrize("name", sorted(PROTECTED))
def test_a_server_that_is_kept_out_is_refused_and_another_is_not(
    suspect: Suspect, stage: Stage, name: str
) -> None:
    let_in = asked(suspect, stage, name, "hs3")
    assert let_in.status == BY_DEFAULT.get(name, 200), let_in
    kept_out = asked(suspect, stage, name, "hs2")
    assert (kept_out.status, kept_out.errcode) == (403, "M_FORBIDDEN"), kept_out
    assert "access control list" in kept_out.json["error"]


@pytest.mark.parametrize("name", sorted(set(OF_NO_ROOM) - {f"GET {V1}/query/{{queryType}}"}))
def test_what_speaks_of_no_room_is_answered_all_the_same(suspect: Suspect, stage: Stage, name: str) -> None:
    assert asked(suspect, stage, name, "hs2").status == 200


@pytest.mark.parametrize("denied", ["hs2", "hs3"])
def test_every_event_and_notice_of_a_transaction_is_weighed_by_itself(
    suspect: Suspect, stage: Stage, denied: str
) -> None:
    world, bob, room_id = stage.world, stage.bob, stage.shared_room
    open_room = stage.host.create_room()
    bob.join(open_room, "hs1")
    world.advance(500)
    bodies: dict[str, Any] = {}
    for each in (room_id, open_room):
        event = stage.event(each, bob.user_id, "m.room.message", {"body": f"a word, {denied}"})
        bodies[event.event_id] = (each, dict(event.pdu))
    stage.host.sync()
    receipts = {
        each: {"m.read": {bob.user_id: {"event_ids": [stage.newest_event(each)], "data": {"ts": 1}}}}
        for each in (room_id, open_room)
    }
    body = {
        "origin": "hs2",
        "origin_server_ts": world.clock.wall_ms(),
        "pdus": [pdu for _, pdu in bodies.values()],
        "edus": [
            {"edu_type": "m.typing", "content": {"room_id": each, "user_id": bob.user_id, "typing": True}}
            for each in (room_id, open_room)
        ]
        + [{"edu_type": "m.receipt", "content": receipts}],
    }
    keep_out(stage, denied)
    path = f"{V1}/send/{{txnId}}"
    endpoint = Endpoint(api="server-server", chapter="", method="PUT", path=path, access="server")
    request = valid_request(endpoint, {"txnId": quote(f"weighed-{denied}")}, {}, body)
    results = suspect.ask(request).json["pdus"]
    world.advance(500)
    seen = stage.host.sync()["rooms"]["join"]
    keep_out(stage)
    for event_id, (each, _) in bodies.items():
        kept_out = each == room_id and denied == "hs2"
        assert ("access control list" in results[event_id].get("error", "")) is kept_out
        room = seen.get(each, {})
        shown = {event["event_id"] for event in room.get("timeline", {}).get("events", [])}
        assert (event_id in shown) is not kept_out
        ephemeral = {event["type"]: event["content"] for event in room.get("ephemeral", {}).get("events", [])}
        assert (bob.user_id in ephemeral.get("m.typing", {}).get("user_ids", [])) is not kept_out
        assert ("m.receipt" in ephemeral) is not kept_out
