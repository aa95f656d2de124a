"""Which members' events a client holds already, so that lazy loading does not repeat them.

In memory only: after a restart, or with a token that was not the last, members are simply sent again.
Source: Client-Server API, "Lazy-loading room members".
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.sync.positions import StreamToken
from minihs.store.cache import LruCache

MAX_DEVICES = 5_000
MAX_REMEMBERED = 20_000  # members of one device over all its rooms; beyond, it starts afresh

Device = tuple[UserID, str | None]
Members = dict[RoomID, dict[UserID, EventID]]


class _Knowledge(msgspec.Struct):
    """What a device knows when it comes with `token`, and what the reply with `next_token` adds."""

    token: StreamToken | None = None
    held: Members = msgspec.field(default_factory=dict)
    next_token: StreamToken | None = None
    added: Members = msgspec.field(default_factory=dict)
    count: int = 0


class LazyMembers:
    """Follows each device from reply to reply.

    A reply may be lost: what was sent with it counts only once the device comes back with its token.
    """

    def __init__(self, max_devices: int = MAX_DEVICES) -> None:
        self._devices: LruCache[Device, _Knowledge] = LruCache(max_devices)

    def held(self, device: Device, since: StreamToken | None) -> Mapping[RoomID, Mapping[UserID, EventID]]:
        """The member events that a device with the token `since` has been sent, by room and member."""
        known = self._devices.get(device)
        if known is None or since is None:
            known = _Knowledge(token=since)
            self._devices.put(device, known)
        elif since == known.next_token:
            for room_id, members in known.added.items():
                held = known.held.setdefault(room_id, {})
                known.count += len(members)
                held.update(members)
            known.token = since
        elif since != known.token or known.count > MAX_REMEMBERED:
            known.held, known.count, known.token = {}, 0, since
        known.next_token, known.added = None, {}
        return known.held

    def sent(self, device: Device, next_batch: StreamToken, members: Members) -> None:
        """A reply with this token and these member events is on its way to the device."""
        known = self._devices.get(device)
        if known is not None:
            known.next_token, known.added = next_batch, members
