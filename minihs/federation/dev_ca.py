"""A throwaway certificate authority and certificates of its own, for demos, tests and laboratories.

Never for a real server: whoever has the folder can be anybody. Made with trustme, which is imported only when
it is used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from minihs.events.ids import split_server_name

if TYPE_CHECKING:
    import trustme

CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca.key"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class DevCaUnusable(Exception):
    """The folder's authority cannot be used; the message says why."""


class Certificate(msgspec.Struct, frozen=True):
    """The files of one certificate: what `--tls-certificate` and `--tls-private-key` take."""

    certificate: Path
    private_key: Path


class DevCa:
    """The authority in a folder; made there when there is none."""

    def __init__(self, folder: Path) -> None:
        """Raises DevCaUnusable."""
        self.folder = folder
        self._authority = self._load() or self._make()

    @property
    def certificate(self) -> Path:
        """What the others have to trust: `--federation-ca-file`."""
        return self.folder / CA_CERTIFICATE

    def issue(self, file_name: str, names: Sequence[str]) -> Certificate:
        """A certificate for DNS names and IP addresses (without ports; IPv6 without brackets).

        Written to `<file_name>.pem` (the chain) and `<file_name>.key`.
        """
        made = self._authority.issue_cert(*names)
        files = Certificate(self.folder / f"{file_name}.pem", self.folder / f"{file_name}.key")
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        _write_private(files.private_key, made.private_key_pem.bytes())
        return files

    def _load(self) -> trustme.CA | None:
        import trustme

        key = self.folder / CA_KEY
        if not (self.certificate.exists() and key.exists()):
            return None
        try:
            return trustme.CA.from_pem(self.certificate.read_bytes(), key.read_bytes())
        except (OSError, ValueError) as error:
            raise DevCaUnusable(
                f"{self.folder} holds an authority that cannot be read: {error}. Remove {CA_CERTIFICATE} and "
                f"{CA_KEY} to get a new one."
            ) from error

    def _make(self) -> trustme.CA:
        import trustme

        authority = trustme.CA(organization_name="minihs development", organization_unit_name="throwaway")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate.write_bytes(authority.cert_pem.bytes())
        _write_private(self.folder / CA_KEY, authority.private_key_pem.bytes())
        return authority


def names_of(server_names: Sequence[str]) -> list[str]:
    """What a certificate for these servers must name: their hosts, and loopback's names. Without repeats."""
    hosts = [split_server_name(name)[0] for name in server_names]
    return list(
        dict.fromkeys([*(host.removeprefix("[").removesuffix("]") for host in hosts), *LOOPBACK_NAMES])
    )


def _write_private(path: Path, contents: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(contents)
