"""Wires a homeserver: every part is made here, once, leaves first. Nothing runs before `Server.start`.

Where two parts need each other, the earlier one is given a function that asks the later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from minihs.config import Config
from minihs.events.ids import RoomID, UserID
from minihs.federation.remote_lookups import Direction, FoundEvent
from minihs.federation.signing_keys import SigningKeys
from minihs.homeserver.accounts.opening import Accounts, open_accounts
from minihs.homeserver.accounts.passwords import PasswordCost
from minihs.homeserver.elsewhere.opening import InboundFederation, make_inbound_federation
from minihs.homeserver.elsewhere.remote_queries import RemoteAliases, RemoteUserProfiles
from minihs.homeserver.elsewhere.remote_spaces import RememberedSpaces
from minihs.homeserver.futures.administration import FutureAdministration
from minihs.homeserver.futures.news import FutureNews
from minihs.homeserver.futures.opening import FutureService
from minihs.homeserver.room_actions.carried_settings import CarriedSettings
from minihs.homeserver.room_actions.guest_access import GuestAccess
from minihs.homeserver.room_actions.opening import RoomActions, make_room_actions
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.rooms.opening import RoomService, open_room_service
from minihs.homeserver.sync.opening import SyncService, open_sync_service
from minihs.homeserver.sync.read_markers import ReadMarkers
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.table import Dialects
from minihs.http.limits import Limit, RateLimiter, limits_with
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.platform.logs import Logger
from minihs.server.federation import Federation, edu_publisher, wire_federation
from minihs.server.futures import wire_futures
from minihs.server.platform import CannotStart, Platform
from minihs.server.policies import Policies
from minihs.server.variants import judge_of
from minihs.store.database import Database
from minihs.store.futures import FutureStore
from minihs.store.memberships import MembershipStore
from minihs.store.streams import Stream
from minihs.store.transactions import TransactionStore
from minihs.store.writer import Writer

log = Logger()


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The wired homeserver: what listeners, the laboratory and administrators' commands use."""

    config: Config
    clock: Clock
    entropy: Entropy
    keys: SigningKeys
    writer: Writer
    limiter: RateLimiter
    federation: Federation
    accounts: Accounts
    memberships: MembershipStore
    room_service: RoomService
    room_actions: RoomActions
    transactions: Transactions
    sync: SyncService
    read_markers: ReadMarkers
    inbound: InboundFederation
    futures: FutureService
    futures_administration: FutureAdministration
    dialects: Dialects


