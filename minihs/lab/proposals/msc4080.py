"""MSC4080 as far as sending in advance needs it: events that clients sign, `/send_pdus`, time-outs on each.

A user whose localpart is a public key signs everything but memberships; servers verify with the key that the
sender's ID holds and ask nobody. `PUT …/v4/…` makes the event without adding it to the room, the client signs
it, `/send_pdus` takes it: at once, or, as the origin's discussion sketches, with `future_timeout` and
`future_group_id`, whoever holds it, on whichever server in the room. With the proposal's remedy against
clients that change what they are given, a server takes only what it has made itself, for a while.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from signedjson.key import decode_signing_key_base64, decode_verify_key_bytes
from signedjson.types import SigningKey, VerifyKey
from unpaddedbase64 import encode_base64

from minihs.events.event import Event
from minihs.events.hashes import content_hash_matches, event_id_of
from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.events.signatures import BadSignature, Signer, sign_pdu, verify_pdu
from minihs.events.versions import RoomVersion
from minihs.federation.admission import Dropped, Keys
from minihs.federation.key_documents import KeysUnavailable
from minihs.futures.model import CancelRule
from minihs.homeserver.errors import BadContent, Forbidden
from minihs.homeserver.futures.errors import (
    FutureConflict,
    NotRestartable,
    TokenSpent,
    TokenUnknown,
    UnknownFuture,
)
from minihs.homeserver.futures.orders import FutureOrder
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.http.dialects.base import Endpoint, QuietDialect
from minihs.http.dialects.redemption import gone
from minihs.http.request import ApiRequest
from minihs.http.routing import Access
from minihs.lab.proposals.switch import Unmoved
from minihs.lab.servers import LabServer
from minihs.platform.entropy import SeededEntropy
from minihs.server import Policies
from minihs.store.along import Also
from minihs.store.events import Standing
from minihs.store.writer import Batch, Writer

MEMBER = "m.room.member"
PREFIX, VERSION = "key=", "1"
KEY_ID = f"ed25519:{VERSION}"
PDU = "org.matrix.msc4080.pdu"
UNSTABLE = "/_matrix/client/unstable/org.matrix.msc4080"
"""Where a future holds the event that somebody has signed."""
TOKENS = ("send", "cancel", "refresh")


class ClientKey:
    """A client's key, and the user whose identity it is."""

    def __init__(self, seed: str, server_name: str) -> None:
        secret = SeededEntropy(f"client key {seed}").token_bytes(32)
        self._key: SigningKey = decode_signing_key_base64("ed25519", VERSION, encode_base64(secret))
        self.localpart = PREFIX + self._key.verify_key.encode().hex()
        self.user_id = UserID(f"@{self.localpart}:{server_name}")

    def sign(self, pdu: Mapping[str, Any], version: RoomVersion) -> dict[str, Any]:
        """The event with the client's signature, which is the only one it needs."""
        return sign_pdu(pdu, version, Signer(ServerName(self.user_id), self._key))


def key_of(user_id: str) -> VerifyKey | None:
    """The key that a user's ID holds; None for ordinary users."""
    localpart = user_id[1:].split(":", 1)[0]
    if not localpart.startswith(PREFIX):
        return None
    try:
        return decode_verify_key_bytes(KEY_ID, bytes.fromhex(localpart.removeprefix(PREFIX)))
    except ValueError:
        return None


