"""Puts `/sync` and what belongs to it together: the one place that knows the order in which it is made."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.history.event_format import EventFormat
from minihs.homeserver.history.event_visibility import EventVisibility, Sight
from minihs.homeserver.history.events_by_time import (
    EventsByTime,
    FetchTowards,
    no_history_towards,
)
from minihs.homeserver.history.recent_events import RecentEvents
from minihs.homeserver.history.relations import RelatedEvents
from minihs.homeserver.history.room_history import RoomHistory
from minihs.homeserver.history.threads import Threads
from minihs.homeserver.history.timeline import FetchHistory, RoomTimeline, no_history
from minihs.homeserver.rooms.opening import RoomService
from minihs.homeserver.sync.ephemeral import Ephemeral
from minihs.homeserver.sync.feed import SyncFeed
from minihs.homeserver.sync.lazy_members import LazyMembers
from minihs.homeserver.sync.model import SyncPart
from minihs.homeserver.sync.notifier import Notifier
from minihs.homeserver.sync.plan import RoomPlanner
from minihs.homeserver.sync.private_data import PrivateData
from minihs.homeserver.sync.receipts import Receipts
from minihs.homeserver.sync.room_entries import RoomEntries
from minihs.homeserver.sync.room_section import RoomSections
from minihs.homeserver.sync.room_state import RoomStateReader
from minihs.homeserver.sync.service import Sync
from minihs.homeserver.sync.stripped import StrippedRooms
from minihs.homeserver.sync.typing import PublishEdu, Typing
from minihs.homeserver.sync.user_rooms import UserRooms
from minihs.platform.clock import Clock
from minihs.store.account_data import AccountDataStore
from minihs.store.memberships import MembershipStore
from minihs.store.reader import Reader
from minihs.store.receipts import ReceiptStore
from minihs.store.relations import RelationStore
from minihs.store.streams import Stream
from minihs.store.timeline import TimelineStore
from minihs.store.writer import Writer


class SyncService(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoints and the other parts of the server use.

    `feed` observes the rooms, and hears of memberships that are written otherwise; `notifier` wakes users
    whose account data changed; `typing` and `receipts` take EDUs.
    """

    sync: Sync
    feed: SyncFeed
    notifier: Notifier
    timeline: RoomTimeline
    events_by_time: EventsByTime
    related: RelatedEvents
    threads: Threads
    event_format: EventFormat
    typing: Typing
    receipts: Receipts

    def stop(self) -> None:
        """Answer the long polls and end the timers."""
        self.notifier.release_all()
        self.typing.stop()


async def open_sync_service(
    *,
    reader: Reader,
    writer: Writer,
    clock: Clock,
    room_service: RoomService,
    account_data_stream: Stream,
    publish_edu: PublishEdu,
    fetch_history: FetchHistory = no_history,
    fetch_towards: FetchTowards = no_history_towards,
    parts: Sequence[SyncPart] = (),
    sight: Sight | None = None,
) -> SyncService:
    """The sync service over a database, following the rooms from now on."""
    rooms, events = room_service.rooms, room_service.events
    timeline_store = TimelineStore(reader)
    receipt_store = ReceiptStore(reader)
    recent = RecentEvents(room_service.stream.current)
    notifier = Notifier(clock)
    user_rooms = UserRooms(timeline_store, is_listening=notifier.is_listening)
    visibility = EventVisibility(timeline_store, events, recent, sight)
    history = RoomHistory(timeline_store, events, recent, visibility)
    event_format = EventFormat(events, clock)
    feed = SyncFeed(
        stream=room_service.stream,
        recent=recent,
        user_rooms=user_rooms,
        visibility=visibility,
        notifier=notifier,
    )

    is_joined = MembershipStore(reader).is_joined
    typing = Typing(clock, is_joined=is_joined, publish_edu=publish_edu, wake_room=feed.wake_room)
    receipts = Receipts(
        store=receipt_store,
        events=events,
        writer=writer,
        stream=Stream(await receipt_store.current()),
        clock=clock,
        is_joined=is_joined,
        publish_edu=publish_edu,
        wake_room=feed.wake_room,
        wake_user=lambda user_id: notifier.wake((user_id,)),
    )
    feed.end_typing_in(typing)
    account_data_store = AccountDataStore(reader)
    private_data = PrivateData(account_data_store, account_data_stream)
    ephemeral = Ephemeral(typing, receipts, receipt_store)
    entries = RoomEntries(
        recent=recent,
        timeline=timeline_store,
        planner=RoomPlanner(history, events, visibility),
        sections=RoomSections(
            history=history,
            states=RoomStateReader(rooms, timeline_store),
            timeline=timeline_store,
            events=events,
            event_format=event_format,
        ),
        stripped=StrippedRooms(rooms, events),
        private_data=private_data,
        invite_permission=InvitePermission(account_data_store),
        ephemeral=ephemeral,
        lazy_members=LazyMembers(),
    )
    sync = Sync(
        clock=clock,
        notifier=notifier,
        recent=recent,
        user_rooms=user_rooms,
        entries=entries,
        private_data=private_data,
        ephemeral=ephemeral,
        parts=parts,
    )
    timeline = RoomTimeline(
        rooms=rooms,
        history=history,
        timeline=timeline_store,
        events=events,
        visibility=visibility,
        event_format=event_format,
        position=lambda: feed.position,
        fetch_history=fetch_history,
    )
    rooms.observe(feed)
    return SyncService(
        sync=sync,
        feed=feed,
        notifier=notifier,
        timeline=timeline,
        related=RelatedEvents(
            store=RelationStore(reader),
            timeline=timeline,
            history=history,
            visibility=visibility,
            event_format=event_format,
        ),
        threads=Threads(
            store=RelationStore(reader),
            timeline=timeline,
            history=history,
            visibility=visibility,
            event_format=event_format,
            ignored_users=private_data.ignored_users,
        ),
        events_by_time=EventsByTime(
            timeline=timeline,
            store=timeline_store,
            events=events,
            history=history,
            visibility=visibility,
            fetch_towards=fetch_towards,
        ),
        event_format=event_format,
        typing=typing,
        receipts=receipts,
    )
