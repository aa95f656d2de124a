"""The people of a world: clients with an access token that speak HTTP to their server.

`call` is for stories in which several act at once; the others wait, turning the world on, and return.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from minihs.lab.http_client import PATIENCE_MS, HttpClient, Response, in_path, with_query
from minihs.lab.servers import LabServer
from minihs.platform.network import Network

if TYPE_CHECKING:
    from minihs.lab.world import World

V3 = "/_matrix/client/v3"
PASSWORD = "a long password"  # noqa: S105 - everybody's in a world


class Refused(AssertionError):
    """The server said no to what a story takes for granted."""

    def __init__(self, method: str, path: str, response: Response) -> None:
        super().__init__(f"{method} {path}: {response.status} {response.body.decode()}")
        self.response = response


class Client:
    """A user with an access token. Paths are below `/_matrix/client/v3` unless they begin with `/_matrix`.

    What has no word of its own here is asked for by path: `get`, `put` and `post` give the answer's JSON and
    raise Refused for anything but 200, `request` gives the answer whatever it says. `user_id`, `device_id`
    and `token` are those of the session; `since` is where the next `sync` begins.
    """

    def __init__(self, world: World, name: str, server: LabServer, host: Network) -> None:
        self.world = world
        self.name = name
        self.server = server
        self.host = host
        self.user_id = f"@{name}:{server.server_name}"
        self.token: str | None = None
        self.device_id: str | None = None
        self.since: str | None = None
        self.txn_ids: Iterator[int] = itertools.count(1)
        self._http = HttpClient(host, world.clock, *server.client_at)

    # Asking

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Any = None,
        as_nobody: bool = False,
        patience_ms: float = PATIENCE_MS,
        **details: Any,
    ) -> Response:
        """Ask; RequestFailed when no answer comes. `as_nobody` leaves out the token."""
        if not path.startswith("/_matrix"):
            path = V3 + path
        return await self._http.request(
            method,
            with_query(path, query),
            json=json,
            token=None if as_nobody else self.token,
            patience_ms=patience_ms,
            **details,
        )

    def request(self, method: str, path: str, **details: Any) -> Response:
        """The answer, whatever it says."""
        return self.world.run(
            self.call(method, path, **details), f"the answer to {method} {path}", within_ms=24 * 3_600_000
        )

    def ok(self, method: str, path: str, **details: Any) -> Any:
        """The answer's JSON, which must be a success; Refused otherwise."""
        response = self.request(method, path, **details)
        if response.status != 200:
            raise Refused(method, path, response)
        return response.json

    def get(self, path: str, **details: Any) -> Any:
        """`ok` of a GET, such as `get("/sync", query={"timeout": 0})`."""
        return self.ok("GET", path, **details)

    def put(self, path: str, json: Any, **details: Any) -> Any:
        """`ok` of a PUT with a body."""
        return self.ok("PUT", path, json=json, **details)

    def post(self, path: str, json: Any = None, **details: Any) -> Any:
        """`ok` of a POST; without a body it has `{}`."""
        return self.ok("POST", path, json={} if json is None else json, **details)

    # Rooms

    def create_room(self, **body: Any) -> str:
        """A new room's ID; `body` is that of `POST /createRoom`, public unless it says otherwise."""
        return str(self.post("/createRoom", {"preset": "public_chat", **body})["room_id"])

    def join(self, room_id: str, *via: str) -> None:
        """Join a room; `via` are names of servers that may help, of this world or any other."""
        names = [self.world.server_name(server) for server in via]
        self.post(f"/join/{in_path(room_id)}", query=[("via", name) for name in names])

    def leave(self, room_id: str) -> None:
        """Leave a room, or reject its invite."""
        self.post(f"/rooms/{in_path(room_id)}/leave")

    def send(self, room_id: str, body: str) -> str:
        """A text message; returns its event ID."""
        return self.send_event(room_id, "m.room.message", {"msgtype": "m.text", "body": body})

    def send_event(self, room_id: str, event_type: str, content: Any) -> str:
        """An event that is no state; returns its ID."""
        path = f"/rooms/{in_path(room_id)}/send/{in_path(event_type)}/{self.txn()}"
        return str(self.put(path, content)["event_id"])

    def set_state(self, room_id: str, event_type: str, content: Any, state_key: str = "") -> str:
        """A state event; returns its ID."""
        path = f"/rooms/{in_path(room_id)}/state/{in_path(event_type)}/{in_path(state_key)}"
        return str(self.put(path, content)["event_id"])

    def redact(self, room_id: str, event_id: str) -> str:
        """Redact an event; returns the redaction's ID."""
        path = f"/rooms/{in_path(room_id)}/redact/{in_path(event_id)}/{self.txn()}"
        return str(self.put(path, {})["event_id"])

    def state(self, room_id: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The room's current state, by type and state key."""
        events = self.get(f"/rooms/{in_path(room_id)}/state")
        return {(event["type"], event["state_key"]): event for event in events}

    def messages(self, room_id: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest events of the room, newest first."""
        reply = self.get(f"/rooms/{in_path(room_id)}/messages", query={"dir": "b", "limit": limit})
        return list(reply["chunk"])

    def bodies(self, room_id: str) -> list[str]:
        """The texts of the room's messages, oldest first."""
        return [
            event["content"]["body"]
            for event in reversed(self.messages(room_id))
            if event["type"] == "m.room.message" and "body" in event["content"]
        ]

    def sync(self, **query: Any) -> dict[str, Any]:
        """What is new since the last `sync` of this client, or everything; `query` as in `GET /sync`."""
        if self.since is not None:
            query.setdefault("since", self.since)
        reply: dict[str, Any] = self.get("/sync", query=query)
        self.since = reply["next_batch"]
        return reply

    def set_power(self, room_id: str, **levels: Any) -> str:
        """Change the room's power levels: `users={user_id: level}`, `events={type: level}`, and so on."""
        content = dict(self.get(f"/rooms/{in_path(room_id)}/state/m.room.power_levels/"))
        for key, value in levels.items():
            merged = {**content.get(key, {}), **value} if isinstance(value, dict) else value
            content[key] = merged
        return self.set_state(room_id, "m.room.power_levels", content)

    def txn(self) -> str:
        """A transaction ID that was not used before."""
        return f"{self.name}{next(self.txn_ids)}"


async def register(client: Client) -> None:
    """Make the account of somebody who has none."""
    body = {"username": client.name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    await _begin_session(client, "/register", body)


async def log_in(client: Client, owner: Client) -> None:
    """Make `client` a device of the person whose other device `owner` is."""
    identifier = {"type": "m.id.user", "user": owner.user_id}
    body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    await _begin_session(client, "/login", body)


async def _begin_session(client: Client, path: str, body: dict[str, Any]) -> None:
    reply = await client.call("POST", path, json=body, as_nobody=True)
    if reply.status != 200:
        raise Refused("POST", path, reply)
    client.user_id, client.token = reply.json["user_id"], reply.json["access_token"]
    client.device_id = reply.json["device_id"]
