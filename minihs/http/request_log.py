"""A line for every request, at level `debug`: method, route, status and time. No path, no address, no token.

Requests are counted and timed by `metrics`.
"""

from __future__ import annotations

from minihs.http.site import Finished
from minihs.platform.logs import Logger

log = Logger()

NAME = __name__
"""The name by which `logging.levels` turns it on alone."""


def request_finished(finished: Finished) -> None:
    """An observer of `ApiFactory`."""
    log.debug(
        "{method} {route}: {status} in {milliseconds:.1f} ms",
        method=finished.method,
        route=finished.route or "(no such route)",
        status=finished.status,
        milliseconds=finished.seconds * 1000,
    )
