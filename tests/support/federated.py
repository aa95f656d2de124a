"""Whole servers' rooms and federation in one process, joined back to back without sockets.

`FederatedServer` has the real room service, receipt checks, handshakes and endpoints; its requests go
straight to the endpoints of the others on its `Wire`, as if they had been signed. Keys come from
`tests.support.events`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.events.signatures import BadSignature, required_signers, verify_pdu
from minihs.federation.client import RemoteRefusal, Unreachable, wrong_shape
from minihs.federation.key_documents import KeysUnavailable
from minihs.homeserver.elsewhere.opening import InboundFederation, make_inbound_federation
from minihs.homeserver.member_change import MemberChange
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.rooms.opening import RoomService
from minihs.http.errors import to_matrix_error
from minihs.http.federation_api.events import Events
from minihs.http.federation_api.membership import Membership
from minihs.http.federation_api.spaces import Spaces
from minihs.http.federation_api.state import State
from minihs.http.federation_api.transactions import Transactions
from minihs.http.request import ApiRequest, BodyReader, Query, Reply
from minihs.http.routing import Match, Router
from minihs.platform.clock import VirtualClock
from minihs.platform.workers import InlineWorkers
from minihs.store.database import Database
from minihs.store.memberships import MembershipStore
from tests.support.events import verify_keys_of
from tests.support.room_service import RoomServer
from tests.support.yielding import YieldingReader, open_yielding_database

Answer = Callable[[str, str, Mapping[str, Any], Any], Any]
"""A peer: (method, path, query, body) → the JSON object it answers, or raises RemoteRefusal, Unreachable."""


class TestKeys:
    """A keyring that knows every server of `tests.support.events`, but for those in `unknown`."""

    __test__ = False

    def __init__(self) -> None:
        self.unknown: set[str] = set()
        self.verified: list[EventID] = []

    async def verify_event(self, event: Event) -> None:
        for server in required_signers(event):
            if server in self.unknown:
                raise KeysUnavailable(f"no usable key of {server} is known")
            verify_pdu(event.pdu, event.version, server, verify_keys_of(server))
        self.verified.append(event.event_id)

    async def verify_events(
        self, events: Sequence[Event]
    ) -> dict[EventID, BadSignature | KeysUnavailable | None]:
        verdicts: dict[EventID, BadSignature | KeysUnavailable | None] = {}
        for event in events:
            verdicts[event.event_id] = None
            try:
                await self.verify_event(event)
            except (BadSignature, KeysUnavailable) as fault:
                verdicts[event.event_id] = fault
        return verdicts


class Wire:
    """Which server answers under which name, and what was asked."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.peers: dict[str, Answer] = {}
        self.down: set[str] = set()
        self.asked: list[tuple[str, str, str, str]] = []
        """(asking, asked, method, path)"""

    def client(self, server_name: str) -> WireClient:
        return WireClient(self, server_name)


class WireClient:
    """A `FederationClient` of one server on a wire."""

    def __init__(self, wire: Wire, server_name: str) -> None:
        self._wire = wire
        self._server_name = server_name

    async def get(
        self, destination: ServerName, path: str, args: Any = None, **_limits: Any
    ) -> dict[str, Any]:
        return await self._ask(destination, "GET", path, args or {}, None)

    async def put(self, destination: ServerName, path: str, body: Any, **_limits: Any) -> dict[str, Any]:
        return await self._ask(destination, "PUT", path, {}, body)

    async def post(self, destination: ServerName, path: str, body: Any, **_limits: Any) -> dict[str, Any]:
        return await self._ask(destination, "POST", path, {}, body)

    async def get_shaped(
        self, shape: Any, destination: ServerName, path: str, args: Any = None, **_limits: Any
    ) -> Any:
        return _shaped(shape, destination, await self._ask(destination, "GET", path, args or {}, None))

    async def put_shaped(
        self, shape: Any, destination: ServerName, path: str, body: Any, **_limits: Any
    ) -> Any:
        return _shaped(shape, destination, await self._ask(destination, "PUT", path, {}, body))

    async def _ask(self, destination: str, method: str, path: str, args: Any, body: Any) -> dict[str, Any]:
        self._wire.asked.append((self._server_name, destination, method, path))
        peer = self._wire.peers.get(destination)
        if peer is None or destination in self._wire.down:
            raise Unreachable(f"{destination} is away")
        body = None if body is None else json.loads(json.dumps(body))
        answer = peer(method, path, {"": self._server_name, **args}, body)
        if hasattr(answer, "__await__"):
            answer = await answer
        return json.loads(json.dumps(answer))


def member_change(
    membership: str, sender: str, room_id: str, target: str | None = None, **content: Any
) -> MemberChange:
    """What `sender` makes of `target`, or of themselves."""
    return MemberChange(
        room_id=RoomID(room_id),
        sender=UserID(sender),
        target=UserID(target or sender),
        content={"membership": membership, **content},
    )


def _shaped(shape: Any, destination: ServerName, answer: Any) -> Any:
    try:
        return msgspec.json.decode(json.dumps(answer), type=shape)
    except msgspec.ValidationError as error:
        raise wrong_shape(destination, error) from error


