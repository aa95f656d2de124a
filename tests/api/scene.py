"""For each endpoint a fresh, valid situation to call it in: accounts, rooms, events, identifiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from minihs.events.build import build_event
from minihs.events.event import Event
from minihs.events.ids import RoomID, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.rooms.auth import needed_state
from minihs.rooms.power import CREATE
from tests.support.deferreds import run
from tests.support.identity import IdentityServer
from tests.support.world import World

from .endpoints import Endpoint

VERSION = ROOM_VERSIONS["12"]
PASSWORD = "a long password"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Who asks, the path's arguments, and values by name for query and body."""

    token: str | None = None
    arguments: Mapping[str, str]
    example: Mapping[str, Any]
    body: Mapping[str, Any] | None = None
    """The whole body, where it is more than such values: an event, say."""


class Stage:
    """Sets scenes in one world; each has an account and a room of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._number = 0
        self.host = world["hs1"].user("host")
        # Alice is whom others invite, ban and ask about.
        self._alice = world["hs1"].user("alice")
        # Federation scenes play in rooms of hs1; Bob of hs2 is in the first.
        self.bob = world["hs2"].user("bob")
        self.shared_room = self.host.create_room(room_alias_name="shared")
        self.bob.join(self.shared_room, "hs1")
        self._knock_room = self.host.create_room(
            initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
        )

    @property
    def federation_rooms(self) -> tuple[str, str]:
        """The rooms of hs1 in which the scenes of the Server-Server API play."""
        return self.shared_room, self._knock_room

    def scene(self, endpoint: Endpoint) -> Scene:
        """A fresh scene for the endpoint."""
        self._number += 1
        if endpoint.api == "server-server":
            return self._federation_scene(endpoint)
        return self._client_scene(endpoint)

    def bystander_is_heard(self) -> bool:
        """Whether someone who did nothing can still send, and read what they sent."""
        room_id = self._alice.create_room()
        event_id = self._alice.send(room_id, "Are you well?")
        return bool(self._alice.messages(room_id, limit=1)[0]["event_id"] == event_id)

    def _client_scene(self, endpoint: Endpoint) -> Scene:
        name = f"user{self._number}"
        user = self.world["hs1"].user(name)
        room_id = user.create_room(room_alias_name=f"room{self._number}")
        device_id = user.get("/account/whoami")["device_id"]
        event_id = user.send(room_id, "first")
        password_auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": name},
            "password": PASSWORD,
        }
        arguments = {
            **dict.fromkeys(endpoint.parameters, "x"),
            "userId": user.user_id,
            "roomId": room_id,
            "roomIdOrAlias": room_id,
            "roomAlias": f"#room{self._number}:hs1",
            "eventId": event_id,
            "eventType": "m.room.topic" if "/state/" in endpoint.path else "m.room.message",
            "stateKey": "",
            "txnId": "once",
            "deviceId": device_id,
            "keyName": "displayname",
            "type": "org.example.data",
            "filterId": "0",
            "receiptType": "m.read",
            "kind": "override",
            "ruleId": ".m.rule.master",
        }
        example: dict[str, Any] = {
            "auth": password_auth,
            "user_id": self._alice.user_id,
            "room_id": room_id,
            "new_version": "11",
            "dir": "b",
            "ts": self.world.clock.wall_ms(),
            "username": f"other{self._number}",
            "password": PASSWORD,
            "new_password": PASSWORD + "!",
            "typing": True,
            "timeout": 0,
            "devices": [device_id],
            "visibility": "private",
            "kind": None,
        }
        body: dict[str, Any] | None = None
        match (endpoint.method, endpoint.chapter):
            case "POST", "login":
                body = password_auth
            case "POST", "registration":
                example["auth"] = {"type": "m.login.dummy"}
            case _, "admin":
                users = self.world["hs1"].server.parts.accounts.users
                run(self.world.clock, users.set_admin(UserID(user.user_id), True))
                arguments["userId"] = self.world["hs1"].user(f"managed{self._number}").user_id
            case "PUT", "profile":
                body = {"displayname": "Name"}
            case "GET", "profile":
                user.put(f"/profile/{quote(user.user_id)}/displayname", {"displayname": "Name"})
            case "PUT", "presence":
                example["presence"] = "online"
            case "POST", "filter":
                body = {"room": {"timeline": {"limit": 10}}, "event_fields": ["type"]}
            case "GET", "filter":
                arguments["filterId"] = user.post(f"/user/{quote(user.user_id)}/filter")["filter_id"]
            case "GET", "account-data":
                for place in ("", f"/rooms/{quote(room_id)}"):
                    user.put(f"/user/{quote(user.user_id)}{place}/account_data/org.example.data", {"a": 1})
            case "PUT", "directory":
                arguments["roomAlias"] = f"#fresh{self._number}:hs1"
            case "GET", "rooms" if endpoint.path.endswith("{stateKey}"):
                user.set_state(room_id, "m.room.topic", {"topic": "x"})
            case "PUT" | "DELETE", "pushrules" if endpoint.path.endswith("{ruleId}"):
                arguments["ruleId"] = "org.example.rule"
                body = {"actions": ["notify"], "conditions": []} if endpoint.method == "PUT" else None
                user.put("/pushrules/global/override/org.example.rule", {"actions": [], "conditions": []})
            case "PUT", "pushrules":
                body = {"actions": []} if endpoint.path.endswith("actions") else {"enabled": True}
            case "POST", "kicking":
                self._alice.join(room_id)
            case "POST", "banning" if endpoint.path.endswith("unban"):
                user.post(f"/rooms/{quote(room_id)}/ban", {"user_id": self._alice.user_id})
            case "POST", "leaving" if endpoint.path.endswith("forget"):
                user.post(f"/rooms/{quote(room_id)}/leave")
            case "POST", "knocking":
                arguments["roomIdOrAlias"] = self._knock_room
        return Scene(token=user.token, arguments=arguments, example=example, body=body)

    def _federation_scene(self, endpoint: Endpoint) -> Scene:
        name = endpoint.path.split("/")[4] if endpoint.path.count("/") > 3 else ""
        what = name.rpartition("_")[2]
        room_id = self._knock_room if what == "knock" else self.shared_room
        carol = self.world["hs2"].user(f"carol{self._number}").user_id
        if what == "leave":
            self.host.post(f"/rooms/{quote(room_id)}/invite", {"user_id": carol})
        newest = self.newest_event(room_id)
        arguments = {
            **dict.fromkeys(endpoint.parameters, "x"),
            "roomId": room_id,
            "eventId": newest,
            "userId": carol if name.startswith("make_") else self.host.user_id,
            "txnId": f"transaction{self._number}",
            "serverName": "hs1",
        }
        example: dict[str, Any] = {
            "ver": [VERSION.id],
            "ts": self.world.clock.wall_ms(),
            "dir": "b",
            "event_id": newest,
            "limit": 5,
            "v": newest,
            "user_id": self.host.user_id,
            "room_alias": "#shared:hs1",
            "field": "displayname",
            "latest_events": [newest],
            "server_keys": {"hs1": {}},
        }
        body: dict[str, Any] | None = None
        if name in ("send_join", "send_leave", "send_knock"):
            event = self.event(room_id, carol, "m.room.member", {"membership": what}, carol)
            arguments["eventId"], body = event.event_id, dict(event.pdu)
        elif name == "exchange_third_party_invite":
            body = self._third_party_invite(room_id, carol)
        elif name == "invite":
            someone = self.world["hs1"].user(f"invited{self._number}").user_id
            event = self.event(room_id, self.bob.user_id, "m.room.member", {"membership": "invite"}, someone)
            arguments["eventId"] = event.event_id
            body = {
                "room_version": VERSION.id,
                "event": dict(event.pdu),
                "invite_room_state": [dict(self._create_event(room_id).pdu)],
            }
        elif name == "send":
            event = self.event(room_id, self.bob.user_id, "m.room.message", {"body": "hello"})
            typing = {"room_id": room_id, "user_id": self.bob.user_id, "typing": True}
            body = {
                "origin": "hs2",
                "origin_server_ts": self.world.clock.wall_ms(),
                "pdus": [dict(event.pdu)],
                "edus": [{"edu_type": "m.typing", "content": typing}],
            }
        return Scene(arguments=arguments, example=example, body=body)

    def _third_party_invite(self, room_id: str, user_id: str) -> dict[str, Any]:
        """The partial invite of a user whom an identity server has found for an offer of the host's."""
        offer = IdentityServer().offer(self.host, room_id, token=f"token{self._number}")
        signed = IdentityServer().signed(user_id, offer)
        return {
            "type": "m.room.member",
            "room_id": room_id,
            "sender": self.host.user_id,
            "state_key": user_id,
            "content": {
                "membership": "invite",
                "third_party_invite": {"display_name": "somebody", "signed": signed},
            },
        }

    def event(
        self,
        room_id: str,
        sender: str,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
    ) -> Event:
        """An event that hs2 could send into a room of hs1 now, signed by it."""
        rooms = self.world["hs1"].server.parts.room_service.rooms
        state = run(self.world.clock, rooms.current_state(RoomID(room_id)))
        needed = needed_state(event_type, UserID(sender), state_key, content, VERSION)
        return build_event(
            version=VERSION,
            signer=self.world["hs2"].keys.signer,
            room_id=RoomID(room_id),
            type=event_type,
            sender=UserID(sender),
            content=dict(content),
            state_key=state_key,
            origin_server_ts=self.world.clock.wall_ms(),
            depth=100,
            prev_events=run(self.world.clock, rooms.extremities(RoomID(room_id))),
            auth_events=[state[key] for key in needed if key in state],
        )

    def newest_event(self, room_id: str) -> str:
        rooms = self.world["hs1"].server.parts.room_service.rooms
        return str(run(self.world.clock, rooms.extremities(RoomID(room_id)))[0])

    def _create_event(self, room_id: str) -> Event:
        rooms = self.world["hs1"].server.parts.room_service.rooms
        create = run(self.world.clock, rooms.state_event(RoomID(room_id), *CREATE))
        assert create is not None
        return create
