"""What clients see by /sync of rooms, invites, typing and receipts that come from another server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.world import Client, World


class Pair:
    """Alice on hs1 with a room; Bob on hs2."""

    def __init__(self) -> None:
        self.world = World("hs1", "hs2")
        self.alice, self.bob = self.world["hs1"].user("alice"), self.world["hs2"].user("bob")
        self.room = self.alice.create_room(name="Den")

    def settle(self) -> None:
        self.world.advance(500)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.world.stop()


def joined(reply: dict[str, Any], room: str) -> dict[str, Any]:
    entry: dict[str, Any] = reply["rooms"]["join"][room]
    return entry


def start_sync(client: Client) -> Any:
    return client.start("GET", f"/_matrix/client/v3/sync?since={client.since}&timeout=30000")


def test_a_room_joined_elsewhere_comes_with_its_state(pair: Pair) -> None:
    pair.bob.sync()
    pair.bob.join(pair.room, "hs1")
    entry = joined(pair.bob.sync(), pair.room)
    state = {event["type"]: event for event in entry["state"]["events"]}
    assert {"m.room.create", "m.room.name", "m.room.power_levels", "m.room.join_rules"} <= state.keys()
    (join,) = entry["timeline"]["events"]
    assert (join["type"], join["state_key"]) == ("m.room.member", pair.bob.user_id)
    assert entry["summary"]["m.joined_member_count"] == 2
    assert joined(pair.alice.sync(), pair.room)["timeline"]["events"][-1]["event_id"] == join["event_id"]


def test_messages_travel_and_wake(pair: Pair) -> None:
    pair.bob.join(pair.room, "hs1")
    pair.bob.sync()
    waiting = start_sync(pair.bob)
    event_id = pair.alice.send(pair.room, "across")
    reply = pair.world["hs2"].driver.finish(waiting).json
    (event,) = joined(reply, pair.room)["timeline"]["events"]
    assert (event["event_id"], event["unsigned"]["membership"]) == (event_id, "join")


def test_a_redaction_from_elsewhere_redacts_what_sync_serves(pair: Pair) -> None:
    pair.bob.join(pair.room, "hs1")
    pair.bob.sync()
    event_id = pair.alice.send(pair.room, "secret")
    pair.alice.put(f"/rooms/{quote(pair.room)}/redact/{quote(event_id)}/t", {"reason": "oops"})
    pair.settle()
    redacted, _ = joined(pair.bob.sync(), pair.room)["timeline"]["events"]
    assert (redacted["event_id"], redacted["content"]) == (event_id, {})
    assert redacted["unsigned"]["redacted_because"]["content"]["reason"] == "oops"


def test_an_invite_from_elsewhere_and_its_rejection_are_told(pair: Pair) -> None:
    room = pair.alice.create_room(preset="private_chat", name="Secret")
    pair.bob.sync()
    waiting = start_sync(pair.bob)
    pair.alice.post(f"/rooms/{quote(room)}/invite", {"user_id": pair.bob.user_id})
    reply = pair.world["hs2"].driver.finish(waiting).json
    events = reply["rooms"]["invite"][room]["invite_state"]["events"]
    kinds = {event["type"]: event["content"] for event in events}
    assert kinds["m.room.name"] == {"name": "Secret"}
    assert "m.room.create" in kinds
    assert events[-1]["state_key"] == pair.bob.user_id
    pair.bob.since = reply["next_batch"]
    assert "rooms" not in pair.bob.sync()
    pair.bob.post(f"/rooms/{quote(room)}/leave")
    rooms = pair.bob.sync()["rooms"]
    assert (list(rooms), list(rooms["leave"])) == (["leave"], [room])
    assert "rooms" not in pair.bob.sync()


def test_typing_and_receipts_travel(pair: Pair) -> None:
    pair.bob.join(pair.room, "hs1")
    said = pair.alice.send(pair.room, "read me")
    pair.settle()
    pair.alice.sync()
    base = f"/rooms/{quote(pair.room)}"
    pair.bob.put(f"{base}/typing/{quote(pair.bob.user_id)}", {"typing": True, "timeout": 20_000})
    pair.bob.post(f"{base}/receipt/m.read/{quote(said)}")
    pair.settle()
    events = joined(pair.alice.sync(), pair.room)["ephemeral"]["events"]
    contents = {event["type"]: event["content"] for event in events}
    assert contents["m.typing"] == {"user_ids": [pair.bob.user_id]}
    assert pair.bob.user_id in contents["m.receipt"][said]["m.read"]


def test_paging_back_reaches_what_was_said_before_the_join(pair: Pair) -> None:
    early = pair.alice.send(pair.room, "early")
    pair.bob.join(pair.room, "hs1")
    pair.settle()
    entry = joined(pair.bob.sync(), pair.room)
    start = entry["timeline"]["prev_batch"]
    found: list[str] = []
    for _ in range(10):
        page = pair.bob.get(f"/rooms/{quote(pair.room)}/messages?dir=b&limit=3&from={start}")
        found += [event["event_id"] for event in page["chunk"]]
        start = page.get("end")
        if start is None:
            break
    assert early in found
    assert len(found) == len(set(found))
    newest = entry["timeline"]["events"][-1]["event_id"]
    page = pair.bob.get(f"/rooms/{quote(pair.room)}/messages?dir=b&limit=3")
    assert page["chunk"][0]["event_id"] == newest
