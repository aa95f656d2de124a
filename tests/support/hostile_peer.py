"""A server that can build any event and answer anything: the other side in tests of inbound federation.

    peer = HostilePeer("evil", server)
    peer.enter(room_id, "@mallory:evil")          # a real join, through the server's endpoints
    event = peer.room.make("@mallory:evil", …)    # see RoomBuilder; nothing is checked
    server.receive("evil", event)

It answers questions truthfully from `room`, except for endpoints with an entry in `lies`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

from minihs.events.event import Event, StateKey, parse_event
from minihs.events.ids import EventID, RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.client import RemoteRefusal
from minihs.rooms.dag import authorising_ids
from tests.support.events import RoomBuilder, resign, signer_of
from tests.support.federated import FederatedServer

V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"


class HostilePeer:
    """A peer of `server` on its wire."""

    def __init__(self, name: str, server: FederatedServer) -> None:
        self.name = name
        self.server = server
        self.lies: dict[str, Callable[[list[str], Mapping[str, Any], Any], Any]] = {}
        self.asked: list[str] = []
        self.states: dict[EventID, dict[StateKey, Event]] = {}
        """The state before events, as told by state and state_ids; else the room's state."""
        server.wire.peers[name] = self.answer

    def enter(self, room_id: RoomID, user_id: str) -> Event:
        """Join through the server and learn the room."""
        template = self.template("join", room_id, user_id)
        version = ROOM_VERSIONS[template["room_version"]]
        join = parse_event(self.signed(template["event"], version.id), version)
        reply = self.server.ask(
            self.name, "PUT", f"{V2}/send_join/{room_id}/{quote(join.event_id, safe='')}", body=dict(join.pdu)
        )
        self.room = RoomBuilder(version)
        self.room.room_id = room_id
        for pdu in [*reply["auth_chain"], *reply["state"]]:
            event = parse_event(pdu, version)
            self.room.events[event.event_id] = event
        for pdu in reply["state"]:
            event = parse_event(pdu, version)
            self.room.state[event.key] = event
        self.room.add(join)
        return join

    def template(
        self, handshake: str, room_id: str, user_id: str, versions: Iterable[str] = tuple(ROOM_VERSIONS)
    ) -> Any:
        """What make_join, make_leave or make_knock answers."""
        return self.server.ask(
            self.name, "GET", f"{V1}/make_{handshake}/{room_id}/{user_id}", {"ver": list(versions)}
        )

    def signed(self, template: Mapping[str, Any], version: str, **changes: Any) -> dict[str, Any]:
        """The event that a template (with changes) makes, hashed and signed by this peer."""
        from minihs.events.build import build_event

        fields = {**template, **changes}
        event = build_event(
            version=ROOM_VERSIONS[version],
            signer=signer_of(self.name),
            room_id=fields["room_id"],
            type=fields["type"],
            sender=fields["sender"],
            content=fields["content"],
            state_key=fields.get("state_key"),
            origin_server_ts=fields["origin_server_ts"],
            depth=fields["depth"],
            prev_events=fields["prev_events"],
            auth_events=fields["auth_events"],
        )
        return dict(event.pdu)

    def message(self, sender: str, body: str = "hello", **options: Any) -> Event:
        return self.room.message(sender, body, **options)

    def resign(self, event: Event, **changes: Any) -> Event:
        return resign(event, **changes)

    def answer(self, method: str, path: str, args: Mapping[str, Any], body: Any) -> Any:
        endpoint, *rest = path.removeprefix(V1 + "/").removeprefix(V2 + "/").split("/")
        self.asked.append(endpoint)
        lie = self.lies.get(endpoint)
        if lie is not None:
            return lie(rest, args, body)
        honest = getattr(self, f"_{endpoint}", None)
        if honest is None:
            raise RemoteRefusal(404, "M_NOT_FOUND", f"no {endpoint} here")
        return honest(rest, args, body)

    def refuse(self, *endpoints: str) -> None:
        """Answer these endpoints with 404."""

        def refuse(*_: Any) -> Any:
            raise RemoteRefusal(404, "M_NOT_FOUND", "not here")

        for endpoint in endpoints:
            self.lies[endpoint] = refuse

    def chain(self, events: Iterable[Event]) -> list[Event]:
        found: dict[EventID, Event] = {}
        to_visit = [parent for event in events for parent in authorising_ids(event)]
        while to_visit:
            event = self.room.events.get(to_visit.pop())
            if event is not None and event.event_id not in found:
                found[event.event_id] = event
                to_visit.extend(authorising_ids(event))
        return list(found.values())

    def _known(self, event_id: str) -> Event:
        event = self.room.events.get(EventID(unquote(event_id)))
        if event is None:
            raise RemoteRefusal(404, "M_NOT_FOUND", "unknown event")
        return event

    def _event(self, rest: list[str], args: Any, body: Any) -> Any:
        return {"origin": self.name, "origin_server_ts": 1, "pdus": [self._known(rest[0]).pdu]}

    def _event_auth(self, rest: list[str], args: Any, body: Any) -> Any:
        return {"auth_chain": [event.pdu for event in self.chain([self._known(rest[1])])]}

    def _get_missing_events(self, rest: list[str], args: Any, body: Any) -> Any:
        seen = set(body["earliest_events"])
        found: list[Event] = []
        layer = [self._known(event_id) for event_id in body["latest_events"]]
        while layer and len(found) < body["limit"]:
            layer = [
                self.room.events[prev_id]
                for event in layer
                for prev_id in event.prev_events
                if prev_id in self.room.events
                and prev_id not in seen
                and self.room.events[prev_id].depth >= body["min_depth"]
            ]
            seen |= {event.event_id for event in layer}
            found += layer
        return {"events": [event.pdu for event in found[: body["limit"]]]}

    def _state_before(self, event_id: str) -> list[Event]:
        state = self.states.get(EventID(event_id), self.room.state)
        return list(state.values())

    def _state_ids(self, rest: list[str], args: Any, body: Any) -> Any:
        state = self._state_before(args["event_id"])
        return {
            "pdu_ids": [event.event_id for event in state],
            "auth_chain_ids": [event.event_id for event in self.chain(state)],
        }

    def _state(self, rest: list[str], args: Any, body: Any) -> Any:
        state = self._state_before(args["event_id"])
        return {
            "pdus": [event.pdu for event in state],
            "auth_chain": [event.pdu for event in self.chain(state)],
        }

    def _backfill(self, rest: list[str], args: Any, body: Any) -> Any:
        found: dict[EventID, Event] = {}
        layer = [self._known(event_id) for event_id in args["v"]]
        while layer and len(found) < int(args["limit"]):
            found.update((event.event_id, event) for event in layer)
            layer = [
                self.room.events[prev_id]
                for event in layer
                for prev_id in event.prev_events
                if prev_id in self.room.events and prev_id not in found
            ]
        return {"origin": self.name, "origin_server_ts": 1, "pdus": [event.pdu for event in found.values()]}
