"""Evidence for what the story says: PDUs as a server has stored them, keys as a server publishes them."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from signedjson.key import decode_verify_key_bytes
from unpaddedbase64 import decode_base64

from minihs.events.hashes import content_hash_matches
from minihs.events.ids import EventID, RoomID
from minihs.events.signatures import verify_object, verify_pdu
from minihs.events.versions import ROOM_VERSIONS
from minihs.processes import ServerProcess
from minihs.store.database import read_only
from minihs.store.events import EventStore
from minihs.store.rooms import RoomStore


class Evidence:
    """Looks where a client cannot: into the servers' databases (read-only) and at their key endpoints."""

    def __init__(self, ca_file: Path, room_version: str) -> None:
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._version = ROOM_VERSIONS[room_version]

    def pdu(self, server: ServerProcess, event_id: str) -> dict[str, Any]:
        """The PDU as `server` has stored it."""
        with read_only(server.data_dir / "minihs.db") as reader:
            event = reader.now(EventStore(reader).maybe_event(EventID(event_id)))
        if event is None:
            raise LookupError(f"{server.label} has no event {event_id}")
        return dict(event.pdu)

    def extremities(self, server: ServerProcess, room_id: str) -> list[EventID]:
        """What `server` would build the room's next event on."""
        with read_only(server.data_dir / "minihs.db") as reader:
            return reader.now(RoomStore(reader).all_extremities(RoomID(room_id)))

    def verify(self, origin: ServerProcess, pdu: dict[str, Any]) -> None:
        """Check hash and signature of a PDU with the key that `origin` publishes over TLS; raises if not."""
        url = f"https://{origin.server_name}/_matrix/key/v2/server"
        with urllib.request.urlopen(url, timeout=5, context=self._tls) as reply:
            document = msgspec.json.decode(reply.read())
        keys = {
            key_id: decode_verify_key_bytes(key_id, decode_base64(entry["key"]))
            for key_id, entry in document["verify_keys"].items()
        }
        verify_object(document, origin.server_name, keys)
        verify_pdu(pdu, self._version, origin.server_name, keys)
        if not content_hash_matches(pdu):
            raise ValueError("the content does not match its hash")