class FederatedServer(RoomServer):
    """A server with users, rooms and federation. Every user exists.

    With `yield_seed` set, its store waits at every read, for as long as the seed says.
    """

    yield_seed: ClassVar[int | None] = None

    def __init__(self, server_name: str, wire: Wire, database: Database | None = None) -> None:
        self.wire = wire
        self.keys = TestKeys()
        self.edus: list[tuple[str, str, Any]] = []
        self.told: list[str] = []
        self.accounts: set[str] | None = None
        if database is None and self.yield_seed is not None:
            database = open_yielding_database(self.yield_seed)
            cast(YieldingReader, database.reader).clock = wire.clock
        super().__init__(server_name, database, clock=wire.clock)
        wire.peers[server_name] = self.answer

    def open(self) -> RoomService:
        service = super().open()
        self.memberships = MembershipStore(self.database.reader)
        self.federation: InboundFederation = make_inbound_federation(
            signer=self.signer,
            clock=self.clock,
            workers=InlineWorkers(),
            reader=self.database.reader,
            writer=self.writer,
            room_service=service,
            client=self.wire.client(self.signer.server_name),
            keys=self.keys,
            restricted_joins=RestrictedJoins(
                server_name=self.signer.server_name, rooms=service.rooms, memberships=self.memberships
            ),
            summaries=RoomSummaries(rooms=service.rooms, memberships=self.memberships),
            typing_edu=self._edu("m.typing"),
            receipts_edu=self._edu("m.receipt"),
            has_account=self._has_account,
            membership_changed=self.told.append,
        )
        self.run(self.federation.transactions.start())
        serving = self.federation.serving
        self.router = Router(
            [
                *Transactions(self.federation.transactions).routes(),
                *Membership(
                    signer=self.signer, resident=self.federation.resident, invited=self.federation.invited
                ).routes(),
                *Spaces(self.federation.spaces).routes(),
                *State(serving).routes(),
                *Events(server_name=self.signer.server_name, clock=self.clock, serving=serving).routes(),
            ]
        )
        return service

    def ask(self, origin: str, method: str, path: str, args: Any = None, body: Any = None) -> Any:
        """What `origin` is answered; raises RemoteRefusal."""
        return self.run(self.answer(method, path, {"": origin, **(args or {})}, body))

    async def answer(self, method: str, path: str, args: Mapping[str, Any], body: Any) -> Any:
        match = self.router.resolve(method.encode(), path.encode())
        assert isinstance(match, Match), (method, path, match)
        query = {key: value for key, value in args.items() if key}
        raw = b"" if body is None else json.dumps(body).encode()
        request = ApiRequest(
            method=method,
            path=path,
            args=match.args,
            query=Query(urlencode(query, doseq=True).encode()),
            raw_body=raw,
            origin=args[""],
        )
        try:
            if match.route.body is not None:
                request.body = BodyReader(match.route.body).read(raw)
            reply = await match.route.handler(request)
        except Exception as error:
            refusal = to_matrix_error(error)
            if refusal is None:
                raise
            raise RemoteRefusal(refusal.status, refusal.errcode, refusal.error) from error
        # Through JSON, because large answers hold what has not been read from it.
        return msgspec.json.decode(msgspec.json.encode(reply.body if isinstance(reply, Reply) else reply))

    def receive(self, origin: str, *events: Event | dict[str, Any], txn_id: str | None = None) -> Any:
        """Send events as one transaction of `origin`; the results by event ID."""
        self._sent = getattr(self, "_sent", 0) + 1
        body = {
            "origin": origin,
            "origin_server_ts": self.clock.wall_ms(),
            "pdus": [event.pdu if isinstance(event, Event) else event for event in events],
        }
        name = txn_id or f"txn{self._sent}"
        return self.ask(origin, "PUT", f"/_matrix/federation/v1/send/{name}", body=body)["pdus"]

    def deliver(self, to: FederatedServer, room_id: RoomID, *, after: int = 0) -> Any:
        """Send our own events of a room to another server, as the queue would; its results."""
        mine = [
            committed.event
            for committed in self.observer.committed[after:]
            if committed.event.room_id == room_id and committed.event.sender.endswith(f":{self.name}")
        ]
        return to.receive(self.name, *mine[-50:])

    @property
    def name(self) -> str:
        return self.signer.server_name

    def membership(self, user_id: str, room_id: str) -> str | None:
        row = self.run(self.memberships.maybe_membership(UserID(user_id), RoomID(room_id)))
        return None if row is None else row.membership

    def join(self, user_id: str, room_id: str, *via: str, **content: Any) -> None:
        """Join through other servers."""
        self.run(
            self.federation.remote_memberships.join_remote(
                member_change("join", user_id, room_id, **content), [ServerName(name) for name in via]
            )
        )

    def state(self, room_id: str) -> dict[tuple[str, str], str]:
        return dict(self.run(self.rooms.current_state(RoomID(room_id))))

    def _edu(self, kind: str) -> Any:
        async def take(origin: str, content: Any) -> None:
            self.edus.append((kind, origin, content))

        return take

    async def _has_account(self, user_id: UserID) -> bool:
        return self.accounts is None or user_id in self.accounts
