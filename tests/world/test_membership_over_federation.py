"""Memberships between whole servers when something goes wrong: invites rejected, taken back and sent again,
servers that are gone, others who must vouch, knocks with every end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.events.versions import ROOM_VERSIONS
from minihs.lab.memory_network import Link
from tests.support.world import Client, World


class Story:
    """Alice of hs1, Bob of hs2, Zoe of hs3."""

    def __init__(self) -> None:
        self.world = World(
            "hs1", "hs2", "hs3", rate_limits__enabled=False, federation__retry_initial_ms=1_000
        )
        self.alice, self.bob, self.zoe = (
            self.world[name].user(who) for name, who in (("hs1", "alice"), ("hs2", "bob"), ("hs3", "zoe"))
        )

    def settle(self, ms: float = 500) -> None:
        self.world.advance(ms)

    def away(self, name: str, *, gone: bool = True) -> None:
        """Nobody reaches a server, and it reaches nobody."""
        for other in ("hs1", "hs2", "hs3"):
            if other != name:
                hosts = (self.world[each].host.address for each in (name, other))
                self.world.network.set_link(*hosts, Link.REFUSING if gone else Link.UP)

    def act(self, user: Client, room_id: str, action: str, target: Client, **more: Any) -> Any:
        body = {"user_id": target.user_id, **more}
        return user.request("POST", f"/rooms/{quote(room_id)}/{action}", json=body)

    def join(self, user: Client, room_id: str, *via: str) -> tuple[int, str | None]:
        query = "&".join(f"via={name}" for name in via)
        reply = user.request("POST", f"/join/{quote(room_id)}?{query}", json={})
        return reply.status, reply.errcode if reply.status != 200 else None

    def knock(self, user: Client, room_id: str, via: str = "hs1", **body: Any) -> tuple[int, str | None]:
        reply = user.request("POST", f"/knock/{quote(room_id)}?via={via}", json=body)
        return reply.status, reply.errcode if reply.status != 200 else None

    def ids(self, user: Client, room_id: str) -> dict[tuple[str, str], str]:
        return {key: event["event_id"] for key, event in user.state(room_id).items()}

    def membership(self, user: Client, room_id: str, whose: Client) -> str | None:
        event = user.state(room_id).get(("m.room.member", whose.user_id))
        return None if event is None else str(event["content"]["membership"])


@pytest.fixture
def story() -> Iterator[Story]:
    story = Story()
    yield story
    story.world.stop()


def rooms(user: Client, kind: str) -> Any:
    """The rooms of one kind in the user's next sync."""
    return user.sync().get("rooms", {}).get(kind, {})


# Invites


def test_an_invite_that_was_rejected_can_be_sent_again(story: Story) -> None:
    room_id = story.alice.create_room(preset="private_chat", name="Tea")
    for _ in range(2):
        assert story.act(story.alice, room_id, "invite", story.bob).status == 200
        story.settle()
        assert room_id in rooms(story.bob, "invite")
        story.bob.leave(room_id)
        story.settle()
        assert room_id in rooms(story.bob, "leave")
        assert story.membership(story.alice, room_id, story.bob) == "leave"
    assert story.act(story.alice, room_id, "invite", story.bob).status == 200
    assert story.join(story.bob, room_id) == (200, None)


def test_an_invite_rejected_while_the_inviter_was_away_can_be_sent_again(story: Story) -> None:
    room_id = story.alice.create_room(preset="private_chat")
    story.act(story.alice, room_id, "invite", story.bob)
    assert room_id in rooms(story.bob, "invite")
    story.away("hs1")
    story.bob.leave(room_id)
    assert room_id in rooms(story.bob, "leave")
    story.away("hs1", gone=False)
    story.settle(10_000)
    assert story.membership(story.alice, room_id, story.bob) == "invite"  # hs1 could not be told
    assert story.act(story.alice, room_id, "invite", story.bob).status == 200
    assert room_id in rooms(story.bob, "invite")
    assert story.join(story.bob, room_id) == (200, None)


def test_an_invite_taken_back_and_sent_again_shows_again(story: Story) -> None:
    room_id = story.alice.create_room(preset="private_chat")
    story.act(story.alice, room_id, "invite", story.bob)
    assert room_id in rooms(story.bob, "invite")
    story.act(story.alice, room_id, "kick", story.bob)
    story.settle()
    assert room_id in rooms(story.bob, "leave")
    assert story.join(story.bob, room_id) == (403, "M_FORBIDDEN")
    story.act(story.alice, room_id, "invite", story.bob)
    assert room_id in rooms(story.bob, "invite")
    assert story.join(story.bob, room_id) == (200, None)


