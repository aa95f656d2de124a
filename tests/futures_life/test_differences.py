"""The table "What differs" of docs/dialects.md, row by row, against what servers do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minihs.lab.people import Refused
from tests.futures_life.owners import text
from tests.futures_life.ways import Scene, Way, each_way, scene

__all__ = ["scene"]

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"


def rows() -> dict[str, dict[str, str]]:
    """The table's cells by row and dialect."""
    lines = PAGE.read_text().partition("## What differs")[2].partition("\n\n")[2].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]
    names = [cell.strip("`") for cell in table[0][1:]]
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in table[2:]}


ROWS = rows()


def says(answer: Any) -> str:
    return f"{answer.status} `{answer.errcode}`" if answer.status >= 400 else str(answer.status)


@each_way
def test_what_is_needed_to_manage(way: Way, scene: Scene) -> None:
    future = way.schedule(scene.bob, scene.room_id, 60_000, text())
    answer = way.restart(scene.bob, future, as_nobody=True)
    needs_owner = ROWS["Needed to manage"][way.name] == "owner's access token"
    assert answer.status == (401 if needs_owner else 200)
    assert way.restart(scene.bob, future).status == 200


@each_way
def test_unknown_ids_and_tokens(way: Way, scene: Scene) -> None:
    future = way.schedule(scene.bob, scene.room_id, 60_000, text())
    made_up = {key: f"x{value}" if isinstance(value, str) else value for key, value in future.items()}
    assert says(way.restart(scene.bob, made_up)) == ROWS["Unknown token or ID"][way.name]


@each_way
def test_actions_on_what_is_over(way: Way, scene: Scene) -> None:
    future = way.schedule(scene.bob, scene.room_id, 60_000, text())
    assert way.send(scene.bob, future).status == 200
    contradiction, agreement = way.restart(scene.bob, future), way.send(scene.bob, future)
    assert ROWS["Action that contradicts the outcome"][way.name].startswith(str(contradiction.status))
    assert ROWS["Action that agrees with it"][way.name] == str(agreement.status)
    event = scene.bob.messages(scene.room_id)[0]
    told = ROWS["The sent event's `unsigned` names it"][way.name]
    assert ("delay_id" in event["unsigned"]) is (told == "to its sender")
    assert "delay_id" not in scene.alice.messages(scene.room_id)[0].get("unsigned", {})


@each_way
def test_delays_above_the_maximum(way: Way, scene: Scene) -> None:
    with pytest.raises(Refused) as refused:
        way.schedule(scene.bob, scene.room_id, 86_401_000, text())
    body = refused.value.response.json
    told = ROWS["Above `futures.max_delay_ms`"][way.name]
    assert told.startswith(f"{refused.value.response.status} `{body['errcode']}`")
    if "with" in told:
        assert f"with `{body['org.matrix.msc4140.errcode']}`" in told


@each_way
def test_newer_state(way: Way, scene: Scene) -> None:
    """That servers do what the driver says: `test_variants`, `test_room_and_time`."""
    told = ROWS["A newer state event ends it"][way.name]
    assert (
        told.partition(";")[0]
        == {"nobody": "no", "others": "somebody else's", "anybody": "any"}[way.cancelled_by]
    )


@each_way
def test_units_and_replies(way: Way, scene: Scene) -> None:
    seconds = ROWS["Time is given in"][way.name] == "seconds"
    assert seconds is (way.name in ("will-expire", "batch"))
    reply = way.schedule(scene.bob, scene.room_id, 2_000, text())
    scene.world.advance(1_900)
    assert scene.late() == []
    scene.world.advance(200)
    assert scene.late() == ["late"], "in the unit that the driver takes the dialect to have"
    told = ROWS["Reply"][way.name].replace("the same", ROWS["Reply"]["tokens"])
    named = {key for key in reply if f"`{key}`" in told}
    assert named, told
    assert {name for name in told.split("`")[1::2] if name != "send_now"} == named
