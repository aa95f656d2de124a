"""The composition root: the one place that wires a homeserver.

Read `wiring` from top to bottom; `routes` says what each listener serves, `listeners` starts and stops.
"""

from minihs.server.listeners import Addresses, Server
from minihs.server.platform import CannotStart, Platform
from minihs.server.policies import Policies
from minihs.server.routes import admin_routes
from minihs.server.wiring import Parts, wire

__all__ = ["Addresses", "CannotStart", "Parts", "Platform", "Policies", "Server", "admin_routes", "wire"]
