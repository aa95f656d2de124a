"""This server's own signing keys: made, kept in files, loaded and replaced. Nothing of the network.

The files have the formats that `signedjson` reads, and other servers' tools with it: one line for each key,
`ed25519 a_XXXX <base64>`; for an old one `ed25519 a_XXXX <expired_ms> <base64 of the public key>`. Answers to
"Publishing Keys" in the Server-Server API.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from nacl.signing import SigningKey as Ed25519Key
from signedjson.key import encode_signing_key_base64, get_verify_key, read_old_signing_keys, read_signing_keys
from signedjson.types import SigningKey, VerifyKey
from unpaddedbase64 import encode_base64

from minihs.events.ids import ServerName
from minihs.events.signatures import KeyID, Signer
from minihs.platform.entropy import Entropy, token_letters

KEY_FILE = "signing.key"
OLD_KEYS_FILE = "old_signing.keys"
_VERSION_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SEED_BYTES = 32


class SigningKeysUnusable(Exception):
    """A key file cannot be used as it stands; the message says which and why."""


class OldKey(msgspec.Struct, frozen=True):
    """A key that is no longer signed with; what it signed up to `expired_ms` stays good."""

    key: VerifyKey
    expired_ms: int


class SigningKeys(msgspec.Struct, frozen=True):
    """The keys of one server: `signers` sign (the first alone where one is enough), `old` only verify."""

    signers: tuple[Signer, ...]
    old: Mapping[KeyID, OldKey]

    @property
    def signer(self) -> Signer:
        """The key that signs."""
        return self.signers[0]

    @property
    def server_name(self) -> ServerName:
        """Whose keys they are."""
        return self.signer.server_name

    def verify_keys(self) -> dict[KeyID, VerifyKey]:
        """The public halves of the keys that sign, by ID."""
        return {signer.key_id: get_verify_key(signer.key) for signer in self.signers}


def generate_key(entropy: Entropy) -> SigningKey:
    """A new ed25519 key with a random version, `a_` and four letters."""
    key: Any = Ed25519Key(entropy.token_bytes(_SEED_BYTES))
    key.alg = "ed25519"
    key.version = "a_" + token_letters(entropy, 4, _VERSION_LETTERS)
    made: SigningKey = key
    return made


def new_signing_keys(server_name: ServerName, entropy: Entropy) -> SigningKeys:
    """Keys that are kept nowhere: for tests and virtual worlds."""
    return SigningKeys((Signer(server_name, generate_key(entropy)),), {})


def load_or_create(folder: Path, server_name: ServerName, entropy: Entropy) -> SigningKeys:
    """The keys in `folder`; at the first start, a new one that is written there.

    Raises SigningKeysUnusable.
    """
    path = folder / KEY_FILE
    if not path.exists():
        write_new_key(path, entropy)
    return load(folder, server_name)


def write_new_key(path: Path, entropy: Entropy) -> None:
    """Write a new key to a file of its own. SigningKeysUnusable when the file is there already."""
    if path.exists():
        raise SigningKeysUnusable(
            f"{path} exists already. It may be the only copy of a key: nothing was written."
        )
    try:
        _write(path, _line(generate_key(entropy)))
    except OSError as error:
        raise SigningKeysUnusable(f"{path} cannot be written: {error.strerror}.") from error


def load(folder: Path, server_name: ServerName) -> SigningKeys:
    """The keys in `folder`. Raises SigningKeysUnusable."""
    path = folder / KEY_FILE
    keys = _read(path, read_signing_keys)
    if not keys:
        raise SigningKeysUnusable(
            f"{path} holds no key. Restore it from a copy, or remove it to get a new one."
        )
    old_path = folder / OLD_KEYS_FILE
    old = _read(old_path, read_old_signing_keys) if old_path.exists() else []
    return SigningKeys(
        tuple(Signer(server_name, key) for key in keys),
        {f"{key.alg}:{key.version}": OldKey(key, key.expired) for key in old},
    )


def rotate(folder: Path, server_name: ServerName, entropy: Entropy, now_ms: int) -> SigningKeys:
    """Sign with a new key from the next start on; those of before become old ones that ended at `now_ms`.

    The old keys are written first: a crash in between leaves every key published.
    """
    before = load_or_create(folder, server_name, entropy)
    old_path = folder / OLD_KEYS_FILE
    kept = old_path.read_text(encoding="ascii") if old_path.exists() else ""
    for key_id, key in before.verify_keys().items():
        algorithm, _, version = key_id.partition(":")
        kept += f"{algorithm} {version} {now_ms} {encode_base64(key.encode())}\n"
    _write(old_path, kept)
    _write(folder / KEY_FILE, _line(generate_key(entropy)))
    return load_or_create(folder, server_name, entropy)


def _line(key: SigningKey) -> str:
    return f"{key.alg} {key.version} {encode_signing_key_base64(key)}\n"


def _read(path: Path, parse: Any) -> Any:
    try:
        text = path.read_text(encoding="ascii")
        return parse([line for line in text.splitlines() if line.strip()])
    except OSError as error:
        raise SigningKeysUnusable(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # what the parser raises depends on which part of a line is wrong
        raise SigningKeysUnusable(
            f"{path} holds a line that is no signing key. Restore it from a copy."
        ) from error


def _write(path: Path, text: str) -> None:
    """Replace a file whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
