"""Third-party invites: the room and the auth rules decide, whoever brings the identity server's signature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.events.versions import ROOM_VERSIONS
from tests.support.identity import IdentityServer
from tests.support.world import Client, World

IDENTITY = IdentityServer()


class Story:
    def __init__(self) -> None:
        self.world = World("hs1", "hs2")
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs2"].user("bob")
        self.dave = self.world["hs1"].user("dave")

    def offer(self, **body: Any) -> str:
        """A private room of Alice with an offer."""
        room_id = self.alice.create_room(preset="private_chat", **body)
        IDENTITY.offer(self.alice, room_id)
        return room_id

    def join(self, user: Client, room_id: str, signed: Any, sender: str | None = None) -> Any:
        body = {"third_party_signed": {"sender": sender or self.alice.user_id, **signed}}
        return user.request("POST", f"/join/{quote(room_id)}?via=hs1", json=body)

    def member(self, room_id: str, user: Client) -> dict[str, Any] | None:
        event = self.alice.state(room_id).get(("m.room.member", user.user_id))
        return None if event is None else event["content"]


def signed_for(story: Story, user: Client, **more: Any) -> dict[str, Any]:
    """Signed with the sender in it, as `third_party_signed` has it."""
    return IDENTITY.signed(user.user_id, **{"sender": story.alice.user_id, **more})


@pytest.fixture
def story() -> Iterator[Story]:
    story = Story()
    yield story
    story.world.stop()


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_whoever_brings_the_signature_is_invited_by_the_inviters_server_and_joins(version: str) -> None:
    story = Story()
    room_id = story.offer(room_version=version)
    for user in (story.bob, story.dave):
        reply = story.join(user, room_id, signed_for(story, user))
        assert reply.status == 200, reply.json
        story.world.advance(500)
        content = story.member(room_id, user)
        assert content is not None
        assert content["membership"] == "join"
        [_, invite] = [
            event["content"]
            for event in story.alice.messages(room_id)
            if event.get("state_key") == user.user_id
        ]
        assert invite["membership"] == "invite"
        assert invite["third_party_invite"]["display_name"] == "s...y"
    assert {key: event["event_id"] for key, event in story.alice.state(room_id).items()} == {
        key: event["event_id"] for key, event in story.bob.state(room_id).items()
    }
    story.world.stop()


@pytest.mark.parametrize("who", ["bob", "dave"])
@pytest.mark.parametrize("fault", ["another key", "another user", "another token", "changed", "no offer"])
def test_any_other_signature_lets_nobody_in(story: Story, who: str, fault: str) -> None:
    user: Client = getattr(story, who)
    room_id = story.offer() if fault != "no offer" else story.alice.create_room(preset="private_chat")
    signed = signed_for(story, user)
    if fault == "another key":
        signed = IdentityServer("other").signed(user.user_id, sender=story.alice.user_id)
    elif fault == "another user":
        signed = signed_for(story, story.alice)
    elif fault == "another token":
        signed = IDENTITY.signed(user.user_id, "other", sender=story.alice.user_id)
    elif fault == "changed":
        signed["extra"] = "unsigned"
    refused = story.join(user, room_id, signed)
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    assert story.member(room_id, user) is None
    room_id = story.offer()
    assert story.join(user, room_id, signed_for(story, user)).status == 200


def test_only_who_made_the_offer_can_be_named_as_the_inviter(story: Story) -> None:
    room_id = story.offer()
    story.alice.post(f"/rooms/{quote(room_id)}/invite", {"user_id": story.dave.user_id})
    story.dave.join(room_id)
    signed = signed_for(story, story.bob, sender=story.dave.user_id)
    refused = story.join(story.bob, room_id, signed, sender=story.dave.user_id)
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    assert "5.4.1.6" in refused.json["error"] or "third-party" in refused.json["error"]
    assert story.join(story.bob, room_id, signed_for(story, story.bob)).status == 200


def test_a_signature_does_not_turn_a_member_into_an_invited_user(story: Story) -> None:
    room_id = story.offer()
    assert story.join(story.bob, room_id, signed_for(story, story.bob)).status == 200
    story.world.advance(500)
    assert story.join(story.bob, room_id, signed_for(story, story.bob)).status == 200
    story.world.advance(500)
    content = story.member(room_id, story.bob)
    assert content is not None
    assert content["membership"] == "join"


def test_a_banned_user_does_not_come_back_with_a_signature(story: Story) -> None:
    room_id = story.offer()
    story.alice.post(f"/rooms/{quote(room_id)}/ban", {"user_id": story.bob.user_id})
    refused = story.join(story.bob, room_id, signed_for(story, story.bob))
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    content = story.member(room_id, story.bob)
    assert content is not None
    assert content["membership"] == "ban"


def test_an_invite_by_address_is_refused_with_a_sentence(story: Story) -> None:
    room_id = story.offer()
    body = {"medium": "email", "address": "a@example.org", "id_server": "id", "id_access_token": "x"}
    refused = story.alice.request("POST", f"/rooms/{quote(room_id)}/invite", json=body)
    assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")
    assert "identity server" in refused.json["error"]
