"""The rooms once more, in which nothing happens: who would send an event learns what the rules say of it."""

from __future__ import annotations

from collections.abc import Sequence

from minihs.events.event import Event
from minihs.homeserver.rooms.building import Judged
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.rooms.service import Rooms
from minihs.store.along import Also


class Rehearsed(Exception):
    """An event came as far as the auth rules; nothing was stored."""

    def __init__(self, judged: Judged) -> None:
        super().__init__(f"{judged.event.type} came as far as the auth rules")
        self.judged = judged


class RehearsedRooms(Rooms):
    """Reads as the rooms do; a send ends with `Rehearsed` where it would be decided.

    Give it, in place of the rooms, to those who check and rewrite what users send: they then do just that.
    """

    async def send_all(self, drafts: Sequence[EventDraft], *, also: Also | None = None) -> list[Event]:  # noqa: ARG002
        """Ends with the verdict on the first event."""
        raise Rehearsed(await self.judged(drafts[0]))
