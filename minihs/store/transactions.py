"""Replies to client requests that carried a transaction ID, so that a repeat gets the same one."""

from __future__ import annotations

from typing import NamedTuple

from minihs.events.ids import UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class TransactionKey(NamedTuple):
    """What makes a request the same request: who sent it, from which device, where to, with which ID.

    `scope` is the path without the transaction ID, the room included, in one spelling of those it has.
    """

    user_id: UserID
    device_id: str
    scope: str
    txn_id: str


class TransactionStore:
    """Reads and adds replies."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_reply(self, key: TransactionKey) -> bytes | None:
        """The stored reply, JSON."""
        row = await self._reader.maybe(
            "SELECT reply FROM transactions WHERE user_id = ? AND device_id = ? AND scope = ? AND txn_id = ?",
            tuple(key),
        )
        return None if row is None else bytes(row[0])

    def add_reply(self, batch: Batch, key: TransactionKey, reply: bytes, created_ms: int) -> None:
        """Store the reply, with whatever else the request did."""
        batch.add(
            "INSERT INTO transactions (user_id, device_id, scope, txn_id, reply, created_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*key, reply, created_ms),
        )

    def prune(self, batch: Batch, before_ms: int, at_most: int) -> None:
        """Drop the oldest of those made before `before_ms`."""
        batch.add(
            "DELETE FROM transactions WHERE (user_id, device_id, scope, txn_id) IN ("
            " SELECT user_id, device_id, scope, txn_id FROM transactions WHERE created_ms < ?"
            " ORDER BY created_ms LIMIT ?)",
            (before_ms, at_most),
        )
