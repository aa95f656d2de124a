"""/sync, /messages, /event, /context, typing, receipts and read markers over HTTP: shapes, and bad input."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.support.world import Client, World


class Scene:
    """Alice's room with one message; Bob has an account and nothing else."""

    def __init__(self) -> None:
        self.world = World("hs1")
        server = self.world["hs1"]
        self.alice, self.bob = server.user("alice"), server.user("bob")
        self.room = self.alice.create_room()
        self.said = self.alice.send(self.room, "hello")
        self.base = f"/rooms/{quote(self.room)}"

    def fill(self, path: str) -> str:
        return (
            path.replace("ROOM", quote(self.room))
            .replace("EVENT", quote(self.said))
            .replace("ALICE", quote(self.alice.user_id))
            .replace("BOB", quote(self.bob.user_id))
        )


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.world.stop()


def sync(client: Client, **query: Any) -> dict[str, Any]:
    return dict(client.get("/sync", query=query))


# What works


def test_sync_gives_rooms_and_a_token(scene: Scene) -> None:
    reply = sync(scene.alice)
    assert reply["rooms"]["join"][scene.room]["timeline"]["events"][-1]["event_id"] == scene.said
    assert "rooms" not in sync(scene.alice, since=reply["next_batch"], set_presence="offline")


def test_a_long_poll_is_answered_when_something_is_sent(scene: Scene) -> None:
    since = sync(scene.alice)["next_batch"]
    waiting = scene.alice.start("GET", f"/_matrix/client/v3/sync?since={since}&timeout=30000")
    scene.world.advance(100)
    assert waiting.take() is None
    event_id = scene.alice.send(scene.room, "news")
    reply = scene.alice.server.driver.finish(waiting).json
    assert reply["rooms"]["join"][scene.room]["timeline"]["events"][0]["event_id"] == event_id


def test_a_client_that_goes_away_leaves_nothing_waiting(scene: Scene) -> None:
    since = sync(scene.alice)["next_batch"]
    listening = scene.alice.server.server.parts.sync.notifier
    waiting = scene.alice.start("GET", f"/_matrix/client/v3/sync?since={since}&timeout=30000")
    scene.world.advance(10)
    assert listening.listening == 1
    waiting.drop()
    assert listening.listening == 0


def test_a_filter_works_inline_and_by_its_id(scene: Scene) -> None:
    definition = {"room": {"timeline": {"limit": 1, "types": ["m.room.create"]}}}
    user = quote(scene.alice.user_id)
    filter_id = scene.alice.post(f"/user/{user}/filter", definition)["filter_id"]
    for text in (jsonlib.dumps(definition), filter_id):
        timeline = sync(scene.alice, filter=text)["rooms"]["join"][scene.room]["timeline"]
        assert [event["type"] for event in timeline["events"]] == ["m.room.create"]


def test_messages_event_and_context_agree(scene: Scene) -> None:
    chunk = scene.alice.get(f"{scene.base}/messages?dir=b&limit=50")["chunk"]
    assert scene.said in [event["event_id"] for event in chunk]
    assert scene.alice.get(f"{scene.base}/event/{quote(scene.said)}")["content"]["body"] == "hello"
    found = scene.alice.get(f"{scene.base}/context/{quote(scene.said)}?limit=2")
    assert found["event"]["event_id"] == scene.said
    assert found.keys() == {"start", "end", "events_before", "event", "events_after", "state"}


def test_the_sender_sees_its_transaction_id(scene: Scene) -> None:
    scene.alice.put(f"{scene.base}/send/m.room.message/mine", {"body": "x", "msgtype": "m.text"})
    (event,) = scene.alice.get(f"{scene.base}/messages?dir=b&limit=1")["chunk"]
    assert event["unsigned"]["transaction_id"] == "mine"


def test_typing_receipts_and_markers_come_back_by_sync(scene: Scene) -> None:
    since = sync(scene.alice)["next_batch"]
    said = scene.alice.send(scene.room, "read me")
    typing = f"{scene.base}/typing/{quote(scene.alice.user_id)}"
    assert scene.alice.put(typing, {"typing": True, "timeout": 5_000}) == {}
    assert scene.alice.post(f"{scene.base}/receipt/m.read/{quote(said)}") == {}
    assert scene.alice.post(f"{scene.base}/read_markers", {"m.fully_read": said}) == {}
    entry = sync(scene.alice, since=since)["rooms"]["join"][scene.room]
    assert {event["type"] for event in entry["ephemeral"]["events"]} == {"m.typing", "m.receipt"}
    assert entry["account_data"]["events"] == [{"type": "m.fully_read", "content": {"event_id": said}}]
    assert scene.alice.put(typing, {"typing": False}) == {}


def test_a_receipt_of_the_fully_read_kind_sets_the_marker(scene: Scene) -> None:
    since = sync(scene.alice)["next_batch"]
    scene.alice.post(f"{scene.base}/receipt/m.fully_read/{quote(scene.said)}")
    entry = sync(scene.alice, since=since)["rooms"]["join"][scene.room]
    assert entry["account_data"]["events"][0]["content"] == {"event_id": scene.said}


def test_receipt_bodies_may_be_left_out(scene: Scene) -> None:
    response = scene.alice.request("POST", f"{scene.base}/receipt/m.read/{quote(scene.said)}", body=b"")
    assert response.status == 200


# What is refused: (method, path, query, body, status, errcode)

Refusal = tuple[str, str, dict[str, str], Any, int, str]

