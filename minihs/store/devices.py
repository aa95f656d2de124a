"""Devices of local users, as the `devices` table has them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.events.ids import DeviceID, UserID
from minihs.store.reader import Reader
from minihs.store.writer import Batch


class DeviceRow(msgspec.Struct, frozen=True):
    """One device."""

    user_id: UserID
    device_id: DeviceID
    display_name: str | None
    last_seen_ms: int
    last_seen_ip: str


_COLUMNS = "user_id, device_id, display_name, last_seen_ms, last_seen_ip"


class DeviceStore:
    """Reads and writes of `devices`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def all_devices(self, user_id: UserID) -> Sequence[DeviceRow]:
        """The user's devices, by device ID."""
        rows = await self._reader.all(
            f"SELECT {_COLUMNS} FROM devices WHERE user_id = ? ORDER BY device_id", (user_id,)
        )
        return [DeviceRow(*row) for row in rows]

    async def maybe_device(self, user_id: UserID, device_id: DeviceID) -> DeviceRow | None:
        """The device; None when the user has none of that name."""
        row = await self._reader.maybe(
            f"SELECT {_COLUMNS} FROM devices WHERE user_id = ? AND device_id = ?", (user_id, device_id)
        )
        return None if row is None else DeviceRow(*row)

    def put_device(
        self,
        batch: Batch,
        user_id: UserID,
        device_id: DeviceID,
        display_name: str | None,
        *,
        address: str,
        now_ms: int,
    ) -> None:
        """Add the device, seen just now; one that is there already keeps its name."""
        batch.add(
            "INSERT INTO devices (user_id, device_id, display_name, created_ms, last_seen_ms, last_seen_ip)"
            " VALUES (?1, ?2, ?3, ?4, ?4, ?5) ON CONFLICT DO UPDATE"
            " SET last_seen_ms = excluded.last_seen_ms, last_seen_ip = excluded.last_seen_ip",
            (user_id, device_id, display_name, now_ms, address),
        )

    def rename(self, batch: Batch, user_id: UserID, device_id: DeviceID, display_name: str) -> None:
        batch.add(
            "UPDATE devices SET display_name = ? WHERE user_id = ? AND device_id = ?",
            (display_name, user_id, device_id),
        )

    def touch(
        self,
        batch: Batch,
        user_id: UserID,
        device_id: DeviceID,
        *,
        address: str,
        user_agent: str,
        now_ms: int,
    ) -> None:
        """The device was used."""
        batch.add(
            "UPDATE devices SET last_seen_ms = ?, last_seen_ip = ?, last_seen_user_agent = ?"
            " WHERE user_id = ? AND device_id = ?",
            (now_ms, address, user_agent, user_id, device_id),
        )

    def remove(self, batch: Batch, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        """Remove those of the devices that are there."""
        for device_id in device_ids:
            batch.add("DELETE FROM devices WHERE user_id = ? AND device_id = ?", (user_id, device_id))

    def remove_all(self, batch: Batch, user_id: UserID) -> None:
        batch.add("DELETE FROM devices WHERE user_id = ?", (user_id,))
