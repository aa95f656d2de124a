"""The state machine of futures: one group, one command, the present → the new group and what must be done.

Pure: whoever calls keeps the old group when the effects could not be made durable. What ends a future is
decided here and nowhere else. Source: the futures specification, section 1.
"""

from __future__ import annotations

from msgspec.structs import replace

from minihs.futures.commands import (
    Cancel,
    CancelAll,
    Command,
    Restart,
    Schedule,
    Send,
    SendFailed,
    SendPostponed,
    SendSucceeded,
    StateChanged,
    Wake,
)
from minihs.futures.effects import (
    AlreadySo,
    CallerError,
    Effect,
    Finalised,
    Refusal,
    Refused,
    SendEvent,
    Stored,
    TimerStarted,
)
from minihs.futures.model import (
    CANCELLED_BY_STATE_UPDATE,
    Cancelled,
    Cause,
    Failed,
    Future,
    FutureGroup,
    FutureID,
    Now,
    Outcome,
    Sent,
)
from minihs.futures.policies import CancelPolicy, by_cancel_rule

Step = tuple[FutureGroup, tuple[Effect, ...]]


def step(group: FutureGroup, command: Command, now: Now, *, cancels: CancelPolicy = by_cancel_rule) -> Step:
    """What `command` does to `group`.

    Refusals are effects, not exceptions: any command is answered in any state. While a send is under way
    only its outcome, its postponement and a change of state are heard; the rest is `Refusal.SENDING`.
    """
    match command:
        case StateChanged():
            return _state_changed(group, command, now, cancels)
        case SendSucceeded() | SendFailed() | SendPostponed():
            return _send_ended(group, command, now)
        case _ if group.sending is not None:
            return _refused(group, Refusal.SENDING)
        case Restart(future_id):
            return _restart(group, future_id, now)
        case Wake():
            return _wake(group, now)
        case Schedule(futures):
            return _schedule(group, futures, now)
        case Send(future_id):
            return _send(group, future_id)
        case Cancel(future_id, cause):
            return _cancel(group, future_id, cause, now)
        case CancelAll(cause):
            return _finalise(group, {f.id: Cancelled(cause, now.wall) for f in group.scheduled}, now)


def next_due(group: FutureGroup) -> Future | None:
    """The member whose time comes first; equal times in order of scheduling."""
    return min(
        (future for future in group.members if future.due_ms is not None),
        key=lambda future: (future.due_ms, future.id),
        default=None,
    )


def _schedule(group: FutureGroup, futures: tuple[Future, ...], now: Now) -> Step:
    if any(future.owner != group.owner for future in futures):
        return _refused(group, Refusal.NOT_THE_OWNER)
    if group.members and group.finished:
        return _refused(group, Refusal.GROUP_FINISHED)
    started = tuple(future.started(now) for future in futures)
    grown = replace(group, members=group.members + started)
    if not grown.has_timeout:
        return _refused(group, Refusal.NO_TIMEOUT_IN_GROUP)
    return grown, tuple(Stored(future) for future in started)


def _restart(group: FutureGroup, future_id: FutureID, now: Now) -> Step:
    future = group.member(future_id)
    if future is None:
        return _refused(group, Refusal.UNKNOWN)
    if future.outcome is not None:
        return _refused(group, Refusal.CONTRADICTS_OUTCOME, future.outcome)
    if future.timeout_ms is None:
        return _refused(group, Refusal.NO_TIMER)
    restarted = future.started(now)
    return _with_members(group, (restarted,)), (TimerStarted(restarted),)


def _wake(group: FutureGroup, now: Now) -> Step:
    future = next_due(group)
    if future is None or future.due_ms is None or future.due_ms > now.steady:
        return group, ()
    return _start_sending(group, future, Cause.DELAY)


def _send(group: FutureGroup, future_id: FutureID) -> Step:
    future = group.member(future_id)
    if future is None:
        return _refused(group, Refusal.UNKNOWN)
    if isinstance(future.outcome, Sent):
        return group, (AlreadySo(future.outcome),)
    if future.outcome is not None:
        return _refused(group, Refusal.CONTRADICTS_OUTCOME, future.outcome)
    return _start_sending(group, future, Cause.ACTION)


def _cancel(group: FutureGroup, future_id: FutureID, cause: Cause, now: Now) -> Step:
    future = group.member(future_id)
    if future is None:
        return _refused(group, Refusal.UNKNOWN)
    if isinstance(future.outcome, Sent):
        return _refused(group, Refusal.CONTRADICTS_OUTCOME, future.outcome)
    if future.outcome is not None:
        return group, (AlreadySo(future.outcome),)
    return _finalise(group, {future_id: Cancelled(cause, now.wall)}, now)


def _start_sending(group: FutureGroup, future: Future, cause: Cause) -> Step:
    return replace(group, sending=future.id, sending_cause=cause), (SendEvent(future, cause),)


def _send_ended(group: FutureGroup, report: SendSucceeded | SendFailed | SendPostponed, now: Now) -> Step:
    if group.sending != report.future_id:
        return _refused(group, Refusal.NOT_SENDING)
    cause = group.sending_cause
    rested = replace(group, sending=None)
    if isinstance(report, SendPostponed):
        return rested, ()
    if isinstance(report, SendSucceeded):
        outcomes: dict[FutureID, Outcome] = {
            future.id: Cancelled(Cause.GROUP, now.wall) for future in group.scheduled
        }
        outcomes[report.future_id] = Sent(report.event_id, cause, now.wall)
        return _finalise(rested, outcomes, now)
    if cause is Cause.ACTION:
        return rested, (CallerError(report.error),)
    return _finalise(rested, {report.future_id: Failed(report.error, cause, now.wall)}, now)


def _state_changed(group: FutureGroup, change: StateChanged, now: Now, cancels: CancelPolicy) -> Step:
    ended = {
        future.id: Failed(CANCELLED_BY_STATE_UPDATE, Cause.STATE, now.wall)
        for future in group.scheduled
        if cancels(future, change)
    }
    if not ended:
        return group, ()
    # The new state wins against an event that is still being made: its report will find nobody sending.
    return _finalise(group, dict(ended), now)


def _finalise(group: FutureGroup, outcomes: dict[FutureID, Outcome], now: Now) -> Step:
    """Give members their outcomes; a group that no timer can end any more is discarded with them."""
    ended = tuple(
        replace(future, outcome=outcomes[future.id]) for future in group.members if future.id in outcomes
    )
    group = _with_members(group, ended)
    if not group.has_timeout:  # what is left has no timer
        rest = tuple(replace(f, outcome=Cancelled(Cause.GROUP, now.wall)) for f in group.scheduled)
        group = _with_members(group, rest)
        ended += rest
    if group.sending is not None and any(future.id == group.sending for future in ended):
        group = replace(group, sending=None)
    return group, tuple(Finalised(future) for future in ended)


def _with_members(group: FutureGroup, changed: tuple[Future, ...]) -> FutureGroup:
    if not changed:
        return group
    members = changed
    if len(group.members) > 1:
        by_id = {future.id: future for future in changed}
        members = tuple(by_id.get(future.id, future) for future in group.members)
    return FutureGroup(group.id, group.owner, group.name, members, group.sending, group.sending_cause)


def _refused(group: FutureGroup, reason: Refusal, outcome: Outcome | None = None) -> Step:
    return group, (Refused(reason, outcome),)
