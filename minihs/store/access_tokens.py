"""Access tokens, as the `access_tokens` table has them: hashed, each of one user and device."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.ids import DeviceID, UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class TokenRow(msgspec.Struct, frozen=True):
    """Whom a token belongs to, with the account's standing."""

    user_id: UserID
    device_id: DeviceID
    is_guest: bool
    is_admin: bool
    is_locked: bool
    is_suspended: bool


class AccessTokenStore:
    """Reads and writes of `access_tokens`; callers hash."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def maybe_token(self, token_hash: bytes) -> TokenRow | None:
        """The owner of a token of an active account; None when there is none."""
        row = await self._reader.maybe(
            "SELECT user_id, device_id, is_guest, is_admin, is_locked, is_suspended"
            " FROM access_tokens JOIN users USING (user_id)"
            " WHERE token_hash = ? AND deactivated_ms IS NULL",
            (token_hash,),
        )
        if row is None:
            return None
        user_id, device_id, *flags = row
        return TokenRow(user_id, device_id, *map(bool, flags))

    def add_token(
        self, batch: Batch, token_hash: bytes, user_id: UserID, device_id: DeviceID, now_ms: int
    ) -> None:
        batch.add(
            "INSERT INTO access_tokens (token_hash, user_id, device_id, created_ms) VALUES (?, ?, ?, ?)",
            (token_hash, user_id, device_id, now_ms),
        )

    def remove_of_devices(self, batch: Batch, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        for device_id in device_ids:
            batch.add("DELETE FROM access_tokens WHERE user_id = ? AND device_id = ?", (user_id, device_id))

    def remove_all(self, batch: Batch, user_id: UserID) -> None:
        batch.add("DELETE FROM access_tokens WHERE user_id = ?", (user_id,))
