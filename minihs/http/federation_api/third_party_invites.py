"""Third-party invites between servers. Source: Server-Server API, "Third-party invites".

`/3pid/onbind` is not here: it is for identity servers to call, unsigned, and this server has to do with none.
"""

from __future__ import annotations

from typing import Any

from minihs.homeserver.room_actions.third_party_invites import ThirdPartyInvites as Invites
from minihs.http.federation_api.membership import MAX_EVENT_BODY_BYTES
from minihs.http.federation_api.paths import LIMIT, V1, room_of
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route


class ThirdPartyInvites:
    """`/exchange_third_party_invite`."""

    def __init__(self, invites: Invites) -> None:
        self._invites = invites

    def routes(self) -> list[Route]:
        """The one route."""
        return [
            Route(
                method="PUT",
                path=f"{V1}/exchange_third_party_invite/{{room_id}}",
                access=Access.SERVER,
                handler=self.exchange,
                limit=LIMIT,
                max_body=MAX_EVENT_BODY_BYTES,
            )
        ]

    async def exchange(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}"""
        await self._invites.exchange(request.server, room_of(request), request.json)
        return {}
