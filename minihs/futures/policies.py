"""Decisions that an experiment may want to make differently: passed in, never switched inside the engine.

Pure. Source: the futures specification, 1 (cancel rules, promise 10).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from minihs.futures.commands import StateChanged
from minihs.futures.model import CancelRule, Future

CancelPolicy = Callable[[Future, StateChanged], bool]
"""Whether a state event ends a scheduled future."""

CancelRuling = Callable[[Future], Future]
"""The future with the cancel rule that it is to be scheduled with."""

DAY_MS = 24 * 60 * 60 * 1000


def by_cancel_rule(future: Future, change: StateChanged) -> bool:
    """The rule that the future's dialect gave it, and the end of the state event that it is bound to."""
    if future.room_id != change.room_id:
        return False
    slot = (change.type, change.state_key)
    if future.bound_to == slot:
        return True
    if future.cancel_rule is CancelRule.NEVER or (future.type, future.state_key) != slot:
        return False
    return future.cancel_rule is CancelRule.ANY or future.owner != change.sender


def never_cancel(future: Future, change: StateChanged) -> bool:  # noqa: ARG001 - the shape of a policy
    """Futures outlive every change of state."""
    return False


def as_its_dialect_says(future: Future) -> Future:
    """The cancel rule is the dialect's."""
    return future


def always(rule: CancelRule) -> CancelRuling:
    """One cancel rule for the futures of every dialect; with NEVER a future also outlives the state event
    that it came with."""

    def ruling(future: Future) -> Future:
        bound_to = None if rule is CancelRule.NEVER else future.bound_to
        return replace(future, cancel_rule=rule, bound_to=bound_to)

    return ruling


class FutureLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much is accepted and how long outcomes are kept. None is "no limit".

    `max_scheduled` counts every stored future of a user, actions and parts of batches too; 0 forbids
    scheduling. A finalised future is kept for `retention_ms`, and no more than the newest `retention_count`
    of a user are kept.
    """

    max_delay_ms: int | None = DAY_MS
    max_scheduled: int | None = 100
    retention_ms: int = 7 * DAY_MS
    retention_count: int = 1000
