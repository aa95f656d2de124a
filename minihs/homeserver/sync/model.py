"""What a sync is asked, and the seam through which other streams contribute to its reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.history.event_filter import EVERYTHING, Filter
from minihs.homeserver.sync.positions import EVENTS, StreamToken
from minihs.store.timeline import MembershipRecord


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One `GET /sync`. `since` is None for an initial sync; `filter_keys` is the filter as it came."""

    user_id: UserID
    device_id: str | None
    since: StreamToken | None = None
    filter: Filter = EVERYTHING
    filter_keys: Mapping[str, Any] = msgspec.field(default_factory=dict)
    full_state: bool = False
    use_state_after: bool = False
    timeout_ms: int = 0


class Moment(msgspec.Struct, frozen=True):
    """One consistent view: the `token` that ends this sync, and the user's rooms at that time.

    `after` says where the client is in each stream; None: nowhere yet. `newest_membership` is the position of
    the last change of any of the user's memberships.
    """

    request: SyncRequest
    token: StreamToken
    rooms: Mapping[RoomID, MembershipRecord]
    after: Mapping[str, int] | None
    newest_membership: int

    @property
    def memberships_changed(self) -> bool:
        """Whether any of the user's memberships is new to the client."""
        return self.after is None or self.newest_membership > self.after[EVENTS]

    def span(self, stream: str) -> tuple[int | None, int]:
        """(after, upto) of a stream; `after` is None in an initial sync."""
        return (None if self.after is None else self.after[stream]), self.token[stream]


class SyncPart(Protocol):
    """A stream of its own that has something to say in `/sync`, under top-level keys of its own.

    Whoever moves the stream wakes the users concerned (`Notifier.wake`) once the new position is durable.
    """

    stream: str
    """The stream's name in tokens: one to eight lower-case letters, unlike those in `positions`."""

    def position(self) -> int:
        """The position up to which everything is durable."""

    async def keys(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        """The top-level keys to add for what lies in (after, upto], empty when there is nothing to say; and
        the position up to which they tell, before `upto` when the rest is left to the next reply.

        `after` is None in an initial sync; 0 for a token from before the stream existed.
        """
