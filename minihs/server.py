"""The composition root: the one place that wires a homeserver. It reads from top to bottom, leaves first.

A server is built from settings, a platform (clock, entropy, workers, network) and an open database; nothing
runs before `start`. Where two parts need each other, the earlier one is given a function that asks the later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from minihs import __version__
from minihs.config import Config, parse_listen
from minihs.events.ids import DeviceID, RoomID, UserID, parse_server_name
from minihs.events.versions import supported
from minihs.federation.client import FederationClient
from minihs.federation.connecting import Connector
from minihs.federation.discovery import Discovery
from minihs.federation.key_fetching import KeyFetcher
from minihs.federation.keyring import Keyring
from minihs.federation.request_signing import RequestVerifier
from minihs.federation.retries import RetryPolicy, RetryTable
from minihs.federation.sender import FederationSender
from minihs.federation.signing_keys import SigningKeys
from minihs.federation.well_known import WellKnownClient
from minihs.futures.model import MatrixError as FutureError
from minihs.futures.policies import FutureLimits
from minihs.homeserver.accounts.account_data import AccountData
from minihs.homeserver.accounts.devices import Devices
from minihs.homeserver.accounts.filters import Filters
from minihs.homeserver.accounts.passwords import PasswordCost, Passwords
from minihs.homeserver.accounts.profiles import Profiles
from minihs.homeserver.accounts.push_rules import PushRules
from minihs.homeserver.accounts.sessions import Requester, Sessions
from minihs.homeserver.accounts.users import Users
from minihs.homeserver.elsewhere.opening import InboundFederation, make_inbound_federation
from minihs.homeserver.elsewhere.remote_queries import RemoteAliases, RemoteUserProfiles
from minihs.homeserver.errors import Forbidden
from minihs.homeserver.futures.opening import FutureService, open_future_service
from minihs.homeserver.futures.sending import Standing
from minihs.homeserver.history.event_filter import parse_filter
from minihs.homeserver.room_actions.creation import RoomCreation
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.guest_access import GuestAccess
from minihs.homeserver.room_actions.membership import Membership
from minihs.homeserver.room_actions.published_rooms import PublishedRooms
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.room_actions.upgrade import RoomUpgrade
from minihs.homeserver.room_actions.view import RoomView
from minihs.homeserver.rooms.opening import RoomService, open_room_service
from minihs.homeserver.rooms.service import Rooms
from minihs.homeserver.sync.opening import SyncService, open_sync_service
from minihs.homeserver.sync.read_markers import ReadMarkers
from minihs.homeserver.transactions import Transactions
from minihs.http import client_api, federation_api
from minihs.http.addresses import TrustedProxies
from minihs.http.auth import check_standing
from minihs.http.client_api.interactive_auth import InteractiveAuth
from minihs.http.client_api.password_check import PasswordCheck
from minihs.http.client_api.well_known import WellKnownSettings
from minihs.http.dialects.build import build_dialects
from minihs.http.dialects.table import Dialects
from minihs.http.errors import MatrixError, to_matrix_error
from minihs.http.federation_api.authentication import SignedRequests
from minihs.http.limits import DEFAULT_LIMITS, Limit, RateLimiter
from minihs.http.metrics import Metrics
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route, Router
from minihs.http.site import ApiFactory
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.platform.network import Network
from minihs.platform.workers import Workers
from minihs.store.access_tokens import AccessTokenStore
from minihs.store.account_data import AccountDataStore
from minihs.store.database import Database
from minihs.store.destinations import DestinationStore
from minihs.store.devices import DeviceStore
from minihs.store.directory import DirectoryStore
from minihs.store.filters import FilterStore
from minihs.store.memberships import MembershipStore
from minihs.store.profiles import ProfileStore
from minihs.store.server_keys import ServerKeyStore
from minihs.store.streams import Stream
from minihs.store.timeline import TimelineStore
from minihs.store.transactions import TransactionStore
from minihs.store.users import UserStore
from minihs.store.writer import Writer

log = Logger()


class CannotStart(Exception):
    """The server cannot run as it is set up; the message says why and what to do."""


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """The seams to the outside. `commit_worker` has one thread, `workers` may have several; both are inline
    in a virtual world."""

    clock: Clock
    entropy: Entropy
    commit_worker: Workers
    workers: Workers
    network: Network


class Addresses(msgspec.Struct, frozen=True):
    """Where a started server listens, as URLs."""

    client: str
    federation: str
    metrics: str | None = None


class Federation(msgspec.Struct, frozen=True, kw_only=True):
    """What asks other servers, proves who they are, and sends to them."""

    client: FederationClient
    keyring: Keyring
    verifier: RequestVerifier
    sender: FederationSender


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
    room_service: RoomService
    membership: Membership
    directory: Directory
    published: PublishedRooms
    creation: RoomCreation
    upgrades: RoomUpgrade
    sending: Sending
    view: RoomView
    transactions: Transactions
    sync: SyncService
    read_markers: ReadMarkers
    inbound: InboundFederation
    futures: FutureService
    dialects: Dialects


async def wire(
    config: Config,
    platform: Platform,
    database: Database,
    keys: SigningKeys,
    *,
    on_fatal: Callable[[str], None],
    password_cost: PasswordCost | None = None,
) -> Parts:
    """Make every part of a homeserver; nothing is started.

    `on_fatal` is called with a sentence when the database can no longer be written: the process must end
    without showing anything that was not acknowledged. `password_cost` is for worlds about something else.
    """
    clock, entropy, reader = platform.clock, platform.entropy, database.reader
    server_name = keys.server_name
    writer = Writer(database.writing, clock=clock, workers=platform.commit_worker, on_fatal=on_fatal)
    limiter = RateLimiter(clock, _limits(config), enabled=config.rate_limits.enabled)
    memberships, directory_store = MembershipStore(reader), DirectoryStore(reader)
    federation = _federation(config, platform, writer, database, keys)

    # Accounts.
    user_store, device_store, profile_store = UserStore(reader), DeviceStore(reader), ProfileStore(reader)
    account_data_store = AccountDataStore(reader)
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
        passwords=Passwords(platform.workers, entropy, password_cost),
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
    )
    rooms = room_service.rooms

    async def fetch_history(room_id: RoomID) -> bool:
        return await inbound.backfill.before(room_id)

    sync = await open_sync_service(
        reader=reader,
        writer=writer,
        clock=clock,
        room_service=room_service,
        account_data_stream=account_data_stream,
        publish_edu=_edu_publisher(rooms, federation.sender),
        fetch_history=fetch_history,
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
    inbound = make_inbound_federation(
        signer=keys.signer,
        clock=clock,
        workers=platform.workers,
        reader=reader,
        writer=writer,
        room_service=room_service,
        client=federation.client,
        keys=federation.keyring,
        restricted_joins=restricted_joins,
        typing_edu=sync.typing.inbound_edu,
        receipts_edu=sync.receipts.inbound_edu,
        has_account=has_account,
        membership_changed=membership_changed,
    )

    # What users do with rooms.
    membership = Membership(
        server_name=server_name,
        rooms=rooms,
        memberships=memberships,
        writer=writer,
        restricted_joins=restricted_joins,
        remote=inbound.remote_memberships,
        profile_of=profiles.in_member_events,
        on_forgotten=membership_changed,
    )

    async def is_guest(user_id: UserID) -> bool:
        user = await user_store.maybe_user(user_id)
        return user is not None and user.is_guest

    rooms.observe(GuestAccess(server_name=server_name, rooms=rooms, membership=membership, is_guest=is_guest))
    remote_aliases = RemoteAliases(federation.client)
    directory = Directory(
        server_name=server_name,
        store=directory_store,
        memberships=memberships,
        writer=writer,
        rooms=rooms,
        remote=remote_aliases,
        clock=clock,
    )
    published = PublishedRooms(
        server_name=server_name,
        store=directory_store,
        writer=writer,
        rooms=rooms,
        directory=directory,
        remote=remote_aliases,
    )
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

    # Futures.
    limits = FutureLimits(
        max_delay_ms=config.futures.max_delay_ms,
        max_scheduled=config.futures.max_scheduled,
        retention_ms=config.futures.retention_ms,
        retention_count=config.futures.retention_count,
    )
    transactions = Transactions(TransactionStore(reader), writer, clock)
    futures = await open_future_service(
        reader=reader,
        writer=writer,
        clock=clock,
        entropy=entropy,
        server_name=server_name,
        rooms=rooms,
        sender=sending,
        standing_of=_standing_at_send_time(user_store),
        describe=_as_outcome,
        charge=lambda user_id: limiter.charge("futures_due", user_id),
        limits=limits,
    )
    try:
        dialects = build_dialects(
            config.futures.dialects,
            futures=futures.futures,
            transactions=transactions,
            limiter=limiter,
            clock=clock,
            entropy=entropy,
            limits=limits,
            unauthenticated_management=config.futures.unauthenticated_management,
            unstable_conflict=config.futures.unstable_conflict,
        )
    except ValueError as error:
        raise CannotStart(f"futures.dialects: {error}.") from error
    users.before_deactivation(membership.leave_all)
    users.after_deactivation(futures.futures.cancel_all)

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
        push_rules=PushRules(account_data),
        room_service=room_service,
        membership=membership,
        directory=directory,
        published=published,
        creation=creation,
        upgrades=RoomUpgrade(rooms=rooms, creation=creation, directory=directory, published=directory_store),
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
        futures=futures,
        dialects=dialects,
    )


def _federation(
    config: Config, platform: Platform, writer: Writer, database: Database, keys: SigningKeys
) -> Federation:
    clock, entropy = platform.clock, platform.entropy
    connector = Connector(
        platform.network, clock, allow_private_addresses=config.federation.allow_private_addresses
    )
    retries = RetryTable(
        RetryPolicy(config.federation.retry_initial_ms, config.federation.retry_max_ms), clock, entropy
    )
    client = FederationClient(
        signer=keys.signer,
        clock=clock,
        discovery=Discovery(
            clock=clock,
            entropy=entropy,
            resolver=platform.network.resolver,
            well_known=WellKnownClient(connector, clock),
        ),
        connector=connector,
        retries=retries,
    )
    keyring = Keyring(
        own=keys,
        store=ServerKeyStore(database.reader),
        writer=writer,
        fetcher=KeyFetcher(client, clock, [parse_server_name(name) for name in config.federation.notaries]),
        clock=clock,
    )
    sender = FederationSender(
        server_name=keys.server_name,
        store=DestinationStore(database.reader),
        writer=writer,
        client=client,
        retries=retries,
        clock=clock,
        entropy=entropy,
        timeout_ms=config.federation.request_timeout_ms,
    )
    return Federation(
        client=client,
        keyring=keyring,
        verifier=RequestVerifier(keys.server_name, keyring, sender.sign_of_life),
        sender=sender,
    )


def _edu_publisher(rooms: Rooms, sender: FederationSender) -> Callable[[RoomID, Mapping[str, Any]], None]:
    """Hands an EDU to the queues of the other servers in a room."""

    async def publish(room_id: RoomID, edu: Mapping[str, Any]) -> None:
        sender.send_edu(await rooms.joined_servers(room_id), edu)

    def start(room_id: RoomID, edu: Mapping[str, Any]) -> None:
        Deferred.fromCoroutine(publish(room_id, edu)).addErrback(
            lambda failure: log.failure("an EDU was not sent", failure)
        )

    return start


def _standing_at_send_time(users: UserStore) -> Callable[[UserID], Awaitable[Standing]]:
    """What an account may do when its future is sent: what `PUT /send` would let it do at that moment."""
    sending = Route(method="PUT", path="/send", access=Access.USER, handler=_never_called)

    async def standing_of(user_id: UserID) -> Standing:
        user = await users.maybe_user(user_id)
        if user is None or user.is_deactivated:
            refusal: Exception | None = Forbidden("The account was deactivated.")
            return Standing(refusal=refusal)
        try:
            check_standing(
                Requester(
                    user_id=user_id,
                    device_id=DeviceID(""),
                    is_guest=user.is_guest,
                    is_locked=user.is_locked,
                    is_suspended=user.is_suspended,
                ),
                sending,
            )
        except MatrixError as error:
            return Standing(is_guest=user.is_guest, refusal=error)
        return Standing(is_guest=user.is_guest)

    return standing_of


async def _never_called(_request: ApiRequest) -> dict[str, Any]:
    raise NotImplementedError("only the route's access is looked at")


def _as_outcome(error: Exception) -> FutureError | None:
    """A refusal as it is kept with a future: status, errcode and sentence."""
    matrix_error = to_matrix_error(error)
    if matrix_error is None:
        return None
    return FutureError(matrix_error.status, matrix_error.errcode, matrix_error.error)


def _limits(config: Config) -> Mapping[str, Limit]:
    changed = {
        name: Limit(per_second, burst) for name, (per_second, burst) in config.rate_limits.buckets.items()
    }
    unknown = sorted(changed.keys() - DEFAULT_LIMITS.keys())
    if unknown:
        raise CannotStart(f"rate_limits.buckets: there is no bucket {', '.join(unknown)}.")
    limits = {**DEFAULT_LIMITS, **changed}
    # What was accepted in good faith is not lost to a limit on its own server, though all come due at once.
    due = limits["futures_due"]
    limits["futures_due"] = Limit(due.per_second, max(due.burst, config.futures.max_scheduled))
    return limits


def client_routes(parts: Parts) -> list[Route]:
    """Everything on the client listener: one line for each chapter of the Client-Server API."""
    config = parts.config
    well_known = WellKnownSettings(
        client_base_url=config.server.public_base_url, server=config.server.delegated_server
    )
    check = PasswordCheck(parts.users, parts.limiter)
    interactive = InteractiveAuth(check, clock=parts.clock, entropy=parts.entropy)
    sync, dialects = parts.sync, parts.dialects
    chapters: Sequence[Any] = (
        client_api.versions.Versions(dialects.unstable_features()),
        client_api.well_known.WellKnown(well_known),
        client_api.login.Login(check, parts.sessions, well_known),
        client_api.registration.Registration(
            parts.users,
            parts.sessions,
            interactive,
            open_to_all=config.registration.enabled,
            guests=config.registration.guests,
        ),
        client_api.account.Account(parts.users, parts.sessions, interactive),
        client_api.devices.Devices(parts.devices, interactive),
        client_api.profile.Profile(parts.profiles),
        client_api.capabilities.Capabilities(config.rooms.default_version, [dialects.capabilities]),
        client_api.filters.Filters(parts.filters),
        client_api.account_data.AccountData(parts.account_data),
        client_api.push_rules.PushRules(parts.push_rules),
        client_api.admin.Admin(parts.users, parts.devices),
        client_api.rooms.CreateRoom(parts.creation, supported(config.rooms.default_version)),
        client_api.membership.Membership(parts.membership, parts.directory),
        client_api.send.Send(parts.sending, parts.transactions, dialects.claim),
        client_api.redaction.Redaction(parts.sending, parts.transactions),
        client_api.state.State(
            view=parts.view, event_format=sync.event_format, sending=parts.sending, claim=dialects.claim
        ),
        client_api.members.Members(parts.view, sync.event_format),
        client_api.aliases.Aliases(parts.directory, parts.view),
        client_api.public_rooms.PublicRooms(parts.published),
        client_api.upgrade.Upgrade(parts.upgrades),
        client_api.sync.SyncApi(sync.sync, parts.filter_store.maybe_filter),
        client_api.messages.Messages(sync.timeline),
        client_api.event.SingleEvent(sync.timeline),
        client_api.context.Context(sync.timeline),
        client_api.typing.TypingApi(sync.typing),
        client_api.receipts.ReceiptsApi(sync.receipts, parts.read_markers),
        client_api.read_markers.ReadMarkersApi(parts.read_markers),
        client_api.none.AnsweredAsNone(),
        dialects,
    )
    return [route for chapter in chapters for route in chapter.routes()]


def federation_routes(parts: Parts) -> list[Route]:
    """Everything on the federation listener: one line for each chapter of the Server-Server API."""
    inbound, signer = parts.inbound, parts.keys.signer
    chapters: Sequence[Any] = (
        federation_api.version.Version(__version__),
        federation_api.keys.Keys(parts.federation.keyring),
        federation_api.transactions.Transactions(inbound.transactions),
        federation_api.membership.Membership(
            signer=signer, resident=inbound.resident, invited=inbound.invited
        ),
        federation_api.state.State(inbound.serving),
        federation_api.events.Events(
            server_name=signer.server_name, clock=parts.clock, serving=inbound.serving
        ),
        federation_api.query.Query(
            server_name=signer.server_name, directory=parts.directory, profiles=parts.profiles
        ),
        federation_api.user_devices.UserDevices(
            server_name=signer.server_name, users=parts.user_store, devices=parts.device_store
        ),
        federation_api.public_rooms.PublicRooms(parts.published),
    )
    return [route for chapter in chapters for route in chapter.routes()]


class Server:
    """A homeserver with its listeners: built, started, stopped; once each."""

    def __init__(self, parts: Parts, network: Network) -> None:
        config = parts.config
        self.parts = parts
        self._network = network
        self._metrics = None if config.metrics.listen is None else Metrics()
        observer = None if self._metrics is None else self._metrics.request_finished
        try:
            proxies = TrustedProxies(config.http.trusted_proxies)
        except ValueError as error:
            raise CannotStart(f"http.trusted_proxies: {error}") from error
        self.client_site = ApiFactory(
            Router(client_routes(parts)),
            clock=parts.clock,
            limiter=parts.limiter,
            tokens=parts.sessions,
            trusted_proxies=proxies,
            observer=observer,
            max_body=config.http.max_request_bytes,
        )
        self.federation_site = ApiFactory(
            Router(federation_routes(parts)),
            clock=parts.clock,
            limiter=parts.limiter,
            servers=SignedRequests(parts.federation.verifier),
            observer=observer,
        )
        self._ports: list[Any] = []

    async def start(self) -> Addresses:
        """Listen, send what is due, and carry on with what was left when the process ended."""
        config = self.parts.config
        await self.parts.inbound.transactions.start()
        federation = await self._listen(self.federation_site, config.server.federation_listen, tls=True)
        await self.parts.federation.sender.start()
        await self.parts.futures.scheduler.start()
        metrics = None
        if self._metrics is not None and config.metrics.listen is not None:
            site = ApiFactory(
                Router(self._metrics.routes()), clock=self.parts.clock, limiter=self.parts.limiter
            )
            metrics = await self._listen(site, config.metrics.listen, tls=False)
        # Last, because a client takes an answer here for "ready".
        client = await self._listen(self.client_site, config.server.client_listen, tls=False)
        return Addresses(
            client=f"http://{client}",
            federation=f"https://{federation}",
            metrics=None if metrics is None else f"http://{metrics}",
        )

    async def stop(self) -> None:
        """Take no more requests, finish those under way, leave queues and timers on disk."""
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        await self.parts.futures.scheduler.stop()
        self.parts.sync.stop()
        await self.client_site.stop()
        await self.federation_site.stop()
        await self.parts.federation.sender.stop()
        await self.parts.federation.client.close()
        await self.parts.writer.stop()

    async def _listen(self, site: ApiFactory, address: str, *, tls: bool) -> str:
        host, port = parse_listen(address)
        try:
            listening: Any = await self._network.listen(site, host, port, tls=tls)
        except CannotListenError as error:
            raise CannotStart(f"{address} cannot be listened on: {error.socketError}.") from error
        self._ports.append(listening)
        actual = listening.getHost()
        return f"[{actual.host}]:{actual.port}" if ":" in actual.host else f"{actual.host}:{actual.port}"
