"""The two hashes of an event: of its whole content, and of what is essential, which is its ID.

Answers to "Calculating the content hash" and "Calculating the reference hash" in the server-server API and
"Event IDs" in the room versions.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from unpaddedbase64 import decode_base64, encode_base64

from minihs.events import canonical
from minihs.events.ids import EventID
from minihs.events.redaction import redact
from minihs.events.versions import RoomVersion

_OUTSIDE_CONTENT_HASH = ("unsigned", "signatures", "hashes")


def content_hash(pdu: Mapping[str, Any], *, strict: bool = False) -> str:
    """SHA-256 over the whole PDU but `unsigned`, `signatures` and `hashes`, in unpadded Base64.

    `strict` as in `canonical.encode`.
    """
    return encode_base64(_content_digest(pdu, strict))


def content_hash_matches(pdu: Mapping[str, Any], *, strict: bool = False) -> bool:
    """Whether `hashes.sha256` is the content hash; the bytes are compared, not their spelling.

    If not, only the redacted copy of the PDU is to be trusted ("Validating hashes and signatures").
    """
    try:
        claimed = decode_base64(pdu["hashes"]["sha256"])
    except (binascii.Error, ValueError):
        return False
    return claimed == _content_digest(pdu, strict)


def reference_hash(pdu: Mapping[str, Any], version: RoomVersion) -> str:
    """SHA-256 over the essential part, in the Base64 alphabet that the version's event IDs have."""
    return spell(sha256(essential_bytes(redact(pdu, version), version)).digest(), version)


def event_id_of(pdu: Mapping[str, Any], version: RoomVersion) -> EventID:
    """The event ID of a PDU: `$` and the reference hash ("Event IDs" of v3 and v4)."""
    return EventID("$" + reference_hash(pdu, version))


def essential_bytes(redacted: dict[str, Any], version: RoomVersion) -> bytes:
    """What is signed and what the event ID covers: the redacted PDU without signatures, as canonical JSON."""
    bare = {key: value for key, value in redacted.items() if key != "signatures"}
    return canonical.encode(bare, strict=version.strict_canonical_json)


def spell(digest: bytes, version: RoomVersion) -> str:
    """A digest in the Base64 alphabet of the version's event IDs: standard in v3, URL-safe since v4."""
    return encode_base64(digest, urlsafe=version.url_safe_event_ids)


def _content_digest(pdu: Mapping[str, Any], strict: bool) -> bytes:
    covered = {key: value for key, value in pdu.items() if key not in _OUTSIDE_CONTENT_HASH}
    return sha256(canonical.encode(covered, strict=strict)).digest()
