"""A sync service over rooms on a database in memory, and a client that keeps what its syncs told it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.history.event_filter import EVERY_ROOM_EVENT, parse_filter, raw_keys
from minihs.homeserver.history.event_format import Reader
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.sync import SyncPart, SyncRequest
from minihs.homeserver.sync.opening import SyncService, open_sync_service
from minihs.homeserver.sync.positions import StreamToken
from minihs.store.account_data import AccountDataStore
from minihs.store.streams import Stream
from minihs.store.writer import Batch
from tests.support.deferreds import start
from tests.support.room_service import RoomServer


class SyncServer(RoomServer):
    """A room server with `/sync` and its neighbours."""

    def __init__(self, server_name: str = "hs1", *, parts: Sequence[SyncPart] = ()) -> None:
        super().__init__(server_name)
        self.parts = parts
        self.edus: list[tuple[RoomID, Mapping[str, Any]]] = []
        self.account_data = AccountDataStore(self.database.reader)
        self.syncs = self.open_sync()

    def open_sync(self) -> SyncService:
        self.account_data_stream = Stream(self.run(self.account_data.max_position()))
        self.syncs = self.run(
            open_sync_service(
                reader=self.database.reader,
                writer=self.writer,
                clock=self.clock,
                room_service=self.service,
                account_data_stream=self.account_data_stream,
                publish_edu=lambda room_id, edu: self.edus.append((room_id, edu)),
                parts=self.parts,
            )
        )
        return self.syncs

    def restart(self) -> None:
        """A new process over the same database."""
        self.syncs.stop()
        self.open()
        self.open_sync()

    def join(self, room_id: RoomID, user: str, membership: str = "join", by: str | None = None) -> EventID:
        """Set a membership; `by` acts when it is not the user."""
        return self.send(
            room_id, by or user, "m.room.member", state_key=user, content={"membership": membership}
        ).event_id

    def say(self, room_id: RoomID, sender: str, body: str = "hello") -> EventID:
        """Send a message."""
        return self.send(room_id, sender, content={"msgtype": "m.text", "body": body}).event_id

    def draft(self, room_id: RoomID, sender: str, body: str) -> EventDraft:
        """A message that is not sent yet."""
        content = {"msgtype": "m.text", "body": body}
        return EventDraft(room_id=room_id, sender=UserID(sender), type="m.room.message", content=content)

    def set_account_data(
        self, user: str, type_: str, content: Mapping[str, Any], room: RoomID | None = None
    ) -> None:
        """Store an entry and wake its user."""
        position = self.account_data_stream.allocate()
        batch = Batch()
        self.account_data.put(batch, UserID(user), room, type_, msgspec.json.encode(content), position)

        async def store() -> None:
            await self.writer.submit(batch)

        self.run(store())
        self.account_data_stream.committed(position)
        self.syncs.notifier.wake([UserID(user)])


@dataclass
class Client:
    """A user's device. `sync` goes on from the last token unless it is told otherwise."""

    server: SyncServer
    user_id: str = "@alice:hs1"
    device_id: str = "PHONE"
    filter: Mapping[str, Any] = field(default_factory=dict)
    token: str | None = None

    def request(self, **changes: Any) -> SyncRequest:
        """The request that `sync` would make."""
        since = changes.pop("since", self.token)
        text = msgspec.json.encode(changes.pop("filter", self.filter)).decode()
        return SyncRequest(
            user_id=UserID(self.user_id),
            device_id=self.device_id,
            since=None if since is None else StreamToken.parse(since),
            filter=parse_filter(text),
            filter_keys=raw_keys(text),
            **changes,
        )

    def sync(self, **changes: Any) -> dict[str, Any]:
        """The reply as JSON has it; its token is kept."""
        reply = plain(self.server.run(self.server.syncs.sync.sync(self.request(**changes))))
        self.token = reply["next_batch"]
        return reply

    def start_sync(self, timeout_ms: int = 30_000, **changes: Any) -> Deferred[dict[str, Any]]:
        """A long poll that is under way."""
        return start(self.server.syncs.sync.sync(self.request(timeout_ms=timeout_ms, **changes)))

    @property
    def reader(self) -> Reader:
        return Reader(UserID(self.user_id), self.device_id)

    def messages(
        self,
        room_id: RoomID,
        *,
        start: str | None = None,
        stop: str | None = None,
        backwards: bool = True,
        limit: int = 100,
    ) -> dict[str, Any]:
        """A page of history."""
        return plain(
            self.server.run(
                self.server.syncs.timeline.messages(
                    self.reader,
                    room_id,
                    backwards=backwards,
                    start=None if start is None else StreamToken.parse(start),
                    stop=None if stop is None else StreamToken.parse(stop),
                    limit=limit,
                    event_filter=EVERY_ROOM_EVENT,
                )
            )
        )


def plain(value: Any) -> Any:
    """The value as a client would decode it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def joined(reply: Mapping[str, Any], room_id: str) -> dict[str, Any]:
    """The entry of a joined room; empty when there is none."""
    return reply.get("rooms", {}).get("join", {}).get(room_id, {})


def timeline_ids(entry: Mapping[str, Any]) -> list[str]:
    """The ids of the events in an entry's timeline."""
    return [event["event_id"] for event in entry.get("timeline", {}).get("events", [])]


def bodies(entry: Mapping[str, Any]) -> list[str]:
    """What the messages in an entry's timeline say."""
    events = entry.get("timeline", {}).get("events", [])
    return [event["content"]["body"] for event in events if "body" in event["content"]]


def state_of(entry: Mapping[str, Any], section: str = "state") -> dict[tuple[str, str], Any]:
    """The contents in an entry's state, by key."""
    events = entry.get(section, {}).get("events", [])
    return {(event["type"], event["state_key"]): event["content"] for event in events}