REFUSALS: list[Refusal] = [
    ("GET", "/sync", {"since": "s72594_4483_1934"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"since": "e1_e2"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"timeout": "soon"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"timeout": "-1"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"full_state": "maybe"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"use_state_after": "1"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"set_presence": "asleep"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"filter": "{"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"filter": "{" * 3_000}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"filter": '{"room": 5}'}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"filter": '{"room":{"timeline":{"limit":1e400}}}'}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/sync", {"filter": "no-such-filter"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/ROOM/messages", {}, None, 400, "M_MISSING_PARAM"),
    ("GET", "/rooms/ROOM/messages", {"dir": "x"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/ROOM/messages", {"dir": "b", "from": "x"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/ROOM/messages", {"dir": "b", "to": "x"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/ROOM/messages", {"dir": "b", "limit": "0"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/ROOM/messages", {"dir": "b", "limit": "ten"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/ROOM/messages", {"dir": "b", "filter": "[1]"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/!none:hs1/messages", {"dir": "b"}, None, 403, "M_FORBIDDEN"),
    ("GET", "/rooms/nonsense/messages", {"dir": "b"}, None, 403, "M_FORBIDDEN"),
    ("GET", "/rooms/ROOM/event/$none", {}, None, 404, "M_NOT_FOUND"),
    ("GET", "/rooms/ROOM/event/nonsense", {}, None, 404, "M_NOT_FOUND"),
    ("GET", "/rooms/!none:hs1/event/EVENT", {}, None, 404, "M_NOT_FOUND"),
    ("GET", "/rooms/ROOM/context/$none", {}, None, 404, "M_NOT_FOUND"),
    ("GET", "/rooms/ROOM/context/EVENT", {"limit": "-1"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/ROOM/context/EVENT", {"filter": "{"}, None, 400, "M_INVALID_PARAM"),
    ("GET", "/rooms/!none:hs1/context/EVENT", {}, None, 403, "M_FORBIDDEN"),
    ("PUT", "/rooms/ROOM/typing/ALICE", {}, {}, 400, "M_MISSING_PARAM"),
    ("PUT", "/rooms/ROOM/typing/ALICE", {}, {"typing": "yes"}, 400, "M_INVALID_PARAM"),
    ("PUT", "/rooms/ROOM/typing/ALICE", {}, {"typing": True, "timeout": -1}, 400, "M_INVALID_PARAM"),
    ("PUT", "/rooms/ROOM/typing/ALICE", {}, {"typing": True, "timeout": "x"}, 400, "M_INVALID_PARAM"),
    ("PUT", "/rooms/ROOM/typing/BOB", {}, {"typing": True}, 403, "M_FORBIDDEN"),
    ("PUT", "/rooms/!none:hs1/typing/ALICE", {}, {"typing": True}, 403, "M_FORBIDDEN"),
    ("POST", "/rooms/ROOM/receipt/m.seen/EVENT", {}, {}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/receipt/m.read/EVENT", {}, {"thread_id": 5}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/receipt/m.read/EVENT", {}, {"thread_id": None}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/receipt/m.read/EVENT", {}, {"thread_id": ""}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/receipt/m.read/EVENT", {}, {"thread_id": "$other"}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/receipt/m.fully_read/EVENT", {}, {"thread_id": "main"}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/receipt/m.fully_read/$none", {}, {}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/!none:hs1/receipt/m.read/EVENT", {}, {}, 403, "M_FORBIDDEN"),
    ("POST", "/rooms/ROOM/read_markers", {}, {"m.fully_read": 5}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/read_markers", {}, {"m.fully_read": "$none"}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/ROOM/read_markers", {}, {"m.read": []}, 400, "M_INVALID_PARAM"),
    ("POST", "/rooms/!none:hs1/read_markers", {}, {"m.read": "$x"}, 403, "M_FORBIDDEN"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda case: " ".join(map(str, case))[:80])
def test_bad_input_is_refused_with_the_right_code(scene: Scene, refusal: Refusal) -> None:
    method, path, query, body, status, errcode = refusal
    target = scene.fill(path) + (f"?{urlencode(query)}" if query else "")
    response = scene.alice.request(method, target, json=body)
    assert (response.status, response.errcode) == (status, errcode), response.body
    assert response.json["error"].endswith(".")


@pytest.mark.parametrize(
    ("method", "path", "errcode"),
    [
        ("GET", "/rooms/ROOM/messages?dir=b", "M_FORBIDDEN"),
        ("GET", "/rooms/ROOM/event/EVENT", "M_NOT_FOUND"),
        ("GET", "/rooms/ROOM/context/EVENT", "M_FORBIDDEN"),
        ("PUT", "/rooms/ROOM/typing/BOB", "M_FORBIDDEN"),
        ("POST", "/rooms/ROOM/receipt/m.read/EVENT", "M_FORBIDDEN"),
        ("POST", "/rooms/ROOM/read_markers", "M_FORBIDDEN"),
    ],
)
def test_a_room_is_closed_to_who_is_not_in_it(scene: Scene, method: str, path: str, errcode: str) -> None:
    body = {"typing": True} if method == "PUT" else {} if method == "POST" else None
    response = scene.bob.request(method, scene.fill(path), json=body)
    assert response.errcode == errcode


@pytest.mark.parametrize("path", ["/sync", "/rooms/!x:hs1/messages?dir=b", "/rooms/!x:hs1/event/$x"])
def test_nobody_reads_without_a_token(scene: Scene, path: str) -> None:
    response = scene.alice.server.driver.request("GET", "/_matrix/client/v3" + path)
    assert (response.status, response.errcode) == (401, "M_MISSING_TOKEN")


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b'{"typing": true', b"\xff"])
def test_bodies_that_are_no_objects_are_refused(scene: Scene, body: bytes) -> None:
    response = scene.alice.request("PUT", scene.fill("/rooms/ROOM/typing/ALICE"), body=body)
    assert response.status == 400
    assert response.errcode in ("M_NOT_JSON", "M_BAD_JSON")
