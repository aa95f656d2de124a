"""Users of real servers, ours and others': what they do over the client API, what they wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from minihs.demo.client import Client, RequestFailed, quote
from tests.support.processes import PATIENCE_S, AnyServer, until

Found = TypeVar("Found")
Json = dict[str, Any]

PASSWORD = "correct horse battery staple"
UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4140"

WHOLE_TIMELINE = '{"room": {"timeline": {"limit": 100}}}'
"""As far as servers go: what a busy room says between two replies must not be left out."""

_numbers = count(1)


@dataclass
class Peer(Client):
    """A client whose `/sync` replies are kept, so that a test can look for whatever they bring."""

    server_name: str = ""
    replies: list[Json] = field(default_factory=list, repr=False)

    def sync(self, timeout_ms: int = 0) -> list[Json]:
        query: Json = {"timeout": timeout_ms, "filter": WHOLE_TIMELINE}
        if self.since is not None:
            query["since"] = self.since
        reply = self.request("GET", "/_matrix/client/v3/sync", **query)
        self.since = reply["next_batch"]
        self.replies.append(reply)
        fresh = [event for room_id in _rooms(reply, "join") for event in timeline(reply, room_id)]
        self.timeline += fresh
        return fresh

    def look_for(self, find: Callable[[Json], Found | None], what: str) -> Found:
        """What `find` finds in a sync reply, among those that came and those that come within a while."""
        ends = time.monotonic() + PATIENCE_S
        looked = 0
        while True:
            for reply in self.replies[looked:]:
                if found := find(reply):
                    return found
            looked = len(self.replies)
            assert time.monotonic() < ends, f"{self.user_id} waited {PATIENCE_S:.0f} s in vain to see {what}"
            self.sync(timeout_ms=500)

    def sees(self, event_id: str) -> Json:
        """The event, once it has come down this user's sync."""
        return self._sees_event(lambda event: bool(event["event_id"] == event_id), event_id)

    def sees_body(self, body: str) -> Json:
        """The first message with this body."""
        return self._sees_event(lambda event: event["content"].get("body") == body, repr(body))

    def _sees_event(self, wanted: Callable[[Json], bool], what: str) -> Json:
        def event(reply: Json) -> Json | None:
            events = (event for room_id in _rooms(reply, "join") for event in timeline(reply, room_id))
            return next(filter(wanted, events), None)

        return self.look_for(event, what)

    def sees_invite(self, room_id: str) -> list[Json]:
        """The stripped state of an invite, once it has come."""

        def invite(reply: Json) -> list[Json] | None:
            room = _rooms(reply, "invite").get(room_id)
            return None if room is None else list(room["invite_state"]["events"])

        return self.look_for(invite, f"an invite to {room_id}")

    def invites(self) -> list[str]:
        """The rooms that this user is invited to now, as a new device would see it."""
        return list(_rooms(self.request("GET", "/_matrix/client/v3/sync"), "invite"))

    def sees_the_end(self, room_id: str) -> None:
        """Wait until this user is told to be in the room, or invited to it, no longer."""
        self.look_for(lambda reply: room_id in _rooms(reply, "leave"), f"the end of {room_id}")

    def sees_ephemeral(self, room_id: str, kind: str, wanted: Callable[[Json], bool]) -> Json:
        """The content of a typing notice or of receipts that fits."""

        def content(reply: Json) -> Json | None:
            room = _rooms(reply, "join").get(room_id, {})
            for event in room.get("ephemeral", {}).get("events", []):
                if event["type"] == kind and wanted(event["content"]):
                    return dict(event["content"])
            return None

        return self.look_for(content, f"{kind} in {room_id}")

    def create(self, version: str, **options: Any) -> str:
        """A public room of that version; returns its ID."""
        body = {"preset": "public_chat", "room_version": version, **options}
        return str(self.request("POST", "/_matrix/client/v3/createRoom", body)["room_id"])

    def join(self, room: str, via: str) -> str:
        """Join by ID or alias; returns the room's ID."""
        reply = self.request("POST", f"/_matrix/client/v3/join/{quote(room)}", {}, server_name=via, via=via)
        return str(reply["room_id"])

    def knock(self, room: str, via: str, reason: str = "let me in") -> str:
        """Knock by ID or alias; returns the room's ID."""
        body = {"reason": reason}
        path = f"/_matrix/client/v3/knock/{quote(room)}"
        return str(self.request("POST", path, body, server_name=via, via=via)["room_id"])

    def joined_rooms(self) -> list[str]:
        """The rooms that this user is in, as its own server has it."""
        return list(self.request("GET", "/_matrix/client/v3/joined_rooms")["joined_rooms"])

    def act(self, room_id: str, action: str, user_id: str | None = None) -> None:
        """`leave`, or `invite`, `kick`, `ban`, `unban` somebody."""
        self.room(room_id, "POST", action, {} if user_id is None else {"user_id": user_id})

    def put_state(self, room_id: str, event_type: str, content: Json, state_key: str = "") -> str:
        """Set state; returns the event's ID."""
        path = f"state/{event_type}/{quote(state_key)}"
        return str(self.room(room_id, "PUT", path, content)["event_id"])

    def redact(self, room_id: str, event_id: str) -> str:
        """Redact an event; returns the redaction's ID."""
        path = f"redact/{quote(event_id)}/redact{next(self._txn_ids)}"
        return str(self.room(room_id, "PUT", path, {"reason": "a test"})["event_id"])

    def delay(
        self, room_id: str, event_type: str, content: Json, delay_ms: int, state_key: str | None
    ) -> str:
        """Hand the server a delayed event as shipped clients do (`delay-query`); returns its delay ID."""
        base = f"/_matrix/client/v3/rooms/{quote(room_id)}"
        if state_key is None:
            path = f"{base}/send/{event_type}/delay{next(self._txn_ids)}"
        else:
            path = f"{base}/state/{event_type}/{quote(state_key)}"
        reply = self.request("PUT", path, content, **{"org.matrix.msc4140.delay": delay_ms})
        return str(reply["delay_id"])

    def manage_delayed(self, delay_id: str, action: str) -> None:
        """`restart`, `send` or `cancel`, at the path that shipped clients and servers share."""
        self.request("POST", f"{UNSTABLE}/delayed_events/{quote(delay_id)}", {"action": action})

    def delayed_events(self) -> list[Json]:
        """Those that this user has scheduled, at the same kind of path."""
        return list(self.request("GET", f"{UNSTABLE}/delayed_events")["delayed_events"])

    def state(self, room_id: str) -> dict[tuple[str, str], tuple[str, Json]]:
        """The room's complete current state as this user's server has it: event ID and content by key."""
        events = self.room(room_id, "GET", "state")
        return {
            (event["type"], event["state_key"]): (event["event_id"], event["content"]) for event in events
        }

    def membership_of(self, user: Peer, room_id: str) -> str | None:
        """What this user's server says of somebody's membership."""
        try:
            content = self.room(room_id, "GET", f"state/m.room.member/{quote(user.user_id)}")
        except RequestFailed as error:
            if error.status != 404:
                raise
            return None
        return str(content["membership"])

    def sees_membership(self, user: Peer, room_id: str, membership: str) -> None:
        """Wait until this user's server says so of somebody."""
        until(
            lambda: self.membership_of(user, room_id) == membership,
            f"{user.user_id} to be seen as {membership!r} by {self.server_name}",
        )


