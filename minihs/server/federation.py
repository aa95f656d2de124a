"""Wires what asks other servers, proves who they are, and sends to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from minihs.config import Config
from minihs.events.ids import RoomID, parse_server_name
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
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.logs import Logger
from minihs.server.platform import Platform
from minihs.store.database import Database
from minihs.store.destinations import DestinationStore
from minihs.store.server_keys import ServerKeyStore
from minihs.store.writer import Writer

log = Logger()


class Federation(msgspec.Struct, frozen=True, kw_only=True):
    """What asks other servers, proves who they are, and sends to them."""

    client: FederationClient
    retries: RetryTable
    keyring: Keyring
    verifier: RequestVerifier
    sender: FederationSender


def wire_federation(
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
        workers=platform.workers,
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
        retries=retries,
        keyring=keyring,
        verifier=RequestVerifier(keys.server_name, keyring, sender.sign_of_life),
        sender=sender,
    )


def edu_publisher(rooms: Rooms, sender: FederationSender) -> Callable[[RoomID, Mapping[str, Any]], None]:
    """Hands an EDU to the queues of the other servers in a room."""

    async def publish(room_id: RoomID, edu: Mapping[str, Any]) -> None:
        servers = await rooms.joined_servers(room_id)
        # Whoever types is only ever typing or not: a notice that has not left yet is replaced by the next.
        typing = edu["edu_type"] == "m.typing"
        sender.send_edu(servers, edu, ("m.typing", room_id, edu["content"]["user_id"]) if typing else None)

    def start(room_id: RoomID, edu: Mapping[str, Any]) -> None:
        Deferred.fromCoroutine(publish(room_id, edu)).addErrback(
            lambda failure: log.failure("an EDU was not sent", failure)
        )

    return start
