"""Aliases, what a room's state may list of them, and the published rooms."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomAlias, RoomID, ServerName, UserID
from minihs.homeserver.elsewhere.protocols import AliasTarget
from minihs.homeserver.errors import (
    AliasTaken,
    BadAlias,
    Forbidden,
    InvalidParam,
    NotFound,
    UnknownRoom,
)
from minihs.homeserver.room_actions.published_rooms import Search
from tests.support.rooms_world import RoomsWorld

ALICE, BOB = UserID("@alice:hs1"), UserID("@bob:hs1")
PUB = RoomAlias("#pub:hs1")


def test_an_alias_stands_for_its_room_and_names_the_servers_with_most_users_first() -> None:
    world = RoomsWorld()
    room_id = world.public()
    for user in ("@a:hs3", "@b:hs2", "@c:hs3", "@d:hs4"):
        world.send(room_id, user, "m.room.member", state_key=user, content={"membership": "join"})
    world.run(world.directory.create_alias(PUB, room_id, ALICE))
    assert world.run(world.directory.resolve(PUB)) == AliasTarget(
        room_id, (ServerName("hs1"), ServerName("hs3"), ServerName("hs2"), ServerName("hs4"))
    )
    assert world.run(world.directory.local_aliases(room_id)) == [PUB]


def test_aliases_of_other_servers_are_asked_for_there() -> None:
    world = RoomsWorld()
    target = AliasTarget(RoomID("!r:hs2"), (ServerName("hs2"),))
    world.elsewhere.aliases["#pub:hs2"] = target
    assert world.run(world.directory.resolve(RoomAlias("#pub:hs2"))) == target
    with pytest.raises(NotFound):
        world.run(world.directory.resolve(RoomAlias("#bar:hs2")))
    with pytest.raises(NotFound):
        world.run(world.directory.resolve(PUB))
    assert [alias for _, alias in world.elsewhere.asked] == ["#pub:hs2", "#bar:hs2"]


def test_aliases_are_made_by_members_once_and_on_this_server_only() -> None:
    world = RoomsWorld()
    room_id = world.public()
    with pytest.raises(Forbidden):
        world.run(world.directory.create_alias(PUB, room_id, BOB))
    with pytest.raises(InvalidParam):
        world.run(world.directory.create_alias(RoomAlias("#pub:hs2"), room_id, ALICE))
    world.run(world.directory.create_alias(PUB, room_id, ALICE))
    with pytest.raises(AliasTaken):
        world.run(world.directory.create_alias(PUB, room_id, ALICE))


def test_an_alias_is_removed_by_its_creator_a_moderator_or_an_administrator() -> None:
    world = RoomsWorld()
    room_id = world.public()
    world.run(world.membership.join(BOB, room_id))
    directory = world.directory
    world.run(directory.create_alias(PUB, room_id, ALICE))
    with pytest.raises(Forbidden):
        world.run(directory.remove_alias(PUB, BOB))
    world.run(directory.remove_alias(PUB, ALICE))
    with pytest.raises(NotFound):
        world.run(directory.remove_alias(PUB, ALICE))
    world.run(directory.create_alias(PUB, room_id, BOB))
    world.run(directory.remove_alias(PUB, ALICE))
    world.run(directory.create_alias(PUB, room_id, BOB))
    world.run(directory.remove_alias(PUB, BOB))
    world.run(directory.create_alias(PUB, room_id, ALICE))
    world.run(directory.remove_alias(PUB, BOB, is_admin=True))
    with pytest.raises(InvalidParam):
        world.run(directory.remove_alias(RoomAlias("#pub:hs2"), ALICE))


def test_a_removed_alias_leaves_the_canonical_alias_event() -> None:
    world = RoomsWorld()
    room_id = world.public(room_alias_name="pub")
    other = RoomAlias("#bar:hs1")
    world.run(world.directory.create_alias(other, room_id, ALICE))
    content = {"alias": PUB, "alt_aliases": [other, PUB]}
    world.send(room_id, ALICE, "m.room.canonical_alias", state_key="", content=content)
    world.run(world.directory.remove_alias(PUB, ALICE))
    assert world.state_content(room_id, "m.room.canonical_alias") == {"alt_aliases": [other]}


def test_who_may_not_touch_the_canonical_alias_still_removes_their_own_alias() -> None:
    world = RoomsWorld()
    room_id = world.public()
    world.run(world.membership.join(BOB, room_id))
    world.run(world.directory.create_alias(PUB, room_id, BOB))
    world.send(room_id, ALICE, "m.room.canonical_alias", state_key="", content={"alias": PUB})
    world.run(world.directory.remove_alias(PUB, BOB))
    assert world.state_content(room_id, "m.room.canonical_alias") == {"alias": PUB}
    assert world.run(world.directory.local_aliases(room_id)) == []


def test_new_aliases_in_the_state_must_stand_for_the_room() -> None:
    world = RoomsWorld()
    room_id, other = world.public(), world.public(room_alias_name="other")
    world.run(world.directory.create_alias(PUB, room_id, ALICE))
    check = world.directory.check_canonical_alias
    for content in ({}, {"alias": None}, {"alias": ""}, {"alias": PUB}, {"alt_aliases": [PUB]}):
        world.run(check(room_id, content))
    for content in ({"alias": "#other:hs1"}, {"alt_aliases": ["#none:hs1"]}, {"alias": "#none:hs2"}):
        with pytest.raises(BadAlias):
            world.run(check(room_id, content))
    for content in ({"alias": 1}, {"alt_aliases": "x"}, {"alt_aliases": [1]}, {"alias": "pub"}):
        with pytest.raises(InvalidParam):
            world.run(check(room_id, content))
    assert world.run(world.directory.resolve_local(RoomAlias("#other:hs1"))).room_id == other


def test_aliases_that_are_listed_already_are_not_checked_again() -> None:
    world = RoomsWorld()
    room_id = world.public()
    gone = {"alias": "#gone:hs1", "alt_aliases": ["#away:hs9"]}
    world.send(room_id, ALICE, "m.room.canonical_alias", state_key="", content=gone)
    world.run(world.directory.check_canonical_alias(room_id, {"alt_aliases": ["#gone:hs1", "#away:hs9"]}))
    with pytest.raises(BadAlias):
        world.run(world.directory.check_canonical_alias(room_id, {"alias": "#new:hs1"}))


# Published rooms


def chunk(world: RoomsWorld, **search: Any) -> list[str]:
    page = world.run(world.actions.published.local_page(Search(**search)))
    return [entry["room_id"] for entry in page["chunk"]]


def test_an_entry_says_what_the_rooms_state_says() -> None:
    world = RoomsWorld()
    room_id = world.public(
        visibility="public",
        name="The Pub",
        topic="Beer",
        room_alias_name="pub",
        creation_content={"type": "m.space"},
        initial_state=[
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
            {"type": "m.room.avatar", "content": {"url": "mxc://hs1/a"}},
        ],
    )
    page = world.run(world.actions.published.local_page(Search()))
    assert page == {
        "chunk": [
            {
                "room_id": room_id,
                "num_joined_members": 1,
                "world_readable": True,
                "guest_can_join": False,
                "name": "The Pub",
                "topic": "Beer",
                "canonical_alias": "#pub:hs1",
                "avatar_url": "mxc://hs1/a",
                "join_rule": "public",
                "room_type": "m.space",
            }
        ],
        "total_room_count_estimate": 1,
    }


def test_state_of_the_wrong_shape_leaves_fields_out() -> None:
    world = RoomsWorld()
    room_id = world.public(visibility="public")
    for event_type in ("m.room.name", "m.room.topic", "m.room.avatar"):
        world.send(room_id, ALICE, event_type, state_key="", content={"name": 1, "topic": [], "url": {}})
    [entry] = world.run(world.actions.published.local_page(Search()))["chunk"]
    assert not {"name", "topic", "avatar_url"} & entry.keys()


def test_pages_lead_forwards_and_backwards_through_the_largest_rooms_first() -> None:
    world = RoomsWorld()
    rooms = [world.public(visibility="public", name=str(number)) for number in range(5)]
    world.run(world.membership.join(BOB, rooms[3]))
    order = [rooms[3], *sorted(set(rooms) - {rooms[3]})]
    assert chunk(world) == order
    seen, since = [], None
    while True:
        page = world.run(world.actions.published.local_page(Search(limit=2, since=since)))
        seen.append([entry["room_id"] for entry in page["chunk"]])
        assert ("prev_batch" in page) == (len(seen) > 1)
        if "next_batch" not in page:
            break
        since = page["next_batch"]
    assert seen == [order[:2], order[2:4], order[4:]]
    back = world.run(world.actions.published.local_page(Search(limit=2, since=page["prev_batch"])))
    assert [entry["room_id"] for entry in back["chunk"]] == order[2:4]
    assert {"prev_batch", "next_batch"} <= back.keys()
    first = world.run(world.actions.published.local_page(Search(limit=2, since=back["prev_batch"])))
    assert [entry["room_id"] for entry in first["chunk"]] == order[:2]
    assert "prev_batch" not in first


def test_rooms_are_found_by_term_and_by_type() -> None:
    world = RoomsWorld()
    pub = world.public(visibility="public", name="The PUB")
    beer = world.public(visibility="public", topic="beer", creation_content={"type": "m.space"})
    world.public(name="Pub that is not published")
    assert chunk(world, term="pub") == [pub]
    assert chunk(world, term="BEER") == [beer]
    assert chunk(world, term="wine") == []
    assert chunk(world, room_types=[None]) == [pub]
    assert chunk(world, room_types=["m.space"]) == [beer]
    assert chunk(world, room_types=["m.space", None]) == sorted([pub, beer])
    assert chunk(world, room_types=[]) == []


@pytest.mark.parametrize("since", ["", "x", "W10", "bnVsbA", "é", "WzEsMiwzXQ"])
def test_a_token_that_was_not_ours_is_refused(since: str) -> None:
    world = RoomsWorld()
    with pytest.raises(InvalidParam):
        chunk(world, since=since)


def test_rooms_are_published_by_those_who_may_set_the_canonical_alias() -> None:
    world = RoomsWorld()
    room_id = world.public()
    world.run(world.membership.join(BOB, room_id))
    published = world.actions.published
    with pytest.raises(Forbidden):
        world.run(published.publish(room_id, True, BOB))
    world.run(published.publish(room_id, True, ALICE))
    assert chunk(world) == [room_id]
    world.run(published.publish(room_id, False, UserID("@admin:hs1"), is_admin=True))
    assert chunk(world) == []
    for act in (published.is_published(RoomID("!no:hs1")), published.publish(RoomID("!no:hs1"), True, ALICE)):
        with pytest.raises(UnknownRoom):
            world.run(act)


def test_the_directory_of_another_server_is_asked_for_there() -> None:
    world = RoomsWorld()
    search = Search(limit=5, since="x", term="pub", room_types=[None])
    world.run(world.actions.published.page(search, ServerName("hs2")))
    body = {
        "limit": 5,
        "since": "x",
        "filter": {"generic_search_term": "pub", "room_types": [None]},
    }
    assert world.elsewhere.asked == [("public_rooms", ("hs2", body))]
    world.run(world.actions.published.page(Search(), ServerName("hs1")))
    assert len(world.elsewhere.asked) == 1