def test_an_invited_user_who_is_banned_is_told_and_cannot_join(story: Story) -> None:
    room_id = story.alice.create_room()
    story.act(story.alice, room_id, "invite", story.bob)
    story.act(story.alice, room_id, "ban", story.bob)
    story.settle()
    assert room_id not in rooms(story.bob, "invite")
    assert story.join(story.bob, room_id, "hs1") == (403, "M_FORBIDDEN")
    story.act(story.alice, room_id, "unban", story.bob)
    story.settle()
    assert story.join(story.bob, room_id, "hs1") == (200, None)


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_an_invite_brings_the_create_event_along(story: Story, version: str) -> None:
    room_id = story.alice.create_room(preset="private_chat", room_version=version)
    story.act(story.alice, room_id, "invite", story.bob)
    told = rooms(story.bob, "invite")[room_id]["invite_state"]["events"]
    [create] = [event for event in told if event["type"] == "m.room.create"]
    assert create["content"]["room_version"] == version
    assert {"m.room.join_rules", "m.room.member"} <= {event["type"] for event in told}


# Servers that are gone


def test_a_room_whose_server_is_gone_can_be_left_and_entered_again_through_others(story: Story) -> None:
    room_id = story.alice.create_room()
    story.bob.join(room_id, "hs1")
    story.zoe.join(room_id, "hs1")
    story.settle()
    story.away("hs1")
    story.bob.leave(room_id)
    story.settle()
    assert story.membership(story.zoe, room_id, story.bob) == "leave"
    assert story.join(story.bob, room_id) == (200, None)
    story.settle()
    assert story.ids(story.bob, room_id) == story.ids(story.zoe, room_id)
    story.away("hs1", gone=False)
    story.settle(120_000)
    story.alice.send(room_id, "back")
    story.settle(5_000)
    assert story.membership(story.alice, room_id, story.bob) == "join"
    assert story.bob.bodies(room_id)[-1] == "back"


def test_where_every_other_server_is_gone_leaving_works_and_joining_may_work_later(story: Story) -> None:
    room_id = story.alice.create_room()
    story.bob.join(room_id, "hs1")
    story.settle()
    story.away("hs1")
    story.bob.sync()
    story.bob.leave(room_id)
    assert room_id in rooms(story.bob, "leave")
    assert story.join(story.bob, room_id)[0] == 503
    story.away("hs1", gone=False)
    story.settle(120_000)
    assert story.membership(story.alice, room_id, story.bob) == "leave"
    assert story.join(story.bob, room_id) == (200, None)


def test_an_invite_that_cannot_be_delivered_is_not_in_the_room(story: Story) -> None:
    room_id = story.alice.create_room(preset="private_chat")
    story.away("hs2")
    assert story.act(story.alice, room_id, "invite", story.bob).status == 503
    assert story.membership(story.alice, room_id, story.bob) is None
    story.away("hs2", gone=False)
    story.settle(60_000)
    assert story.act(story.alice, room_id, "invite", story.bob).status == 200


# Restricted rooms


def club_and_room(story: Story, **levels: Any) -> tuple[str, str]:
    """A club, and a room for its members; Bob is in both."""
    club = story.alice.create_room()
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    room_id = story.alice.create_room(
        initial_state=[{"type": "m.room.join_rules", "content": rule}],
        power_level_content_override={"invite": 50, **levels},
    )
    for each in (club, room_id):
        story.bob.join(each, "hs1")
    story.settle()
    return club, room_id


def test_where_ours_cannot_vouch_another_resident_does(story: Story) -> None:
    club, room_id = club_and_room(story)
    dave = story.world["hs2"].user("dave")
    dave.join(club)
    story.settle()
    assert story.join(dave, room_id) == (200, None)
    content = dave.state(room_id)["m.room.member", dave.user_id]["content"]
    assert content["join_authorised_via_users_server"] == story.alice.user_id
    dave.send(room_id, "here")
    story.settle(5_000)
    assert story.ids(story.alice, room_id) == story.ids(story.bob, room_id)
    assert story.alice.bodies(room_id) == ["here"]


