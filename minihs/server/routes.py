"""What each listener serves: one line for each chapter of the specification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minihs import __version__
from minihs.events.versions import supported
from minihs.http import admin_api, client_api, federation_api
from minihs.http.client_api.interactive_auth import InteractiveAuth
from minihs.http.client_api.password_check import PasswordCheck
from minihs.http.client_api.well_known import WellKnownSettings
from minihs.http.dialects.mixing import Undelayed
from minihs.http.routing import Access, Route
from minihs.server.wiring import Parts


def client_routes(parts: Parts) -> list[Route]:
    """Everything on the client listener: one line for each chapter of the Client-Server API."""
    config = parts.config
    well_known = WellKnownSettings(
        client_base_url=config.server.public_base_url, server=config.server.delegated_server
    )
    accounts, actions = parts.accounts, parts.room_actions
    check = PasswordCheck(accounts.users, parts.limiter)
    interactive = InteractiveAuth(check, clock=parts.clock, entropy=parts.entropy)
    sync, dialects = parts.sync, parts.dialects
    chapters: Sequence[Any] = (
        client_api.versions.Versions(dialects.unstable_features()),
        client_api.well_known.WellKnown(well_known),
        client_api.login.Login(check, accounts.sessions, well_known),
        client_api.registration.Registration(
            accounts.users,
            accounts.sessions,
            interactive,
            open_to_all=config.registration.enabled,
            guests=config.registration.guests,
        ),
        client_api.account.Account(accounts.users, accounts.sessions, interactive),
        client_api.devices.Devices(accounts.devices, interactive),
        client_api.profile.Profile(accounts.profiles),
        client_api.capabilities.Capabilities(config.rooms.default_version, [dialects.capabilities]),
        client_api.filters.Filters(accounts.filters),
        client_api.account_data.AccountData(accounts.account_data),
        client_api.push_rules.PushRules(accounts.push_rules),
        client_api.admin.Admin(accounts.users, accounts.devices),
        client_api.rooms.CreateRoom(actions.creation, supported(config.rooms.default_version)),
        Undelayed(
            client_api.membership.Membership(
                actions.membership, actions.forgetting, actions.directory, actions.third_party_invites
            )
        ),
        client_api.send.Send(actions.sending, parts.transactions, dialects.claim),
        Undelayed(client_api.redaction.Redaction(actions.sending, parts.transactions)),
        client_api.state.State(
            view=actions.view, event_format=sync.event_format, sending=actions.sending, claim=dialects.claim
        ),
        client_api.members.Members(actions.view, sync.event_format),
        client_api.aliases.Aliases(actions.directory, actions.view),
        client_api.public_rooms.PublicRooms(actions.published),
        client_api.spaces.Spaces(actions.hierarchy, actions.previews, actions.directory),
        client_api.upgrade.Upgrade(actions.upgrade),
        client_api.sync.SyncApi(sync.sync, accounts.filter_store.maybe_filter),
        client_api.messages.Messages(sync.timeline),
        client_api.event.SingleEvent(sync.timeline),
        client_api.context.Context(sync.timeline),
        client_api.mutual_rooms.MutualRooms(parts.memberships),
        client_api.relations.Relations(sync.related),
        client_api.threads.ThreadsApi(sync.threads),
        client_api.event_by_time.EventByTime(sync.events_by_time),
        client_api.typing.TypingApi(sync.typing),
        client_api.receipts.ReceiptsApi(sync.receipts, parts.read_markers),
        client_api.read_markers.ReadMarkersApi(parts.read_markers),
        client_api.none.AnsweredAsNone(),
        dialects,
        _futures_of_everybody(parts, Access.ADMIN),
    )
    return [route for chapter in chapters for route in chapter.routes()]


def federation_routes(parts: Parts) -> list[Route]:
    """Everything on the federation listener: one line for each chapter of the Server-Server API."""
    inbound, signer = parts.inbound, parts.keys.signer
    accounts, actions = parts.accounts, parts.room_actions
    chapters: Sequence[Any] = (
        federation_api.version.Version(__version__),
        federation_api.keys.Keys(parts.federation.keyring),
        federation_api.transactions.Transactions(inbound.transactions),
        federation_api.membership.Membership(
            signer=signer, resident=inbound.resident, invited=inbound.invited
        ),
        federation_api.third_party_invites.ThirdPartyInvites(actions.third_party_invites),
        federation_api.spaces.Spaces(inbound.spaces),
        federation_api.state.State(inbound.serving),
        federation_api.events.Events(
            server_name=signer.server_name, clock=parts.clock, serving=inbound.serving
        ),
        federation_api.query.Query(
            server_name=signer.server_name, directory=actions.directory, profiles=accounts.profiles
        ),
        federation_api.user_devices.UserDevices(
            server_name=signer.server_name, users=accounts.user_store, devices=accounts.device_store
        ),
        federation_api.public_rooms.PublicRooms(actions.published),
    )
    return [route for chapter in chapters for route in chapter.routes()]


def admin_routes(parts: Parts) -> list[Route]:
    """What administrators' commands call, on the socket in the data directory."""
    chapters: Sequence[Any] = (
        admin_api.users.Users(parts.accounts.users, parts.accounts.sessions),
        admin_api.rooms.Rooms(parts.room_service.purges),
        _futures_of_everybody(parts, Access.LOCAL),
    )
    return [route for chapter in chapters for route in chapter.routes()]


def _futures_of_everybody(parts: Parts, access: Access) -> admin_api.futures.Futures:
    return admin_api.futures.Futures(parts.futures_administration, parts.accounts.users.named, access)
