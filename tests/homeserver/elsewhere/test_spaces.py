"""Space trees between servers: what ours tells, and what it makes of what others tell."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from minihs.events.ids import RoomID, ServerName
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.remote_lookups import RemoteLookups
from minihs.homeserver.elsewhere.remote_spaces import KEEP_MS, KEEP_REFUSAL_MS, RememberedSpaces
from tests.support.federated import FederatedServer, Wire

ALICE, BOB = "@alice:hs1", "@bob:hs2"
V1 = "/_matrix/federation/v1"


def space(server: FederatedServer, *children: str, **content: Any) -> RoomID:
    """A public space of Alice with these children."""
    links = [
        {
            "type": "m.space.child",
            "state_key": child,
            "content": {"via": ["hs1"], "order": f"{place:03}", **content},
        }
        for place, child in enumerate(children)
    ]
    return server.create(ALICE, extra=links, create={"type": "m.space"})


def closed(server: FederatedServer, join_rule: str = "invite", **rules: Any) -> RoomID:
    """A room of Alice with another join rule."""
    room_id = server.create(ALICE)
    set_rule(server, room_id, join_rule, **rules)
    return room_id


def set_rule(server: FederatedServer, room_id: RoomID, join_rule: str, **rules: Any) -> None:
    server.send(room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": join_rule, **rules})


def hierarchy(server: FederatedServer, room_id: str, origin: str = "hs2", **args: str) -> Any:
    return server.ask(origin, "GET", f"{V1}/hierarchy/{quote(room_id)}", args)


@pytest.fixture
def hs1() -> FederatedServer:
    return FederatedServer("hs1", Wire())


def test_a_space_is_told_with_the_children_that_the_asking_server_could_get_into(
    hs1: FederatedServer,
) -> None:
    tea, secret, knock = hs1.create(ALICE), closed(hs1), closed(hs1, "knock")
    room_id = space(hs1, tea, secret, "!elsewhere:hs3", knock)
    answer = hierarchy(hs1, room_id)
    assert [event["state_key"] for event in answer["room"]["children_state"]] == [
        tea,
        secret,
        "!elsewhere:hs3",
        knock,
    ]
    assert {"type", "state_key", "sender", "content", "origin_server_ts"} == set(
        answer["room"]["children_state"][0]
    )
    assert answer["room"]["room_type"] == "m.space"
    assert [child["room_id"] for child in answer["children"]] == [tea, knock]
    assert answer["inaccessible_children"] == [secret]


def test_only_suggested_children_are_told_when_those_are_wanted(hs1: FederatedServer) -> None:
    tea = hs1.create(ALICE)
    room_id = space(hs1, tea)
    assert hierarchy(hs1, room_id, suggested_only="true")["children"] == []
    room_id = space(hs1, tea, suggested=True)
    assert [child["room_id"] for child in hierarchy(hs1, room_id, suggested_only="true")["children"]] == [tea]


def test_a_room_that_is_no_space_has_no_children(hs1: FederatedServer) -> None:
    tea = hs1.create(ALICE)
    room_id = hs1.create(
        ALICE, extra=[{"type": "m.space.child", "state_key": tea, "content": {"via": ["hs1"]}}]
    )
    answer = hierarchy(hs1, room_id)
    assert answer["room"]["children_state"] == answer["children"] == []


@pytest.mark.parametrize("way", ["invited", "joined", "member of an allowed room", "reader", "nobody"])
def test_a_server_hears_of_a_closed_room_only_if_somebody_of_it_could_get_in(
    hs1: FederatedServer, way: str
) -> None:
    hs2 = FederatedServer("hs2", hs1.wire)
    club = hs1.create(ALICE)
    room_id = closed(hs1)
    if way == "invited":
        content = {"membership": "invite"}
        hs1.send(room_id, ALICE, "m.room.member", state_key=BOB, content=content)
    elif way == "joined":
        set_rule(hs1, room_id, "public")
        hs2.join(BOB, room_id, "hs1")
        set_rule(hs1, room_id, "invite")
    elif way == "member of an allowed room":
        hs2.join(BOB, club, "hs1")
        allow = [{"type": "m.room_membership", "room_id": club}]
        set_rule(hs1, room_id, "restricted", allow=allow)
    elif way == "reader":
        content = {"history_visibility": "world_readable"}
        hs1.send(room_id, ALICE, "m.room.history_visibility", state_key="", content=content)
    if way != "nobody":
        assert hierarchy(hs1, room_id)["room"]["room_id"] == room_id
        return
    with pytest.raises(RemoteRefusal) as refusal:
        hierarchy(hs1, room_id)
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")


def test_a_room_that_we_are_not_in_is_not_known(hs1: FederatedServer) -> None:
    with pytest.raises(RemoteRefusal) as refusal:
        hierarchy(hs1, "!nowhere:hs1")
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")


def test_a_server_that_the_list_keeps_out_is_told_nothing_of_the_room(hs1: FederatedServer) -> None:
    tea = hs1.create(ALICE)
    room_id = space(hs1, tea)
    content = {"allow": ["*"], "deny": ["hs2"]}
    hs1.send(tea, ALICE, "m.room.server_acl", state_key="", content=content)
    assert hierarchy(hs1, room_id)["inaccessible_children"] == [tea]
    assert [child["room_id"] for child in hierarchy(hs1, room_id, "hs3")["children"]] == [tea]
    hs1.send(room_id, ALICE, "m.room.server_acl", state_key="", content=content)
    with pytest.raises(RemoteRefusal) as refusal:
        hierarchy(hs1, room_id)
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


# What others tell.

ROOM: dict[str, Any] = {
    "room_id": "!space:hs2",
    "num_joined_members": 3,
    "world_readable": False,
    "guest_can_join": False,
    "room_type": "m.space",
    "children_state": [
        {
            "type": "m.space.child",
            "state_key": f"!{name}:hs2",
            "sender": BOB,
            "content": {"via": ["hs2"]},
            "origin_server_ts": 1,
        }
        for name in ("a", "b")
    ],
}
CHILD: dict[str, Any] = {**ROOM, "room_id": "!a:hs2", "room_type": None, "children_state": []}
GOOD: dict[str, Any] = {"room": ROOM, "children": [CHILD], "inaccessible_children": ["!b:hs2"]}


def told(hs1: FederatedServer, answer: Any, server: str = "hs2") -> Any:
    """What our server makes of an answer to `/hierarchy`."""
    hs1.wire.peers[server] = lambda method, path, args, body: answer
    lookups = RemoteLookups(hs1.wire.client("hs1"))
    return hs1.run(lookups.hierarchy(ServerName(server), RoomID("!space:hs2")))


def test_a_good_answer_is_taken_whole(hs1: FederatedServer) -> None:
    answer = told(hs1, GOOD)
    assert [link.room_id for link in answer.room.children] == ["!a:hs2", "!b:hs2"]
    assert list(answer.children) == ["!a:hs2"]
    assert answer.inaccessible == {"!b:hs2"}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**GOOD, "room": []},
        {**GOOD, "room": {**ROOM, "room_id": "!other:hs2"}},
        {**GOOD, "room": {**ROOM, "num_joined_members": -1}},
        {**GOOD, "room": {**ROOM, "num_joined_members": "3"}},
        {**GOOD, "room": {**ROOM, "name": {"a": 1}}},
        {**GOOD, "children": {}},
        {**GOOD, "inaccessible_children": "!b:hs2"},
    ],
)
def test_an_answer_about_something_else_is_none(hs1: FederatedServer, answer: Any) -> None:
    with pytest.raises(Unreachable):
        told(hs1, answer)


def test_what_is_odd_in_an_answer_is_left_out_and_the_rest_is_taken(hs1: FederatedServer) -> None:
    odd_links = [None, 5, {}, {"type": "m.space.child", "state_key": "!c:hs2"}]
    answer = told(
        hs1,
        {
            "room": {**ROOM, "children_state": [*odd_links, *ROOM["children_state"]]},
            "children": [None, {}, {**CHILD, "name": 5}, {**CHILD, "room_id": "a"}, CHILD, CHILD],
            "inaccessible_children": [5, None, "!b:hs2"],
        },
    )
    assert answer == told(hs1, GOOD)


def test_what_was_not_asked_for_is_not_taken(hs1: FederatedServer) -> None:
    stranger = {**CHILD, "room_id": "!stranger:hs3"}
    answer = told(hs1, {**GOOD, "children": [stranger], "inaccessible_children": ["!stranger:hs3", "!b:hs2"]})
    assert answer.children == {}
    assert answer.inaccessible == {"!b:hs2"}


def test_answers_and_refusals_are_kept_for_a_while_by_server(hs1: FederatedServer) -> None:
    asked: list[str] = []

    def answering(server: str, answer: Any) -> None:
        def peer(method: str, path: str, args: Any, body: Any) -> Any:
            asked.append(server)
            if answer is None:
                raise RemoteRefusal(404, "M_NOT_FOUND", "no")
            return answer

        hs1.wire.peers[server] = peer

    answering("hs2", GOOD)
    answering("hs3", None)
    remembered = RememberedSpaces(hs1.clock, RemoteLookups(hs1.wire.client("hs1")))

    def ask(*servers: str) -> Any:
        return hs1.run(remembered.told(RoomID("!space:hs2"), [ServerName(name) for name in servers]))

    assert ask("hs3", "hs2").room.summary.room_id == "!space:hs2"
    assert ask("hs3", "hs2") is not None
    assert asked == ["hs3", "hs2"]
    assert ask("hs3") is None
    hs1.clock.advance(KEEP_REFUSAL_MS / 1000)
    assert ask("hs3", "hs2") is not None
    assert asked == ["hs3", "hs2", "hs3"]
    hs1.clock.advance(KEEP_MS / 1000)
    assert ask("hs2") is not None
    assert asked == ["hs3", "hs2", "hs3", "hs2"]


def test_at_most_three_servers_are_asked_about_a_room(hs1: FederatedServer) -> None:
    remembered = RememberedSpaces(hs1.clock, RemoteLookups(hs1.wire.client("hs1")))
    names = [ServerName(f"gone{number}") for number in range(10)]
    assert hs1.run(remembered.told(RoomID("!space:hs2"), names)) is None
    assert [asked for _, asked, _, _ in hs1.wire.asked] == names[:3]
