"""Rooms across whole servers: memberships, gaps after a broken link, history, lookups, restarts."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from minihs.events.versions import ROOM_VERSIONS
from minihs.lab.memory_network import Link
from tests.support.world import Client, World


class Story:
    """Alice of hs1 and Bob of hs2."""

    def __init__(self, *more: str, **settings: Any) -> None:
        self.world = World("hs1", "hs2", *more, **settings)
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs2"].user("bob")

    def room(self, **body: Any) -> str:
        """A room of Alice that Bob has joined."""
        room_id = self.alice.create_room(**body)
        self.bob.join(room_id, "hs1")
        self.settle()
        return room_id

    def settle(self, ms: float = 500) -> None:
        self.world.advance(ms)

    def link(self, *, up: bool) -> None:
        one, other = (self.world[name].host.address for name in ("hs1", "hs2"))
        self.world.network.set_link(one, other, Link.UP if up else Link.REFUSING)


def ids(user: Client, room_id: str) -> dict[tuple[str, str], str]:
    return {key: event["event_id"] for key, event in user.state(room_id).items()}


def membership(user: Client, room_id: str, whose: str) -> str:
    content: dict[str, str] = user.state(room_id)["m.room.member", whose]["content"]
    return content["membership"]


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_an_invited_user_of_another_server_sees_the_invite_joins_and_talks(version: str) -> None:
    story = Story()
    room_id = story.alice.create_room(preset="private_chat", name="Tea", room_version=version)
    story.alice.post(f"/rooms/{room_id}/invite", {"user_id": story.bob.user_id, "reason": "biscuits"})
    invited = story.bob.sync()["rooms"]["invite"][room_id]["invite_state"]["events"]
    told = {(event["type"], event["state_key"]): event["content"] for event in invited}
    assert told["m.room.name", ""] == {"name": "Tea"}
    assert told["m.room.member", story.bob.user_id]["reason"] == "biscuits"
    story.bob.join(room_id)
    story.settle()
    assert membership(story.alice, room_id, story.bob.user_id) == "join"
    assert ids(story.alice, room_id) == ids(story.bob, room_id)
    story.bob.send(room_id, "thank you")
    story.settle()
    assert story.alice.bodies(room_id) == ["thank you"]
    story.world.stop()


def test_an_invite_that_is_rejected_is_gone_on_both_servers() -> None:
    story = Story()
    room_id = story.alice.create_room(preset="private_chat")
    story.alice.post(f"/rooms/{room_id}/invite", {"user_id": story.bob.user_id})
    story.bob.sync()
    story.bob.post(f"/rooms/{room_id}/leave")
    story.settle()
    assert room_id in story.bob.sync()["rooms"]["leave"]
    assert membership(story.alice, room_id, story.bob.user_id) == "leave"
    refused = story.bob.request("POST", f"/join/{quote(room_id)}?via=hs1", json={})
    assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
    story.world.stop()


def test_an_invite_that_is_taken_back_disappears() -> None:
    story = Story()
    room_id = story.alice.create_room(preset="private_chat")
    story.alice.post(f"/rooms/{room_id}/invite", {"user_id": story.bob.user_id})
    assert room_id in story.bob.sync()["rooms"]["invite"]
    story.alice.post(f"/rooms/{room_id}/kick", {"user_id": story.bob.user_id})
    story.settle()
    assert room_id in story.bob.sync()["rooms"]["leave"]
    story.world.stop()


@pytest.mark.parametrize("action", ["kick", "ban"])
def test_a_user_who_is_shut_out_cannot_speak_and_comes_back_only_if_let_in(action: str) -> None:
    story = Story()
    room_id = story.room()
    story.alice.post(f"/rooms/{room_id}/{action}", {"user_id": story.bob.user_id, "reason": "noise"})
    story.settle()
    said = story.bob.request("PUT", f"/rooms/{room_id}/send/m.room.message/1", json={"body": "still here"})
    assert (said.status, said.json["errcode"]) == (403, "M_FORBIDDEN")
    again = story.bob.request("POST", f"/join/{quote(room_id)}?via=hs1", json={})
    assert again.status == (200 if action == "kick" else 403)
    if action == "ban":
        story.alice.post(f"/rooms/{room_id}/unban", {"user_id": story.bob.user_id})
        story.bob.join(room_id, "hs1")
    story.settle()
    story.bob.send(room_id, "sorry")
    story.settle()
    assert story.alice.bodies(room_id) == ["sorry"]
    story.world.stop()


def test_what_a_banned_user_said_before_hearing_of_it_is_not_shown() -> None:
    story = Story()
    room_id = story.room()
    story.link(up=False)
    story.alice.post(f"/rooms/{room_id}/ban", {"user_id": story.bob.user_id})
    story.bob.send(room_id, "evading")
    story.settle(100)
    story.link(up=True)
    story.settle(30_000)
    assert story.alice.bodies(room_id) == []
    assert membership(story.alice, room_id, story.bob.user_id) == "ban"
    row = story.bob.request("PUT", f"/rooms/{room_id}/send/m.room.message/1", json={"body": "still here"})
    assert row.status == 403
    story.world.stop()


def test_after_a_broken_link_both_servers_agree_again() -> None:
    story = Story()
    room_id = story.room()
    story.link(up=False)
    for number in range(60):
        story.alice.send(room_id, f"a{number}")
    story.bob.send(room_id, "b")
    story.alice.set_state(room_id, "m.room.topic", {"topic": "while apart"})
    story.settle(5_000)
    story.link(up=True)
    story.settle(60_000)
    story.alice.send(room_id, "together")
    story.settle(5_000)
    expected = sorted([f"a{number}" for number in range(60)] + ["b", "together"])
    assert sorted(story.alice.bodies(room_id)) == sorted(story.bob.bodies(room_id)) == expected
    assert ids(story.alice, room_id) == ids(story.bob, room_id)
    story.world.stop()


def test_a_server_that_was_down_catches_up_also_with_state() -> None:
    story = Story()
    room_id = story.room()
    hs2 = story.world["hs2"]
    hs2.crash()
    for number in range(5):
        story.alice.send(room_id, str(number))
    story.alice.set_state(room_id, "m.room.topic", {"topic": "missed"})
    story.settle(3_000)
    hs2.start()
    story.settle(60_000)
    assert story.bob.bodies(room_id) == [str(number) for number in range(5)]
    assert ids(story.alice, room_id) == ids(story.bob, room_id)
    story.bob.send(room_id, "back")
    story.settle(5_000)
    assert story.alice.bodies(room_id)[-1] == "back"
    story.world.stop()


def test_a_redaction_reaches_the_other_server() -> None:
    story = Story()
    room_id = story.room()
    event_id = story.alice.send(room_id, "regret")
    story.settle()
    story.alice.put(f"/rooms/{room_id}/redact/{event_id}/1", {"reason": "oops"})
    story.settle()
    event = story.bob.get(f"/rooms/{room_id}/event/{event_id}")
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["content"]["reason"] == "oops"
    story.world.stop()


def test_history_from_before_the_join_is_fetched_when_it_is_read() -> None:
    story = Story()
    room_id = story.alice.create_room()
    for number in range(130):
        story.alice.send(room_id, str(number))
    story.bob.join(room_id, "hs1")
    seen: list[str] = []
    query: dict[str, Any] = {"dir": "b", "limit": 50}
    for _ in range(10):
        page = story.bob.get(f"/rooms/{room_id}/messages", query=query)
        seen += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        if "end" not in page:
            break
        query["from"] = page["end"]
    assert seen == [str(number) for number in range(129, -1, -1)]
    story.world.stop()


def test_aliases_profiles_and_published_rooms_of_another_server_are_found() -> None:
    story = Story()
    story.alice.put(f"/profile/{story.alice.user_id}/displayname", {"displayname": "Alice A."})
    room_id = story.alice.create_room(room_alias_name="tea", visibility="public", name="Tea")
    alias = story.bob.get(f"/directory/room/{quote('#tea:hs1')}")
    assert alias["room_id"] == room_id
    assert "hs1" in alias["servers"]
    assert story.bob.get(f"/profile/{story.alice.user_id}") == {"displayname": "Alice A."}
    listed = story.bob.get("/publicRooms", query={"server": "hs1"})
    assert [(room["room_id"], room["name"]) for room in listed["chunk"]] == [(room_id, "Tea")]
    story.bob.post(f"/join/{quote('#tea:hs1')}")
    story.settle()
    assert membership(story.alice, room_id, story.bob.user_id) == "join"
    unknown = story.bob.request("GET", f"/directory/room/{quote('#coffee:hs1')}")
    assert (unknown.status, unknown.json["errcode"]) == (404, "M_NOT_FOUND")
    nobody = story.bob.request("GET", "/profile/@nobody:hs1")
    assert (nobody.status, nobody.json["errcode"]) == (404, "M_NOT_FOUND")
    story.world.stop()


def test_typing_and_receipts_are_seen_on_the_other_server() -> None:
    story = Story()
    room_id = story.room()
    event_id = story.alice.send(room_id, "read me")
    story.settle()
    story.alice.sync()
    story.bob.put(f"/rooms/{room_id}/typing/{story.bob.user_id}", {"typing": True, "timeout": 10_000})
    story.bob.post(f"/rooms/{room_id}/receipt/m.read/{event_id}")
    story.settle()
    events = story.alice.sync()["rooms"]["join"][room_id]["ephemeral"]["events"]
    by_type = {event["type"]: event["content"] for event in events}
    assert by_type["m.typing"] == {"user_ids": [story.bob.user_id]}
    assert story.bob.user_id in by_type["m.receipt"][event_id]["m.read"]
    story.world.stop()


def test_three_servers_hear_of_one_anothers_users() -> None:
    story = Story("hs3")
    carol = story.world["hs3"].user("carol")
    room_id = story.room()
    carol.join(room_id, "hs2")
    story.settle()
    for number, user in enumerate((story.alice, story.bob, carol)):
        user.send(room_id, str(number))
        story.settle()
    for user in (story.alice, story.bob, carol):
        assert user.bodies(room_id) == ["0", "1", "2"]
    assert ids(story.alice, room_id) == ids(story.bob, room_id) == ids(carol, room_id)
    story.bob.post(f"/rooms/{room_id}/leave")
    story.settle()
    assert membership(carol, room_id, story.bob.user_id) == "leave"
    story.world.stop()


def test_a_restricted_room_lets_members_of_another_room_in() -> None:
    story = Story()
    club = story.room()
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    room_id = story.alice.create_room(
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    )
    story.bob.join(room_id, "hs1")
    dave = story.world["hs2"].user("dave")
    refused = dave.request("POST", f"/join/{quote(room_id)}?via=hs1", json={})
    assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
    dave.join(club, "hs1")
    story.settle()
    dave.join(room_id, "hs1")
    story.settle()
    assert ids(story.alice, room_id) == ids(story.bob, room_id)
    assert membership(story.alice, room_id, dave.user_id) == "join"
    story.world.stop()


def test_a_knock_is_answered_over_federation() -> None:
    story = Story()
    room_id = story.alice.create_room(
        preset="private_chat",
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}],
    )
    story.bob.post(f"/knock/{quote(room_id)}?via=hs1", {"reason": "please"})
    assert room_id in story.bob.sync()["rooms"]["knock"]
    assert membership(story.alice, room_id, story.bob.user_id) == "knock"
    story.alice.post(f"/rooms/{room_id}/invite", {"user_id": story.bob.user_id})
    assert room_id in story.bob.sync()["rooms"]["invite"]
    story.bob.join(room_id)
    story.settle()
    assert membership(story.alice, room_id, story.bob.user_id) == "join"
    story.world.stop()


def test_a_knock_that_is_taken_back_is_taken_back_everywhere() -> None:
    """The room's ID names no server, and whom the knock went through is known by what it was told."""
    story = Story()
    room_id = story.alice.create_room(
        initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}],
    )
    story.bob.post(f"/knock/{quote(room_id)}?via=hs1", {})
    assert room_id in story.bob.sync()["rooms"]["knock"]
    assert membership(story.alice, room_id, story.bob.user_id) == "knock"
    story.bob.post(f"/rooms/{room_id}/leave")
    assert membership(story.alice, room_id, story.bob.user_id) == "leave"
    assert room_id in story.bob.sync()["rooms"]["leave"]
    story.world.stop()