class ClientKeys:
    """Verifies what clients sign by their keys, and everything else as ever."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def verify_event(self, event: Event) -> None:
        key = None if event.type == MEMBER else key_of(event.sender)
        if key is None:
            await self._keys.verify_event(event)
        else:
            verify_pdu(event.pdu, event.version, event.sender, {KEY_ID: key})

    async def verify_events(
        self, events: Sequence[Event]
    ) -> Mapping[EventID, BadSignature | KeysUnavailable | None]:
        verdicts: dict[EventID, BadSignature | KeysUnavailable | None] = {}
        for event in events:
            try:
                await self.verify_event(event)
            except (BadSignature, KeysUnavailable) as fault:
                verdicts[event.event_id] = fault
            else:
                verdicts[event.event_id] = None
        return verdicts


class ClientSignedEvents(Unmoved, QuietDialect):
    """The endpoints, on one server process. With the remedy, `/send_pdus` takes what this process has made in
    the last `kept_ms`, as it has made it; without (None), what anybody has signed."""

    name = "msc4080"

    def __init__(self, kept_ms: int | None = None) -> None:
        self._kept_ms = kept_ms
        self._made_ms: dict[EventID, float] = {}
        self._server: LabServer | None = None
        self._futures: Futures | None = None
        self._sender: EventSender | None = None
        self._writer: Writer | None = None

    def policies(self) -> Policies:
        return Policies(event_keys=ClientKeys, dialects=self._over, future_sender=self._around)

    def run_on(self, server: LabServer) -> None:
        self._server = server

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            _put("/rooms/{room_id}/send/{event_type}/{txn_id}", self.make),
            _put("/rooms/{room_id}/state/{event_type}/{state_key}", self.make),
            Endpoint(
                method="POST",
                paths=("/_matrix/client/v1/send_pdus/{txn_id}", f"{UNSTABLE}/send_pdus/{{txn_id}}"),
                access=Access.USER,
                handler=self.send_pdus,
            ),
            Endpoint(
                method="POST",
                paths=(f"{UNSTABLE}/future/{{token}}",),
                access=Access.OPEN,
                handler=self.redeem,
            ),
        )

    async def make(self, request: ApiRequest) -> dict[str, Any]:
        """`PUT /v4/…/send/…` and `…/state/…`: the event on the room as it is now, for the client to sign."""
        args = request.args
        draft = EventDraft(
            room_id=RoomID(args["room_id"]),
            sender=request.user.user_id,
            type=args["event_type"],
            content=request.json,
            state_key=args.get("state_key"),
        )
        event = await self._running.parts.room_service.rooms.build(draft)
        self._made_ms[event.event_id] = self._running.clock.monotonic_ms()
        pdu = {key: value for key, value in event.pdu.items() if key != "signatures"}
        return {"event_id": event.event_id, "pdu": pdu}

    async def send_pdus(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /v1/send_pdus/{txnId}`: an event ID for each that was sent, tokens for each that waits."""
        replies = []
        for info in request.json["pdus"]:
            await self._check(info["pdu"])
            timeout_ms, group = info.get("future_timeout"), info.get("future_group_id")
            if timeout_ms is None and group is None:
                event_id = await self._receive(info["pdu"])
                replies.append({"event_id": event_id})
            else:
                replies.append(await self._schedule(request.user.user_id, info["pdu"], timeout_ms, group))
        return {"pdus": replies}

    async def redeem(self, request: ApiRequest) -> dict[str, Any]:
        """`POST …/future/{token}`: what the token is for, happens."""
        if self._futures is None:
            raise RuntimeError("there are no futures yet")
        futures = self._futures
        actions = {"send": futures.send, "cancel": futures.cancel, "refresh": futures.restart}
        try:
            future, purpose = await futures.redeem(request.args["token"])
            await actions[purpose](future.delay_id)
        except (TokenUnknown, TokenSpent, UnknownFuture, FutureConflict, NotRestartable) as finalised:
            raise gone("This token is spent, or never was one.") from finalised
        return {}

    # An `EventSender`: a future that holds a PDU is that PDU.

    async def send(self, draft: EventDraft, *, is_guest: bool = False, also: Also | None = None) -> EventID:
        if self._sender is None or self._writer is None:
            raise RuntimeError("nothing sends events yet")
        if PDU not in draft.content:
            return await self._sender.send(draft, is_guest=is_guest, also=also)
        event = await self._received(draft.content[PDU])
        if also is not None:
            # A crash before this sends the PDU again, which changes nothing: its ID is what it was.
            outcome = Batch()
            also(outcome, event)
            await self._writer.submit(outcome)
        return event.event_id

    # Inside

    @property
    def _running(self) -> LabServer:
        if self._server is None:
            raise RuntimeError("client-signed events have no server yet: call run_on")
        return self._server

    def _over(self, futures: Futures) -> Sequence[QuietDialect]:
        self._futures = futures
        return (self,)

    def _around(self, sender: EventSender, _rooms: object, writer: Writer) -> EventSender:
        self._sender, self._writer = sender, writer
        return self

    async def _check(self, pdu: dict[str, Any]) -> None:
        """BadContent when the remedy is on and this server has not made the event, or too long ago. Its ID is
        the hash of all but its signatures, and its content by another hash."""
        if self._kept_ms is None:
            return
        rooms = self._running.parts.room_service.rooms
        version = await rooms.version_of(RoomID(pdu["room_id"]))
        made_ms = self._made_ms.get(event_id_of(pdu, version))
        if made_ms is None or not content_hash_matches(pdu):
            raise BadContent("This server has not made the event: ask it for one, and sign that.")
        if self._running.clock.monotonic_ms() - made_ms > self._kept_ms:
            raise BadContent("The event was made too long ago: ask for another, and sign that.")

    async def _schedule(
        self, owner: UserID, pdu: dict[str, Any], timeout_ms: int | None, group: str | None
    ) -> dict[str, Any]:
        if self._futures is None:
            raise RuntimeError("there are no futures yet")
        order = FutureOrder(
            owner=owner,
            room_id=RoomID(pdu["room_id"]),
            type=pdu["type"],
            content={PDU: pdu},
            state_key=pdu.get("state_key"),
            timeout_ms=timeout_ms,
            cancel_rule=CancelRule.NEVER,
            dialect=self.name,
            tokens=TOKENS if timeout_ms is not None else TOKENS[:2],
        )
        group = group or f"pdus {self._running.entropy.token_bytes(9).hex()}"
        scheduled = await self._futures.schedule((order,), group=group)
        (future,) = scheduled.futures
        tokens = {f"{kind}_token": self._futures.token(future.delay_id, kind) for kind in order.tokens}
        return {**tokens, "future_group_id": scheduled.group_name}

    async def _receive(self, pdu: dict[str, Any]) -> EventID:
        return (await self._received(pdu)).event_id

    async def _received(self, pdu: dict[str, Any]) -> Event:
        """Judge a PDU as if another server had sent it, and pass it on to all others when it is accepted."""
        parts = self._running.parts
        room_id = RoomID(pdu["room_id"])
        version = await parts.room_service.rooms.version_of(room_id)
        try:
            event = await parts.inbound.admission.admit(pdu, version, room_id)
        except Dropped as dropped:
            raise BadContent(str(dropped)) from dropped
        received = await parts.inbound.events.receive(ServerName(self._running.name), event, forward=True)
        if received.durable is not None:
            await received.durable
        if received.standing is not Standing.ACCEPTED:
            raise Forbidden(f"The event is {received.standing.name.lower()}: {received.refusal}")
        return event


def _put(path: str, handler: Any) -> Endpoint:
    paths = (f"/_matrix/client/v4{path}", f"{UNSTABLE}{path}")
    return Endpoint(method="PUT", paths=paths, access=Access.USER, handler=handler)
