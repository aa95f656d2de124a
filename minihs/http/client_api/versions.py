"""`/versions`: which releases of the specification this server speaks, and which drafts.

Source: client-server API, "API Versions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route

SPECIFICATION_VERSIONS = tuple(f"v1.{minor}" for minor in range(1, 17))
"""v1.1 is where the `/v3/` paths begin, and what SDKs demand at least; v1.16 is where room version 12, our
default, and the profile fields that we serve were added. Of what later releases added for clients some is
here (mutual rooms, invite permission) and some is not (policy servers, image packs): they are not named.
Modules of the named releases that are missing answer 404 `M_UNRECOGNIZED`, as the specification has it;
`docs/conformance.md` lists them."""


class Versions:
    """`unstable_features` are the drafts that the dialects speak."""

    def __init__(self, unstable_features: Mapping[str, bool]) -> None:
        self._body = {
            "versions": list(SPECIFICATION_VERSIONS),
            "unstable_features": dict(sorted(unstable_features.items())),
        }

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path="/_matrix/client/versions", access=Access.OPEN, handler=self.versions)
        ]

    async def versions(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/versions"""
        return self._body
