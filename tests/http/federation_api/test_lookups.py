"""Aliases, profiles, devices and published rooms, asked for by another server with signed requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from minihs.events.ids import ServerName
from minihs.federation.client import RemoteRefusal
from tests.support.deferreds import start
from tests.support.world import Client, World

V1 = "/_matrix/federation/v1"


class Asking:
    """hs2 asks hs1, where Alice lives."""

    def __init__(self) -> None:
        self.world = World("hs1", "hs2")
        self.alice: Client = self.world["hs1"].user("alice")
        self.client = self.world["hs2"].server.parts.federation.client

    def get(self, path: str, **args: Any) -> dict[str, Any]:
        return self._finish(self.client.get(ServerName("hs1"), f"{V1}/{path}", args))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._finish(self.client.post(ServerName("hs1"), f"{V1}/{path}", body))

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._finish(self.client.put(ServerName("hs1"), f"/_matrix/federation/{path}", body))

    def refused(self, path: str, **args: Any) -> tuple[int, str]:
        with pytest.raises(RemoteRefusal) as refusal:
            self.get(path, **args)
        return refusal.value.status, refusal.value.errcode

    def _finish(self, question: Any) -> dict[str, Any]:
        asked = start(question)
        answers: list[Any] = []
        asked.addBoth(answers.append)
        for _ in range(5_000):
            if answers:
                break
            self.world.clock.advance(0.001)
        if hasattr(answers[0], "raiseException"):
            answers[0].raiseException()
        answer: dict[str, Any] = answers[0]
        return answer


def test_a_profile_is_told_whole_or_by_field() -> None:
    asking = Asking()
    asking.alice.put(f"/profile/{asking.alice.user_id}/displayname", {"displayname": "Alice"})
    asking.alice.put(f"/profile/{asking.alice.user_id}/avatar_url", {"avatar_url": "mxc://hs1/x"})
    whole = {"displayname": "Alice", "avatar_url": "mxc://hs1/x"}
    assert asking.get("query/profile", user_id=asking.alice.user_id) == whole
    one = asking.get("query/profile", user_id=asking.alice.user_id, field="displayname")
    assert one == {"displayname": "Alice"}
    assert asking.get("query/profile", user_id=asking.alice.user_id, field="m.tz") == {}
    asking.world.stop()


@pytest.mark.parametrize(
    ("path", "args", "answer"),
    [
        ("query/profile", {}, (400, "M_MISSING_PARAM")),
        ("query/profile", {"user_id": "alice"}, (400, "M_INVALID_PARAM")),
        ("query/profile", {"user_id": "@alice:hs3"}, (400, "M_INVALID_PARAM")),
        ("query/profile", {"user_id": "@nobody:hs1"}, (404, "M_NOT_FOUND")),
        ("query/directory", {}, (400, "M_MISSING_PARAM")),
        ("query/directory", {"room_alias": "tea"}, (400, "M_INVALID_PARAM")),
        ("query/directory", {"room_alias": "#tea:hs3"}, (400, "M_INVALID_PARAM")),
        ("query/directory", {"room_alias": "#tea:hs1"}, (404, "M_NOT_FOUND")),
        ("query/weather", {}, (404, "M_UNRECOGNIZED")),
        ("user/devices/alice", {}, (400, "M_INVALID_PARAM")),
        ("user/devices/@nobody:hs1", {}, (404, "M_NOT_FOUND")),
        ("user/devices/@alice:hs3", {}, (404, "M_NOT_FOUND")),
        ("publicRooms", {"limit": "many"}, (400, "M_INVALID_PARAM")),
        ("publicRooms", {"since": "nonsense"}, (400, "M_INVALID_PARAM")),
    ],
)
def test_a_question_that_has_no_answer_is_told_why(
    path: str, args: dict[str, str], answer: tuple[int, str]
) -> None:
    asking = Asking()
    assert asking.refused(path, **args) == answer
    asking.world.stop()


def test_an_alias_is_told_with_servers_that_know_the_room() -> None:
    asking = Asking()
    room_id = asking.alice.create_room(room_alias_name="tea")
    answer = asking.get("query/directory", room_alias="#tea:hs1")
    assert answer == {"room_id": room_id, "servers": ["hs1"]}
    asking.world.stop()


def test_the_version_of_a_device_list_changes_with_the_list() -> None:
    asking = Asking()
    path = f"user/devices/{asking.alice.user_id}"
    first = asking.get(path)
    assert len(first["devices"]) == 1
    device = first["devices"][0]["device_id"]
    asking.alice.put(f"/devices/{device}", {"display_name": "Telephone"})
    second = asking.get(path)
    assert second["devices"] == [{"device_id": device, "keys": {}, "device_display_name": "Telephone"}]
    assert first["stream_id"] != second["stream_id"] == asking.get(path)["stream_id"]
    asking.world.stop()


def test_published_rooms_are_listed_and_searched() -> None:
    asking = Asking()
    tea = asking.alice.create_room(visibility="public", name="Tea")
    asking.alice.create_room(visibility="public", name="Coffee")
    asking.alice.create_room(name="Unlisted")
    assert len(asking.get("publicRooms")["chunk"]) == 2
    first = asking.get("publicRooms", limit="1")
    second = asking.get("publicRooms", limit="1", since=first["next_batch"])
    names = [room["name"] for page in (first, second) for room in page["chunk"]]
    assert sorted(names) == ["Coffee", "Tea"]
    found = asking.post("publicRooms", {"filter": {"generic_search_term": "tea"}})
    assert [room["room_id"] for room in found["chunk"]] == [tea]
    with pytest.raises(RemoteRefusal):
        asking.post("publicRooms", {"limit": -1})
    with pytest.raises(RemoteRefusal):
        asking.post("publicRooms", {"limit": "all"})
    asking.world.stop()


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"room_version": 12, "event": {}}, "M_INVALID_PARAM"),
        ({"room_version": "12", "event": []}, "M_INVALID_PARAM"),
        ({"room_version": "12", "event": {}}, "M_INVALID_PARAM"),
        ({"room_version": "12", "event": {}, "invite_room_state": {}}, "M_INVALID_PARAM"),
        ({"room_version": "99", "event": {}}, "M_INCOMPATIBLE_ROOM_VERSION"),
    ],
)
def test_an_invite_of_the_wrong_shape_is_refused(body: dict[str, Any], errcode: str) -> None:
    asking = Asking()
    with pytest.raises(RemoteRefusal) as refusal:
        asking.put("v2/invite/!room:hs2/$event", body)
    assert (refusal.value.status, refusal.value.errcode) == (400, errcode)
    asking.world.stop()


def test_requests_that_are_not_signed_are_refused() -> None:
    world = World("hs1")
    driver = type(world["hs1"].driver)(world["hs1"].server.federation_site, world.clock)
    for method, path in (("GET", "publicRooms"), ("PUT", "send/1"), ("GET", "make_join/!x:hs1/@a:hs2")):
        reply = driver.request(method, f"{V1}/{path}", json={} if method == "PUT" else None)
        assert (reply.status, reply.json["errcode"]) == (401, "M_UNAUTHORIZED")
    world.stop()
