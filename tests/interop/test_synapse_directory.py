"""Finding rooms of the other server: aliases, the directory of published rooms."""

from __future__ import annotations

from itertools import count

import pytest

from tests.interop.conftest import Pair, either_side
from tests.support.peers import Json, Peer, quote, refusal

pytestmark = [pytest.mark.process, pytest.mark.full]

_names = count(1)


def alias_on(host: Peer) -> tuple[str, str]:
    """A localpart that nobody has used, and the alias it makes on the server of `host`."""
    name = f"hall{next(_names)}"
    return name, f"#{name}:{host.server_name}"


@either_side
def test_a_room_is_joined_by_its_alias(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    name, alias = alias_on(host)
    room_id = host.create("12", room_alias_name=name)
    assert guest.join(alias, via=host.server_name) == room_id
    host.sees_membership(guest, room_id, "join")


@either_side
def test_aliases_of_the_other_server_are_found_as_long_as_there_are_any(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
    _, alias = alias_on(host)
    path = f"/_matrix/client/v3/directory/room/{quote(alias)}"
    assert refusal(lambda: guest.request("GET", path)) == "M_NOT_FOUND"
    host.request("PUT", path, {"room_id": room_id})
    found = guest.request("GET", path)
    assert found["room_id"] == room_id
    assert set(found["servers"]) == {host.server_name, guest.server_name}
    host.put_state(room_id, "m.room.canonical_alias", {"alias": alias})
    host.request("DELETE", path)
    assert refusal(lambda: guest.request("GET", path)) == "M_NOT_FOUND"


@either_side
def test_a_member_gives_the_room_an_alias_of_the_own_server(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
    _, alias = alias_on(guest)
    path = f"/_matrix/client/v3/directory/room/{quote(alias)}"
    guest.request("PUT", path, {"room_id": room_id})
    assert host.request("GET", path)["room_id"] == room_id
    guest.sees(host.set_power(room_id, guest.user_id, 50))
    guest.put_state(room_id, "m.room.canonical_alias", {"alias": alias})


def published(reader: Peer, server_name: str, **query: object) -> Json:
    """A page of what another server publishes."""
    reply: Json = reader.request("GET", "/_matrix/client/v3/publicRooms", server=server_name, **query)
    return reply


@either_side
def test_published_rooms_of_the_other_server_are_listed_page_by_page_and_searched(
    pair: Pair, side: str
) -> None:
    pair.provokes(" Nonefilter")  # of who asks for all rooms there are
    host, guest = pair.users(side)
    rooms = [
        host.create("12", visibility="public", name=f"{word} Room", topic=f"about {word}")
        for word in ("Zebra", "Quagga", "Okapi")
    ]
    hidden = host.create("12", name="Hidden Room")
    listed: dict[str, Json] = {}
    page: Json = {"next_batch": None}
    while "next_batch" in page:
        since = {} if page["next_batch"] is None else {"since": page["next_batch"]}
        page = published(guest, host.server_name, limit=2, **since)
        assert len(page["chunk"]) <= 2
        listed |= {room["room_id"]: room for room in page["chunk"]}
    assert set(rooms) <= listed.keys()
    assert hidden not in listed
    zebra = listed[rooms[0]]
    wanted = {"name": "Zebra Room", "topic": "about Zebra", "num_joined_members": 1, "join_rule": "public"}
    assert {key: zebra[key] for key in wanted} == wanted
    assert (zebra["guest_can_join"], zebra["world_readable"]) == (False, False)

    path = f"/_matrix/client/v3/publicRooms?server={host.server_name}"
    found = guest.request("POST", path, {"filter": {"generic_search_term": "quagga"}})["chunk"]
    assert [room["room_id"] for room in found] == [rooms[1]]

    host.request(
        "PUT", f"/_matrix/client/v3/directory/list/room/{quote(rooms[1])}", {"visibility": "private"}
    )
    assert guest.request("POST", path, {"filter": {"generic_search_term": "quagga"}})["chunk"] == []
    pair.joins(guest, rooms[0], host)


@either_side
def test_a_room_is_found_by_its_kind_in_the_other_servers_directory(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    name = f"Okapis {next(_names)}"
    space = host.create("12", visibility="public", name=name, creation_content={"type": "m.space"})
    room = host.create("12", visibility="public", name=name)
    path = f"/_matrix/client/v3/publicRooms?server={host.server_name}"
    for kinds, found in ((["m.space"], [space]), ([None], [room])):
        wanted = {"generic_search_term": name, "room_types": kinds}
        chunk = guest.request("POST", path, {"filter": wanted})["chunk"]
        assert [one["room_id"] for one in chunk] == found
    pair.joins(guest, space, host)
