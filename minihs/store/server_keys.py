"""Signing keys of other servers: what was fetched, and until when it is good.

Whether a key may be used for something is for `federation.keyring` to judge.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.ids import ServerName
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class ServerKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One key; times are wall clock milliseconds."""

    server_name: ServerName
    key_id: str
    public_key: str
    valid_until_ms: int
    is_old: bool
    fetched_ms: int


class KeyDocumentRow(msgspec.Struct, frozen=True, kw_only=True):
    """The last good `/_matrix/key/v2/server` answer of one server, as JSON."""

    server_name: ServerName
    document: bytes
    valid_until_ms: int
    fetched_ms: int


class ServerKeyStore:
    """Reads and writes of `server_keys` and `server_key_documents`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def all_keys(self, server_name: ServerName) -> Sequence[ServerKeyRow]:
        """Every key known of this server, by key ID."""
        rows = await self._reader.all(
            "SELECT key_id, public_key, valid_until_ms, is_old, fetched_ms FROM server_keys"
            " WHERE server_name = ? ORDER BY key_id",
            (server_name,),
        )
        return [
            ServerKeyRow(
                server_name=server_name,
                key_id=key_id,
                public_key=public_key,
                valid_until_ms=valid_until_ms,
                is_old=bool(is_old),
                fetched_ms=fetched_ms,
            )
            for key_id, public_key, valid_until_ms, is_old, fetched_ms in rows
        ]

    async def maybe_document(self, server_name: ServerName) -> KeyDocumentRow | None:
        """The last good answer of this server; None when there never was one."""
        row = await self._reader.maybe(
            "SELECT document, valid_until_ms, fetched_ms FROM server_key_documents WHERE server_name = ?",
            (server_name,),
        )
        if row is None:
            return None
        document, valid_until_ms, fetched_ms = row
        return KeyDocumentRow(
            server_name=server_name, document=document, valid_until_ms=valid_until_ms, fetched_ms=fetched_ms
        )

    def put_key(self, batch: Batch, row: ServerKeyRow) -> None:
        """Store a key, or what is newly known of it."""
        batch.add(
            "INSERT OR REPLACE INTO server_keys"
            " (server_name, key_id, public_key, valid_until_ms, is_old, fetched_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                row.server_name,
                row.key_id,
                row.public_key,
                row.valid_until_ms,
                int(row.is_old),
                row.fetched_ms,
            ),
        )

    def put_document(self, batch: Batch, row: KeyDocumentRow) -> None:
        """Store a server's answer in place of the one before."""
        batch.add(
            "INSERT OR REPLACE INTO server_key_documents"
            " (server_name, document, valid_until_ms, fetched_ms) VALUES (?, ?, ?, ?)",
            (row.server_name, row.document, row.valid_until_ms, row.fetched_ms),
        )
