"""The list of a room's threads, over the client API of two servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.world import Client, World


class Story:
    """Alice of hs1 and Bob of hs2 in a room, both of whom write."""

    def __init__(self) -> None:
        self.world = World("hs1", "hs2", rate_limits__enabled=False)
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs2"].user("bob")
        self.room_id = self.alice.create_room()
        self.bob.join(self.room_id, "hs1")
        self.world.advance(200)

    def say(self, user: Client, root: str | None = None, rel_type: str = "m.thread") -> str:
        content: dict[str, Any] = {"msgtype": "m.text", "body": "x"}
        if root is not None:
            content["m.relates_to"] = {"rel_type": rel_type, "event_id": root}
        event_id = user.send_event(self.room_id, "m.room.message", content)
        self.world.advance(200)
        return event_id

    def ask(self, user: Client, **query: Any) -> Any:
        path = f"/_matrix/client/v1/rooms/{quote(self.room_id)}/threads"
        return user.request("GET", path, query=query)

    def threads(self, user: Client, **query: Any) -> list[dict[str, Any]]:
        reply = self.ask(user, **query)
        assert reply.status == 200, reply.json
        chunk: list[dict[str, Any]] = reply.json["chunk"]
        return chunk

    def roots(self, user: Client, **query: Any) -> list[str]:
        return [event["event_id"] for event in self.threads(user, **query)]


@pytest.fixture
def story() -> Iterator[Story]:
    story = Story()
    yield story
    story.world.stop()


def test_threads_are_listed_by_their_latest_message_with_what_is_in_them(story: Story) -> None:
    one, two = story.say(story.alice), story.say(story.alice)
    story.say(story.alice, one)
    in_two = story.say(story.bob, two)
    in_one = story.say(story.alice, one)
    for user in (story.alice, story.bob):
        first, second = story.threads(user)
        assert (first["event_id"], second["event_id"]) == (one, two)
        about_one = first["unsigned"]["m.relations"]["m.thread"]
        assert about_one["latest_event"]["event_id"] == in_one
        assert about_one["latest_event"]["room_id"] == story.room_id
        assert about_one["count"] == 2
        assert about_one["current_user_participated"] is (user is story.alice)
        about_two = second["unsigned"]["m.relations"]["m.thread"]
        assert (about_two["latest_event"]["event_id"], about_two["count"]) == (in_two, 1)
        assert about_two["current_user_participated"] is True  # the one began it, the other answered
    assert story.roots(story.bob, include="participated") == [two]
    assert story.roots(story.bob, include="all") == [one, two]


def test_what_starts_no_thread_is_not_listed(story: Story) -> None:
    root = story.say(story.alice)
    reply = story.say(story.alice, root)
    story.say(story.alice, reply)  # in no thread, for threads do not nest
    referred = story.say(story.alice)
    story.say(story.alice, referred, "m.reference")
    story.say(story.alice, "$unknown")
    assert story.roots(story.alice) == [root]


def test_pages_hold_every_thread_once(story: Story) -> None:
    roots = [story.say(story.alice) for _ in range(5)]
    for root in (*roots, *roots[:2]):
        story.say(story.bob, root)
    order = [roots[1], roots[0], roots[4], roots[3], roots[2]]
    assert story.roots(story.alice) == order
    for limit in (1, 2, 3):
        found: list[str] = []
        query: dict[str, Any] = {"limit": limit}
        while True:
            reply = story.ask(story.alice, **query).json
            assert len(reply["chunk"]) <= limit
            found += [event["event_id"] for event in reply["chunk"]]
            if "next_batch" not in reply:
                break
            query["from"] = reply["next_batch"]
        assert found == order


def test_a_redacted_message_leaves_its_thread(story: Story) -> None:
    root = story.say(story.alice)
    first, last = story.say(story.bob, root), story.say(story.bob, root)
    for event_id, left in ((last, [first]), (first, [])):
        path = f"/rooms/{quote(story.room_id)}/redact/{quote(event_id)}/{event_id[1:9]}"
        story.bob.put(path, {})
        story.world.advance(200)
        threads = [event["unsigned"]["m.relations"]["m.thread"] for event in story.threads(story.alice)]
        assert [thread["latest_event"]["event_id"] for thread in threads] == left
        assert [thread["count"] for thread in threads] == [1] * len(left)


def test_who_is_ignored_counts_for_nothing(story: Story) -> None:
    by_bob, by_alice = story.say(story.bob), story.say(story.alice)
    answer = story.say(story.alice, by_bob)
    story.say(story.bob, by_bob)
    story.say(story.bob, by_alice)
    assert story.roots(story.alice) == [by_alice, by_bob]
    ignored = {"ignored_users": {story.bob.user_id: {}}}
    path = f"/user/{quote(story.alice.user_id)}/account_data/m.ignored_user_list"
    story.alice.put(path, ignored)
    [root] = story.threads(story.alice)
    assert (root["event_id"], root["content"]) == (by_bob, {})
    thread = root["unsigned"]["m.relations"]["m.thread"]
    assert (thread["latest_event"]["event_id"], thread["count"]) == (answer, 1)


def test_who_may_not_see_the_room_is_told_nothing_of_its_threads(story: Story) -> None:
    root = story.say(story.alice)
    story.say(story.alice, root)
    stranger = story.world["hs1"].user("stranger")
    refused = story.ask(stranger)
    assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
    assert story.roots(story.alice) == [root]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"include": "some"}, "include"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"from": "x"}, "from"),
    ],
)
def test_a_question_about_threads_that_makes_no_sense_is_refused(
    story: Story, query: dict[str, str], word: str
) -> None:
    refused = story.ask(story.alice, **query)
    assert (refused.status, refused.json["errcode"]) == (400, "M_INVALID_PARAM")
    assert word in refused.json["error"]
    assert story.ask(story.alice).status == 200
