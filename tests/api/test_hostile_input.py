"""No input makes a 500: every endpoint of the specification, called validly, brokenly and with malice.

Each endpoint is one test. The table of endpoints comes from the specification
(`tests/vectors/endpoints.json`), the malice from `hostile.py`, valid situations from `scene.py`. Nothing is
random.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from minihs.events.canonical import NotCanonical
from minihs.events.event import Event
from minihs.events.signatures import sign_pdu
from minihs.http.routing import Access
from tests.support.deferreds import run

from .endpoints import ENDPOINTS, Endpoint, Shape
from .hostile import WRONG_VALUES, Request, encode, hostile_requests, valid_request
from .scene import VERSION, Stage
from .suspect import Suspect, is_of_neighbours

NOT_200 = {
    "POST /_matrix/client/v3/refresh": 401,  # no refresh tokens are given out
    "PUT /_matrix/federation/v1/invite/{roomId}/{eventId}": 400,  # for room versions 1 and 2 only
    "GET /_matrix/federation/v1/query/{queryType}": 404,  # for queries that the specification does not have
    "GET /.well-known/matrix/support": 404,  # nothing to publish
}
"""What a valid request is answered with where it is not 200."""

UNRECOGNIZED = {(404, "M_UNRECOGNIZED"), (405, "M_UNRECOGNIZED")}
METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "TRACE", "PROPFIND", "get")


@pytest.fixture(scope="module")
def suspect() -> Iterator[Suspect]:
    suspect = Suspect()
    yield suspect
    suspect.close()


@pytest.fixture(scope="module")
def stage(suspect: Suspect) -> Stage:
    return Stage(suspect.world)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
def test_no_input_makes_an_endpoint_fail(suspect: Suspect, stage: Stage, endpoint: Endpoint) -> None:
    scene = stage.scene(endpoint)
    parts = (endpoint, scene.arguments, scene.example, scene.body)
    route = suspect.route_of(endpoint)
    first = suspect.ask(valid_request(*parts), scene.token)
    if route is None:
        assert (first.status, first.errcode) in UNRECOGNIZED, first
    elif route.handler.__module__.endswith(".none"):
        assert first.status in {200, 403, 404, NOT_200.get(str(endpoint))}, first
    else:
        assert first.status == NOT_200.get(str(endpoint), 200), first
    for request in hostile_requests(*parts):
        suspect.ask(request, scene.token)
    assert stage.bystander_is_heard()


FUTURE_PARAMETERS = (
    "org.matrix.msc4140.delay",
    "org.matrix.msc4140.parent_delay_id",
    "future_timeout",
    "future_group_id",
    "future_parent_id",
    "parent_future_id",
    "delay",
    "delay_id",
    "status",
    "from",
)


def endpoints_beyond_the_specification(suspect: Suspect) -> list[Endpoint]:
    """Futures in all dialects, also by parameters of ordinary endpoints; other spellings; administration."""
    query: Shape = {name: {"type": "integer"} for name in FUTURE_PARAMETERS}
    # What belongs to another dialect is refused on a dialect's own path, before anything else is looked at.
    own = {name: query[name] for name in ("delay_id", "status", "from")}
    tokens = {**own, "future_timeout": {"type": "integer"}, "future_group_id": {"type": "string"}}
    specified = {(row.method, re.sub(r"{\w+}", "{}", row.path)) for row in ENDPOINTS}
    beyond = [
        Endpoint(
            api="client-server",
            chapter="beyond",
            method=route.method,
            path=re.sub(r"{(\w+)}", lambda match: "{" + camel_case(match[1]) + "}", route.path),
            access=route.access.value,
            query=tokens if "_future/" in route.path else own,
            body=shape_of_struct(route.body),
        )
        for route in suspect.client_router.routes
        if (route.method, re.sub(r"{\w+}", "{}", route.path)) not in specified
    ]
    ordinary = [row for row in ENDPOINTS if row.chapter in ("room_send", "room_state")]
    return [*beyond, *(dataclasses.replace(row, query=query) for row in ordinary)]


def camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def shape_of_struct(body: Any) -> Shape | None:
    if not (isinstance(body, type) and issubclass(body, msgspec.Struct)):
        return None
    fields = msgspec.structs.fields(body)
    return {
        "type": "object",
        "properties": {field.encode_name: {} for field in fields},
        "required": [field.encode_name for field in fields if field.required],
    }


def test_no_input_makes_a_path_beyond_the_specification_fail(suspect: Suspect, stage: Stage) -> None:
    endpoints = endpoints_beyond_the_specification(suspect)
    assert len(endpoints) > 20
    for endpoint in endpoints:
        scene = stage.scene(endpoint)
        example = {**scene.example, "org.matrix.msc4140.delay": None, "delay_ms": 60_000, "content": {"a": 1}}
        for request in hostile_requests(endpoint, scene.arguments, example):
            suspect.ask(request, scene.token)
    suspect.world.advance(120_000)  # what was scheduled on the way is sent, or refused
    assert not suspect.failures
    assert stage.bystander_is_heard()


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=str)
def test_nobody_gets_in_without_proof_of_who_they_are(
    suspect: Suspect, stage: Stage, endpoint: Endpoint
) -> None:
    route = suspect.route_of(endpoint)
    if route is None or route.access in (Access.OPEN, Access.OPTIONAL):
        return
    scene = stage.scene(endpoint)
    request = valid_request(endpoint, scene.arguments, scene.example, scene.body)
    if route.access is Access.SERVER:
        headers: list[dict[str, str]] = [
            {},
            {"Authorization": "Bearer x"},
            {"Authorization": "X-Matrix"},
            {"Authorization": 'X-Matrix origin="hs2",destination="hs1",key="ed25519:x",sig="x"'},
            {"Authorization": 'X-Matrix origin="hs2",destination="other",key="ed25519:a_1",sig="AAAA"'},
            {"Authorization": 'X-Matrix origin="nowhere.test",destination="hs1",key="ed25519:1",sig="AAAA"'},
            {"Authorization": "X-Matrix " + "a=" * 2_000},
        ]
        for header in headers:
            response = suspect.neighbours.request(
                request.method, request.target, body=request.body, headers=header
            )
            assert (response.status, response.errcode) == (401, "M_UNAUTHORIZED"), header
        return
    for token, errcode in ((None, "M_MISSING_TOKEN"), ("made-up", "M_UNKNOWN_TOKEN")):
        response = suspect.ask(request, token)
        assert (response.status, response.errcode) == (401, errcode)


def test_other_methods_on_a_known_path_are_405_and_not_recognised(suspect: Suspect) -> None:
    for router, driver in (
        (suspect.client_router, suspect.clients),
        (suspect.federation_router, suspect.neighbours),
    ):
        for path in sorted({route.path for route in router.routes}):
            served = {route.method for route in router.routes if route.path == path}
            for method in METHODS:
                if method in served:
                    continue
                literal = path.replace("{", "").replace("}", "")
                response = driver.request(method, literal)
                assert (response.status, response.errcode) == (405, "M_UNRECOGNIZED"), (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/_matrix",
        "/_matrix/",
        "/_matrix/client",
        "/_matrix/client/v3",
        "/_matrix/client/v3/",
        "/_matrix/client/v99/sync",
        "/_matrix/client/v3/sync/",
        "/_matrix/client/v3//sync",
        "/_matrix/client/v3/%73ync/x",
        "/_matrix/federation/v1/",
        "/_matrix/../_matrix/client/versions",
        "/_matrix/client/v3/rooms/%FF/nothing",
        "/favicon.ico",
        "/%00",
        "/" + "a/" * 3_000,
    ],
)
def test_an_unknown_path_is_404_and_not_recognised(suspect: Suspect, path: str) -> None:
    for driver in (suspect.clients, suspect.neighbours):
        for method in ("GET", "PUT", "POST", "DELETE"):
            response = driver.request(method, path)
            assert (response.status, response.errcode) == (404, "M_UNRECOGNIZED"), (method, path)


@pytest.mark.parametrize("endpoint", [row for row in ENDPOINTS if row.method in ("PUT", "POST")], ids=str)
def test_a_body_that_claims_to_be_too_large_is_413_before_it_is_sent(
    suspect: Suspect, stage: Stage, endpoint: Endpoint
) -> None:
    if suspect.route_of(endpoint) is None:
        return
    scene = stage.scene(endpoint)
    target = valid_request(endpoint, scene.arguments, scene.example, scene.body).target
    driver = suspect.neighbours if is_of_neighbours(endpoint.path) else suspect.clients
    response = driver.request(
        endpoint.method, target, token=scene.token, headers={"Content-Length": "1000000000"}
    )
    assert (response.status, response.errcode) == (413, "M_TOO_LARGE")


class TestHostileEvents:
    """Transactions of events that are broken in one field and then signed by their server all the same."""

    def send(self, suspect: Suspect, pdus: list[Any], edus: list[Any], number: str) -> Any:
        body = {"origin": "hs2", "origin_server_ts": 1, "pdus": pdus, "edus": edus}
        request = Request(
            method="PUT",
            path=f"/_matrix/federation/v1/send/{number}",
            body=encode(body),
            oddity="hostile events",
        )
        return suspect.ask(request)

    def stored(self, suspect: Suspect) -> list[tuple[Any, ...]]:
        reader = suspect.world["hs1"].database.reader
        query = "SELECT event_id, standing FROM events ORDER BY position"
        return run(suspect.world.clock, reader.all(query))

    def message(self, stage: Stage) -> Event:
        return stage.event(stage.shared_room, stage.bob.user_id, "m.room.message", {"body": "x"})

    def broken(self, event: Event) -> Iterator[tuple[str, Any]]:
        """The event's PDU with one field missing or wrong."""
        pdu = dict(event.pdu)
        for field in sorted(pdu):
            yield f"{field}: missing", {key: value for key, value in pdu.items() if key != field}
            for oddity, value in WRONG_VALUES.items():
                yield f"{field}: {oddity}", {**pdu, field: value}

    def test_each_field_broken_gets_a_verdict_and_does_no_harm(self, suspect: Suspect, stage: Stage) -> None:
        signer = suspect.world["hs2"].keys.signer
        before = self.stored(suspect)
        for number, (oddity, pdu) in enumerate(self.broken(self.message(stage))):
            try:
                sent = sign_pdu(pdu, VERSION, signer)
            except (KeyError, TypeError, ValueError, AttributeError, NotCanonical):
                sent = pdu
            response = self.send(suspect, [sent], [], f"broken{number}")
            assert response.status in (200, 400), (oddity, response)
        assert self.stored(suspect)[: len(before)] == before
        assert stage.bystander_is_heard()

    def test_one_bad_event_does_not_stop_the_good_ones_beside_it(
        self, suspect: Suspect, stage: Stage
    ) -> None:
        good = self.message(stage)
        response = self.send(suspect, [{}, dict(good.pdu), {"room_id": 5}], [{"edu_type": 5}], "mixed")
        assert response.status == 200
        assert response.json["pdus"][good.event_id] == {}
        assert good.event_id in dict(self.stored(suspect))

    def test_more_events_than_a_transaction_may_have_are_refused_whole(
        self, suspect: Suspect, stage: Stage
    ) -> None:
        pdu = dict(self.message(stage).pdu)
        edu = {"edu_type": "m.typing", "content": {}}
        before = self.stored(suspect)
        assert self.send(suspect, [pdu] * 51, [], "many-pdus").status == 400
        assert self.send(suspect, [], [edu] * 101, "many-edus").status == 400
        assert self.stored(suspect) == before
        assert self.send(suspect, [pdu] * 50, [edu] * 100, "enough").status == 200


def test_the_database_is_whole_after_all_of_this(suspect: Suspect) -> None:
    reader = suspect.world["hs1"].database.reader
    assert run(suspect.world.clock, reader.all("PRAGMA integrity_check")) == [("ok",)]
    assert json.loads(suspect.clients.request("GET", "/_matrix/client/versions").body)["versions"]
