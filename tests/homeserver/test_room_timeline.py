"""/messages, /event and /context, below HTTP: pages, visibility, lazy members, history from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import EventID, RoomID
from minihs.homeserver.errors import Forbidden, NotFound
from minihs.homeserver.history.event_filter import RoomEventFilter
from minihs.homeserver.sync.positions import StreamToken
from tests.support.sync_service import Client, SyncServer, joined, plain, timeline_ids

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.fixture
def server() -> SyncServer:
    return SyncServer()


def ids(page: dict[str, Any]) -> list[str]:
    return [event["event_id"] for event in page["chunk"]]


def visible_to_members(server: SyncServer, setting: str) -> RoomID:
    event = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": setting},
    }
    return server.create(extra=[event])


def context(client: Client, room: RoomID, event_id: str, limit: int = 10, lazy: bool = False) -> Any:
    return plain(
        client.server.run(
            client.server.syncs.timeline.context(
                client.reader,
                room,
                EventID(event_id),
                limit=limit,
                event_filter=RoomEventFilter(lazy_load_members=lazy),
            )
        )
    )


def one(client: Client, room: RoomID, event_id: str) -> Any:
    return plain(
        client.server.run(client.server.syncs.timeline.event(client.reader, room, EventID(event_id)))
    )


# /messages


@pytest.mark.parametrize("backwards", [True, False])
def test_pages_follow_one_another_until_the_end(server: SyncServer, backwards: bool) -> None:
    room = server.create()
    said = [server.say(room, ALICE, f"{number}") for number in range(5)]
    client = Client(server)
    found: list[str] = []
    start = None
    for _ in range(20):
        page = client.messages(room, start=start, backwards=backwards, limit=2)
        found += ids(page)
        start = page.get("end")
        if start is None:
            break
    assert start is None
    expected = said[::-1] if backwards else said
    assert (found[:5] if backwards else found[-5:]) == expected
    assert len(found) == len(set(found)) == 9


def test_the_tokens_of_sync_are_places_in_the_history(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    since = client.token
    said = [server.say(room, ALICE, f"{number}") for number in range(4)]
    client.filter = {"room": {"timeline": {"limit": 1}}}
    entry = joined(client.sync(), room)
    assert timeline_ids(entry) == said[3:]
    before = entry["timeline"]["prev_batch"]
    assert ids(client.messages(room, start=before, stop=since)) == said[2::-1]
    assert ids(client.messages(room, start=since, stop=before, backwards=False)) == said[:3]
    assert client.messages(room, start=since)["start"] == since


def test_after_the_last_event_there_is_no_end(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    page = client.messages(room, start=client.token, backwards=False)
    assert (page["chunk"], "end" in page) == ([], False)


def test_a_filter_thins_pages_without_losing_places(server: SyncServer) -> None:
    room = server.create()
    said = []
    for number in range(4):
        said.append(server.say(room, ALICE, f"{number}"))
        server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": f"{number}"})
    client = Client(server)

    def page(start: str | None) -> Any:
        return plain(
            server.run(
                server.syncs.timeline.messages(
                    client.reader,
                    room,
                    backwards=True,
                    start=None if start is None else StreamToken.parse(start),
                    stop=None,
                    limit=3,
                    event_filter=RoomEventFilter(types=frozenset({"m.room.message"})),
                )
            )
        )

    first = page(None)
    second = page(first["end"])
    assert ids(first) + ids(second) == said[::-1]
    assert "end" not in second


def test_lazy_loading_brings_the_members_who_speak_as_they_were(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    server.say(room, ALICE)
    client = Client(server)
    page = plain(
        server.run(
            server.syncs.timeline.messages(
                client.reader,
                room,
                backwards=True,
                start=None,
                stop=None,
                limit=1,
                event_filter=RoomEventFilter(lazy_load_members=True),
            )
        )
    )
    assert [event["state_key"] for event in page["state"]] == [ALICE]


def test_who_was_never_in_the_room_gets_nothing(server: SyncServer) -> None:
    room = server.create()
    with pytest.raises(Forbidden):
        Client(server, BOB).messages(room)
    server.join(room, BOB)
    assert Client(server, BOB).messages(room)["chunk"]


def test_an_unknown_room_is_refused_like_one_that_is_closed(server: SyncServer) -> None:
    with pytest.raises(Forbidden, match="not in this room"):
        Client(server).messages(RoomID("!nowhere:hs1"))


def test_the_invited_see_no_history_before_they_join(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB, "invite", by=ALICE)
    with pytest.raises(Forbidden):
        Client(server, BOB).messages(room)


def test_a_world_readable_room_is_open_to_all(server: SyncServer) -> None:
    room = visible_to_members(server, "world_readable")
    said = server.say(room, ALICE)
    assert said in ids(Client(server, BOB).messages(room))


def test_who_left_sees_what_was_said_until_then(server: SyncServer) -> None:
    room = server.create()
    before = server.say(room, ALICE, "before the join")
    server.join(room, BOB)
    during = server.say(room, ALICE, "during")
    leave = server.join(room, BOB, "leave")
    server.say(room, ALICE, "after")
    found = ids(Client(server, BOB).messages(room))
    assert found[:2] == [leave, during]
    assert before in found


@pytest.mark.parametrize(
    ("setting", "before_invite", "while_invited"),
    [("shared", True, True), ("invited", False, True), ("joined", False, False)],
)
def test_new_members_see_as_far_back_as_the_setting_says(
    server: SyncServer, setting: str, before_invite: bool, while_invited: bool
) -> None:
    room = visible_to_members(server, setting)
    first = server.say(room, ALICE, "before the invite")
    server.join(room, BOB, "invite", by=ALICE)
    second = server.say(room, ALICE, "while invited")
    join = server.join(room, BOB)
    third = server.say(room, ALICE, "while joined")
    found = ids(Client(server, BOB).messages(room))
    assert (first in found, second in found) == (before_invite, while_invited)
    assert found[:2] == [third, join]


def test_the_setting_at_the_event_counts_not_the_present_one(server: SyncServer) -> None:
    room = visible_to_members(server, "joined")
    hidden = server.say(room, ALICE, "hidden")
    change = server.send(
        room, ALICE, "m.room.history_visibility", state_key="", content={"history_visibility": "shared"}
    )
    shown = server.say(room, ALICE, "shown")
    server.join(room, BOB)
    found = ids(Client(server, BOB).messages(room))
    assert (hidden in found, change.event_id in found, shown in found) == (False, True, True)


def test_no_room_is_looked_up_state_by_state_when_its_history_was_always_open(server: SyncServer) -> None:
    room = server.create()
    client = Client(server)
    client.sync()
    server.say(room, ALICE)

    def refuse(*_: object) -> Any:
        raise AssertionError("the state at an event was read")

    server.syncs.timeline._visibility._timeline.state_entries = refuse
    assert timeline_ids(joined(client.sync(), room))


def test_each_event_says_what_the_reader_was_at_the_time(server: SyncServer) -> None:
    room = server.create()
    server.say(room, ALICE)
    server.join(room, BOB, "invite", by=ALICE)
    server.say(room, ALICE)
    server.join(room, BOB)
    server.say(room, ALICE)
    chunk = Client(server, BOB).messages(room)["chunk"]
    assert [event["unsigned"]["membership"] for event in chunk[:5]] == [
        "join",
        "join",
        "invite",
        "invite",
        "leave",
    ]


def test_other_servers_are_asked_for_what_lies_before(server: SyncServer) -> None:
    room = server.create()
    asked: list[RoomID] = []

    async def fetch(room_id: RoomID) -> bool:
        asked.append(room_id)
        return False

    server.syncs.timeline._fetch_history = fetch
    client = Client(server)
    assert "end" not in client.messages(room)
    assert asked == []  # the room begins here
    server.run(server.database.reader.all("DELETE FROM events WHERE type = 'm.room.create'"))
    assert "end" not in client.messages(room)
    assert asked == [room]


# /event


def test_an_event_is_found_by_its_id(server: SyncServer) -> None:
    room = server.create()
    said = server.say(room, ALICE, "here")
    event = one(Client(server), room, said)
    assert (event["event_id"], event["room_id"], event["content"]["body"]) == (said, room, "here")
    assert not {"hashes", "signatures", "auth_events", "prev_events", "depth"} & event.keys()


def test_an_event_of_another_room_is_not_found(server: SyncServer) -> None:
    room, other = server.create(), server.create()
    said = server.say(other, ALICE)
    with pytest.raises(NotFound):
        one(Client(server), room, said)
    assert one(Client(server), other, said)["event_id"] == said


def test_an_event_that_may_not_be_seen_is_not_found(server: SyncServer) -> None:
    room = visible_to_members(server, "joined")
    hidden = server.say(room, ALICE)
    server.join(room, BOB)
    shown = server.say(room, ALICE)
    bob = Client(server, BOB)
    with pytest.raises(NotFound):
        one(bob, room, hidden)
    assert one(bob, room, shown)["event_id"] == shown


def test_an_unknown_event_is_not_found(server: SyncServer) -> None:
    with pytest.raises(NotFound):
        one(Client(server), server.create(), "$nothing")


# /context


def test_the_context_stands_around_its_event(server: SyncServer) -> None:
    room = server.create()
    said = [server.say(room, ALICE, f"{number}") for number in range(5)]
    client = Client(server)
    found = context(client, room, said[2], limit=3)
    assert [event["event_id"] for event in found["events_before"]] == [said[1], said[0]]
    assert found["event"]["event_id"] == said[2]
    assert [event["event_id"] for event in found["events_after"]] == [said[3]]
    assert ids(client.messages(room, start=found["end"], backwards=False)) == said[4:]
    earlier = ids(client.messages(room, start=found["start"]))
    assert earlier[0] not in said
    assert len(earlier) == 4


def test_a_context_of_nothing_has_the_event_and_the_state_after_it(server: SyncServer) -> None:
    room = server.create()
    topic = server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "then"}).event_id
    server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": "later"})
    found = context(Client(server), room, topic, limit=0)
    assert (found["events_before"], found["events_after"]) == ([], [])
    topics = [event["content"] for event in found["state"] if event["type"] == "m.room.topic"]
    assert topics == [{"topic": "then"}]


def test_a_lazy_context_has_the_members_who_speak_in_it(server: SyncServer) -> None:
    room = server.create()
    server.join(room, BOB)
    said = server.say(room, ALICE)
    found = context(Client(server), room, said, limit=0, lazy=True)
    members = [event["state_key"] for event in found["state"] if event["type"] == "m.room.member"]
    assert members == [ALICE]
    assert any(event["type"] == "m.room.create" for event in found["state"])


def test_the_context_shows_only_what_may_be_seen(server: SyncServer) -> None:
    room = visible_to_members(server, "joined")
    hidden = server.say(room, ALICE, "hidden")
    join = server.join(room, BOB)
    before = context(Client(server, BOB), room, join)["events_before"]
    assert hidden not in [event["event_id"] for event in before]
    before = context(Client(server), room, join)["events_before"]
    assert hidden in [event["event_id"] for event in before]
