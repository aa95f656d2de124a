"""Key documents: which are believed, and what is published."""

from __future__ import annotations

from typing import Any

import pytest
from signedjson.key import encode_verify_key_base64, get_verify_key
from signedjson.sign import sign_json, verify_signed_json

from minihs.events.ids import ServerName
from minihs.federation.key_documents import (
    MAX_KEYS,
    MAX_VALIDITY_MS,
    OWN_VALIDITY_MS,
    BadKeyDocument,
    own_document,
    read_document,
)
from minihs.federation.signing_keys import OldKey, SigningKeys, generate_key
from minihs.platform.entropy import SeededEntropy
from tests.support.events import signer_of

HERE = ServerName("here.test")
NOW_MS = 1_700_000_000_000
SIGNER = signer_of(HERE)
PUBLIC = encode_verify_key_base64(get_verify_key(SIGNER.key))


def document(*, sign: bool = True, **changes: Any) -> Any:
    made: dict[str, Any] = {
        "server_name": HERE,
        "valid_until_ts": NOW_MS + 1_000,
        "verify_keys": {"ed25519:1": {"key": PUBLIC}},
        "old_verify_keys": {},
        **changes,
    }
    made = {key: value for key, value in made.items() if value is not None}
    return sign_json(made, HERE, SIGNER.key) if sign else made


def test_a_signed_document_gives_its_keys_until_its_end() -> None:
    known = read_document(document(), HERE, NOW_MS)
    assert list(known) == ["ed25519:1"]
    assert (known["ed25519:1"].valid_until_ms, known["ed25519:1"].is_old) == (NOW_MS + 1_000, False)


def test_no_document_is_good_for_more_than_a_week() -> None:
    known = read_document(document(valid_until_ts=1 << 50), HERE, NOW_MS)
    assert known["ed25519:1"].valid_until_ms == NOW_MS + MAX_VALIDITY_MS


def test_old_keys_are_good_until_they_ended_and_never_in_the_future() -> None:
    old = {
        "ed25519:past": {"key": PUBLIC, "expired_ts": 5},
        "ed25519:future": {"key": PUBLIC, "expired_ts": 1 << 50},
    }
    known = read_document(document(old_verify_keys=old), HERE, NOW_MS)
    assert (known["ed25519:past"].valid_until_ms, known["ed25519:past"].is_old) == (5, True)
    assert known["ed25519:future"].valid_until_ms == NOW_MS


def test_keys_of_unknown_algorithms_are_skipped() -> None:
    keys = {"ed25519:1": {"key": PUBLIC}, "rsa:1": {"key": "?"}}
    assert list(read_document(document(verify_keys=keys), HERE, NOW_MS)) == ["ed25519:1"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ([], "not a JSON object"),
        (document(server_name="there.test"), r"not about here\.test"),
        (document(valid_until_ts=None), "no valid_until_ts"),
        (document(valid_until_ts="1"), "no valid_until_ts"),
        (document(verify_keys={}), "no ed25519 key"),
        (document(verify_keys=[]), "not a JSON object"),
        (document(verify_keys={"ed25519:1": {"key": "short"}}), "cannot be read"),
        (document(verify_keys={"ed25519:1": 5}), "no usable expired_ts"),
        (document(verify_keys={f"ed25519:{n}": {"key": PUBLIC} for n in range(MAX_KEYS + 1)}), "more than"),
        (document(old_verify_keys={"ed25519:2": {"key": PUBLIC, "expired_ts": "x"}}), "no usable expired_ts"),
        (document(sign=False), r"no signature by here\.test"),
        ({**document(), "extra": 1}, "is wrong"),
        ({**document(), "extra": 1.5}, "fraction"),
    ],
)
def test_a_document_that_cannot_be_believed_is_refused_with_a_reason(broken: Any, reason: str) -> None:
    with pytest.raises(BadKeyDocument, match=reason):
        read_document(broken, HERE, NOW_MS)


def test_our_own_document_is_signed_with_every_current_key_and_can_be_read() -> None:
    entropy = SeededEntropy(1)
    from minihs.events.signatures import Signer

    signers = (Signer(HERE, generate_key(entropy)), Signer(HERE, generate_key(entropy)))
    old = OldKey(get_verify_key(SIGNER.key), 77)
    made = own_document(SigningKeys(signers, {"ed25519:1": old}), NOW_MS)
    for signer in signers:
        verify_signed_json(made, HERE, get_verify_key(signer.key))
    known = read_document(made, HERE, NOW_MS)
    assert sorted(known) == sorted([signer.key_id for signer in signers] + ["ed25519:1"])
    assert known["ed25519:1"].valid_until_ms == 77
    assert made["valid_until_ts"] == NOW_MS + OWN_VALIDITY_MS
