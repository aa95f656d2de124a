"""Signing keys in files: made once, private, readable by other servers' tools, replaced without loss."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from signedjson.key import read_signing_keys

from minihs.events.ids import ServerName
from minihs.federation.signing_keys import (
    KEY_FILE,
    OLD_KEYS_FILE,
    SigningKeysUnusable,
    load_or_create,
    rotate,
)
from minihs.platform.entropy import SeededEntropy

HERE = ServerName("here.test")


def test_the_first_start_makes_a_key_and_the_next_ones_keep_it(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "data", HERE, SeededEntropy(1))
    again = load_or_create(tmp_path / "data", HERE, SeededEntropy(2))
    assert re.fullmatch(r"ed25519:a_[A-Za-z]{4}", made.signer.key_id)
    assert again.signer.key_id == made.signer.key_id
    assert bytes(again.signer.key) == bytes(made.signer.key)
    assert (made.server_name, made.old) == (HERE, {})


def test_the_file_is_private_and_in_the_format_of_signedjson(tmp_path: Path) -> None:
    made = load_or_create(tmp_path, HERE, SeededEntropy(1))
    path = tmp_path / KEY_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    [key] = read_signing_keys(path.read_text().splitlines())
    assert bytes(key) == bytes(made.signer.key)


def test_a_rotation_signs_with_a_new_key_and_keeps_the_old_one_for_checking(tmp_path: Path) -> None:
    first = load_or_create(tmp_path, HERE, SeededEntropy(1))
    second = rotate(tmp_path, HERE, SeededEntropy(2), now_ms=1_234)
    third = rotate(tmp_path, HERE, SeededEntropy(3), now_ms=5_678)
    assert third.signer.key_id not in {first.signer.key_id, second.signer.key_id}
    assert {key_id: old.expired_ms for key_id, old in third.old.items()} == {
        first.signer.key_id: 1_234,
        second.signer.key_id: 5_678,
    }
    assert bytes(third.old[first.signer.key_id].key) == bytes(first.verify_keys()[first.signer.key_id])
    assert load_or_create(tmp_path, HERE, SeededEntropy(4)) == third


@pytest.mark.parametrize("contents", ["", "nonsense", "ed25519 a_1 short", "rsa a_1 AAAA"])
@pytest.mark.parametrize("name", [KEY_FILE, OLD_KEYS_FILE])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, contents: str, name: str) -> None:
    load_or_create(tmp_path, HERE, SeededEntropy(1))
    (tmp_path / name).write_text(contents)
    if contents == "" and name == OLD_KEYS_FILE:
        assert load_or_create(tmp_path, HERE, SeededEntropy(1)).old == {}
        return
    with pytest.raises(SigningKeysUnusable, match=re.escape(name)):
        load_or_create(tmp_path, HERE, SeededEntropy(1))
