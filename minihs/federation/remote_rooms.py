"""Questions about rooms to other servers: one method for each request, with its bounds and its shape.

Only shapes are checked here. Whether the events in an answer are genuine is `admission`'s concern; what they
mean is that of the callers. Source: Server-Server API, from "Retrieving event authorisation information" to
"Leaving Rooms".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from minihs.events.ids import EventID, RoomID, ServerName, UserID
from minihs.federation.client import Unreachable, wrong_shape

V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"

QUICK_MS = 15_000  # a question about one event or one user
SLOW_MS = 60_000  # a question whose answer may be the whole state of a large room
SMALL_BYTES = 2 << 20
CHAIN_BYTES = 16 << 20
LARGE_BYTES = 128 << 20  # the state of a room with a hundred thousand members, and its auth chain
MAX_EVENTS = 200_000  # in one answer, whose events are smaller than one would expect

PDU = dict[str, Any]
RawPDU = msgspec.Raw
"""JSON that is read with the event's other checks: a large answer is not worth one long pause."""
Handshake = Literal["join", "leave", "knock"]
Answer = TypeVar("Answer")


class Client(Protocol):
    """What is needed of `federation.client.FederationClient`."""

    async def get(
        self,
        destination: ServerName,
        path: str,
        args: Mapping[str, str | list[str]] | None = None,
        *,
        timeout_ms: int = ...,
        max_bytes: int = ...,
        ignore_backoff: bool = ...,
    ) -> dict[str, Any]: ...

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: Mapping[str, Any],
        *,
        timeout_ms: int = ...,
        max_bytes: int = ...,
        ignore_backoff: bool = ...,
    ) -> dict[str, Any]: ...

    async def post(
        self,
        destination: ServerName,
        path: str,
        body: Mapping[str, Any],
        *,
        timeout_ms: int = ...,
        max_bytes: int = ...,
        ignore_backoff: bool = ...,
    ) -> dict[str, Any]: ...

    async def get_shaped(
        self,
        shape: type[Answer],
        destination: ServerName,
        path: str,
        args: Mapping[str, str | list[str]] | None = None,
        *,
        timeout_ms: int = ...,
        max_bytes: int = ...,
    ) -> Answer: ...

    async def put_shaped(
        self,
        shape: type[Answer],
        destination: ServerName,
        path: str,
        body: Mapping[str, Any],
        *,
        timeout_ms: int = ...,
        max_bytes: int = ...,
    ) -> Answer: ...


class Template(msgspec.Struct, frozen=True):
    """The reply to make_join, make_leave and make_knock: an unsigned member event and the room's version."""

    event: dict[str, Any]
    room_version: str = "1"


class JoinReply(msgspec.Struct, frozen=True):
    """The reply to send_join: the state before the join, its auth chain, `event` when it was co-signed."""

    state: list[RawPDU]
    auth_chain: list[RawPDU]
    event: dict[str, Any] | None = None
    members_omitted: bool = False


class StateIDs(msgspec.Struct, frozen=True):
    """The reply to state_ids: the state before an event, and its auth chain."""

    pdu_ids: list[EventID]
    auth_chain_ids: list[EventID]


class StatePDUs(msgspec.Struct, frozen=True):
    """The reply to state: the same as `StateIDs`, as events."""

    pdus: list[RawPDU]
    auth_chain: list[RawPDU]


class _PDUs(msgspec.Struct, frozen=True):
    pdus: list[PDU]


class _Events(msgspec.Struct, frozen=True):
    events: list[PDU]


class _AuthChain(msgspec.Struct, frozen=True):
    auth_chain: list[RawPDU]


class _InviteReply(msgspec.Struct, frozen=True):
    event: PDU


class _KnockReply(msgspec.Struct, frozen=True):
    knock_room_state: list[PDU] = []


