"""A small Matrix client for the demonstration: plain HTTP requests, one connection, no magic."""

from __future__ import annotations

import http.client
import itertools
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

PATIENCE_S = 15.0


class RequestFailed(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, reply: dict[str, Any]) -> None:
        super().__init__(f"{status} {reply.get('errcode')}: {reply.get('error')}")
        self.status = status
        self.errcode = reply.get("errcode")


class Waited(Exception):
    """What was waited for did not come."""


def quote(part: str) -> str:
    """One segment of a path."""
    return urllib.parse.quote(part, safe="")


@dataclass
class Client:
    """One user's view of one server: `since` is where their `/sync` stands, `timeline` what it brought."""

    host: str
    port: int
    user_id: str = ""
    token: str = ""
    since: str | None = None
    timeline: list[dict[str, Any]] = field(default_factory=list)
    _txn_ids: Any = field(default_factory=lambda: itertools.count(1), repr=False)
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any) -> Any:
        """The reply's JSON; RequestFailed on errors. A connection that the server closed is opened again."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        data = None if body is None else msgspec.json.encode(body)
        for attempt in (1, 2):
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
            try:
                self._connection.request(method, path, data, headers)
                response = self._connection.getresponse()
                reply = msgspec.json.decode(response.read())
                break
            except (http.client.HTTPException, ConnectionError):
                self._connection.close()
                self._connection = None
                if attempt == 2:
                    raise
        if response.status >= 400:
            raise RequestFailed(response.status, reply)
        return reply

    def close(self) -> None:
        """Let go of the connection; a later request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def register(self, username: str, password: str) -> None:
        """Make an account and log in as it."""
        reply = self.request(
            "POST",
            "/_matrix/client/v3/register",
            {"username": username, "password": password, "auth": {"type": "m.login.dummy"}},
        )
        self.user_id, self.token = reply["user_id"], reply["access_token"]

    def room(self, room_id: str, method: str, rest: str, body: dict[str, Any] | None = None) -> Any:
        """A request below `/rooms/{roomId}`."""
        return self.request(method, f"/_matrix/client/v3/rooms/{quote(room_id)}/{rest}", body)

    def send(self, room_id: str, text: str) -> str:
        """A text message; returns its event ID."""
        content = {"msgtype": "m.text", "body": text}
        txn_id = f"demo{next(self._txn_ids)}"
        reply = self.room(room_id, "PUT", f"send/m.room.message/{txn_id}", content)
        return str(reply["event_id"])

    def set_power(self, room_id: str, user_id: str, level: int) -> str:
        """Give `user_id` a power level; returns the event ID."""
        levels = self.room(room_id, "GET", "state/m.room.power_levels/")
        levels.setdefault("users", {})[user_id] = level
        reply = self.room(room_id, "PUT", "state/m.room.power_levels/", levels)
        return str(reply["event_id"])

    def power_of(self, room_id: str, user_id: str) -> int:
        """What the user's power level is on this server, now."""
        levels = self.room(room_id, "GET", "state/m.room.power_levels/")
        return int(levels.get("users", {}).get(user_id, levels.get("users_default", 0)))

    def schedule(
        self,
        room_id: str,
        event_type: str,
        content: dict[str, Any],
        delay_ms: int,
        state_key: str | None = None,
    ) -> str:
        """Hand the server a future (merged MSC4140); returns its delay ID."""
        body: dict[str, Any] = {"delay_ms": delay_ms, "content": content}
        if state_key is not None:
            body["state_key"] = state_key
        txn_id = f"demo{next(self._txn_ids)}"
        reply = self.room(room_id, "PUT", f"delayed_event/{event_type}/{txn_id}", body)
        return str(reply["delay_id"])

    def manage(self, delay_id: str, action: str) -> None:
        """`restart`, `send` or `cancel` a future."""
        self.request("POST", f"/_matrix/client/v1/delayed_events/{quote(delay_id)}/{action}", {})

    def future(self, delay_id: str) -> dict[str, Any]:
        """What the server says of a future."""
        reply: dict[str, Any] = self.request("GET", f"/_matrix/client/v1/delayed_events/{quote(delay_id)}")
        return reply

    def outcome(self, delay_id: str) -> dict[str, Any]:
        """The future's outcome, waiting for it."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            finalised: dict[str, Any] | None = self.future(delay_id).get("finalised")
            if finalised is not None:
                return finalised
            time.sleep(0.02)
        raise Waited("the future was not finalised")

    def sync(self, timeout_ms: int = 0) -> list[dict[str, Any]]:
        """One `/sync`; returns the events that are new, of all rooms."""
        query: dict[str, Any] = {"timeout": timeout_ms}
        if self.since is not None:
            query["since"] = self.since
        reply = self.request("GET", "/_matrix/client/v3/sync", **query)
        self.since = reply["next_batch"]
        fresh = [
            event
            for room in reply.get("rooms", {}).get("join", {}).values()
            for event in room["timeline"]["events"]
        ]
        self.timeline += fresh
        return fresh

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The first event that fits, among those that have come and those that come within a while."""
        ends = time.monotonic() + PATIENCE_S
        seen = 0
        while True:
            for event in self.timeline[seen:]:
                if wanted(event):
                    return event
            seen = len(self.timeline)
            if time.monotonic() > ends:
                raise Waited(f"{self.user_id} did not see {what}")
            self.sync(timeout_ms=1_000)

    def messages(self, room_id: str) -> list[dict[str, Any]]:
        """All that the room's history shows this user, newest first."""
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"dir": "b", "limit": 100}
        while True:
            page = self.request("GET", f"/_matrix/client/v3/rooms/{quote(room_id)}/messages", **query)
            found += page["chunk"]
            if not page["chunk"] or "end" not in page:
                return found
            query["from"] = page["end"]
