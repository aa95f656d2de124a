"""What a group of futures promises, written down naively: the engine is compared with it, answer by answer.

It shares no code with the engine and takes nothing from its answers. Futures specification, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from minihs.events.ids import UserID
from minihs.futures.commands import StateChanged
from minihs.futures.effects import Refusal
from minihs.futures.model import (
    CANCELLED_BY_STATE_UPDATE,
    Cancelled,
    CancelRule,
    Cause,
    Failed,
    Future,
    MatrixError,
    Outcome,
    Sent,
)

NOTHING: tuple[str, ...] = ("nothing",)

Answer = tuple[object, ...]
"""What a command comes to: a word, and what belongs to it."""


@dataclass
class Waiting:
    """A future that waits; `since` is when its timer last started."""

    future: Future
    since: int

    @property
    def due(self) -> int | None:
        return None if self.future.timeout_ms is None else self.since + self.future.timeout_ms


@dataclass
class Reference:
    """One group of `owner`. `states_end` False: a policy by which nothing is ended by newer state."""

    owner: UserID
    states_end: bool = True
    waiting: dict[int, Waiting] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    stored: dict[int, Outcome] = field(default_factory=dict)
    """All outcomes; `outcomes` are those that a process knows without asking the store."""
    sending: tuple[int, Cause] | None = None

    @property
    def is_sure_to_end(self) -> bool:
        """Whether a timer runs."""
        return any(one.due is not None for one in self.waiting.values())

    def schedule(self, new: Sequence[Future], now: int) -> Answer:
        if self.sending:
            return "refused", Refusal.SENDING
        if {future.owner for future in new} != {self.owner}:
            return "refused", Refusal.NOT_THE_OWNER
        if self.outcomes and not self.waiting:
            return "refused", Refusal.GROUP_FINISHED
        if not self.is_sure_to_end and all(future.timeout_ms is None for future in new):
            return "refused", Refusal.NO_TIMEOUT_IN_GROUP
        for future in new:
            self.waiting[future.id] = Waiting(future, now)
        return "stored", [future.id for future in new]

    def restart(self, number: int, now: int) -> Answer:
        if self.sending:
            return "refused", Refusal.SENDING
        if number in self.outcomes:
            return "contradicted", self.outcomes[number]
        if number not in self.waiting:
            return "refused", Refusal.UNKNOWN
        if self.waiting[number].due is None:
            return "refused", Refusal.NO_TIMER
        self.waiting[number].since = now
        return "restarted", number

    def send(self, number: int) -> Answer:
        if self.sending:
            return "refused", Refusal.SENDING
        if number in self.outcomes:
            outcome = self.outcomes[number]
            return "already" if isinstance(outcome, Sent) else "contradicted", outcome
        if number not in self.waiting:
            return "refused", Refusal.UNKNOWN
        self.sending = number, Cause.ACTION
        return "make", number, Cause.ACTION

    def cancel(self, number: int, cause: Cause, now: int) -> Answer:
        if self.sending:
            return "refused", Refusal.SENDING
        if number in self.outcomes:
            outcome = self.outcomes[number]
            return "contradicted" if isinstance(outcome, Sent) else "already", outcome
        if number not in self.waiting:
            return "refused", Refusal.UNKNOWN
        return self._end({number: Cancelled(cause, now)}, now)

    def cancel_all(self, cause: Cause, now: int) -> Answer:
        if self.sending:
            return "refused", Refusal.SENDING
        return self._end({number: Cancelled(cause, now) for number in self.waiting}, now)

    def wake(self, now: int) -> Answer:
        if self.sending:
            return "refused", Refusal.SENDING
        times = [(one.due, number) for number, one in self.waiting.items() if one.due is not None]
        if not times or min(times)[0] > now:
            return NOTHING
        _, number = min(times)
        self.sending = number, Cause.DELAY
        return "make", number, Cause.DELAY

    def state_changed(self, change: StateChanged, now: int) -> Answer:
        hit = [number for number, one in self.waiting.items() if self._is_hit(one.future, change)]
        return self._end({n: Failed(CANCELLED_BY_STATE_UPDATE, Cause.STATE, now) for n in hit}, now)

    def sent(self, number: int, outcome: Sent, now: int) -> Answer:
        if self.sending is None or self.sending[0] != number:
            return "refused", Refusal.NOT_SENDING
        self.sending = None
        others = {other: Cancelled(Cause.GROUP, now) for other in self.waiting}
        return self._end({**others, number: outcome}, now)

    def not_sent(self, number: int, error: MatrixError, now: int) -> Answer:
        if self.sending is None or self.sending[0] != number:
            return "refused", Refusal.NOT_SENDING
        (_, cause), self.sending = self.sending, None
        if cause is Cause.ACTION:
            return "told", error
        return self._end({number: Failed(error, cause, now)}, now)

    def postponed(self, number: int) -> Answer:
        if self.sending is None or self.sending[0] != number:
            return "refused", Refusal.NOT_SENDING
        self.sending = None
        return NOTHING

    def dies(self) -> None:
        """The process: what was being sent was not sent, and a finished future is known no more unless the
        whole group is finished."""
        self.sending = None
        self.outcomes = {} if self.waiting else dict(self.stored)

    def _is_hit(self, future: Future, change: StateChanged) -> bool:
        if not self.states_end or future.room_id != change.room_id:
            return False
        if future.bound_to == (change.type, change.state_key):
            return True
        if (future.type, future.state_key) != (change.type, change.state_key):
            return False
        return future.cancel_rule is CancelRule.ANY or (
            future.cancel_rule is CancelRule.OTHER_SENDER and change.sender != self.owner
        )

    def _end(self, outcomes: dict[int, Outcome], now: int) -> Answer:
        """Futures get outcomes; what is left and has no timer any more is given up with them."""
        if not outcomes:
            return NOTHING
        for number in outcomes:
            del self.waiting[number]
        if not self.is_sure_to_end:
            outcomes = {**outcomes, **{number: Cancelled(Cause.GROUP, now) for number in self.waiting}}
            self.waiting.clear()
        self.outcomes.update(outcomes)
        self.stored.update(outcomes)
        if self.sending is not None and self.sending[0] in outcomes:
            self.sending = None
        return "ended", outcomes
