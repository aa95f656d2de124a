"""Signing and checking signatures, of events and of any JSON object, through signedjson's keys.

Keys are handed in; where they come from and while they are valid is the keyring's business. Answers to
"Signing JSON" and "Checking for a Signature" in the appendices and "Signing Events" in the server-server API.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from nacl.exceptions import CryptoError
from signedjson.sign import sign_json
from signedjson.types import SigningKey, VerifyKey
from unpaddedbase64 import decode_base64, encode_base64

from minihs.events import canonical
from minihs.events.event import Event
from minihs.events.hashes import essential_bytes
from minihs.events.ids import InvalidIdentifier, ServerName, parse_user_id, server_name_of
from minihs.events.redaction import redact
from minihs.events.versions import RoomVersion

KeyID: TypeAlias = str
"""Algorithm and version of a key, as in `ed25519:1`."""


class BadSignature(Exception):
    """A signature that is missing, made with no key that is known, or wrong; the message says which."""


@dataclass(frozen=True, slots=True)
class Signer:
    """One server's name with one of its signing keys."""

    server_name: ServerName
    key: SigningKey
    key_id: KeyID = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", f"{self.key.alg}:{self.key.version}")

    def sign(self, json_object: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of any JSON object with our signature added to those it has (appendices, "Signing JSON")."""
        copy = dict(json_object)
        copy["signatures"] = {
            name: dict(signatures) for name, signatures in json_object.get("signatures", {}).items()
        }
        signed: dict[str, Any] = sign_json(copy, self.server_name, self.key)
        return signed

    def signature_of(self, message: bytes) -> str:
        """Our signature of some bytes, in unpadded Base64."""
        return encode_base64(self.key.sign(message).signature)


def sign_pdu(pdu: Mapping[str, Any], version: RoomVersion, signer: Signer) -> dict[str, Any]:
    """A copy of a PDU with our signature of its redacted form added ("Adding hashes and signatures").

    `hashes` must be there already, since the signature covers it.
    """
    signature = signer.signature_of(essential_bytes(redact(pdu, version), version))
    signatures = dict(pdu.get("signatures", {}))
    signatures[signer.server_name] = {**signatures.get(signer.server_name, {}), signer.key_id: signature}
    return {**pdu, "signatures": signatures}


def required_signers(event: Event) -> tuple[ServerName, ...]:
    """The servers whose signatures an event needs, sorted.

    The sender's server; none for an invite of a third party, which another server may send and which its own
    `signed` part vouches for; and for `join_authorised_via_users_server` the server of that user, where it
    is a user ID at all (auth rule v12 5.2 refuses the event otherwise).

    Server-server API, "Validating hashes and signatures on received events"; auth rule v12 5.2, since v8.
    """
    signers: set[ServerName] = set()
    if not (event.membership == "invite" and "third_party_invite" in event.content):
        signers.add(server_name_of(event.sender))
    if event.version.restricted_joins and event.type == "m.room.member":
        with suppress(InvalidIdentifier):
            signers.add(server_name_of(parse_user_id(event.content.get("join_authorised_via_users_server"))))
    return tuple(sorted(signers))


def verify_pdu(
    pdu: Mapping[str, Any], version: RoomVersion, server_name: str, keys: Mapping[KeyID, VerifyKey]
) -> None:
    """Check one server's signatures of a PDU, which cover its redacted form.

    `keys` are those of that server that are known and were valid at the event's time; signatures by others
    are skipped. At least one must be there, and all must be right. Raises `BadSignature`.
    """
    _verify(pdu, essential_bytes(redact(pdu, version), version), server_name, keys)


def verify_object(json_object: Mapping[str, Any], server_name: str, keys: Mapping[KeyID, VerifyKey]) -> None:
    """Check one entity's signatures of any JSON object that `canonical.check` has passed.

    Same demands on `keys` as in `verify_pdu`. Raises `BadSignature`. Appendices, "Checking for a Signature".
    """
    covered = {key: value for key, value in json_object.items() if key not in ("signatures", "unsigned")}
    _verify(json_object, canonical.encode(covered), server_name, keys)


def _verify(
    signed: Mapping[str, Any], message: bytes, server_name: str, keys: Mapping[KeyID, VerifyKey]
) -> None:
    signatures = signed.get("signatures")
    by_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    if not isinstance(by_server, dict):
        raise BadSignature(f"there is no signature by {server_name}")
    known = sorted(key_id for key_id in by_server if key_id in keys)
    if not known:
        raise BadSignature(f"no signature by {server_name} was made with a key that is known and valid")
    for key_id in known:
        try:
            keys[key_id].verify(message, decode_base64(by_server[key_id]))
        except (CryptoError, binascii.Error, ValueError, TypeError, AttributeError):
            raise BadSignature(f"the signature by {server_name} with key {key_id} is wrong") from None
