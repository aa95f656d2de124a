"""`docs/dialects.md`: its table is that of the code, and its examples do what they say."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minihs.http.dialects.table import NAMES
from minihs.lab.people import Client
from tests.support.world import World

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "dialects.md").read_text(encoding="utf-8")
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "dialects"))


def test_the_table_is_up_to_date() -> None:
    assert SCRIPT["with_table"](PAGE) == PAGE, "run scripts/dialects table"


def test_every_dialect_has_an_example() -> None:
    assert tuple(SCRIPT["examples"](PAGE)) == NAMES


def person(client: Client, *, as_nobody: bool = False) -> Any:
    """Somebody of the page, who asks a server of a world."""

    def ask(method: str, path: str, body: Any) -> Any:
        response = client.request(method, "/_matrix/client" + path, json=body, as_nobody=as_nobody)
        if response.status >= 400:
            raise SCRIPT["Refused"](response.status, response.json["errcode"])
        return response.json

    return SCRIPT["Person"](ask)


@pytest.fixture
def world(name: str) -> Iterator[World]:
    settings = {"futures__dialects": [name]} if name in SCRIPT["UNASKED"] else {}
    world = World("hs1", **settings)
    yield world
    world.stop()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_what_it_says(world: World, name: str) -> None:
    code = SCRIPT["examples"](PAGE)[name]
    assert "assert" in code
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    people = {"alice": person(alice), "bob": person(bob), "anybody": person(alice, as_nobody=True)}
    SCRIPT["play"](code, people, lambda seconds: world.advance(seconds=seconds))
