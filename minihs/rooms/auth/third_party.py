"""Auth rule 5.4.1 of room version 12: turning an invite of an e-mail address or number into one of a user.

Answers also to "Verifying the invite" in the server-server API.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from nacl.exceptions import CryptoError
from signedjson.key import decode_verify_key_bytes
from unpaddedbase64 import decode_base64

from minihs.events.event import Event, StateKey
from minihs.events.signatures import BadSignature, verify_object
from minihs.rooms.auth.verdict import Allowed, Refused

MAX_TRIED_SIGNATURES = 64
"""Pairs of key and signature that are tried. The rules set no bound; two events full of keys and signatures
would otherwise cost half a minute. Identity servers give one signature and two keys."""


def authorise_third_party_invite(
    event: Event, target_membership: str | None, state: Mapping[StateKey, Event]
) -> Allowed | Refused:
    """Rule 5.4.1, since v1: an invite with a `third_party_invite` property."""
    # v12 5.4.1.1
    if target_membership == "ban":
        return Refused("v12 5.4.1.1", "the user is banned")
    # v12 5.4.1.2
    invite = event.content["third_party_invite"]
    if not isinstance(invite, dict) or "signed" not in invite:
        return Refused("v12 5.4.1.2", "third_party_invite has no signed part")
    # v12 5.4.1.3
    signed = invite["signed"]
    if not isinstance(signed, dict) or "mxid" not in signed or not isinstance(signed.get("token"), str):
        return Refused("v12 5.4.1.3", "signed must have an mxid and a token")
    # v12 5.4.1.4
    if signed["mxid"] != event.state_key:
        return Refused("v12 5.4.1.4", "the invite was signed for another user")
    # v12 5.4.1.5
    offer = state.get(("m.room.third_party_invite", signed["token"]))
    if offer is None:
        return Refused("v12 5.4.1.5", "the room has no third-party invite with this token")
    # v12 5.4.1.6
    if event.sender != offer.sender:
        return Refused("v12 5.4.1.6", "only who made the third-party invite can fulfil it")
    # v12 5.4.1.7
    for server_name, key_id, public_key in islice(_pairs(signed, offer), MAX_TRIED_SIGNATURES):
        if _is_signed(signed, server_name, key_id, public_key):
            return Allowed("v12 5.4.1.7")
    # v12 5.4.1.8
    return Refused("v12 5.4.1.8", "no signature matches a public key of the third-party invite")


def _pairs(signed: Mapping[str, Any], offer: Event) -> Iterator[tuple[str, str, str]]:
    """Every signer's name, key ID and public key that may belong together, in a fixed order."""
    signatures = signed.get("signatures")
    if not isinstance(signatures, dict):
        return
    for public_key in _public_keys(offer):
        for server_name in sorted(signatures):
            by_server = signatures[server_name]
            for key_id in sorted(by_server) if isinstance(by_server, dict) else ():
                yield server_name, key_id, public_key


def _public_keys(offer: Event) -> Iterator[str]:
    # v12 5.4.1.7.1
    public_key = offer.content.get("public_key")
    if isinstance(public_key, str):
        yield public_key
    # v12 5.4.1.7.2
    public_keys = offer.content.get("public_keys")
    for entry in public_keys if isinstance(public_keys, list) else ():
        public_key = entry.get("public_key") if isinstance(entry, dict) else None
        if isinstance(public_key, str):
            yield public_key


def _is_signed(signed: Mapping[str, Any], server_name: str, key_id: str, public_key: str) -> bool:
    try:
        key = decode_verify_key_bytes(key_id, decode_base64(public_key))
        verify_object(signed, server_name, {key_id: key})
    except (BadSignature, CryptoError, binascii.Error, ValueError, TypeError):
        return False
    return True