async def wire(
    config: Config,
    platform: Platform,
    database: Database,
    keys: SigningKeys,
    *,
    on_fatal: Callable[[str], None],
    password_cost: PasswordCost | None = None,
    policies: Policies | None = None,
) -> Parts:
    """Make every part of a homeserver; nothing is started.

    `on_fatal` is called with a sentence when the database can no longer be written: the process must end
    without showing anything that was not acknowledged. `password_cost` is for worlds about something else,
    `policies` are for experiments.
    """
    policies = policies or Policies()
    judge = judge_of(config, policies.judge)
    clock, entropy, reader = platform.clock, platform.entropy, database.reader
    server_name = keys.server_name
    writer = Writer(database.writing, clock=clock, workers=platform.commit_worker, on_fatal=on_fatal)
    limiter = RateLimiter(clock, _limits(config), enabled=config.rate_limits.enabled)
    federation = wire_federation(config, platform, writer, database, keys)
    accounts = await open_accounts(
        server_name=server_name,
        reader=reader,
        writer=writer,
        clock=clock,
        entropy=entropy,
        workers=platform.workers,
        password_cost=password_cost,
        min_password_length=config.registration.min_password_length,
        remote_profiles=RemoteUserProfiles(federation.client),
        propagate_profile=lambda user_id: actions.every_room.update_profile(user_id),
    )
    users, account_data = accounts.users, accounts.account_data

    # Rooms, and what their users are shown.
    room_service = await open_room_service(
        reader=reader,
        writer=writer,
        signer=keys.signer,
        clock=clock,
        entropy=entropy,
        wake_federation=federation.sender.wake,
        judge=judge,
        purge_after_ms=config.rooms.purge_after_ms,
    )
    rooms = room_service.rooms

    async def fetch_history(room_id: RoomID) -> bool:
        return await inbound.backfill.before(room_id)

    async def fetch_towards(room_id: RoomID, ts: int, direction: Direction, found: FoundEvent | None) -> bool:
        return await inbound.distant_times.fetch_towards(room_id, ts, direction, found)

    future_store = FutureStore(reader)
    outcomes = Stream(await future_store.last_position())
    future_news = FutureNews(outcomes, future_store.one_end_of_news, lambda *span: dialects.sync_part(*span))
    sync = await open_sync_service(
        reader=reader,
        writer=writer,
        clock=clock,
        room_service=room_service,
        account_data_stream=accounts.account_data_stream,
        publish_edu=edu_publisher(rooms, federation.sender),
        fetch_history=fetch_history,
        fetch_towards=fetch_towards,
        parts=(future_news,),
        sight=policies.sight,
    )
    account_data.observe(lambda user_id, _position: sync.notifier.wake((user_id,)))

    def membership_changed(user_id: UserID) -> None:
        sync.feed.membership_written(user_id)

    # Rooms that other servers know, and what they ask of ours.
    memberships = MembershipStore(reader)
    restricted_joins = RestrictedJoins(server_name=server_name, rooms=rooms, memberships=memberships)
    summaries = RoomSummaries(rooms=rooms, memberships=memberships)
    inbound = make_inbound_federation(
        signer=keys.signer,
        clock=clock,
        workers=platform.workers,
        reader=reader,
        writer=writer,
        room_service=room_service,
        client=federation.client,
        keys=policies.event_keys(federation.keyring),
        restricted_joins=restricted_joins,
        summaries=summaries,
        typing_edu=sync.typing.inbound_edu,
        receipts_edu=sync.receipts.inbound_edu,
        has_account=users.has_account,
        membership_changed=membership_changed,
        judge=judge,
    )

    def forgotten(user_id: UserID) -> None:
        membership_changed(user_id)
        room_service.purges.wake()

    # What users do with rooms.
    actions = make_room_actions(
        server_name=server_name,
        clock=clock,
        entropy=entropy,
        reader=reader,
        writer=writer,
        room_service=room_service,
        restricted_joins=restricted_joins,
        summaries=summaries,
        invite_permission=accounts.invite_permission,
        profile_of=accounts.profiles.in_member_events,
        on_forgotten=forgotten,
        acls=inbound.acls,
        remote_membership=inbound.remote_memberships,
        remote_directory=RemoteAliases(federation.client),
        remote_spaces=RememberedSpaces(clock, inbound.lookups),
    )

    rooms.observe(
        GuestAccess(
            server_name=server_name, rooms=rooms, membership=actions.membership, is_guest=users.is_guest
        )
    )
    rooms.observe(
        CarriedSettings(
            server_name=server_name,
            rooms=rooms,
            memberships=memberships,
            account_data=account_data,
            push_rules=accounts.push_rules,
        )
    )

    transactions = Transactions(TransactionStore(reader), writer, clock)
    futures = await wire_futures(
        config,
        platform,
        policies,
        reader=reader,
        writer=writer,
        limiter=limiter,
        room_service=room_service,
        sending=actions.sending,
        rehearsal=actions.rehearsal,
        transactions=transactions,
        server_name=server_name,
        users=accounts.user_store,
        outcomes=outcomes,
        announce=lambda user_id: sync.notifier.wake((user_id,)),
    )
    dialects = futures.dialects
    users.before_deactivation(actions.every_room.leave_all)
    users.after_deactivation(futures.service.futures.cancel_all)

    reader.on_damage(on_fatal)  # from now on; at start, damage is whoever opened the database's to report
    return Parts(
        config=config,
        clock=clock,
        entropy=entropy,
        keys=keys,
        writer=writer,
        limiter=limiter,
        federation=federation,
        accounts=accounts,
        memberships=memberships,
        room_service=room_service,
        room_actions=actions,
        transactions=transactions,
        sync=sync,
        read_markers=ReadMarkers(
            receipts=sync.receipts,
            events=room_service.events,
            is_joined=memberships.is_joined,
            set_room_data=account_data.set,
        ),
        inbound=inbound,
        futures=futures.service,
        futures_administration=futures.administration,
        dialects=dialects,
    )


_ENDLESS = 2**53
"""A burst that no user comes to the end of."""


def _limits(config: Config) -> Mapping[str, Limit]:
    try:
        limits = limits_with(config.rate_limits.buckets)
    except ValueError as error:
        raise CannotStart(f"rate_limits.buckets: {error}.") from error
    # What was accepted in good faith is not lost to a limit on its own server, though all come due at once.
    due, most = limits["futures_due"], config.futures.max_scheduled
    limits["futures_due"] = Limit(due.per_second, max(due.burst, _ENDLESS if most is None else most))
    return limits
