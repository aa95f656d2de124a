"""Two real servers that federate: one is killed beside the commit of an event that the other must get."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from minihs.processes import ServerProcess
from tests.crash.comeback import all_is_over, gather_evidence, repeat_requests
from tests.crash.grounds import PACE_MS
from tests.crash.hands import Gone, Hand
from tests.crash.ledger import Ledger
from tests.crash.nursery import KILLED, HttpLine, Nursery
from tests.crash.promises import check
from tests.crash.shapes import CLIENT
from tests.crash.stories import Teller, a_group_is_due
from tests.support.processes import Stage, until

pytestmark = [pytest.mark.process, pytest.mark.full]


class Client:
    """A user of a server process."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.line = HttpLine(server)
        self.token = ""
        body = {"username": name, "password": "a long password", "auth": {"type": "m.login.dummy"}}
        self.token = self.ok("POST", "register", body)["access_token"]

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, reply = self.line.call(method, f"{CLIENT}/v3/{path}", body, token=self.token)
        assert status == 200, reply
        return reply

    def timeline(self, room_id: str) -> list[str]:
        """The events that are not of the room's first state, oldest first."""
        reply = self.ok("GET", f"rooms/{quote(room_id)}/messages?dir=b&limit=200")
        events = [event for event in reversed(reply["chunk"]) if event["type"].startswith("m.room.message")]
        return [event["event_id"] for event in events]


@pytest.mark.parametrize("step", ["before COMMIT", "after COMMIT"])
def test_an_event_beside_whose_commit_a_server_is_killed_reaches_the_other_once(
    tmp_path: Path, step: str
) -> None:
    with ExitStack() as ending:
        stage, nursery = Stage(tmp_path), Nursery()
        ending.callback(stage.close)
        ending.callback(nursery.close)
        here, there = stage.minihs("here"), stage.minihs("there")
        there.start()
        here.start()
        alice, bob = Client(here, "alice"), Client(there, "bob")
        room_id = alice.ok("POST", "createRoom", {"preset": "public_chat"})["room_id"]
        bob.ok("POST", f"join/{quote(room_id)}?server_name={here.server_name}", {})
        here.stop()
        ledger = Ledger()
        hand = Hand("alice", ledger, alice.line, alice.token, room_id)
        plan = {"steps": str(tmp_path / "steps"), "dies_at": ["before INSERT INTO events", step]}
        pid = nursery.start(here, kind="steps", **plan)
        assert pid is not None
        with pytest.raises(Gone):
            a_group_is_due(Teller(hand, lambda ms: time.sleep(ms / 1000), PACE_MS))
        assert nursery.wait(pid) == KILLED
        here.start()
        repeat_requests(hand, also_actions=False)
        until(lambda: all_is_over(hand), "the end of all futures")
        check(ledger, gather_evidence(hand))
        sent = alice.timeline(room_id)
        assert len(sent) == 1
        until(lambda: bob.timeline(room_id) == sent, "the event on the other server")
        until(lambda: alice.timeline(room_id) == sent, "the same on this one")
