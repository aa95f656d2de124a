"""Bare Twisted: `twisted.web` answering every request with a small JSON object. The ruler for rates."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site


class Answer(Resource):
    """Reads the body as JSON and says {}."""

    isLeaf = True  # noqa: N815

    def render(self, request: Any) -> bytes:
        data = request.content.read()
        if data:
            json.loads(data)
        request.setHeader(b"content-type", b"application/json")
        return b"{}"


if __name__ == "__main__":
    cast_reactor: Any = reactor
    cast_reactor.listenTCP(int(sys.argv[1]), Site(Answer()), interface="127.0.0.1")
    cast_reactor.run()
