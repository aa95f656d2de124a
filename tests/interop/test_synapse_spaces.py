"""Finding one's way between the two servers: trees of spaces, summaries of rooms, events by their time."""

from __future__ import annotations

import time

import pytest

from tests.interop.conftest import Pair, either_side, every_version
from tests.support.peers import Json, Peer, quote, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

V1 = "/_matrix/client/v1"


def tree(peer: Peer, space: str, **query: object) -> list[Json]:
    """The rooms of a space's tree, as this user's server tells them; all pages."""
    rooms: list[Json] = []
    page: Json = {}
    while not rooms or "next_batch" in page:
        since = {"from": page["next_batch"]} if page else {}
        page = peer.request("GET", f"{V1}/rooms/{quote(space)}/hierarchy", **query, **since)
        rooms += page["rooms"]
    return rooms


@either_side
def test_a_tree_of_spaces_on_both_servers_is_walked_from_either(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    space = host.create("12", name="Space", creation_content={"type": "m.space"})
    inner = host.create("12", name="Inner", creation_content={"type": "m.space"})
    room = host.create("12", name="Room", topic="to be found")
    deep = host.create("12", name="Deep")
    far = guest.create("12", name="Far")
    secret = host.create("12", name="Secret", preset="private_chat")
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    members = host.create(
        "12", name="Members", initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    )
    owners = {room: host, inner: host, far: guest, secret: host, members: host}
    for child, owner in owners.items():
        host.put_state(space, "m.space.child", {"via": [owner.server_name]}, child)
    host.put_state(inner, "m.space.child", {"via": [host.server_name]}, deep)
    pair.joins(guest, space, host)
    last = host.put_state(space, "m.room.topic", {"topic": "complete"})
    guest.sees(last)

    found = {one["room_id"]: one for one in tree(guest, space)}
    assert {one["name"] for one in found.values()} == {"Space", "Inner", "Room", "Deep", "Far", "Members"}
    assert found[room]["topic"] == "to be found"
    assert found[room]["num_joined_members"] == 1
    assert found[inner]["room_type"] == "m.space"
    assert [child["state_key"] for child in found[inner]["children_state"]] == [deep]
    assert found[members]["join_rule"] == "restricted"
    assert found[members]["allowed_room_ids"] == [space]
    assert {child["state_key"] for child in found[space]["children_state"]} == set(owners)
    assert {one["name"] for one in tree(host, space)} == {one["name"] for one in found.values()} | {"Secret"}

    assert {one["name"] for one in tree(guest, space, max_depth=1)} == {
        "Space", "Inner", "Room", "Far", "Members",
    }  # fmt: skip
    assert [one["room_id"] for one in tree(guest, space, limit=2)] == list(found)
    pair.joins(guest, members, host)


@either_side
def test_a_child_is_gone_from_the_tree_when_the_other_side_takes_it_away(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    space = host.create("12", creation_content={"type": "m.space"})
    child = host.create("12", name="Child")
    host.put_state(space, "m.space.child", {"via": [host.server_name]}, child)
    pair.joins(guest, space, host)
    assert [one["room_id"] for one in tree(guest, space)] == [space, child]
    guest.sees(host.put_state(space, "m.space.child", {}, child))
    assert [one["room_id"] for one in tree(guest, space)] == [space]


@either_side
def test_a_room_of_the_other_server_is_summed_up_before_it_is_joined(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create("12", name="To be summed up", topic="in short")
    secret = host.create("12", preset="private_chat")
    path = f"{V1}/room_summary/{quote(room_id)}"
    summary = guest.request("GET", path, via=host.server_name)
    wanted = {"room_id": room_id, "name": "To be summed up", "topic": "in short", "join_rule": "public"}
    assert {key: summary[key] for key in wanted} == wanted
    assert summary["num_joined_members"] == 1
    hidden = f"{V1}/room_summary/{quote(secret)}"
    assert refusal(lambda: guest.request("GET", hidden, via=host.server_name)) == "M_NOT_FOUND"
    pair.joins(guest, room_id, host)
    assert guest.request("GET", path)["membership"] == "join"


def at_time(peer: Peer, room_id: str, when_ms: int, direction: str) -> Json:
    """The event nearest to that time, before (`b`) or after (`f`)."""
    found: Json = peer.request(
        "GET", f"{V1}/rooms/{quote(room_id)}/timestamp_to_event", ts=when_ms, dir=direction
    )
    return found


@every_version
@either_side
def test_an_event_from_before_a_join_is_found_by_its_time(pair: Pair, side: str, version: str) -> None:
    pair.provokes("404: There is no event here in this direction")
    host, guest = pair.users(side)
    room_id = host.create(version)
    said: list[tuple[str, int]] = []
    for number in range(30):
        event_id = host.send(room_id, f"message {number}")
        event = host.room(room_id, "GET", f"event/{quote(event_id)}")
        said.append((event_id, event["origin_server_ts"]))
        until(lambda event=event: time.time() * 1000 > event["origin_server_ts"] + 2, "another millisecond")
    pair.joins(guest, room_id, host)
    event_id, when_ms = said[10]
    for direction in ("b", "f"):
        found = at_time(guest, room_id, when_ms, direction)
        assert (found["event_id"], found["origin_server_ts"]) == (event_id, when_ms)
    assert at_time(guest, room_id, when_ms + 1, "b")["event_id"] == event_id
    assert at_time(guest, room_id, when_ms - 1, "f")["event_id"] == event_id
    around = guest.room(room_id, "GET", f"context/{quote(event_id)}?limit=2")
    assert around["event"]["event_id"] == event_id
    assert refusal(lambda: at_time(guest, room_id, when_ms + 86_400_000, "f")) == "M_NOT_FOUND"