def test_a_member_of_ours_with_the_power_to_invite_vouches_also_while_others_are_away(story: Story) -> None:
    club, room_id = club_and_room(story, users={"@bob:hs2": 50})
    dave = story.world["hs2"].user("dave")
    dave.join(club)
    story.settle()
    story.away("hs1")
    assert story.join(dave, room_id) == (200, None)
    content = dave.state(room_id)["m.room.member", dave.user_id]["content"]
    assert content["join_authorised_via_users_server"] == story.bob.user_id
    story.away("hs1", gone=False)
    story.settle(120_000)
    dave.send(room_id, "here")
    story.settle(5_000)
    assert story.ids(story.alice, room_id) == story.ids(story.bob, room_id)


def test_of_several_residents_one_that_can_grant_the_join_is_found(story: Story) -> None:
    """hs2 is in both rooms and cannot invite: it says so, and hs1 is asked next."""
    club, room_id = club_and_room(story)
    story.zoe.join(club, "hs1")
    story.settle()
    assert story.join(story.zoe, room_id, "hs2", "hs1") == (200, None)
    story.settle()
    assert story.ids(story.alice, room_id) == story.ids(story.zoe, room_id)
    stranger = story.world["hs3"].user("stranger")
    assert story.join(stranger, room_id, "hs2", "hs1") == (403, "M_FORBIDDEN")


# Knocks

KNOCKABLE = [
    (version, rule)
    for version, rules in ROOM_VERSIONS.items()
    for rule in ("knock", "knock_restricted")
    if (rules.knocking if rule == "knock" else rules.knock_restricted)
]


def knockable(story: Story, rule: str = "knock", version: str = "12") -> str:
    content = {"join_rule": rule, "allow": []}
    return story.alice.create_room(
        preset="private_chat",
        name="Door",
        room_version=version,
        initial_state=[{"type": "m.room.join_rules", "content": content}],
    )


@pytest.mark.parametrize(("version", "rule"), KNOCKABLE)
def test_a_knock_tells_of_the_room_and_is_accepted(story: Story, version: str, rule: str) -> None:
    room_id = knockable(story, rule, version)
    assert story.knock(story.bob, room_id, reason="please") == (200, None)
    told = rooms(story.bob, "knock")[room_id]["knock_state"]["events"]
    state = {event["type"]: event["content"] for event in told}
    assert state["m.room.name"] == {"name": "Door"}
    assert state["m.room.create"]["room_version"] == version
    assert story.alice.state(room_id)["m.room.member", story.bob.user_id]["content"]["reason"] == "please"
    assert story.join(story.bob, room_id, "hs1") == (403, "M_FORBIDDEN")
    story.act(story.alice, room_id, "invite", story.bob)
    assert room_id in rooms(story.bob, "invite")
    assert story.join(story.bob, room_id) == (200, None)


def test_a_knock_is_taken_back_denied_repeated_and_closed_for_good(story: Story) -> None:
    room_id = knockable(story)
    assert story.knock(story.bob, room_id) == (200, None)
    rooms(story.bob, "knock")
    story.bob.leave(room_id)
    story.settle()
    assert story.membership(story.alice, room_id, story.bob) == "leave"
    assert story.knock(story.bob, room_id) == (200, None)
    story.act(story.alice, room_id, "kick", story.bob, reason="not today")
    story.settle()
    assert room_id in rooms(story.bob, "leave")
    assert story.knock(story.bob, room_id) == (200, None)
    story.act(story.alice, room_id, "ban", story.bob)
    story.settle()
    assert room_id not in rooms(story.bob, "knock")
    assert story.knock(story.bob, room_id) == (403, "M_FORBIDDEN")


def test_a_knock_through_a_resident_server_that_did_not_make_the_room(story: Story) -> None:
    room_id = knockable(story)
    story.act(story.alice, room_id, "invite", story.bob)
    story.bob.join(room_id)
    story.settle()
    assert story.knock(story.zoe, room_id, "hs2") == (200, None)
    story.settle()
    assert story.membership(story.alice, room_id, story.zoe) == "knock"
    story.act(story.alice, room_id, "kick", story.zoe)
    story.settle()
    assert room_id not in rooms(story.zoe, "knock")


def test_a_knock_on_a_room_that_takes_none_is_refused(story: Story) -> None:
    room_id = story.alice.create_room(preset="private_chat")
    assert story.knock(story.bob, room_id) == (403, "M_FORBIDDEN")
    assert story.knock(story.bob, knockable(story)) == (200, None)
