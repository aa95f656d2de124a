"""Key documents (`/_matrix/key/v2/server`): read and checked, written and signed. No network, no clock.

Answers to "Retrieving server keys" in the Server-Server API and to "Signing key validity period" of the room
versions since 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from signedjson.key import decode_verify_key_bytes, encode_verify_key_base64
from signedjson.types import VerifyKey
from unpaddedbase64 import decode_base64

from minihs.events import canonical
from minihs.events.ids import ServerName
from minihs.events.signatures import BadSignature, KeyID, verify_object
from minihs.federation.signing_keys import SigningKeys

MAX_KEYS = 100
"""No server has a use for more; a document with more is refused."""
MAX_VALIDITY_MS = 7 * 86_400_000
"""`valid_until_ts` counts for at most this long after the fetch (keys.yaml, `valid_until_ts`)."""
OWN_VALIDITY_MS = 86_400_000
"""How long our own document is good for: long enough to ride out an outage, short enough to revoke."""

_KEY_ID = re.compile(r"ed25519:[a-zA-Z0-9_]{1,255}")


class BadKeyDocument(Exception):
    """The document cannot be believed; the message says why."""


class KeysUnavailable(Exception):
    """The keys that would decide are not known and could not be had; the message says whose."""


class KnownKey(msgspec.Struct, frozen=True):
    """A key of another server, good for what it signed up to `valid_until_ms`; an old one for events only."""

    key: VerifyKey
    valid_until_ms: int
    is_old: bool


def read_document(document: object, server_name: ServerName, now_ms: int) -> dict[KeyID, KnownKey]:
    """The keys in a document that `server_name` has signed with at least one of its current keys.

    Key IDs of algorithms that we do not know are skipped. Raises BadKeyDocument.
    """
    if not isinstance(document, dict):
        raise BadKeyDocument("it is not a JSON object")
    if document.get("server_name") != server_name:
        raise BadKeyDocument(f"it is not about {server_name}")
    valid_until = document.get("valid_until_ts")
    if type(valid_until) is not int:
        raise BadKeyDocument("it has no valid_until_ts")
    current = {key_id: key for key_id, key, _ in _entries(document.get("verify_keys"), "verify_keys", now_ms)}
    if not current:
        raise BadKeyDocument("it has no ed25519 key under verify_keys")
    try:
        canonical.check(document)
        verify_object(document, server_name, current)
    except (canonical.NotCanonical, BadSignature) as error:
        raise BadKeyDocument(str(error)) from error
    until = min(valid_until, now_ms + MAX_VALIDITY_MS)
    known = {
        key_id: KnownKey(key, expired_ms, True)
        for key_id, key, expired_ms in _entries(
            document.get("old_verify_keys", {}), "old_verify_keys", now_ms
        )
    }
    known.update((key_id, KnownKey(key, until, False)) for key_id, key in current.items())
    return known


def _entries(listed: object, name: str, now_ms: int) -> list[tuple[KeyID, VerifyKey, int]]:
    """ID, key and end of each entry; the end matters for old keys only, and is never in the future."""
    if not isinstance(listed, dict):
        raise BadKeyDocument(f"its {name} is not a JSON object")
    if len(listed) > MAX_KEYS:
        raise BadKeyDocument(f"its {name} has more than {MAX_KEYS} keys")
    entries: list[tuple[KeyID, VerifyKey, int]] = []
    for key_id, entry in sorted(listed.items()):
        if _KEY_ID.fullmatch(key_id) is None:
            continue
        expired = entry.get("expired_ts", 0) if isinstance(entry, dict) else None
        if type(expired) is not int:
            raise BadKeyDocument(f"the key {key_id} has no usable expired_ts")
        try:
            key = decode_verify_key_bytes(key_id, decode_base64(entry["key"]))
        except Exception as error:  # decoders of Base64 and of keys have many ways to say no
            raise BadKeyDocument(f"the key {key_id} cannot be read: {error}") from error
        entries.append((key_id, key, min(expired, now_ms)))
    return entries


def own_document(keys: SigningKeys, now_ms: int) -> dict[str, Any]:
    """What we publish about ourselves, signed with each of our current keys."""
    document: Mapping[str, Any] = {
        "server_name": keys.server_name,
        "valid_until_ts": now_ms + OWN_VALIDITY_MS,
        "verify_keys": {
            key_id: {"key": encode_verify_key_base64(key)}
            for key_id, key in sorted(keys.verify_keys().items())
        },
        "old_verify_keys": {
            key_id: {"key": encode_verify_key_base64(old.key), "expired_ts": old.expired_ms}
            for key_id, old in sorted(keys.old.items())
        },
    }
    for signer in keys.signers:
        document = signer.sign(document)
    return dict(document)
