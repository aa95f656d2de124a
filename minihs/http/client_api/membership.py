"""Joining, knocking, inviting, leaving, kicking, banning, forgetting. Source: Client-Server API, "Room
membership"."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import RoomID, ServerName, parse_room_alias, parse_room_id, parse_user_id
from minihs.homeserver.room_actions.directory import Directory
from minihs.homeserver.room_actions.forgetting import Forgetting
from minihs.homeserver.room_actions.membership import Membership as Memberships
from minihs.homeserver.room_actions.third_party_invites import ThirdPartyInvites
from minihs.http.client_api.room_requests import only_members, room_id_of, via_of
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Handler, Route

CLIENT = "/_matrix/client/v3"
ROOM = f"{CLIENT}/rooms/{{room_id}}"
_NO_THIRD_PARTIES = "This server asks no identity servers about e-mail or phone: name users by their ID."


class ReasonBody(msgspec.Struct):
    """A body that may give a reason."""

    reason: str | None = None


class ThirdPartySigned(msgspec.Struct):
    """What an identity server has signed for somebody who was invited without a user ID."""

    sender: str
    mxid: str
    token: str
    signatures: dict[str, dict[str, str]]


class JoinBody(msgspec.Struct):
    """The body of a join."""

    reason: str | None = None
    third_party_signed: ThirdPartySigned | None = None


class TargetBody(msgspec.Struct):
    """A body that names another user."""

    user_id: str
    reason: str | None = None


class InviteBody(msgspec.Struct):
    """The body of both forms of `/invite`."""

    user_id: str | None = None
    reason: str | None = None
    medium: str | None = None
    address: str | None = None


class Membership:
    """The endpoints that change or list what users are to rooms."""

    def __init__(
        self,
        membership: Memberships,
        forgetting: Forgetting,
        directory: Directory,
        third_party_invites: ThirdPartyInvites,
    ) -> None:
        self._membership = membership
        self._forgetting = forgetting
        self._directory = directory
        self._third_party_invites = third_party_invites

    def routes(self) -> list[Route]:
        """The routes of this module.

        Guests may join and leave. They may join by `/join/{roomIdOrAlias}`, too, although the specification
        lists only the other path: SDKs know no other way.
        """
        return [
            _post(f"{CLIENT}/join/{{room_id_or_alias}}", self.join, JoinBody, guests=True, limit="join"),
            _post(f"{ROOM}/join", self.join_by_id, JoinBody, guests=True, limit="join"),
            _post(f"{CLIENT}/knock/{{room_id_or_alias}}", self.knock, ReasonBody, limit="join"),
            _post(f"{ROOM}/invite", self.invite, InviteBody),
            _post(f"{ROOM}/leave", self.leave, ReasonBody, guests=True, while_suspended=True),
            _post(f"{ROOM}/kick", self.kick, TargetBody),
            _post(f"{ROOM}/ban", self.ban, TargetBody),
            _post(f"{ROOM}/unban", self.unban, TargetBody),
            _post(f"{ROOM}/forget", self.forget, None),
            Route(
                method="GET", path=f"{CLIENT}/joined_rooms", access=Access.MEMBER, handler=self.joined_rooms
            ),
        ]

    async def join(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /join/{roomIdOrAlias}`."""
        room_id, via = await self._room_and_servers(request)
        return await self._join(request, room_id, via)

    async def join_by_id(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/join`."""
        return await self._join(request, room_id_of(request), via_of(request))

    async def knock(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /knock/{roomIdOrAlias}`."""
        room_id, via = await self._room_and_servers(request)
        await self._membership.knock(request.user.user_id, room_id, via=via, reason=request.body.reason)
        return {"room_id": room_id}

    async def invite(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/invite`."""
        body: InviteBody = request.body
        if body.user_id is None:
            if body.medium is not None or body.address is not None:
                raise MatrixError(403, "M_FORBIDDEN", _NO_THIRD_PARTIES)
            raise MatrixError(400, "M_MISSING_PARAM", "The body lacks `user_id`.")
        with only_members():
            await self._membership.invite(
                request.user.user_id, room_id_of(request), parse_user_id(body.user_id), reason=body.reason
            )
        return {}

    async def leave(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/leave`."""
        with only_members():
            await self._membership.leave(
                request.user.user_id, room_id_of(request), reason=request.body.reason
            )
        return {}

    async def kick(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/kick`."""
        body: TargetBody = request.body
        with only_members():
            await self._membership.kick(
                request.user.user_id, room_id_of(request), parse_user_id(body.user_id), reason=body.reason
            )
        return {}

    async def ban(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/ban`."""
        body: TargetBody = request.body
        with only_members():
            await self._membership.ban(
                request.user.user_id, room_id_of(request), parse_user_id(body.user_id), reason=body.reason
            )
        return {}

    async def unban(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/unban`."""
        body: TargetBody = request.body
        with only_members():
            await self._membership.unban(
                request.user.user_id, room_id_of(request), parse_user_id(body.user_id), reason=body.reason
            )
        return {}

    async def forget(self, request: ApiRequest) -> dict[str, Any]:
        """`POST /rooms/{roomId}/forget`."""
        await self._forgetting.forget(request.user.user_id, room_id_of(request))
        return {}

    async def joined_rooms(self, request: ApiRequest) -> dict[str, Any]:
        """`GET /joined_rooms`."""
        return {"joined_rooms": list(await self._membership.joined_rooms(request.user.user_id))}

    async def _join(self, request: ApiRequest, room_id: RoomID, via: list[ServerName]) -> dict[str, Any]:
        body: JoinBody = request.body
        user = request.user
        if body.third_party_signed is not None:
            sender = parse_user_id(body.third_party_signed.sender)
            signed = request.json["third_party_signed"]  # all of it: the signature covers what else is there
            await self._third_party_invites.accept(user.user_id, room_id, sender, signed)
        await self._membership.join(
            user.user_id, room_id, via=via, reason=body.reason, is_guest=user.is_guest
        )
        return {"room_id": room_id}

    async def _room_and_servers(self, request: ApiRequest) -> tuple[RoomID, list[ServerName]]:
        named = request.args["room_id_or_alias"]
        via = via_of(request)
        if not named.startswith("#"):
            return parse_room_id(named), via
        target = await self._directory.resolve(parse_room_alias(named))
        return target.room_id, [*via, *target.servers]


def _post(
    path: str,
    handler: Handler,
    body: type | None,
    *,
    guests: bool = False,
    limit: str = "membership",
    while_suspended: bool | None = None,
) -> Route:
    return Route(
        method="POST",
        path=path,
        access=Access.USER if guests else Access.MEMBER,
        handler=handler,
        body=body,
        limit=limit,
        while_suspended=while_suspended,
    )
