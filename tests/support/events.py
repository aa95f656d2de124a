"""Builders of signed events and rooms for tests, with keys that follow from the specification's test seed.

room = RoomBuilder.create("@alice:hs1", version="12")
room.join("@bob:hs2")
event = room.message("@bob:hs2", "hello")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey as NaClSigningKey
from signedjson.key import get_verify_key, read_signing_keys
from signedjson.types import SigningKey, VerifyKey

from minihs.events.build import build_event
from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, RoomID, ServerName, UserID, server_name_of
from minihs.events.signatures import Signer
from minihs.events.versions import ROOM_VERSIONS, RoomVersion
from minihs.rooms.auth import needed_state

SPEC_KEY_FILE = Path(__file__).parents[2] / "keys" / "spec_test_key.txt"
START_MS = 1_700_000_000_000


def spec_key() -> SigningKey:
    """The signing key of the specification's vectors."""
    [key] = read_signing_keys(SPEC_KEY_FILE.read_text().splitlines())
    return key


@lru_cache
def signer_of(server_name: str) -> Signer:
    """The signer of a server in tests: "domain" has the specification's key, others one derived from it."""
    key = spec_key()
    if server_name != "domain":
        seed = sha256(key.encode() + server_name.encode()).digest()
        derived: SigningKey = NaClSigningKey(seed)  # type: ignore[assignment]
        derived.alg, derived.version = key.alg, key.version
        key = derived
    return Signer(ServerName(server_name), key)


def verify_keys_of(server_name: str) -> dict[str, VerifyKey]:
    """The public half of `signer_of`, as verifiers take it."""
    signer = signer_of(server_name)
    return {signer.key_id: get_verify_key(signer.key)}


def resign(event: Event, **changes: Any) -> Event:
    """The event with other fields: rebuilt, hashed and signed anew by its sender's server."""
    fields: dict[str, Any] = {
        "version": event.version,
        "room_id": event.room_id if "room_id" in event.pdu else None,
        "type": event.type,
        "sender": event.sender,
        "content": event.content,
        "state_key": event.state_key,
        "origin_server_ts": event.origin_server_ts,
        "depth": event.depth,
        "prev_events": event.prev_events,
        "auth_events": event.auth_events,
        "redacts": event.redacts,
        **changes,
    }
    return build_event(signer=signer_of(server_name_of(fields["sender"])), **fields)


class RoomBuilder:
    """A room that grows event by event in one line, every event signed, linked and citing its auth events.

    Nothing is authorised here: tests decide what they want to see refused. `state` is what came last.
    """

    def __init__(self, version: RoomVersion) -> None:
        self.version = version
        self.room_id = RoomID("")
        self.state: dict[StateKey, Event] = {}
        self.events: dict[EventID, Event] = {}
        self.timeline: list[Event] = []

    @classmethod
    def create(
        cls,
        creator: str = "@alice:hs1",
        *,
        version: str = "12",
        join_rule: str | None = "public",
        power_levels: Mapping[str, Any] | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> RoomBuilder:
        """A room with create, the creator's join, power levels (if given) and join rules (unless `None`)."""
        room = cls(ROOM_VERSIONS[version])
        if not room.version.room_id_is_create_hash:
            room.room_id = RoomID(f"!room:{server_name_of(creator)}")
        create_content: dict[str, Any] = {"room_version": version, **(content or {})}
        if room.version.creator_in_content:
            create_content["creator"] = creator
        create = room.state_event(creator, "m.room.create", "", create_content)
        room.room_id = create.room_id
        room.join(creator)
        if power_levels is not None:
            room.state_event(creator, "m.room.power_levels", "", power_levels)
        if join_rule is not None:
            room.state_event(creator, "m.room.join_rules", "", {"join_rule": join_rule})
        return room

    def add(self, event: Event) -> Event:
        """Make an event the room's newest, and part of its state when it is a state event."""
        self.events[event.event_id] = event
        self.timeline.append(event)
        if event.is_state:
            self.state[event.key] = event
        return event

    def make(
        self,
        sender: str,
        event_type: str,
        content: Mapping[str, Any],
        state_key: str | None = None,
        *,
        prev_events: Sequence[Event] | None = None,
        auth_events: Sequence[Event] | None = None,
        state: Mapping[StateKey, Event] | None = None,
        timestamp_ms: int | None = None,
        redacts: str | None = None,
    ) -> Event:
        """A signed event on top of `prev_events` (the newest event) that is not added to the room.

        It cites what `needed_state` selects from `state` (the room's), unless `auth_events` says otherwise.
        Its time is one second per event of the room, unless `timestamp_ms` says otherwise.
        """
        parents = self.timeline[-1:] if prev_events is None else prev_events
        if auth_events is None:
            known = self.state if state is None else state
            needed = needed_state(event_type, UserID(sender), state_key, content, self.version)
            auth_events = [known[key] for key in needed if key in known]
        return build_event(
            version=self.version,
            signer=signer_of(server_name_of(sender)),
            room_id=self.room_id or None,
            type=event_type,
            sender=UserID(sender),
            content=dict(content),
            state_key=state_key,
            origin_server_ts=START_MS + 1000 * len(self.timeline) if timestamp_ms is None else timestamp_ms,
            depth=max((parent.depth for parent in parents), default=0) + 1,
            prev_events=[parent.event_id for parent in parents],
            auth_events=[event.event_id for event in auth_events],
            redacts=None if redacts is None else EventID(redacts),
        )

    def state_event(
        self, sender: str, event_type: str, state_key: str, content: Mapping[str, Any], **options: Any
    ) -> Event:
        return self.add(self.make(sender, event_type, content, state_key, **options))

    def member(
        self,
        sender: str,
        target: str,
        membership: str,
        *,
        content: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Event:
        return self.state_event(
            sender, "m.room.member", target, {"membership": membership, **(content or {})}, **options
        )

    def join(self, user: str, **options: Any) -> Event:
        return self.member(user, user, "join", **options)

    def message(self, sender: str, body: str = "hello", **options: Any) -> Event:
        return self.add(self.make(sender, "m.room.message", {"msgtype": "m.text", "body": body}, **options))