class RemoteRooms:
    """Asks other servers about rooms.

    Every method raises `RemoteRefusal` when the server said no, and `Unreachable` when it could not be asked
    or its answer has the wrong shape.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def event(self, server: ServerName, event_id: EventID) -> PDU | None:
        """`GET /event`: one event as the other server has it; None when the answer holds none."""
        answer = await self._client.get(
            server, f"{V1}/event/{_segment(event_id)}", timeout_ms=QUICK_MS, max_bytes=SMALL_BYTES
        )
        pdus = _shaped(server, answer, _PDUs).pdus
        return pdus[0] if pdus else None

    async def event_auth(self, server: ServerName, room_id: RoomID, event_id: EventID) -> list[RawPDU]:
        """`GET /event_auth`: the whole auth chain of an event."""
        answer = await self._client.get_shaped(
            _AuthChain,
            server,
            f"{V1}/event_auth/{_segment(room_id)}/{_segment(event_id)}",
            timeout_ms=SLOW_MS,
            max_bytes=CHAIN_BYTES,
        )
        _check_number(server, answer.auth_chain)
        return answer.auth_chain

    async def missing_events(
        self,
        server: ServerName,
        room_id: RoomID,
        *,
        earliest: Sequence[EventID],
        latest: Sequence[EventID],
        limit: int,
        min_depth: int,
    ) -> list[PDU]:
        """`POST /get_missing_events`: up to `limit` events between what we have and `latest`."""
        body = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        answer = await self._client.post(
            server,
            f"{V1}/get_missing_events/{_segment(room_id)}",
            body,
            timeout_ms=QUICK_MS,
            max_bytes=SMALL_BYTES * 4,
        )
        return _shaped(server, answer, _Events).events[:limit]

    async def state_ids(self, server: ServerName, room_id: RoomID, event_id: EventID) -> StateIDs:
        """`GET /state_ids`: the state before an event, as IDs."""
        told = await self._client.get_shaped(
            StateIDs,
            server,
            f"{V1}/state_ids/{_segment(room_id)}",
            {"event_id": event_id},
            timeout_ms=SLOW_MS,
            max_bytes=LARGE_BYTES,
        )
        _check_number(server, told.pdu_ids, told.auth_chain_ids)
        return told

    async def state(self, server: ServerName, room_id: RoomID, event_id: EventID) -> StatePDUs:
        """`GET /state`: the state before an event, as events."""
        told = await self._client.get_shaped(
            StatePDUs,
            server,
            f"{V1}/state/{_segment(room_id)}",
            {"event_id": event_id},
            timeout_ms=SLOW_MS,
            max_bytes=LARGE_BYTES,
        )
        _check_number(server, told.pdus, told.auth_chain)
        return told

    async def backfill(
        self, server: ServerName, room_id: RoomID, before: Sequence[EventID], limit: int
    ) -> list[PDU]:
        """`GET /backfill`: up to `limit` events, `before` among them and what precedes them."""
        answer = await self._client.get(
            server,
            f"{V1}/backfill/{_segment(room_id)}",
            {"v": list(before), "limit": str(limit)},
            timeout_ms=QUICK_MS,
            max_bytes=SMALL_BYTES * 8,
        )
        return _shaped(server, answer, _PDUs).pdus[:limit]

    async def make(
        self,
        handshake: Handshake,
        server: ServerName,
        room_id: RoomID,
        user_id: UserID,
        versions: Sequence[str],
    ) -> Template:
        """`GET /make_join`, `/make_leave` or `/make_knock`: a template of the member event.

        Raises Unreachable, too, when the template is not for this user, room and membership: the spec wants
        such an answer thrown away.
        """
        answer = await self._client.get(
            server,
            f"{V1}/make_{handshake}/{_segment(room_id)}/{_segment(user_id)}",
            None if handshake == "leave" else {"ver": list(versions)},
            timeout_ms=QUICK_MS,
            max_bytes=SMALL_BYTES,
            ignore_backoff=True,  # somebody waits for it, and may know that the server is back
        )
        template = _shaped(server, answer, Template)
        _check_template(server, template.event, handshake, room_id, user_id)
        return template

    async def send_join(
        self, server: ServerName, room_id: RoomID, event_id: EventID, pdu: Mapping[str, Any]
    ) -> JoinReply:
        """`PUT /send_join` (v2), asking for the whole state."""
        reply = await self._client.put_shaped(
            JoinReply,
            server,
            f"{V2}/send_join/{_segment(room_id)}/{_segment(event_id)}",
            pdu,
            timeout_ms=SLOW_MS,
            max_bytes=LARGE_BYTES,
        )
        _check_number(server, reply.state, reply.auth_chain)
        return reply

    async def send_leave(
        self, server: ServerName, room_id: RoomID, event_id: EventID, pdu: Mapping[str, Any]
    ) -> None:
        """`PUT /send_leave` (v2)."""
        await self._client.put(
            server,
            f"{V2}/send_leave/{_segment(room_id)}/{_segment(event_id)}",
            pdu,
            timeout_ms=QUICK_MS,
            max_bytes=SMALL_BYTES,
        )

    async def send_knock(
        self, server: ServerName, room_id: RoomID, event_id: EventID, pdu: Mapping[str, Any]
    ) -> list[PDU]:
        """`PUT /send_knock`; the room's stripped state."""
        answer = await self._client.put(
            server,
            f"{V1}/send_knock/{_segment(room_id)}/{_segment(event_id)}",
            pdu,
            timeout_ms=QUICK_MS,
            max_bytes=SMALL_BYTES,
        )
        return _shaped(server, answer, _KnockReply).knock_room_state

    async def invite(
        self,
        server: ServerName,
        room_id: RoomID,
        event_id: EventID,
        *,
        pdu: Mapping[str, Any],
        room_version: str,
        room_state: Sequence[Mapping[str, Any]],
    ) -> PDU:
        """`PUT /invite` (v2): the event with the other server's signature added."""
        body = {"event": pdu, "room_version": room_version, "invite_room_state": list(room_state)}
        answer = await self._client.put(
            server,
            f"{V2}/invite/{_segment(room_id)}/{_segment(event_id)}",
            body,
            timeout_ms=QUICK_MS,
            max_bytes=SMALL_BYTES,
            ignore_backoff=True,
        )
        return _shaped(server, answer, _InviteReply).event

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: RoomID, partial: Mapping[str, Any]
    ) -> None:
        """`PUT /exchange_third_party_invite`: have the other server invite a user of ours."""
        await self._client.put(
            server,
            f"{V1}/exchange_third_party_invite/{_segment(room_id)}",
            partial,
            timeout_ms=SLOW_MS,  # it asks us to sign the invite before it answers
            max_bytes=SMALL_BYTES,
            ignore_backoff=True,
        )


def _segment(text: str) -> str:
    return quote(text, safe="")


def _shaped(server: ServerName, answer: object, shape: type[Answer]) -> Answer:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        raise wrong_shape(server, error) from error


def _check_number(server: ServerName, *parts: Sequence[object]) -> None:
    if sum(map(len, parts)) > MAX_EVENTS:
        raise Unreachable(f"{server} answered with more than {MAX_EVENTS} events.")


def _check_template(
    server: ServerName, event: Mapping[str, Any], handshake: Handshake, room_id: RoomID, user_id: UserID
) -> None:
    content = event.get("content")
    expected = {"type": "m.room.member", "room_id": room_id, "sender": user_id, "state_key": user_id}
    for key, value in expected.items():
        if event.get(key) != value:
            raise Unreachable(f"{server} gave a template with another {key} than was asked for.")
    if not isinstance(content, Mapping) or content.get("membership") != handshake:
        raise Unreachable(f"{server} gave a template that is not for membership {handshake!r}.")


__all__ = ["Client", "JoinReply", "RemoteRooms", "StateIDs", "StatePDUs", "Template"]