class Cast:
    """The users of a test, on whatever servers; their connections are closed when it is over."""

    def __init__(self) -> None:
        self.users: list[Peer] = []
        self._closing = ExitStack()

    def __enter__(self) -> Cast:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def user(self, server: AnyServer, name: str) -> Peer:
        """Somebody with a fresh account, whose name begins with `name`, logged in."""
        peer = Peer("127.0.0.1", server.client_port, server_name=server.server_name)
        self._closing.callback(peer.close)
        peer.register(f"{name}{next(_numbers)}", PASSWORD)
        self.users.append(peer)
        return peer

    def assert_agreement(self) -> None:
        """The servers come to agree about every room that several of them are in, of which there is one."""
        rooms: dict[str, dict[str, Peer]] = {}
        for user in self.users:
            for room_id in user.joined_rooms():
                rooms.setdefault(room_id, {})[user.server_name] = user
        shared = {room_id: members for room_id, members in rooms.items() if len(members) > 1}
        assert shared, "the scenario ends with a room that two servers are in"
        for room_id, members in shared.items():
            assert_same_state(room_id, *members.values())


def assert_same_state(room_id: str, *peers: Peer) -> None:
    """All of them come to have the same complete current state of the room, event IDs included."""

    def states() -> list[dict[tuple[str, str], tuple[str, Json]]]:
        return [peer.state(room_id) for peer in peers]

    try:
        until(lambda: all(state == states()[0] for state in states()), "equal states")
    except AssertionError:
        first, *others = states()
        for other in others:
            assert other == first


def timeline(reply: Json, room_id: str) -> list[Json]:
    """What a sync reply brings of a joined room."""
    room: Json = _rooms(reply, "join").get(room_id, {})
    return list(room.get("timeline", {}).get("events", []))


def bodies(events: Iterable[Json]) -> list[str]:
    """What the messages among the events say, in their order."""
    return [event["content"]["body"] for event in events if "body" in event["content"]]


def refusal(request: Callable[[], Any]) -> str:
    """The errcode with which a request is refused."""
    try:
        request()
    except RequestFailed as error:
        return str(error.errcode)
    raise AssertionError("the request was not refused")


def _rooms(reply: Json, kind: str) -> Json:
    rooms: Json = reply.get("rooms", {}).get(kind, {})
    return rooms
