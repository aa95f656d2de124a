"""The Synapse of the tests, which `scripts/interop-environment synapse` installs into `.venvs/synapse`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from signedjson.key import (
    encode_verify_key_base64,
    generate_signing_key,
    get_verify_key,
    read_signing_keys,
    write_signing_keys,
)

from minihs.lab.real import synapse_process

PYTHON = Path(__file__).parents[2] / ".venvs" / "synapse" / "bin" / "python"


@dataclass(kw_only=True)
class SynapseProcess(synapse_process.SynapseProcess):
    """One Synapse of the tests' environment."""

    python: Path = PYTHON

    def rotate_key(self) -> None:
        """Sign with a new key from the next start on; the old one is published as one that has ended."""
        key_file, config = self.folder / "signing.key", self.folder / "homeserver.yaml"
        with key_file.open() as file:
            (old,) = read_signing_keys(file)
        with key_file.open("w") as file:
            write_signing_keys(file, [generate_signing_key(f"{old.version}x")])
        settings = yaml.safe_load(config.read_text())
        settings.setdefault("old_signing_keys", {})[f"ed25519:{old.version}"] = {
            "key": encode_verify_key_base64(get_verify_key(old)),
            "expired_ts": time.time_ns() // 1_000_000,
        }
        config.write_text(yaml.safe_dump(settings))
