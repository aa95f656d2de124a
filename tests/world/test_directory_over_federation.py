"""Aliases and published rooms of another server, over the client API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.lab.memory_network import Link
from tests.support.world import Client, World


class Story:
    """Alice of hs1 asks about what Bob of hs2 has published."""

    def __init__(self) -> None:
        self.world = World("hs1", "hs2", rate_limits__enabled=False)
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs2"].user("bob")

    def publish(self, name: str, **body: Any) -> str:
        return self.bob.create_room(name=name, visibility="public", **body)

    def page(self, **body: Any) -> Any:
        return self.alice.post("/publicRooms?server=hs2", body)

    def names(self, page: Any) -> list[str]:
        return [room["name"] for room in page["chunk"]]

    def away(self, *, gone: bool = True) -> None:
        hosts = (self.world[name].host.address for name in ("hs1", "hs2"))
        self.world.network.set_link(*hosts, Link.REFUSING if gone else Link.UP)

    def alias(self, user: Client, alias: str) -> Any:
        return user.request("GET", f"/directory/room/{quote(alias)}")


@pytest.fixture
def story() -> Iterator[Story]:
    story = Story()
    yield story
    story.world.stop()


def test_pages_of_another_server_lead_forwards_and_backwards_by_both_methods(story: Story) -> None:
    for number in range(5):
        story.publish(f"room {number}")
    everything = story.names(story.alice.get("/publicRooms", query={"server": "hs2"}))
    assert len(everything) == 5
    first = story.page(limit=2)
    second = story.page(limit=2, since=first["next_batch"])
    last = story.alice.get("/publicRooms", query={"server": "hs2", "since": second["next_batch"], "limit": 2})
    assert [*story.names(first), *story.names(second), *story.names(last)] == everything
    assert "next_batch" not in last
    assert "prev_batch" not in first
    back = story.page(limit=2, since=second["prev_batch"])
    assert story.names(back) == story.names(first)


def test_rooms_of_another_server_are_found_by_term_and_type(story: Story) -> None:
    story.publish("Tea house")
    story.publish("Garden", topic="All about tea", creation_content={"type": "m.space"})
    story.publish("Coffee", creation_content={"type": "m.space"})
    assert sorted(story.names(story.page(filter={"generic_search_term": "TEA"}))) == ["Garden", "Tea house"]
    assert sorted(story.names(story.page(filter={"room_types": ["m.space"]}))) == ["Coffee", "Garden"]
    assert story.names(story.page(filter={"room_types": [None]})) == ["Tea house"]
    assert story.names(story.page(filter={"room_types": ["m.space"], "generic_search_term": "tea"})) == [
        "Garden"
    ]
    [garden] = story.page(filter={"generic_search_term": "garden"})["chunk"]
    assert (garden["room_type"], garden["topic"], garden["join_rule"]) == (
        "m.space",
        "All about tea",
        "public",
    )


def test_a_room_that_nobody_of_the_server_is_in_any_more_is_not_listed(story: Story) -> None:
    room_id = story.publish("left")
    story.publish("kept")
    story.alice.join(room_id, "hs2")
    story.bob.leave(room_id)
    story.world.advance(500)
    assert story.names(story.page()) == ["kept"]


def test_a_server_that_is_away_or_not_asked_well_is_said_to_be(story: Story) -> None:
    story.publish("room")
    bad = story.alice.request("POST", "/publicRooms?server=hs2", json={"since": "nonsense"})
    assert bad.status in (400, 502)
    story.away()
    gone = story.alice.request("GET", "/publicRooms?server=hs2")
    assert gone.status in (502, 503)
    story.away(gone=False)
    story.world.advance(minutes=10)
    assert story.names(story.page()) == ["room"]


def test_an_alias_of_another_server_follows_what_that_server_says(story: Story) -> None:
    first, second = story.publish("first", room_alias_name="den"), story.publish("second")
    found = story.alias(story.alice, "#den:hs2")
    assert (found.status, found.json) == (200, {"room_id": first, "servers": ["hs2"]})
    story.bob.request("DELETE", f"/directory/room/{quote('#den:hs2')}")
    missing = story.alias(story.alice, "#den:hs2")
    assert (missing.status, missing.errcode) == (404, "M_NOT_FOUND")
    story.bob.put(f"/directory/room/{quote('#den:hs2')}", {"room_id": second})
    assert story.alias(story.alice, "#den:hs2").json["room_id"] == second
    story.alice.join("#den:hs2")
    story.world.advance(500)
    assert sorted(story.alias(story.alice, "#den:hs2").json["servers"]) == ["hs1", "hs2"]
    story.bob.leave(second)
    story.world.advance(500)
    assert story.alias(story.alice, "#den:hs2").json["servers"] == ["hs1"]  # hs2 could let nobody in any more
    refused = story.alice.request("DELETE", f"/directory/room/{quote('#den:hs2')}")
    assert refused.status == 400


def test_an_alias_of_a_server_that_is_away_may_be_found_later(story: Story) -> None:
    room_id = story.publish("room", room_alias_name="den")
    story.away()
    assert story.alias(story.alice, "#den:hs2").status in (502, 503)
    story.away(gone=False)
    story.world.advance(minutes=10)
    assert story.alias(story.alice, "#den:hs2").json["room_id"] == room_id


def test_a_canonical_alias_of_another_server_must_stand_for_the_room(story: Story) -> None:
    room_id = story.alice.create_room()
    story.publish("other", room_alias_name="den")
    story.bob.join(room_id, "hs1")
    story.world.advance(500)
    path = f"/rooms/{quote(room_id)}/state/m.room.canonical_alias/"
    refused = story.alice.request("PUT", path, json={"alias": "#den:hs2"})
    assert (refused.status, refused.errcode) == (400, "M_BAD_ALIAS")
    story.bob.put(f"/directory/room/{quote('#mine:hs2')}", {"room_id": room_id})
    story.alice.put(path, {"alias": "#mine:hs2"})
