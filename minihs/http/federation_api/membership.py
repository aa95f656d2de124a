"""Joining, leaving and knocking through us, and invites for our users.

Source: Server-Server API, "Joining Rooms", "Knocking upon a room", "Inviting to a room", "Leaving Rooms
(Rejecting Invites)".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import msgspec

from minihs.events.ids import parse_user_id
from minihs.events.signatures import Signer
from minihs.homeserver.elsewhere.handshakes import IncompatibleRoomVersion, supported_version
from minihs.homeserver.elsewhere.invited import InvitedServer
from minihs.homeserver.elsewhere.resident import Handshake, ResidentServer
from minihs.http.errors import MatrixError
from minihs.http.federation_api.paths import LIMIT, V1, V2, event_of, room_of
from minihs.http.request import ApiRequest, Reply
from minihs.http.routing import Access, Route

MAX_EVENT_BODY_BYTES = 256 * 1024
MAX_INVITE_BODY_BYTES = 8 * 1024 * 1024
"""An invite comes with a handful of state events, each of up to 64 KiB."""

Handler = Callable[[Any, ApiRequest], Awaitable[dict[str, Any] | Reply]]


class InviteBody(msgspec.Struct):
    """The body of `/v2/invite`."""

    room_version: str
    event: dict[str, Any]
    invite_room_state: list[Any] = []


def _says_version(handler: Handler) -> Handler:
    """Answer IncompatibleRoomVersion as these endpoints do, with the room's version."""

    @wraps(handler)
    async def handle(self: Any, request: ApiRequest) -> dict[str, Any] | Reply:
        try:
            return await handler(self, request)
        except IncompatibleRoomVersion as error:
            raise MatrixError(
                400,
                "M_INCOMPATIBLE_ROOM_VERSION",
                error.message,
                extra={"room_version": error.version_id},
            ) from error

    return handle


class Membership:
    """The endpoints of the handshakes."""

    def __init__(self, *, signer: Signer, resident: ResidentServer, invited: InvitedServer) -> None:
        self._signer = signer
        self._resident = resident
        self._invited = invited

    def routes(self) -> list[Route]:
        """The routes of this module."""
        user, event = "{room_id}/{user_id}", "{room_id}/{event_id}"
        return [
            _get(f"{V1}/make_join/{user}", self.make_join),
            _get(f"{V1}/make_leave/{user}", self.make_leave),
            _get(f"{V1}/make_knock/{user}", self.make_knock),
            _put(f"{V1}/send_join/{event}", self.send_join_v1),
            _put(f"{V2}/send_join/{event}", self.send_join),
            _put(f"{V1}/send_leave/{event}", self.send_leave_v1),
            _put(f"{V2}/send_leave/{event}", self.send_leave),
            _put(f"{V1}/send_knock/{event}", self.send_knock),
            _put(f"{V1}/invite/{event}", self.invite_v1, max_body=MAX_INVITE_BODY_BYTES),
            _put(f"{V2}/invite/{event}", self.invite, InviteBody, max_body=MAX_INVITE_BODY_BYTES),
        ]

    @_says_version
    async def make_join(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/make_join/{roomId}/{userId}"""
        # Servers that name no versions know version 1 alone.
        return await self._template(request, "join", request.query.many("ver") or ["1"])

    async def make_leave(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/make_leave/{roomId}/{userId}"""
        return await self._template(request, "leave", None)

    @_says_version
    async def make_knock(self, request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/federation/v1/make_knock/{roomId}/{userId}"""
        request.query.required("ver")
        return await self._template(request, "knock", request.query.many("ver"))

    async def send_join(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}"""
        joined = await self._resident.send_join(
            request.server, room_of(request), event_of(request), request.json
        )
        return {
            "origin": self._signer.server_name,
            "members_omitted": False,
            "state": [event.pdu for event in joined.before.state],
            "auth_chain": [event.pdu for event in joined.before.auth_chain],
            "event": joined.event.pdu,
        }

    async def send_join_v1(self, request: ApiRequest) -> Reply:
        """PUT /_matrix/federation/v1/send_join/{roomId}/{eventId}"""
        return Reply(body=[200, await self.send_join(request)])

    async def send_leave(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}"""
        await self._resident.send_leave(request.server, room_of(request), event_of(request), request.json)
        return {}

    async def send_leave_v1(self, request: ApiRequest) -> Reply:
        """PUT /_matrix/federation/v1/send_leave/{roomId}/{eventId}"""
        return Reply(body=[200, await self.send_leave(request)])

    async def send_knock(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}"""
        told = await self._resident.send_knock(
            request.server, room_of(request), event_of(request), request.json
        )
        return {"knock_room_state": [event.pdu for event in told]}

    @_says_version
    async def invite(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/federation/v2/invite/{roomId}/{eventId}"""
        body: InviteBody = request.body
        signed = await self._invited.invite(
            request.server,
            room_of(request),
            event_of(request),
            version=supported_version(body.room_version),
            pdu=body.event,
            room_state=body.invite_room_state,
        )
        return {"event": signed}

    @_says_version
    async def invite_v1(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/federation/v1/invite/{roomId}/{eventId}

        It says no room version, because it was made for versions 1 and 2, which this server does not take
        part in.
        """
        await self._invited.check_let_in(request.server, room_of(request))
        event_of(request)
        raise IncompatibleRoomVersion("1")

    async def _template(
        self, request: ApiRequest, handshake: Handshake, versions: list[str] | None
    ) -> dict[str, Any]:
        user_id = parse_user_id(request.args["user_id"])
        template = await self._resident.make(handshake, request.server, room_of(request), user_id, versions)
        return {"room_version": template.version.id, "event": template.event}


def _get(path: str, handler: Any) -> Route:
    return Route(method="GET", path=path, access=Access.SERVER, handler=handler, limit=LIMIT)


def _put(path: str, handler: Any, body: Any = None, max_body: int = MAX_EVENT_BODY_BYTES) -> Route:
    return Route(
        method="PUT",
        path=path,
        access=Access.SERVER,
        handler=handler,
        body=body,
        limit=LIMIT,
        max_body=max_body,
    )
