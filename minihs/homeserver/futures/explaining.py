"""Why a future would be sent now, or would not: what is asked at send time, in that order, and what the auth
rules look at.

Nothing is sent and nothing charged. The same parts answer as when it is sent (`Rehearsal`, standing, budget).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.futures.model import Cancelled, Failed, Future, MatrixError, Sent
from minihs.homeserver.errors import HomeserverError, UnknownRoom
from minihs.homeserver.futures.looked_at import LookedAt, looked_at
from minihs.homeserver.futures.sending import DescribeError, StandingOf, draft_of
from minihs.homeserver.room_actions.rehearsal import NeedsAnotherServer, Rehearsal
from minihs.homeserver.rooms.building import Judged
from minihs.homeserver.rooms.service import Rooms
from minihs.rooms.auth import Refused
from minihs.rooms.judge import NOT_ASKED
from minihs.store.future_rows import StoredFuture


class Check(msgspec.Struct, frozen=True):
    """One thing that is asked: `passes` is None when the answer cannot be known beforehand."""

    name: str
    passes: bool | None
    says: str
    error: MatrixError | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a future that were sent now.

    `would_be_sent` is None when another server has a say in it. `decided_by` names the check that decides;
    `rule` is the auth rule's number where the rules were asked, and `events` what they looked at.
    """

    would_be_sent: bool | None
    decided_by: str
    rule: str | None
    checks: tuple[Check, ...]
    events: tuple[LookedAt, ...] = ()


class FutureExplainer:
    """Goes through what is asked. `check_budget` raises LimitExceeded when the owner has no due send left."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        rehearsal: Rehearsal,
        standing_of: StandingOf,
        describe: DescribeError,
        check_budget: Callable[[UserID], None],
    ) -> None:
        self._rooms = rooms
        self._rehearsal = rehearsal
        self._standing_of = standing_of
        self._describe = describe
        self._check_budget = check_budget

    async def explain(self, stored: StoredFuture) -> Explanation:
        """What would become of the future now. A finalised one is over, whatever else holds."""
        future = stored.future
        if future.outcome is not None:
            over = Check("outcome", False, _outcome(future))
            return Explanation(would_be_sent=False, decided_by=over.name, rule=None, checks=(over,))
        checks = [
            Check("outcome", True, "It is scheduled."),
            self._budget(future),
            await self._account(future),
            await self._room(future),
        ]
        rules, judged = await self._rules(stored)
        checks.extend(rules)
        decisive = next((check for check in checks if check.passes is False), None) or next(
            (check for check in checks if check.passes is None), checks[-1]
        )
        return Explanation(
            would_be_sent=decisive.passes,
            decided_by=decisive.name,
            rule=None if judged is None else judged.verdict.rule,
            checks=tuple(checks),
            events=() if judged is None else looked_at(judged),
        )

    def _budget(self, future: Future) -> Check:
        try:
            self._check_budget(future.owner)
        except HomeserverError as refusal:
            return self._refusal("budget", refusal)
        return Check("budget", True, "The owner's budget for due sends has room.")

    async def _account(self, future: Future) -> Check:
        standing = await self._standing_of(future.owner)
        if standing.refusal is not None:
            return self._refusal("account", standing.refusal)
        kind = "a guest" if standing.is_guest else "an ordinary account"
        return Check("account", True, f"{future.owner} is {kind} in good standing.")

    async def _room(self, future: Future) -> Check:
        room_id = RoomID(future.room_id)
        try:
            version = await self._rooms.version_of(room_id)
            member = await self._rooms.state_event(room_id, "m.room.member", future.owner)
            resident = await self._rooms.is_resident(room_id)
        except UnknownRoom as unknown:
            return self._refusal("room", unknown)
        membership = "nothing" if member is None else f"`{member.membership}`"
        ours = "" if resident else ", and nobody of this server is in it"
        return Check(
            "room", True, f"It has version {version.id}; the owner's membership is {membership}{ours}."
        )

    async def _rules(self, stored: StoredFuture) -> tuple[list[Check], Judged | None]:
        future = stored.future
        standing = await self._standing_of(future.owner)
        draft = draft_of(future, stored.payload)
        try:
            judged = await self._rehearsal.judged(draft, is_guest=standing.is_guest)
        except NeedsAnotherServer as elsewhere:
            return [Check("another server", None, str(elsewhere))], None
        except Exception as refusal:
            if self._describe(refusal) is None:
                raise
            return [self._refusal("content", refusal)], None
        content = Check("content", True, "It can be an event.")
        verdict = judged.verdict
        if isinstance(verdict, Refused):
            says = f"Rule {verdict.rule} refuses it: {verdict.reason}."
            error = MatrixError(403, "M_FORBIDDEN", f"{verdict.reason} (auth rule {verdict.rule})")
            return [content, Check("auth rules", False, says, error)], judged
        if verdict is NOT_ASKED:
            says = "They were asked when it was scheduled, and are not asked again."
        else:
            says = f"Rule {verdict.rule} allows it."
        return [content, Check("auth rules", True, says)], judged

    def _refusal(self, name: str, refusal: Exception) -> Check:
        error = self._describe(refusal)
        return Check(name, False, str(refusal) if error is None else error.error, error)


def _outcome(future: Future) -> str:
    outcome = future.outcome
    if isinstance(outcome, Sent):
        return f"It was sent as {outcome.event_id}."
    if isinstance(outcome, Failed):
        return f"It has failed with {outcome.error.errcode}: {outcome.error.error}"
    if isinstance(outcome, Cancelled):
        return f"It was cancelled ({outcome.cause.value})."
    raise ValueError("a scheduled future has no outcome")
