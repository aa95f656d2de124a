"""Wires a homeserver: every part is made here, once, leaves first. Nothing runs before `Server.start`.

Where two parts need each other, the earlier one is given a function that asks the later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from twisted.logger import Logger

from minihs.config import Config
from minihs.events.ids import RoomID, UserID
from minihs.federation.remote_lookups import Direction, FoundEvent
from minihs.federation.signing_keys import SigningKeys
from minihs.homeserver.accounts.account_data import AccountData
from minihs.homeserver.accounts.devices import Devices
from minihs.homeserver.accounts.filters import Filters
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.accounts.passwords import PasswordCost, Passwords
from minihs.homeserver.accounts.profiles import Profiles
from minihs.homeserver.accounts.push_rules import PushRules
from minihs.homeserver.accounts.sessions import Sessions
from minihs.homeserver.accounts.users import Users
from minihs.homeserver.elsewhere.opening import InboundFederation, make_inbound_federation
from minihs.homeserver.elsewhere.remote_queries import RemoteUserProfiles
from minihs.homeserver.futures.administration import FutureAdministration
from minihs.homeserver.futures.news import FutureNews
from minihs.homeserver.futures.opening import FutureService
from minihs.homeserver.history.event_filter import parse_filter
from minihs.homeserver.room_actions.carried_settings import CarriedSettings
from minihs.homeserver.room_actions.creation import RoomCreation
from minihs.homeserver.room_actions.guest_access import GuestAccess
from minihs.homeserver.room_actions.membership import Membership
from minihs.homeserver.room_actions.rehearsal import make_rehearsal
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.room_actions.third_party_invites import ThirdPartyInvites
from minihs.homeserver.room_actions.upgrade import RoomUpgrade
from minihs.homeserver.room_actions.view import RoomView
from minihs.homeserver.rooms.opening import RoomService, open_room_service
from minihs.homeserver.sync.opening import SyncService, open_sync_service
from minihs.homeserver.sync.read_markers import ReadMarkers
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.table import Dialects
from minihs.http.limits import Limit, RateLimiter, limits_with
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.server.federation import Federation, edu_publisher, wire_federation
from minihs.server.finding_rooms import FindingRooms, wire_finding_rooms
from minihs.server.futures import wire_futures
from minihs.server.platform import CannotStart, Platform
from minihs.server.policies import Policies
from minihs.server.variants import judge_of
from minihs.store.access_tokens import AccessTokenStore
from minihs.store.account_data import AccountDataStore
from minihs.store.database import Database
from minihs.store.devices import DeviceStore
from minihs.store.directory import DirectoryStore
from minihs.store.filters import FilterStore
from minihs.store.futures import FutureStore
from minihs.store.memberships import MembershipStore
from minihs.store.profiles import ProfileStore
from minihs.store.streams import Stream
from minihs.store.timeline import TimelineStore
from minihs.store.transactions import TransactionStore
from minihs.store.users import UserStore
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
    users: Users
    user_store: UserStore
    device_store: DeviceStore
    devices: Devices
    sessions: Sessions
    profiles: Profiles
    account_data: AccountData
    filters: Filters
    filter_store: FilterStore
    push_rules: PushRules
    memberships: MembershipStore
    room_service: RoomService
    membership: Membership
    third_party_invites: ThirdPartyInvites
    finding: FindingRooms
    creation: RoomCreation
    upgrades: RoomUpgrade
    sending: Sending
    view: RoomView
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
    memberships, directory_store = MembershipStore(reader), DirectoryStore(reader)
    federation = wire_federation(config, platform, writer, database, keys)

    # Accounts.
    user_store, device_store, profile_store = UserStore(reader), DeviceStore(reader), ProfileStore(reader)
    account_data_store = AccountDataStore(reader)
    invite_permission = InvitePermission(account_data_store)
    account_data_stream = Stream(await account_data_store.max_position())
    account_data = AccountData(account_data_store, writer, account_data_stream)
    sessions = Sessions(AccessTokenStore(reader), device_store, writer, clock=clock, entropy=entropy)
    users = Users(
        user_store,
        device_store,
        profile_store,
        writer,
        server_name=server_name,
        clock=clock,
        entropy=entropy,
        passwords=Passwords(
            platform.workers, entropy, password_cost, min_length=config.registration.min_password_length
        ),
        sessions=sessions,
        account_data=account_data,
    )
    profiles = Profiles(
        profile_store,
        user_store,
        writer,
        server_name=server_name,
        remote=RemoteUserProfiles(federation.client),
        propagate=lambda user_id: membership.update_profile(user_id),
    )
    filter_store = FilterStore(reader)

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

    outcomes = Stream(await FutureStore(reader).last_position())
    future_news = FutureNews(outcomes, lambda *span: dialects.sync_part(*span))
    sync = await open_sync_service(
        reader=reader,
        writer=writer,
        clock=clock,
        room_service=room_service,
        account_data_stream=account_data_stream,
        publish_edu=edu_publisher(rooms, federation.sender),
        fetch_history=fetch_history,
        fetch_towards=fetch_towards,
        parts=(future_news,),
        sight=policies.sight,
    )
    account_data.observe(lambda user_id, _position: sync.notifier.wake((user_id,)))

    def membership_changed(user_id: UserID) -> None:
        sync.feed.membership_written(user_id)

    async def has_account(user_id: UserID) -> bool:
        user = await user_store.maybe_user(user_id)
        return user is not None and not user.is_deactivated

    async def is_joined(user_id: UserID, room_id: RoomID) -> bool:
        row = await memberships.maybe_membership(user_id, room_id)
        return row is not None and row.membership == "join"

    # Rooms that other servers know, and what they ask of ours.
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
        has_account=has_account,
        membership_changed=membership_changed,
        judge=judge,
    )

    def forgotten(user_id: UserID) -> None:
        membership_changed(user_id)
        room_service.purges.wake()

    # What users do with rooms.
    third_party_invites = ThirdPartyInvites(
        server_name=server_name, rooms=rooms, acls=inbound.acls, remote=inbound.remote_memberships
    )
    membership = Membership(
        server_name=server_name,
        rooms=rooms,
        memberships=memberships,
        writer=writer,
        restricted_joins=restricted_joins,
        invite_permission=invite_permission,
        remote=inbound.remote_memberships,
        profile_of=profiles.in_member_events,
        note_forgotten=room_service.purges.note,
        on_forgotten=forgotten,
    )

    async def is_guest(user_id: UserID) -> bool:
        user = await user_store.maybe_user(user_id)
        return user is not None and user.is_guest

    rooms.observe(GuestAccess(server_name=server_name, rooms=rooms, membership=membership, is_guest=is_guest))
    push_rules = PushRules(account_data)
    rooms.observe(
        CarriedSettings(
            server_name=server_name,
            rooms=rooms,
            memberships=memberships,
            account_data=account_data,
            push_rules=push_rules,
        )
    )
    finding = wire_finding_rooms(
        server_name=server_name,
        clock=clock,
        entropy=entropy,
        writer=writer,
        rooms=rooms,
        memberships=memberships,
        store=directory_store,
        summaries=summaries,
        client=federation.client,
        lookups=inbound.lookups,
    )
    directory = finding.directory
    creation = RoomCreation(
        server_name=server_name,
        rooms=rooms,
        membership=membership,
        directory=directory,
        published=directory_store,
        profile_of=profiles.in_member_events,
    )
    events = room_service.events
    sending = Sending(rooms=rooms, events=events, membership=membership, directory=directory)
    timeline_store = TimelineStore(reader)
    view = RoomView(rooms=rooms, memberships=memberships, events=events, timeline=timeline_store)

    transactions = Transactions(TransactionStore(reader), writer, clock)
    futures = await wire_futures(
        config,
        platform,
        policies,
        reader=reader,
        writer=writer,
        limiter=limiter,
        room_service=room_service,
        sending=sending,
        rehearsal=make_rehearsal(
            server_name=server_name,
            rehearsed=room_service.rehearsed,
            events=events,
            memberships=memberships,
            invite_permission=invite_permission,
            writer=writer,
            profile_of=profiles.in_member_events,
            directory=directory,
        ),
        transactions=transactions,
        server_name=server_name,
        users=user_store,
        outcomes=outcomes,
        announce=lambda user_id: sync.notifier.wake((user_id,)),
    )
    dialects = futures.dialects
    users.before_deactivation(membership.leave_all)
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
        users=users,
        user_store=user_store,
        device_store=device_store,
        devices=Devices(device_store, writer, sessions),
        sessions=sessions,
        profiles=profiles,
        account_data=account_data,
        filters=Filters(filter_store, writer, parse_filter),
        filter_store=filter_store,
        push_rules=push_rules,
        memberships=memberships,
        room_service=room_service,
        membership=membership,
        third_party_invites=third_party_invites,
        finding=finding,
        creation=creation,
        upgrades=RoomUpgrade(
            rooms=rooms,
            memberships=memberships,
            creation=creation,
            directory=directory,
            published=directory_store,
        ),
        sending=sending,
        view=view,
        transactions=transactions,
        sync=sync,
        read_markers=ReadMarkers(
            receipts=sync.receipts,
            events=events,
            is_joined=is_joined,
            set_room_data=account_data.set,
        ),
        inbound=inbound,
        futures=futures.service,
        futures_administration=futures.administration,
        dialects=dialects,
    )


def _limits(config: Config) -> Mapping[str, Limit]:
    try:
        limits = limits_with(config.rate_limits.buckets)
    except ValueError as error:
        raise CannotStart(f"rate_limits.buckets: {error}.") from error
    # What was accepted in good faith is not lost to a limit on its own server, though all come due at once.
    due = limits["futures_due"]
    limits["futures_due"] = Limit(due.per_second, max(due.burst, config.futures.max_scheduled))
    return limits
