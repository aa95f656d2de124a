"""Random commands against a naive model of what a group promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from minihs.events.ids import EventID, RoomID, UserID
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
from minihs.futures.engine import step
from minihs.futures.model import (
    CancelRule,
    Cause,
    Future,
    FutureGroup,
    FutureID,
    GroupID,
    MatrixError,
    Millis,
    Now,
    Sent,
)
from tests.support.futures import ALICE, BOB, ROOM, future

NUMBERS = st.integers(min_value=1, max_value=8).map(FutureID)
KEYS = st.sampled_from(["a", "b"])
ROOMS = st.sampled_from([ROOM, RoomID("!other:hs1")])
SENDERS = st.sampled_from([ALICE, BOB])
TROUBLE = MatrixError(403, "M_FORBIDDEN", "No.")


class GroupMachine(RuleBasedStateMachine):
    """`started` is the model: for each future that waits, when its timer last started.

    `durable` is what effects alone have stored; a process that dies after any of them goes on from there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.group = FutureGroup(GroupID(1), ALICE)
        self.now = 0
        self.started: dict[FutureID, int] = {}
        self.delays: dict[FutureID, int | None] = {}
        self.sending: FutureID | None = None
        self.sent: list[FutureID] = []
        self.durable: dict[FutureID, Future] = {}

    def do(self, command: Command) -> tuple[Effect, ...]:
        before = self.group
        self.group, effects = step(before, command, Now(Millis(self.now), self.now))
        for effect in effects:
            match effect:
                case Stored(changed) | TimerStarted(changed) | Finalised(changed):
                    self.durable[changed.id] = changed
            match effect:
                case Stored(stored):
                    self.started[stored.id] = self.now
                    self.delays[stored.id] = stored.timeout_ms
                case TimerStarted(restarted):
                    self.started[restarted.id] = self.now
                case SendEvent(sending, cause):
                    assert self.sending is None, "two sends at once"
                    assert not self.sent, "a second send of one group"
                    if cause is Cause.DELAY:
                        delay = self.delays[sending.id]
                        assert delay is not None, "an action future was sent by time"
                        assert self.now >= self.started[sending.id] + delay, "early"
                    self.sending = sending.id
                case Finalised(ended):
                    assert ended.outcome is not None
                    del self.started[ended.id]
                    if ended.id == self.sending:
                        self.sending = None
                    if isinstance(ended.outcome, Sent):
                        self.sent.append(ended.id)
                case Refused() | AlreadySo() | CallerError():
                    assert effects == (effect,)
        if effects and isinstance(effects[0], Refused | AlreadySo):
            assert self.group == before, "a refusal changed something"
        return effects

    @rule(ms=st.integers(min_value=0, max_value=50))
    def time_passes(self, ms: int) -> None:
        self.now += ms

    @rule(
        number=NUMBERS,
        delay=st.none() | st.integers(min_value=1, max_value=60),
        key=st.none() | KEYS,
        room=ROOMS,
        cancel_rule=st.sampled_from(CancelRule),
        owner=st.sampled_from([ALICE, ALICE, ALICE, BOB]),
    )
    def schedule(
        self,
        number: FutureID,
        delay: int | None,
        key: str | None,
        room: RoomID,
        cancel_rule: CancelRule,
        owner: UserID,
    ) -> None:
        if number in self.delays:
            return
        new = future(number, timeout_ms=delay, state_key=key, room_id=room, cancel_rule=cancel_rule)
        waits = any(self.delays[one] is not None for one in self.started)
        finished = bool(self.delays) and not self.started
        effects = self.do(Schedule((replace(new, owner=owner),)))
        accepted = self.sending is None and owner == ALICE and not finished and (delay is not None or waits)
        assert isinstance(effects[0], Stored) is accepted

    @rule(number=NUMBERS)
    def restart(self, number: FutureID) -> None:
        can = self.sending is None and self.delays.get(number) is not None and number in self.started
        assert isinstance(self.do(Restart(number))[0], TimerStarted) is can

    @rule(number=NUMBERS)
    def send(self, number: FutureID) -> None:
        can = self.sending is None and number in self.started
        assert isinstance(self.do(Send(number))[0], SendEvent) is can

    @rule(number=NUMBERS)
    def cancel(self, number: FutureID) -> None:
        can = self.sending is None and number in self.started
        assert isinstance(self.do(Cancel(number))[0], Finalised) is can
        assert not can or number not in self.started

    @rule()
    def wake(self) -> None:
        due = [
            (started + delay, number)
            for number, started in self.started.items()
            if (delay := self.delays[number]) is not None and started + delay <= self.now
        ]
        was_sending = self.sending
        effects = self.do(Wake())
        if was_sending is not None:
            assert effects == (Refused(Refusal.SENDING),)
        elif due:
            assert isinstance(effects[0], SendEvent)
            assert effects[0].future.id == min(due)[1], "not in order of due time"
        else:
            assert effects == ()

    @rule(room=ROOMS, key=KEYS, sender=SENDERS)
    def state_changes(self, room: RoomID, key: str, sender: UserID) -> None:
        before = {member.id: member for member in self.group.scheduled}
        self.do(StateChanged(room, "m.room.message", key, sender))
        for number, member in before.items():
            hit = (
                member.room_id == room
                and member.state_key == key
                and (
                    member.cancel_rule is CancelRule.ANY
                    or (member.cancel_rule is CancelRule.OTHER_SENDER and sender != ALICE)
                )
            )
            assert not (hit and number in self.started), "newer state did not win"

    @rule(number=NUMBERS)
    def a_send_succeeds(self, number: FutureID) -> None:
        wanted = self.sending == number
        effects = self.do(SendSucceeded(number, EventID(f"${number}")))
        assert isinstance(effects[0], Finalised) is wanted
        if wanted:
            assert not self.started, "something is left of a group that was sent"

    @precondition(lambda self: self.sending is not None)
    @rule(postponed=st.booleans())
    def a_send_fails(self, postponed: bool) -> None:
        number, self.sending = self.sending, None
        assert number is not None
        self.do(SendPostponed(number) if postponed else SendFailed(number, TROUBLE))

    @rule()
    def the_account_is_deactivated(self) -> None:
        was_sending = self.sending
        self.do(CancelAll(Cause.ACCOUNT))
        assert was_sending is not None or not self.started

    @rule()
    def the_process_dies(self) -> None:
        """What was being sent was not sent: its event would have been stored with its outcome."""
        waiting = tuple(future for _, future in sorted(self.durable.items()) if future.outcome is None)
        # Of a group that is finished, the store finds nothing to go on with.
        members = waiting or tuple(future for _, future in sorted(self.durable.items()))
        self.group = FutureGroup(GroupID(1), ALICE, None, members)
        self.sending = None

    @invariant()
    def memory_and_what_is_stored_agree(self) -> None:
        waiting = {future.id: future for future in self.durable.values() if future.outcome is None}
        assert {future.id: future for future in self.group.scheduled} == waiting

    @invariant()
    def memory_and_model_agree(self) -> None:
        scheduled = {member.id: member.started_ms for member in self.group.scheduled}
        assert scheduled == self.started
        assert self.group.sending == self.sending
        assert len(self.sent) <= 1, "two events of one group"

    @invariant()
    def every_group_is_sure_to_end(self) -> None:
        assert not self.started or any(self.delays[number] is not None for number in self.started)


GroupMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGroupMachine = GroupMachine.TestCase
