"""A user's devices: listing, naming, removing. Source: client-server API, "Device Management"."""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.ids import DeviceID, UserID
from minihs.homeserver.accounts.sessions import Sessions, check_display_name
from minihs.homeserver.errors import NotFound
from minihs.store.devices import DeviceRow, DeviceStore
from minihs.store.writer import Batch, Writer


class Devices:
    """Devices of local users. Removing one ends its session."""

    def __init__(self, store: DeviceStore, writer: Writer, sessions: Sessions) -> None:
        self._store = store
        self._writer = writer
        self._sessions = sessions

    async def all_devices(self, user_id: UserID) -> Sequence[DeviceRow]:
        """The user's devices, by device ID."""
        return await self._store.all_devices(user_id)

    async def device(self, user_id: UserID, device_id: str) -> DeviceRow:
        """One device; NotFound when the user has none of that name."""
        row = await self._store.maybe_device(user_id, DeviceID(device_id))
        if row is None:
            raise NotFound("You have no device with this ID.")
        return row

    async def rename(self, user_id: UserID, device_id: str, display_name: str | None) -> None:
        """Give the device another name; None keeps the one it has. NotFound, InvalidParam."""
        device = await self.device(user_id, device_id)
        if display_name is None:
            return
        check_display_name(display_name)
        batch = Batch()
        self._store.rename(batch, user_id, device.device_id, display_name)
        await self._writer.submit(batch)

    async def remove(self, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        """Remove devices and log them out; those that are not there are passed over."""
        await self._sessions.end(user_id, device_ids)
