"""Whatever happens between syncs: each visible event reaches the client once, and its state is the room's.

Random interleavings of what users do and when a client syncs; gaps are closed with /messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minihs.homeserver.history.recent_events import RecentEvents
from tests.support.sync_service import Client, SyncServer

ALICE, BOB, CAROL = "@alice:hs1", "@bob:hs1", "@carol:hs1"

ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from([ALICE, BOB, CAROL])),
    st.tuples(st.just("burst"), st.integers(1, 9)),
    st.tuples(st.just("topic"), st.integers(0, 3)),
    st.tuples(st.just("toggle"), st.sampled_from([BOB, CAROL])),
    st.tuples(st.just("sync"), st.just(None)),
    st.tuples(st.just("sync"), st.just(None)),
    st.tuples(st.just("restart"), st.just(None)),
)


@dataclass
class FaithfulClient:
    """Does what the specification tells clients to: fills gaps, and keeps state as it is told."""

    client: Client
    after: bool = False
    seen: list[str] = field(default_factory=list)
    state: dict[tuple[str, str], str] = field(default_factory=dict)
    in_room: bool = False

    def sync(self, room: str) -> None:
        since = self.client.token if self.in_room else None
        reply = self.client.sync(use_state_after=self.after)
        rooms = reply.get("rooms", {})
        entry = rooms.get("join", {}).get(room)
        if entry is None:
            entry = rooms.get("leave", {}).get(room)
            self.in_room = self.in_room and entry is None
        else:
            if not self.in_room:
                self.state = {}
            self.in_room = True
        if entry is not None:
            self._take(room, since, entry)

    def _take(self, room: str, since: str | None, entry: dict[str, Any]) -> None:
        timeline = entry["timeline"]
        if timeline["limited"]:
            self.seen += self._gap(room, since, timeline["prev_batch"])
        self.seen += [event["event_id"] for event in timeline["events"]]
        section = "state_after" if self.after else "state"
        updates = entry[section]["events"] + ([] if self.after else timeline["events"])
        for event in updates:
            if "state_key" in event:
                self.state[event["type"], event["state_key"]] = event["event_id"]

    def _gap(self, room: str, since: str | None, upto: str) -> list[str]:
        found: list[str] = []
        start: str | None = upto
        while start is not None:
            page = self.client.messages(room, start=start, stop=since, limit=2)
            found += [event["event_id"] for event in page["chunk"]]
            start = page.get("end")
        # What was told in an earlier spell in the room is met again on the way back.
        return [event_id for event_id in reversed(found) if event_id not in set(self.seen)]


def play(server: SyncServer, room: str, clients: list[FaithfulClient], action: tuple[str, Any]) -> None:
    kind, value = action
    state = server.run(server.rooms.current_state(room))
    members = {user for user in (ALICE, BOB, CAROL) if ("m.room.member", user) in state}
    inside = {user for user in members if is_joined(server, room, user)}
    if kind == "say" and value in inside:
        server.say(room, value)
    elif kind == "burst":
        server.run(server.rooms.send_all([server.draft(room, ALICE, "x") for _ in range(value)]))
    elif kind == "topic":
        server.send(room, ALICE, "m.room.topic", state_key="", content={"topic": f"{value}"})
    elif kind == "toggle":
        server.join(room, value, "leave" if value in inside else "join")
    elif kind == "sync":
        for client in clients:
            client.sync(room)
    elif kind == "restart":
        server.restart()


def is_joined(server: SyncServer, room: str, user: str) -> bool:
    event = server.run(server.rooms.state_event(room, "m.room.member", user))
    return event is not None and event.membership == "join"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(ACTIONS, max_size=25),
    st.integers(0, 4),
    st.sampled_from(["shared", "joined"]),
    st.sampled_from([2, 4_096]),
)
def test_every_visible_event_arrives_once_and_the_state_is_right(
    actions: list[tuple[str, Any]], limit: int, visibility: str, window: int
) -> None:
    server = SyncServer()
    server.syncs.sync._recent._capacity = window
    visibility_event = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": visibility},
    }
    room = server.create(extra=[visibility_event])
    filter_ = {"room": {"timeline": {"limit": limit}}}
    clients = [
        FaithfulClient(Client(server, ALICE, filter=filter_)),
        FaithfulClient(Client(server, ALICE, "LAPTOP", filter=filter_), after=True),
        FaithfulClient(Client(server, BOB, filter=filter_)),
    ]
    for client in clients:
        client.sync(room)
    for action in actions:
        play(server, room, clients, action)
    for client in clients:
        client.sync(room)
        user = client.client.user_id
        assert len(client.seen) == len(set(client.seen)), "an event came twice"
        ever_in = user == ALICE or any(a == ("toggle", BOB) for a in actions)
        if not ever_in:
            assert client.seen == []
            continue
        whole = all_visible(server, user, room)
        assert sorted(client.seen) == sorted(whole), "not what the user may see"
        if client.in_room:
            assert client.state == dict(server.run(server.rooms.current_state(room)))
    assert isinstance(server.syncs.sync._recent, RecentEvents)


def all_visible(server: SyncServer, user: str, room: str) -> list[str]:
    found: list[str] = []
    start: str | None = None
    while True:
        page = Client(server, user).messages(room, start=start, limit=50)
        found += [event["event_id"] for event in page["chunk"]]
        start = page.get("end")
        if start is None:
            return found
