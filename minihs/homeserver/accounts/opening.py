"""Puts accounts together from their parts: the one place that knows in which order they are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from minihs.events.ids import ServerName, UserID
from minihs.homeserver.accounts.account_data import AccountData
from minihs.homeserver.accounts.devices import Devices
from minihs.homeserver.accounts.filters import Filters
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.accounts.passwords import PasswordCost, Passwords
from minihs.homeserver.accounts.profiles import Profiles
from minihs.homeserver.accounts.push_rules import PushRules
from minihs.homeserver.accounts.sessions import Sessions
from minihs.homeserver.accounts.users import Users
from minihs.homeserver.elsewhere.protocols import RemoteProfiles
from minihs.homeserver.history.event_filter import parse_filter
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy
from minihs.platform.workers import Workers
from minihs.store.access_tokens import AccessTokenStore
from minihs.store.account_data import AccountDataStore
from minihs.store.devices import DeviceStore
from minihs.store.filters import FilterStore
from minihs.store.profiles import ProfileStore
from minihs.store.reader import Reader
from minihs.store.streams import Stream
from minihs.store.users import UserStore
from minihs.store.writer import Writer


class Accounts(msgspec.Struct, frozen=True, kw_only=True):
    """Who has an account here, how they log in, and what is kept for them."""

    users: Users
    user_store: UserStore
    sessions: Sessions
    devices: Devices
    device_store: DeviceStore
    profiles: Profiles
    account_data: AccountData
    account_data_stream: Stream
    push_rules: PushRules
    filters: Filters
    filter_store: FilterStore
    invite_permission: InvitePermission


async def open_accounts(
    *,
    server_name: ServerName,
    reader: Reader,
    writer: Writer,
    clock: Clock,
    entropy: Entropy,
    workers: Workers,
    password_cost: PasswordCost | None,
    min_password_length: int,
    remote_profiles: RemoteProfiles,
    propagate_profile: Callable[[UserID], Awaitable[None]],
) -> Accounts:
    """Accounts over what is stored; nothing is started.

    `propagate_profile` is awaited when what member events repeat of a profile has changed.
    """
    users, devices, profiles = UserStore(reader), DeviceStore(reader), ProfileStore(reader)
    filters, account_data_store = FilterStore(reader), AccountDataStore(reader)
    stream = Stream(await account_data_store.max_position())
    account_data = AccountData(account_data_store, writer, stream)
    sessions = Sessions(AccessTokenStore(reader), devices, writer, clock=clock, entropy=entropy)
    return Accounts(
        users=Users(
            users,
            devices,
            profiles,
            writer,
            server_name=server_name,
            clock=clock,
            entropy=entropy,
            passwords=Passwords(workers, entropy, password_cost, min_length=min_password_length),
            sessions=sessions,
            account_data=account_data,
        ),
        user_store=users,
        sessions=sessions,
        devices=Devices(devices, writer, sessions),
        device_store=devices,
        profiles=Profiles(
            profiles,
            users,
            writer,
            server_name=server_name,
            remote=remote_profiles,
            propagate=propagate_profile,
        ),
        account_data=account_data,
        account_data_stream=stream,
        push_rules=PushRules(account_data),
        filters=Filters(filters, writer, parse_filter),
        filter_store=filters,
        invite_permission=InvitePermission(account_data_store),
    )
