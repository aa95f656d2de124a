"""Where real servers are killed: one server, the data that it begins with, and runs of stories on it."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minihs.store.database import open_database
from tests.crash.comeback import all_is_over, gather_evidence, repeat_requests
from tests.crash.hands import Gone, Hand
from tests.crash.ledger import Ledger
from tests.crash.nursery import KILLED, HttpLine, Nursery
from tests.crash.promises import check
from tests.crash.shapes import CLIENT
from tests.crash.soundness import check_database
from tests.crash.stories import OVERDUE_AFTER, Story, Teller, a_few_left_waiting, dialects_for
from tests.support.processes import Stage, until

PACE_MS = 60
"""A unit of a story's time: some requests must fit into it, also on a busy machine."""

SETTINGS: tuple[str, ...] = ("futures.max_scheduled=1000", "futures.retention_count=1000000")
"""Outcomes are compared with events, so they are all kept."""


@dataclass(frozen=True)
class Beginning:
    """What a run begins with: files, and what clients know."""

    folder: Path
    ledger: Ledger


@dataclass(frozen=True)
class Run:
    """One run: the steps that the server took, and whether it died at the last of them."""

    steps: list[str]
    died: bool


class Ground:
    """A server that can be run again and again from the same beginning: Alice, logged in, and her room."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.stage = Stage(folder)
        self.server = self.stage.minihs("killed", SETTINGS)
        self.nursery = Nursery()
        self.line = HttpLine(self.server)
        self._first = Beginning(folder / "beginning", Ledger())
        self._numbers = itertools.count(1)
        self.token = ""
        self.room_id = ""
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with ExitStack() as ending:
            ending.callback(self.stage.close)
            ending.callback(self.nursery.close)

    def run(
        self,
        story: Story,
        dies_at: int | list[str] | None,
        *,
        cold: bool = False,
        beginning: Beginning | None = None,
    ) -> Run:
        """Let a server live through a story and die at a step; restart it and hold it to its promises.

        It is restarted by a fork, or `cold`, by the command that users start it with.
        """
        self.reset(beginning)
        self.speak(dialects_for(story))
        steps = self.stage.folder / f"steps.{next(self._numbers)}"
        ledger = (beginning or self._first).ledger
        hand = self.hand("alice", Ledger(dict(ledger.plans), list(ledger.requests)))
        try:
            died = self._dies(hand, story, {"steps": str(steps), "dies_at": dies_at})
            self.comes_back(hand, cold=cold)
        except BaseException as error:
            self.nursery.clear()
            if not isinstance(error, AssertionError):
                raise
            last = steps.read_text(encoding="ascii").splitlines()[-1]
            raise AssertionError(f"{story.__name__}, killed at {dies_at} ({last}): {error}") from error
        return Run(steps.read_text(encoding="ascii").splitlines(), died)

    def _dies(self, hand: Hand, story: Story, plan: dict[str, Any]) -> bool:
        """Whether the server dies, as planned, before it can be stopped."""
        pid = self.nursery.start(self.server, kind="steps", **plan)
        if pid is None:
            return True
        try:
            story(Teller(hand, _wait, PACE_MS))
        except Gone:
            code = self.nursery.wait(pid)
        else:
            code = self.nursery.stop(pid)
            if code == 0:
                return False
        assert code == KILLED, f"it ended with {code}; see {self.server.log_file}"
        return True

    def speak(self, dialects: tuple[str, ...] | None) -> None:
        """From its next start on the server speaks these dialects; None: what it speaks by itself."""
        spoken = () if dialects is None else (f"futures.dialects={','.join(dialects)}",)
        self.server.settings = (*SETTINGS, *spoken)

    def comes_back(self, hand: Hand, *, cold: bool = False) -> None:
        """Start the server in the ordinary way, ask again, wait until all is over, and judge."""

        def judge() -> None:
            repeat_requests(hand, also_actions=len(hand.ledger.requests) % 2 == 0)
            until(lambda: all_is_over(hand), "the end of all futures")
            check(hand.ledger, gather_evidence(hand))

        if cold:
            self.server.start()
            try:
                judge()
            finally:
                self.server.stop()
        else:
            self.while_up(judge)
        self.check_data()

    def check_data(self) -> None:
        """The database of the server, which does not run, contradicts itself nowhere."""
        database = open_database(self.server.data_dir / "minihs.db")
        check_database(database)
        database.close()

    def while_up(self, work: Callable[[], None]) -> None:
        """Do `work` while an ordinary server runs, and stop that cleanly."""
        pid = self.nursery.start(self.server, kind="plain")
        assert pid is not None, f"the server did not start; see {self.server.log_file}"
        work()
        code = self.nursery.stop(pid)
        assert code == 0, f"the server ended with {code}; see {self.server.log_file}"

    def hand(self, name: str, ledger: Ledger) -> Hand:
        """A client of the server."""
        return Hand(name, ledger, self.line, self.token, self.room_id)

    def new_room(self) -> str:
        """Another room of Alice's; the server must run."""
        body = {"preset": "public_chat"}
        status, reply = self.line.call("POST", f"{CLIENT}/v3/createRoom", body, token=self.token)
        assert status == 200, reply
        return str(reply["room_id"])

    def overdue(self) -> Beginning:
        """A server that died, and whose futures have come due meanwhile, all but one."""
        self.reset()
        ledger = Ledger()
        pid = self.nursery.start(self.server, kind="plain")
        assert pid is not None
        a_few_left_waiting(Teller(self.hand("before", ledger), _wait, PACE_MS))
        self.nursery.kill(pid)
        _wait(OVERDUE_AFTER * PACE_MS)
        folder = self.stage.folder / "overdue"
        shutil.copytree(self.server.data_dir, folder, ignore=shutil.ignore_patterns("*.sock"))
        return Beginning(folder, ledger)

    def reset(self, beginning: Beginning | None = None) -> None:
        """Put the data directory back to a beginning."""
        shutil.rmtree(self.server.data_dir)
        shutil.copytree((beginning or self._first).folder, self.server.data_dir)

    def _prepare(self) -> None:
        def work() -> None:
            body = {"username": "alice", "password": "a long password", "auth": {"type": "m.login.dummy"}}
            status, reply = self.line.call("POST", f"{CLIENT}/v3/register", body, token="")
            assert status == 200, reply
            self.token = reply["access_token"]
            self.room_id = self.new_room()

        self.while_up(work)
        shutil.copytree(self.server.data_dir, self._first.folder)


def _wait(ms: float) -> None:
    time.sleep(ms / 1000)
