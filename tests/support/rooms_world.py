"""One server's rooms with membership, creation, aliases and their endpoints; other servers are fakes.

The access token of a user is their user ID; `@guest…` are guests, `@admin…` administrators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from minihs.events.event import Event
from minihs.events.ids import DeviceID, EventID, RoomAlias, RoomID, ServerName, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.remote_lookups import ToldSpace
from minihs.homeserver.accounts.invite_permission import InvitePermission
from minihs.homeserver.accounts.sessions import Requester, UnknownToken
from minihs.homeserver.elsewhere.protocols import AliasTarget
from minihs.homeserver.elsewhere.server_acls import ServerACLs
from minihs.homeserver.history.event_format import EventFormat
from minihs.homeserver.member_change import MemberChange
from minihs.homeserver.room_actions.guest_access import GuestAccess
from minihs.homeserver.room_actions.opening import make_room_actions
from minihs.homeserver.room_actions.restricted_joins import RestrictedJoins
from minihs.homeserver.room_actions.room_summaries import RoomSummaries
from minihs.homeserver.rooms.service import Rooms
from minihs.homeserver.transactions import Transactions
from minihs.http.client_api import (
    aliases,
    members,
    membership,
    public_rooms,
    redaction,
    rooms,
    send,
    state,
    upgrade,
)
from minihs.http.dialects.base import OrdinarySend
from minihs.http.limits import RateLimiter
from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.platform.clock import Clock
from minihs.store.account_data import AccountDataStore
from minihs.store.memberships import MembershipStore
from minihs.store.rooms import RoomStore
from minihs.store.transactions import TransactionStore
from minihs.store.writer import Batch, Writer
from tests.support.http import HttpDriver, Response
from tests.support.room_service import RoomServer

ALICE, BOB, GUEST = UserID("@alice:hs1"), UserID("@bob:hs1"), UserID("@guest:hs1")
CAROL = UserID("@carol:hs2")
AFAR = RoomID("!room:hs3")
"""A room that is not here."""


class Tokens:
    """Every user ID is a token."""

    def recent(self, token: str) -> Requester | None:
        return None

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:
        if not token.startswith("@"):
            raise UnknownToken
        return Requester(
            user_id=UserID(token),
            device_id=DeviceID("DEVICE"),
            is_guest=token.startswith("@guest"),
            is_admin=token.startswith("@admin"),
            is_suspended=token.startswith("@suspended"),
        )


@dataclass
class Elsewhere:
    """The other servers: what they were asked, and what they say.

    `refusal` is raised by whatever is asked of them. A join or an invite through them is written down as an
    out-of-room membership, as the real thing does for rooms that are not here; without an event there is
    nothing that something could go along with.
    """

    writer: Writer
    store: RoomStore
    rooms: Rooms
    asked: list[tuple[str, Any]] = field(default_factory=list)
    refusal: Exception | None = None
    aliases: dict[str, AliasTarget] = field(default_factory=dict)
    guest_access: str = "can_join"

    def _ask(self, what: str, details: Any) -> None:
        self.asked.append((what, details))
        if self.refusal is not None:
            raise self.refusal

    async def join_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        await self._change("join", change, via)

    async def knock_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        await self._change("knock", change, via)

    async def leave_remote(self, change: MemberChange, via: Sequence[ServerName]) -> None:
        await self._change("leave", change, via)

    async def invite_remote(self, change: MemberChange) -> Event:
        self._ask("invite", change)
        return await self.rooms.send(change.draft, also=change.also)

    async def exchange_third_party_invite(
        self, server: ServerName, room_id: RoomID, partial: Mapping[str, Any]
    ) -> None:
        self._ask("exchange", (server, room_id, dict(partial)))

    async def resolve_alias(self, alias: RoomAlias) -> AliasTarget | None:
        self._ask("alias", alias)
        return self.aliases.get(alias)

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Mapping[str, Any]:
        self._ask("public_rooms", (server, dict(query)))
        return {"chunk": []}

    async def told(self, room_id: RoomID, servers: Sequence[ServerName]) -> ToldSpace | None:
        self._ask("space", (room_id, tuple(servers)))
        return None

    async def _change(self, what: str, change: MemberChange, via: Sequence[ServerName]) -> None:
        self._ask(what, (change.room_id, change.target, tuple(via), dict(change.content)))
        await self.write(change.room_id, change.target, what, change.target)

    async def write(self, room_id: RoomID, user_id: UserID, membership: str, sender: str) -> None:
        """A membership of a room that is not here."""
        batch = Batch()
        self.store.set_membership(
            batch,
            user_id=user_id,
            room_id=room_id,
            membership=membership,
            event_id=EventID(f"$elsewhere-{membership}"),
            sender=UserID(sender),
            position=1,
        )
        await self.writer.submit(batch)


class RoomsWorld(RoomServer):
    """The server `hs1` and its client API for rooms; `call` makes a request and gives its response."""

    def __init__(self, *, rate_limits: bool = False) -> None:
        super().__init__()
        self.profiles: dict[str, dict[str, Any]] = {}
        self.claimed: list[OrdinarySend] = []
        self.forgotten: list[str] = []
        server_name = ServerName("hs1")
        events = self.service.events
        memberships = MembershipStore(self.database.reader)
        self.elsewhere = Elsewhere(self.writer, RoomStore(self.database.reader), self.rooms)

        async def profile_of(user_id: UserID) -> Mapping[str, Any]:
            return self.profiles.get(user_id, {})

        self.restricted_joins = RestrictedJoins(
            server_name=server_name, rooms=self.rooms, memberships=memberships
        )
        self.actions = actions = make_room_actions(
            server_name=server_name,
            clock=self.clock,
            entropy=self.entropy,
            reader=self.database.reader,
            writer=self.writer,
            room_service=self.service,
            restricted_joins=self.restricted_joins,
            summaries=RoomSummaries(rooms=self.rooms, memberships=memberships),
            invite_permission=InvitePermission(AccountDataStore(self.database.reader)),
            profile_of=profile_of,
            on_forgotten=self.forgotten.append,
            acls=ServerACLs(self.rooms),
            remote_membership=self.elsewhere,
            remote_directory=self.elsewhere,
            remote_spaces=self.elsewhere,
        )
        self.membership, self.directory = actions.membership, actions.directory

        async def is_guest(user_id: UserID) -> bool:
            return user_id.startswith("@guest")

        self.rooms.observe(
            GuestAccess(
                server_name=server_name, rooms=self.rooms, membership=self.membership, is_guest=is_guest
            )
        )
        event_format = EventFormat(events, self.clock)
        transactions = Transactions(TransactionStore(self.database.reader), self.writer, self.clock)
        endpoints: list[Any] = [
            rooms.CreateRoom(actions.creation, ROOM_VERSIONS["12"]),
            membership.Membership(
                actions.membership, actions.forgetting, actions.directory, actions.third_party_invites
            ),
            send.Send(actions.sending, transactions, self._claim),
            redaction.Redaction(actions.sending, transactions),
            state.State(
                view=actions.view, event_format=event_format, sending=actions.sending, claim=self._claim
            ),
            members.Members(actions.view, event_format),
            aliases.Aliases(actions.directory, actions.view),
            public_rooms.PublicRooms(actions.published),
            upgrade.Upgrade(actions.upgrade),
        ]
        router = Router(route for endpoint in endpoints for route in endpoint.routes())
        clock: Clock = self.clock
        limiter = RateLimiter(clock, enabled=rate_limits)
        self.site = ApiFactory(router, clock=clock, limiter=limiter, tokens=Tokens())
        self.driver = HttpDriver(self.site, self.clock)

    def _claim(self, ordinary: OrdinarySend) -> Any:
        if ordinary.request.query.one("future") is None:
            return None
        self.claimed.append(ordinary)

        async def answer() -> dict[str, Any]:
            return {"claimed": True}

        return answer()

    def call(
        self, method: str, path: str, user: str | None = None, json: Any = None, **details: Any
    ) -> Response:
        """A request below `/_matrix/client/v3`; a body is sent with everything but GET and DELETE."""
        if json is None and "body" not in details and method in ("POST", "PUT"):
            json = {}
        return self.driver.request(method, f"/_matrix/client/v3{path}", token=user, json=json, **details)

    def ok(self, method: str, path: str, user: str | None = None, json: Any = None) -> Any:
        """The body of a request that must succeed."""
        response = self.call(method, path, user, json)
        assert response.status == 200, response.json
        return response.json

    def make(self, creator: str = "@alice:hs1", **body: Any) -> str:
        """A new room by `POST /createRoom`."""
        return str(self.ok("POST", "/createRoom", creator, body)["room_id"])

    def room(self, **body: Any) -> RoomID:
        """A room of alice's, private unless `body` says otherwise."""
        return RoomID(self.make(**body))

    def public(self, **body: Any) -> RoomID:
        """A room of alice's that everybody may join."""
        return self.room(preset="public_chat", **body)

    def restricted(self, *allowed: str, rule: str = "restricted", **body: Any) -> RoomID:
        """A room of alice's that members of these may join."""
        conditions = [{"type": "m.room_membership", "room_id": each} for each in allowed]
        join_rules = {"join_rule": rule, "allow": conditions}
        return self.room(initial_state=[{"type": "m.room.join_rules", "content": join_rules}], **body)

    def state_content(self, room_id: str, event_type: str, state_key: str = "") -> dict[str, Any] | None:
        """The content of an event of a room's current state."""
        event = self.run(self.rooms.state_event(RoomID(room_id), event_type, state_key))
        return None if event is None else dict(event.content)

    def membership_of(self, room_id: str, user_id: str) -> str | None:
        """What a user is to a room that is here."""
        content = self.state_content(room_id, "m.room.member", user_id)
        return None if content is None else content["membership"]


def at(room_id: str, *rest: str) -> str:
    """A path below `/rooms/{roomId}`, percent-encoded."""
    return "/rooms/" + "/".join(quote(part, safe="") for part in (room_id, *rest))


def refused(response: Response) -> tuple[int, str | None]:
    """Status and errcode of a refusal."""
    assert response.status >= 400, response.json
    return response.status, response.errcode


__all__ = ["AFAR", "ALICE", "BOB", "CAROL", "GUEST", "Elsewhere", "RoomsWorld", "at", "refused"]
