"""Accounts of this server, as the `users` table has them. What may be done to them is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from minihs.events.ids import UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class UserRow(msgspec.Struct, frozen=True):
    """One account."""

    user_id: UserID
    password_hash: str | None
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool
    deactivated_ms: int | None
    created_ms: int

    @property
    def is_deactivated(self) -> bool:
        return self.deactivated_ms is not None


_COLUMNS = "user_id, password_hash, is_guest, is_admin, is_locked, is_suspended, deactivated_ms, created_ms"


def _row(values: tuple[Any, ...]) -> UserRow:
    user_id, password_hash, is_guest, is_admin, is_locked, is_suspended, deactivated_ms, created_ms = values
    return UserRow(
        user_id,
        password_hash,
        bool(is_guest),
        bool(is_admin),
        bool(is_locked),
        bool(is_suspended),
        deactivated_ms,
        created_ms,
    )


class UserStore:
    """Reads and writes of `users`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_user(self, user_id: UserID) -> UserRow | None:
        """The account, deactivated or not; None when there never was one of that name."""
        row = await self._reader.maybe(f"SELECT {_COLUMNS} FROM users WHERE user_id = ?", (user_id,))
        return None if row is None else _row(row)

    async def all_users(self, after: str = "", limit: int = 1000) -> Sequence[UserRow]:
        """Up to `limit` accounts whose IDs come after `after`, by user ID."""
        rows = await self._reader.all(
            f"SELECT {_COLUMNS} FROM users WHERE user_id > ? ORDER BY user_id LIMIT ?", (after, limit)
        )
        return [_row(row) for row in rows]

    def add_user(
        self,
        batch: Batch,
        user_id: UserID,
        password_hash: str | None,
        *,
        is_guest: bool,
        is_admin: bool,
        now_ms: int,
    ) -> None:
        """A new account; the batch fails when there is one of that name."""
        batch.add(
            "INSERT INTO users (user_id, password_hash, is_guest, is_admin, created_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            (user_id, password_hash, int(is_guest), int(is_admin), now_ms),
        )

    def set_password(self, batch: Batch, user_id: UserID, password_hash: str | None) -> None:
        batch.add("UPDATE users SET password_hash = ? WHERE user_id = ?", (password_hash, user_id))

    def set_admin(self, batch: Batch, user_id: UserID, is_admin: bool) -> None:
        batch.add("UPDATE users SET is_admin = ? WHERE user_id = ?", (int(is_admin), user_id))

    def set_locked(self, batch: Batch, user_id: UserID, is_locked: bool) -> None:
        batch.add("UPDATE users SET is_locked = ? WHERE user_id = ?", (int(is_locked), user_id))

    def set_suspended(self, batch: Batch, user_id: UserID, is_suspended: bool) -> None:
        batch.add("UPDATE users SET is_suspended = ? WHERE user_id = ?", (int(is_suspended), user_id))

    def deactivate(self, batch: Batch, user_id: UserID, now_ms: int) -> None:
        """End the account: the password goes, the name stays taken."""
        batch.add(
            "UPDATE users SET password_hash = NULL, is_admin = 0, deactivated_ms = ? WHERE user_id = ?",
            (now_ms, user_id),
        )
