"""A server under random requests, newer state, passing time and crashes, on a store that really waits.

Whatever happens: at most one event of a group, none early, none after an acknowledged cancel, one for an
acknowledged send, and every future ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.scheduler import LONGEST_SLEEP_MS
from minihs.platform.clock import VirtualClock
from tests.support.future_server import C, FutureServer, U
from tests.support.http import Connection
from tests.support.yielding import YieldingReader, open_yielding_database

USERS = st.sampled_from(["alice", "bob"])
KEYS = st.sampled_from(["a", "b"])
DELAYS = st.integers(min_value=1, max_value=3_000)
ACTIONS = st.sampled_from(["restart", "restart", "send", "cancel"])


@dataclass
class Known:
    """A future whose scheduling was acknowledged, and what is certain about it."""

    number: int
    delay_ms: int | None
    asked_at_ms: float
    group: str
    handles: dict[str, str] = field(default_factory=dict)
    """The path that performs each action."""
    acknowledged: set[str] = field(default_factory=set)


@dataclass
class Asked:
    """A request without an answer yet."""

    connection: Connection
    action: str
    known: Known
    asked_at_ms: float


class ServerMachine(RuleBasedStateMachine):
    @initialize(seed=st.integers(min_value=0, max_value=1_000), tells_boot=st.booleans())
    def start(self, seed: int, tells_boot: bool) -> None:
        database = open_yielding_database(seed)
        self.tells_boot = tells_boot
        self.server = FutureServer(
            database=database,
            clock=VirtualClock(tells_boot=tells_boot),
            limits=FutureLimits(max_scheduled=None),
            unstable_conflict=409,
        )
        self.unawake_ms = 0
        assert isinstance(database.reader, YieldingReader)
        self.room_id = self.server.create(
            extra=[
                {
                    "type": "m.room.power_levels",
                    "state_key": "",
                    "content": {"users": {"@alice:hs1": 100}, "state_default": 0},
                }
            ]
        )
        self.server.join(self.room_id, "@bob:hs1")
        database.reader.clock = self.server.clock
        self.asked: list[Asked] = []
        self.known: list[Known] = []
        self.commanded: set[int] = set()
        self.count = 0

    def ask(self, action: str, known: Known, method: str, path: str, **details: Any) -> None:
        connection = self.server.http.start(method, path, **details)
        self.asked.append(Asked(connection, action, known, self.now_ms()))

    def new(self, delay_ms: int | None, group: str | None) -> Known:
        self.count += 1
        now_ms = self.now_ms()
        return Known(self.count, delay_ms, now_ms, group or f"alone {self.count}")

    @rule(user=USERS, delay_ms=DELAYS, key=st.none() | KEYS)
    def schedule_merged(self, user: str, delay_ms: int, key: str | None) -> None:
        known = self.new(delay_ms, None)
        body: dict[str, Any] = {"delay_ms": delay_ms, "content": {"n": known.number}}
        if key is not None:
            body["state_key"] = key
        path = f"{C}/v3/rooms/{self.room_id}/delayed_event/m.test/t{known.number}"
        self.ask("schedule", known, "PUT", path, json=body, token=user)

    @rule(user=USERS, delay_ms=DELAYS, key=KEYS)
    def schedule_by_query(self, user: str, delay_ms: int, key: str) -> None:
        known = self.new(delay_ms, None)
        path = f"{C}/v3/rooms/{self.room_id}/state/m.test/{key}?delay={delay_ms}"
        self.ask("schedule", known, "PUT", path, json={"n": known.number}, token=user)

    @rule(delay_ms=st.none() | DELAYS, key=st.none() | KEYS, group=st.sampled_from(["g", "h"]))
    def schedule_with_tokens(self, delay_ms: int | None, key: str | None, group: str) -> None:
        known = self.new(delay_ms, group)
        kind = f"send_future/m.test/t{known.number}" if key is None else f"state_future/m.test/{key}"
        timeout = "none" if delay_ms is None else delay_ms
        query = f"future_timeout={timeout}&future_group_id={group}"
        path = f"{C}/v1/rooms/{self.room_id}/{kind}?{query}"
        self.ask("schedule", known, "PUT", path, json={"n": known.number}, token="alice")

    @rule(pick=st.integers(min_value=0), action=ACTIONS)
    def act(self, pick: int, action: str) -> None:
        if self.known:
            known = self.known[pick % len(self.known)]
            if action in known.handles:
                self.ask(action, known, "POST", known.handles[action], json={})
                if action == "send":
                    self.commanded.add(known.number)

    @rule(user=USERS, key=KEYS)
    def set_state(self, user: str, key: str) -> None:
        path = f"{C}/v3/rooms/{self.room_id}/state/m.test/{key}"
        self.ask("state", self.new(None, None), "PUT", path, json={}, token=user)

    @rule(ms=st.integers(min_value=0, max_value=1_500))
    def time_passes(self, ms: int) -> None:
        self.server.clock.advance(ms / 1000)

    @rule(turns=st.integers(min_value=1, max_value=6))
    def some_turns_pass(self, turns: int) -> None:
        for _ in range(turns):
            self.server.clock.advance(0)

    @rule(step_ms=st.integers(min_value=-100_000, max_value=100_000))
    def the_wall_clock_steps(self, step_ms: int) -> None:
        self.server.clock.step_wall(step_ms)
        if not self.tells_boot:
            # Until it is noted, a killed process cannot have told the next one of it.
            self.server.clock.advance(LONGEST_SLEEP_MS / 1000)

    @precondition(lambda self: self.tells_boot)
    @rule(ms=st.integers(min_value=1, max_value=5_000))
    def the_machine_is_suspended(self, ms: int) -> None:
        self.server.clock.sleep_ms(ms)
        self.unawake_ms += ms

    @precondition(lambda self: self.tells_boot)
    @rule(ms=st.integers(min_value=0, max_value=5_000))
    def the_machine_is_switched_off_and_on_again(self, ms: int) -> None:
        # A step just before it would be taken for the time that it was off.
        self.server.clock.advance(LONGEST_SLEEP_MS / 1000)
        self.lose_the_process(lambda: self.server.clock.reboot(ms))
        self.unawake_ms += ms

    @rule()
    def everybody_gets_an_answer(self) -> None:
        self.server.settle()
        self.hear()
        assert not self.asked, f"no answer to {self.asked[0].action}"

    def hear(self) -> None:
        """Take the answers that have come."""
        waiting = []
        for asked in self.asked:
            response = asked.connection.take()
            if response is None:
                waiting.append(asked)
                continue
            assert response.status in (200, 403, 404, 405, 409, 410), (response.status, response.json)
            if response.status == 200:
                self.acknowledge(asked, response.json)
        self.asked = waiting

    @rule()
    def the_process_is_killed(self) -> None:
        self.lose_the_process(lambda: None)

    def now_ms(self) -> float:
        """True time."""
        return self.server.clock.monotonic_ms() + self.unawake_ms

    def lose_the_process(self, meanwhile: Callable[[], None]) -> None:
        self.hear()
        self.asked.clear()
        reader = self.server.database.reader
        assert isinstance(reader, YieldingReader)
        reader.clock = None
        self.server.restart(cleanly=False, meanwhile=meanwhile)
        reader.clock = self.server.clock

    def acknowledge(self, asked: Asked, reply: dict[str, Any]) -> None:
        known = asked.known
        if asked.action == "schedule":
            self.known.append(known)
            if "delay_id" in reply:
                path = f"{U}/delayed_events/{reply['delay_id']}"
                known.handles = {action: f"{path}/{action}" for action in ("send", "cancel", "restart")}
            else:
                names = {"send": "send_token", "cancel": "cancel_token", "restart": "refresh_token"}
                known.handles = {
                    action: f"{C}/v1/future/{reply[name]}" for action, name in names.items() if name in reply
                }
        elif asked.action == "restart":
            known.asked_at_ms = max(known.asked_at_ms, asked.asked_at_ms)
        elif asked.action in ("send", "cancel"):
            known.acknowledged.add(asked.action)

    def events(self) -> dict[int, int]:
        """How often each numbered event is in the room, as the database has it."""
        counts: dict[int, int] = {}
        query = "SELECT pdu FROM events WHERE type = 'm.test' ORDER BY position"
        for (pdu,) in self.server.database.writing.execute(query).fetchall():
            number = msgspec.json.decode(pdu)["content"].get("n")
            if number is not None:
                counts[number] = counts.get(number, 0) + 1
        return counts

    @invariant()
    def nothing_is_sent_twice_early_or_against_an_acknowledged_command(self) -> None:
        if not hasattr(self, "server"):
            return
        self.hear()
        counts = self.events()
        assert all(count == 1 for count in counts.values()), "one future, two events"
        now_ms = self.now_ms()
        for known in self.known:
            sent = known.number in counts
            if "cancel" in known.acknowledged:
                assert not sent, "cancelled and sent"
            if "send" in known.acknowledged:
                assert sent, "acknowledged and not sent"
            elif sent and known.delay_ms is not None and not self.was_asked_to_send(known):
                assert now_ms >= known.asked_at_ms + known.delay_ms, "early"

    def was_asked_to_send(self, known: Known) -> bool:
        """A command may have had its effect without an answer, before the process was killed."""
        return known.number in self.commanded

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        self.everybody_gets_an_answer()
        for _ in range(8):
            self.server.pass_ms(1_000)
        counts = self.events()
        rows = self.server.database.writing.execute(
            "SELECT group_id, outcome, event_id, payload FROM futures ORDER BY future_id"
        ).fetchall()
        assert all(outcome is not None for _, outcome, _, _ in rows), "a future has no end"
        sent_groups = [group_id for group_id, outcome, _, _ in rows if outcome == 1]
        assert len(sent_groups) == len(set(sent_groups)), "two events of one group"
        for _, outcome, event_id, payload in rows:
            number = msgspec.json.decode(payload)["content"]["n"]
            assert (number in counts) is (outcome == 1) is (event_id is not None)
        assert self.server.database.writing.execute("SELECT COUNT(*) FROM future_timers").fetchone() == (0,)
        counted = self.server.database.writing.execute("SELECT SUM(scheduled) FROM future_counts").fetchone()
        assert counted[0] in (0, None)


ServerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestServerMachine = ServerMachine.TestCase
