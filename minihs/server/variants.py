"""What the settings of experiments mean: `futures.authorisation`, `cancel_rule`, `management`, `overdue`.

Each becomes an object that is handed to the one part that asks it; no part knows that there is a setting.
"""

from __future__ import annotations

from collections.abc import Callable

from minihs.config import Config
from minihs.events.ids import UserID
from minihs.futures.model import CancelRule
from minihs.futures.policies import CancelRuling, always, as_its_dialect_says
from minihs.homeserver.errors import Forbidden, HomeserverError
from minihs.homeserver.futures.errors import Overdue
from minihs.homeserver.futures.orders import FutureOrder, draft_of
from minihs.homeserver.futures.scheduling import Admission
from minihs.homeserver.futures.sending import StandingOf
from minihs.homeserver.room_actions.rehearsal import NeedsAnotherServer, Rehearsal
from minihs.http.dialects.management import BEARER, CAPABILITY, OWNER, Authorities
from minihs.rooms.judge import Judge, JudgedWhenScheduled


def judge_of(config: Config, judge: Judge) -> Judge:
    """Who says whether an event is allowed when it is sent."""
    return JudgedWhenScheduled(judge) if config.futures.authorisation == "schedule" else judge


def admission_of(config: Config, rehearsal: Rehearsal, standing_of: StandingOf) -> Admission | None:
    """Who says whether an event is allowed when it is scheduled; None: nobody."""
    if config.futures.authorisation == "send":
        return None

    async def admit(order: FutureOrder) -> None:
        standing = await standing_of(order.owner)
        try:
            judged = await rehearsal.judged(draft_of(order), is_guest=standing.is_guest)
        except Forbidden:
            raise
        except (HomeserverError, NeedsAnotherServer):
            return  # what it is about may come to be, and what others say is not known: no matter of rights
        judged.allowed()

    return admit


def cancel_ruling_of(config: Config) -> CancelRuling:
    """What ends a future that is scheduled now."""
    if config.futures.cancel_rule == "dialect":
        return as_its_dialect_says
    return always(CancelRule[config.futures.cancel_rule.replace("-", "_").upper()])


def authorities_of(config: Config) -> Authorities:
    """Who may manage a future by its delay ID."""
    if config.futures.management == "capability":
        return Authorities(stable=CAPABILITY, unstable=CAPABILITY)
    return Authorities(unstable=BEARER if config.futures.unauthenticated_management else OWNER)


def overdue_of(config: Config) -> Callable[[UserID], None]:
    """What is asked about a future whose time came while the server was away."""
    return _refuse_overdue if config.futures.overdue == "fail" else _admit_overdue


def _admit_overdue(_owner: UserID) -> None:
    """Catching up is outside every budget."""


def _refuse_overdue(_owner: UserID) -> None:
    raise Overdue
