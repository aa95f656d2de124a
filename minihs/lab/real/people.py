"""The people of a real world, who speak over real sockets."""

from __future__ import annotations

from typing import Any

from minihs.lab.http_client import Response
from minihs.lab.people import Client


class RealClient(Client):
    """Nobody reads along on real sockets: somebody who gets an answer says so."""

    async def call(self, method: str, path: str, **details: Any) -> Response:
        response = await super().call(method, path, **details)
        self.world.answered(self, method, path, response)  # type: ignore[attr-defined]
        return response
