"""What an experiment may want a server to do differently. The defaults are the server as it should be.

Each is an object that is handed to the one part that asks it; no part knows that there is an experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from minihs.events.ids import UserID
from minihs.federation.admission import Keys
from minihs.futures.policies import CancelPolicy, by_cancel_rule
from minihs.homeserver.futures.opening import FutureService
from minihs.homeserver.futures.scheduling import Admission
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.history.event_visibility import Sight
from minihs.homeserver.rooms.service import Rooms
from minihs.http.dialects.base import Dialect
from minihs.http.limits import RateLimiter
from minihs.rooms.judge import THE_RULES, Judge
from minihs.store.futures import FutureStore
from minihs.store.reader import Reader
from minihs.store.writer import Writer

Charge = Callable[[UserID], None]


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """How the server decides."""

    judge: Judge = THE_RULES
    """Whether an event is allowed: our own, and those of others."""
    cancels: CancelPolicy = by_cancel_rule
    """Whether a state event ends a scheduled future."""
    admission: Callable[[Rooms], Admission] | None = None
    """Whether a future may be scheduled, as far as that depends on the room; None: that is asked when it is
    sent."""
    future_sender: Callable[[EventSender, Rooms, Writer], EventSender] = lambda sender, _rooms, _writer: (
        sender
    )
    """What sends futures that are due, around what does so ordinarily."""
    future_store: Callable[[Reader], FutureStore] = FutureStore
    """What futures are read from, and what is stored of them."""
    commands: Callable[[FutureService], Futures] = lambda service: service.futures
    """What does what clients ask of futures."""
    future_limits: Callable[[RateLimiter], RateLimiter] = lambda limiter: limiter
    """What limits requests about futures, around what does so ordinarily."""
    charge_due: Callable[[Charge], Charge] = lambda charge: charge
    """What takes a due send from its owner's budget, around what does so ordinarily."""
    event_keys: Callable[[Keys], Keys] = lambda keys: keys
    """What verifies the signatures on events of others, around what does so ordinarily."""
    sight: Sight | None = None
    """What single users are shown of events, after what the room's history shows to everybody."""
    dialects: Callable[[Futures], Sequence[Dialect]] = lambda _futures: ()
    """Generations of futures of the experiment's own."""
