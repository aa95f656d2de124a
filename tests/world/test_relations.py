"""Events that relate to one another, over the client API of two servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.world import Client, World


class Story:
    """Alice of hs1 and Bob of hs2 in a room; Bob reads."""

    def __init__(self) -> None:
        self.world = World("hs1", "hs2", rate_limits__enabled=False)
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs2"].user("bob")
        self.room_id = self.alice.create_room()
        self.bob.join(self.room_id, "hs1")
        self.root = self.alice.send(self.room_id, "root")

    def relate(self, to: str, rel_type: str = "m.thread", kind: str = "m.room.message", **more: Any) -> str:
        relates = {"rel_type": rel_type, "event_id": to, **more}
        event_id = self.alice.send_event(self.room_id, kind, {"body": "x", "m.relates_to": relates})
        self.world.advance(200)
        return event_id

    def ask(self, event_id: str, *narrower: str, user: Client | None = None, **query: Any) -> Any:
        path = "/".join(quote(part, safe="") for part in (event_id, *narrower))
        return (user or self.bob).request(
            "GET", f"/_matrix/client/v1/rooms/{quote(self.room_id)}/relations/{path}", query=query
        )

    def found(self, event_id: str, *narrower: str, **query: Any) -> list[str]:
        reply = self.ask(event_id, *narrower, **query)
        assert reply.status == 200, reply.json
        return [event["event_id"] for event in reply.json["chunk"]]


@pytest.fixture
def story() -> Iterator[Story]:
    story = Story()
    yield story
    story.world.stop()


def test_related_events_are_found_by_type_of_relation_and_of_event(story: Story) -> None:
    reply = story.relate(story.root)
    edit = story.relate(story.root, "m.replace")
    reaction = story.relate(story.root, "m.annotation", "m.reaction", key="+")
    assert story.found(story.root) == [reaction, edit, reply]
    assert story.found(story.root, dir="f") == [reply, edit, reaction]
    assert story.found(story.root, "m.annotation") == [reaction]
    assert story.found(story.root, "m.annotation", "m.reaction") == [reaction]
    assert story.found(story.root, "m.annotation", "m.room.message") == []
    assert story.found(reply) == []


@pytest.mark.parametrize("direction", ["b", "f"])
def test_pages_follow_one_another(story: Story, direction: str) -> None:
    children = [story.relate(story.root) for _ in range(7)]
    shown: list[str] = []
    query: dict[str, Any] = {"limit": 3, "dir": direction}
    for _ in range(3):
        reply = story.ask(story.root, **query).json
        shown += [event["event_id"] for event in reply["chunk"]]
        if "next_batch" not in reply:
            break
        query["from"] = reply["next_batch"]
    assert shown == (children if direction == "f" else children[::-1])
    assert "next_batch" not in reply


def test_a_token_of_messages_is_good_here(story: Story) -> None:
    first = story.relate(story.root)
    token = story.bob.get(f"/rooms/{quote(story.room_id)}/messages", query={"dir": "b", "limit": 1})["start"]
    second = story.relate(story.root)
    assert story.found(story.root, **{"from": token}) == [first]
    assert story.found(story.root, dir="f", **{"from": token}) == [second]
    assert story.found(story.root, to=token) == [second]


def test_relations_of_relations_are_followed_for_three_steps_when_asked_for(story: Story) -> None:
    chain = [story.root]
    for _ in range(4):
        chain.append(story.relate(chain[-1]))
    assert story.found(story.root) == chain[1:2]
    reply = story.ask(story.root, recurse="true").json
    assert [event["event_id"] for event in reply["chunk"]] == chain[3:0:-1]
    assert reply["recursion_depth"] == 3
    assert "recursion_depth" not in story.ask(story.root).json


def test_a_relation_that_was_redacted_or_has_the_wrong_shape_is_none(story: Story) -> None:
    kept, gone = story.relate(story.root), story.relate(story.root)
    story.alice.redact(story.room_id, gone)
    for odd in ({"event_id": story.root}, {"rel_type": "m.thread"}, {"event_id": 5, "rel_type": "x"}, "x"):
        story.alice.send_event(story.room_id, "m.room.message", {"m.relates_to": odd})
    story.world.advance(500)
    assert story.found(story.root) == [kept]


def test_events_that_the_user_may_not_see_are_left_out(story: Story) -> None:
    story.alice.set_state(story.room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    hidden = story.relate(story.root)
    late = story.world["hs2"].user("late")
    stranger = story.ask(story.root, user=late)
    assert (stranger.status, stranger.errcode) == (404, "M_NOT_FOUND")
    late.join(story.room_id)
    story.world.advance(500)
    shown = story.relate(story.root)
    assert [event["event_id"] for event in story.ask(story.root, user=late).json["chunk"]] == [shown]
    assert story.found(story.root) == [shown, hidden]


def test_an_event_that_is_not_here_has_no_relations(story: Story) -> None:
    for event_id in ("$" + "x" * 43, "nonsense"):
        reply = story.ask(event_id)
        assert (reply.status, reply.errcode) == (404, "M_NOT_FOUND")
    assert story.ask(story.root, dir="x").errcode == "M_INVALID_PARAM"
    assert story.ask(story.root, limit="0").errcode == "M_INVALID_PARAM"
