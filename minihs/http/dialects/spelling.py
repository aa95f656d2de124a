"""How dialects are written: where their paths begin, and the names that several of them know."""

from __future__ import annotations

C = "/_matrix/client"
U = f"{C}/unstable/org.matrix.msc4140"

PREFIX = "org.matrix.msc4140."
"""Before a query parameter that is not stable."""

WILL_EXPIRE = "m.will_expire"
"""The key that makes an event `will-expire`'s when an integer stands there."""

BATCH_TYPE = "future"
"""The event type that is a batch of events, when its body looks like one."""
