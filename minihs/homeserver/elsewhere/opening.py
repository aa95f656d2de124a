"""Puts inbound federation together from its parts: the one place that knows in which order they are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from minihs.events.ids import RoomID, ServerName, UserID
from minihs.events.signatures import Signer
from minihs.federation.admission import Admission, Keys
from minihs.federation.gaps import Gaps
from minihs.federation.inbound import InboundEvents
from minihs.federation.outliers import Outliers
from minihs.federation.remote_lookups import RemoteLookups
from minihs.federation.remote_rooms import Client, RemoteRooms
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.elsewhere.backfill import Backfill
from minihs.homeserver.elsewhere.distant_rooms import DistantRooms
from minihs.homeserver.elsewhere.distant_times import DistantTimes
from minihs.homeserver.elsewhere.edus import InboundEDUs, TakeEDU
from minihs.homeserver.elsewhere.inbound_rooms import InboundRooms
from minihs.homeserver.elsewhere.inbound_transactions import WAITING_IN_ROOM, InboundTransactions
from minihs.homeserver.elsewhere.invited import InvitedServer
from minihs.homeserver.elsewhere.remote_membership import RemoteMemberships
from minihs.homeserver.elsewhere.resident import ResidentServer
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.elsewhere.serving import RoomServing
from minihs.homeserver.elsewhere.serving_spaces import SpaceServing
from minihs.homeserver.errors import UnknownRoom
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.rooms.opening import RoomService
from minihs.platform.clock import Clock
from minihs.platform.lanes import Lanes
from minihs.platform.workers import Workers
from minihs.rooms.judge import THE_RULES, Judge
from minihs.store.account_data import AccountDataStore
from minihs.store.distant_rooms import DistantRoomStore
from minihs.store.history import HistoryStore
from minihs.store.inbound import InboundStore
from minihs.store.memberships import MembershipStore
from minihs.store.reader import Reader
from minihs.store.rooms import RoomStore
from minihs.store.timeline import TimelineStore
from minihs.store.writer import Writer


class InboundFederation(msgspec.Struct, frozen=True, kw_only=True):
    """What answers other servers, and what asks them about rooms. `transactions` has a `start()`; `admission`
    and `events` are what its PDUs go through, for those who get a PDU in another way."""

    admission: Admission
    events: InboundEvents
    transactions: InboundTransactions
    resident: ResidentServer
    invited: InvitedServer
    serving: RoomServing
    spaces: SpaceServing
    remote_memberships: RemoteMemberships
    backfill: Backfill
    distant_times: DistantTimes
    lookups: RemoteLookups
    acls: ServerACLs


def make_inbound_federation(
    *,
    signer: Signer,
    clock: Clock,
    workers: Workers,
    reader: Reader,
    writer: Writer,
    room_service: RoomService,
    client: Client,
    keys: Keys,
    restricted_joins: RestrictedJoins,
    summaries: RoomSummaries,
    typing_edu: TakeEDU,
    receipts_edu: TakeEDU,
    has_account: Callable[[UserID], Awaitable[bool]],
    membership_changed: Callable[[UserID], None],
    judge: Judge = THE_RULES,
) -> InboundFederation:
    """Inbound federation over the room service; nothing is started.

    `membership_changed(user_id)` is called when an invite or knock in a room elsewhere has become durable or
    has ended, which no observer of rooms hears of.
    """
    rooms = room_service.rooms
    acls = ServerACLs(rooms)
    remote, lookups, history = RemoteRooms(client), RemoteLookups(client), HistoryStore(reader)
    admission = Admission(keys, workers)
    receiver = InboundRooms(rooms)
    outliers = Outliers(remote=remote, admission=admission, receiver=receiver, workers=workers, judge=judge)
    gaps = Gaps(clock=clock, remote=remote, admission=admission, outliers=outliers, receiver=receiver)
    inbound = InboundEvents(
        receiver=receiver, outliers=outliers, gaps=gaps, lanes=Lanes(WAITING_IN_ROOM), judge=judge
    )
    serving = RoomServing(clock=clock, rooms=rooms, acls=acls, timeline=TimelineStore(reader))
    distant_rooms = DistantRooms(
        writer=writer,
        stream=room_service.stream,
        rooms=RoomStore(reader),
        memberships=MembershipStore(reader),
        distant_rooms=DistantRoomStore(reader),
        changed=membership_changed,
    )
    remote_memberships = RemoteMemberships(
        signer=signer,
        clock=clock,
        rooms=rooms,
        distant_rooms=distant_rooms,
        remote=remote,
        admission=admission,
        outliers=outliers,
        inbound=inbound,
        purges=room_service.purges,
    )

    async def may_take_part(room_id: RoomID, server_name: ServerName) -> bool:
        try:
            return await acls.allows(room_id, server_name)
        except UnknownRoom:
            return False

    backfill = Backfill(
        server_name=signer.server_name,
        clock=clock,
        rooms=rooms,
        history=history,
        remote=remote,
        admission=admission,
        inbound=inbound,
        gaps=gaps,
    )
    return InboundFederation(
        admission=admission,
        events=inbound,
        transactions=InboundTransactions(
            clock=clock,
            writer=writer,
            store=InboundStore(reader),
            rooms=rooms,
            distant_rooms=distant_rooms,
            acls=acls,
            admission=admission,
            inbound=inbound,
            edus=InboundEDUs(typing=typing_edu, receipts=receipts_edu, may_take_part=may_take_part),
            joins_settled=remote_memberships.joins_settled,
        ),
        resident=ResidentServer(
            signer=signer,
            rooms=rooms,
            acls=acls,
            serving=serving,
            restricted_joins=restricted_joins,
            admission=admission,
            inbound=inbound,
        ),
        invited=InvitedServer(
            signer=signer,
            rooms=rooms,
            acls=acls,
            admission=admission,
            distant_rooms=distant_rooms,
            has_account=has_account,
            invite_permission=InvitePermission(AccountDataStore(reader)),
        ),
        serving=serving,
        spaces=SpaceServing(acls=acls, summaries=summaries),
        remote_memberships=remote_memberships,
        backfill=backfill,
        distant_times=DistantTimes(
            server_name=signer.server_name, rooms=rooms, history=history, lookups=lookups, backfill=backfill
        ),
        lookups=lookups,
        acls=acls,
    )
