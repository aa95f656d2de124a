"""Servers that federate over a network in memory: real signing, real HTTP, real queues; no rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, succeed

from minihs.events.ids import ServerName
from minihs.federation.client import FederationClient
from minihs.federation.connecting import Connector
from minihs.federation.discovery import Discovery
from minihs.federation.key_fetching import KeyFetcher
from minihs.federation.keyring import Keyring
from minihs.federation.request_signing import RequestVerifier
from minihs.federation.retries import RetryPolicy, RetryTable
from minihs.federation.sender import FederationSender
from minihs.federation.signing_keys import SigningKeys, new_signing_keys
from minihs.federation.well_known import WellKnownClient
from minihs.http.federation_api.authentication import SignedRequests
from minihs.http.federation_api.keys import Keys
from minihs.http.federation_api.version import Version
from minihs.http.limits import RateLimiter
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route, Router
from minihs.http.site import ApiFactory
from minihs.lab.memory_network import MemoryHost, MemoryNetwork
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy
from minihs.platform.workers import InlineWorkers
from minihs.store.database import Database, open_database
from minihs.store.destinations import DestinationStore
from minihs.store.server_keys import ServerKeyStore
from minihs.store.writer import Batch, Writer
from tests.support.deferreds import start

INITIAL_PAUSE_MS = 1_000
MAX_PAUSE_MS = 60_000


@dataclass
class ReceivedTransaction:
    """One `PUT /send` as it came in."""

    origin: str
    txn_id: str
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        return [pdu["content"]["body"] for pdu in self.body["pdus"]]


@dataclass
class Inbox:
    """What a node answers to transactions, and what it got."""

    received: list[ReceivedTransaction] = field(default_factory=list)
    answer: Callable[[ReceivedTransaction], Any] = lambda _: succeed({"pdus": {}})

    def routes(self) -> list[Route]:
        return [
            Route(
                method="PUT",
                path="/_matrix/federation/v1/send/{txn_id}",
                access=Access.SERVER,
                handler=self.put,
                max_body=10_000_000,
            )
        ]

    async def put(self, request: ApiRequest) -> Any:
        transaction = ReceivedTransaction(request.server, request.args["txn_id"], request.json)
        self.received.append(transaction)
        return await self.answer(transaction)

    @property
    def texts(self) -> list[str]:
        return [text for transaction in self.received for text in transaction.texts]


class Node:
    """One server: `name` may have a port; without one, it listens at 8448."""

    def __init__(
        self,
        network: MemoryNetwork,
        host: MemoryHost,
        name: str,
        *,
        database: Database | None = None,
        keys: SigningKeys | None = None,
        notaries: Iterable[str] = (),
        allow_private_addresses: bool = True,
        extra_routes: Iterable[Route] = (),
    ) -> None:
        clock = network.clock
        assert isinstance(clock, VirtualClock)
        self.clock, self.host, self.name = clock, host, ServerName(name)
        entropy = SeededEntropy(name)
        self.keys = keys or new_signing_keys(self.name, entropy)
        self.database = database or open_database()
        self.writer = Writer(self.database.writing, clock=clock, workers=InlineWorkers(), on_fatal=print)
        connector = Connector(host, clock, allow_private_addresses=allow_private_addresses)
        self.well_known = WellKnownClient(connector, clock)
        self.discovery = Discovery(
            clock=clock, entropy=entropy, resolver=host.resolver, well_known=self.well_known
        )
        self.retries = RetryTable(RetryPolicy(INITIAL_PAUSE_MS, MAX_PAUSE_MS), clock, entropy)
        self.client = FederationClient(
            signer=self.keys.signer,
            clock=clock,
            discovery=self.discovery,
            connector=connector,
            retries=self.retries,
        )
        self.keyring = Keyring(
            own=self.keys,
            store=ServerKeyStore(self.database.reader),
            writer=self.writer,
            fetcher=KeyFetcher(self.client, clock, [ServerName(notary) for notary in notaries]),
            clock=clock,
            workers=InlineWorkers(),
        )
        self.sender = FederationSender(
            server_name=self.name,
            store=DestinationStore(self.database.reader),
            writer=self.writer,
            client=self.client,
            retries=self.retries,
            clock=clock,
            entropy=entropy,
        )
        self.inbox = Inbox()
        self.verifier = RequestVerifier(self.name, self.keyring, self.sender.sign_of_life)
        self.site = ApiFactory(
            Router(
                [
                    *Keys(self.keyring).routes(),
                    *Version("1.2.3").routes(),
                    *self.inbox.routes(),
                    *extra_routes,
                ]
            ),
            clock=clock,
            limiter=RateLimiter(clock),
            servers=SignedRequests(self.verifier),
        )
        self.port: Any = None
        self._position = int(
            self.database.writing.execute("SELECT COALESCE(MAX(position), 0) FROM events").fetchone()[0]
        )

    def listen(self, port: int = 8448) -> None:
        self.host.listen(self.site, "", port, tls=True).addCallback(lambda made: setattr(self, "port", made))

    def queue_event(self, text: str, servers: Iterable[str], *, wake: bool = True) -> int:
        """Put an event into the outbound log, as the room service does, and say so once it is committed."""
        self._position += 1
        position, names = self._position, sorted(servers)
        listed = "[" + ",".join(f'"{name}"' for name in names) + "]"
        batch = Batch()
        batch.add(
            "INSERT INTO events"
            " (position, event_id, room_id, type, sender, depth, origin_server_ts, standing, pdu)"
            " VALUES (?, ?, '!r', 'm.room.message', '@a:hs', 1, 1, 0, ?)",
            (
                position,
                f"$e{position}",
                f'{{"type":"m.room.message","content":{{"body":"{text}"}}}}'.encode(),
            ),
        )
        batch.add(
            "INSERT OR IGNORE INTO destination_sets (destination_set, servers)"
            " VALUES ((SELECT COALESCE(MAX(destination_set), 0) + 1 FROM destination_sets), ?)",
            (listed,),
        )
        batch.add(
            "INSERT INTO outbound_events SELECT ?, destination_set FROM destination_sets WHERE servers = ?",
            (position, listed),
        )
        committed = self.writer.submit(batch)
        if wake:
            committed.addCallback(lambda _: self.sender.wake([ServerName(name) for name in names]))
        return position

    def destination(self, name: str) -> Mapping[str, Any] | None:
        """The stored row of a destination."""
        cursor = self.database.writing.execute("SELECT * FROM destinations WHERE server_name = ?", (name,))
        row = cursor.fetchone()
        return (
            None if row is None else dict(zip([column[0] for column in cursor.description], row, strict=True))
        )


class World:
    """A clock, a network and the nodes on it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = MemoryNetwork(self.clock)
        self.nodes: dict[str, Node] = {}

    def node(self, name: str, *, listen: bool = True, **options: Any) -> Node:
        """A node at an address of its own, at 8448 of the host with its name."""
        host = self.network.host(f"10.0.0.{len(self.network.hosts) + 1}", name.partition(":")[0])
        node = self.nodes[name] = Node(self.network, host, name, **options)
        if listen:
            node.listen()
        start(node.sender.start())
        self.clock.advance(0)
        return node

    def pass_time(self, ms: float) -> None:
        """Let virtual time pass, from one thing that is due to the next."""
        end = self.clock.rightNow + ms / 1000
        while True:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=None)
            if due is None or due > end:
                break
            self.clock.advance(max(due - self.clock.rightNow, 0))
        self.clock.advance(max(end - self.clock.rightNow, 0))

    def finish(self, work: Any, within_ms: float = 120_000) -> Any:
        """The result or the error of a coroutine, letting as much virtual time pass as it needs."""
        waiting: Deferred[Any] = start(work)
        results: list[Any] = []
        failures: list[BaseException] = []
        waiting.addCallbacks(results.append, lambda failure: failures.append(failure.value))
        end = self.clock.rightNow + within_ms / 1000
        while not results and not failures:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=None)
            assert due is not None, "it never finishes"
            assert due <= end, "it takes too long"
            self.clock.advance(max(due - self.clock.rightNow, 0))
        if failures:
            raise failures[0]
        return results[0]
