"""`/exchange_third_party_invite`: what is no invite that this server could issue is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.endpoints import ENDPOINTS
from tests.api.hostile import valid_request
from tests.api.scene import Stage
from tests.api.suspect import Suspect
from tests.support.http import Response

[EXCHANGE] = [row for row in ENDPOINTS if "exchange_third_party_invite" in row.path]


@pytest.fixture(scope="module")
def suspect() -> Iterator[Suspect]:
    suspect = Suspect()
    yield suspect
    suspect.close()


@pytest.fixture(scope="module")
def stage(suspect: Suspect) -> Stage:
    return Stage(suspect.world)


def exchange(suspect: Suspect, stage: Stage, in_path: str | None = None, **changes: Any) -> Response:
    """Ask for a good invite with these fields changed."""
    scene = stage.scene(EXCHANGE)
    assert scene.body is not None
    arguments = {**scene.arguments, **({} if in_path is None else {"roomId": in_path})}
    return suspect.ask(valid_request(EXCHANGE, arguments, {}, {**scene.body, **changes}))


CONTENT = {"membership": "invite", "third_party_invite": {"display_name": "x", "signed": {}}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (200, None)),
        ({"type": "m.room.name"}, (400, "M_INVALID_PARAM")),
        ({"room_id": "!other:hs1"}, (400, "M_INVALID_PARAM")),
        ({"sender": "@bob:hs2"}, (400, "M_INVALID_PARAM")),
        ({"sender": "bob"}, (400, "M_INVALID_PARAM")),
        ({"state_key": 5}, (400, "M_INVALID_PARAM")),
        ({"content": {**CONTENT, "membership": "join"}}, (400, "M_INVALID_PARAM")),
        ({"content": {"membership": "invite"}}, (400, "M_INVALID_PARAM")),
        ({"content": {**CONTENT, "third_party_invite": {"signed": 5}}}, (400, "M_INVALID_PARAM")),
        ({"content": CONTENT}, (403, "M_FORBIDDEN")),
    ],
)
def test_only_a_good_partial_invite_is_issued(
    suspect: Suspect, stage: Stage, changes: dict[str, Any], expected: tuple[int, str | None]
) -> None:
    answer = exchange(suspect, stage, **changes)
    assert (answer.status, answer.json.get("errcode")) == expected, answer


def test_a_room_that_we_are_not_in_is_not_known(suspect: Suspect, stage: Stage) -> None:
    answer = exchange(suspect, stage, "!nowhere:hs1")
    assert (answer.status, answer.errcode) == (404, "M_NOT_FOUND")
