"""`World(real=True)`: the same words over real processes, which are ended whatever happens."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.request import urlopen

import pytest

from minihs.lab import World
from minihs.lab.driving import NeverHappened
from minihs.lab.experiments import run_experiment
from minihs.lab.handles import Plan, schedule
from minihs.lab.http_client import RequestFailed
from minihs.lab.names import UnknownName
from minihs.lab.pytest_plugin import Minihs, minihs
from minihs.lab.real import NotInRealWorlds
from minihs.lab.real.servers import SYNAPSE_PYTHON
from minihs.lab.views import view_of
from minihs.server import Policies
from tests.support.synapse import PYTHON

__all__ = ["minihs"]

pytestmark = pytest.mark.process


def test_a_story_runs_unchanged_on_real_processes_and_finds_the_same() -> None:
    virtual = run_experiment("demoted", seed=1)
    real = run_experiment("demoted", seed=1, world={"real": True})
    assert real.holds
    assert real.verdicts == virtual.verdicts
    assert {row[:2] for row in real.tables[0].rows} == {("hs1", "hs2"), ("hs2", "hs1")}
    refusals = [
        [(each.server, each.question, each.rule) for each in report.decisions if not each.allowed]
        for report in (virtual, real)
    ]
    assert refusals[0] == refusals[1] == [("hs2", "current", "v12 8")]
    assert "soft-failed" in real.to_html()
    heard = [entry.text for entry in real.transcript if entry.place == "hs2"]
    assert any(text.startswith("hears of message 'the message' by @alice") for text in heard)
    assert any(text.startswith("soft-fails by the current state (check 6) topic") for text in heard)
    assert [entry.at_ms for entry in real.transcript] == sorted(entry.at_ms for entry in real.transcript)


def test_the_fixture_gives_real_servers_to_programs_that_speak_http(minihs: Minihs) -> None:
    world = minihs.world("hs1", real=True)
    with urlopen(minihs.listen(world, "hs1") + "/_matrix/client/versions", timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.full
@pytest.mark.skipif(not PYTHON.exists(), reason="needs scripts/interop-environment synapse")
def test_a_synapse_as_the_other_server_finds_the_same() -> None:
    world = {"real": True, "synapse": "hs2", "synapse_python": PYTHON}
    report = run_experiment("demoted", seed=1, world=world)
    assert [verdict.text for verdict in report.verdicts if not verdict.holds] == []
    assert any("hs2 did not share the time" in entry.text for entry in report.transcript)


def test_every_process_is_ended_and_every_file_removed_also_after_a_failure() -> None:
    seen: list[tuple[Path, list[int]]] = []

    def fail() -> None:
        with World(["hs1", "hs2"], real=True) as world:
            seen.append((world.folder, [each.process.process.pid for each in world.servers.values()]))  # type: ignore[attr-defined]
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    ((folder, pids),) = seen
    assert not folder.exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_servers_crash_start_skew_and_slow_down() -> None:
    with World(["hs1", "hs2"], real=True, settings={"futures.retention_count": 7}) as world:
        alice, bob = world.user("alice", on="hs1"), world.user("bob", on="hs2")
        room_id = alice.create_room()
        bob.join(room_id, "hs1")
        assert world.settle()
        content = {"msgtype": "m.text", "body": "later"}
        plan = Plan(room_id=room_id, type="m.room.message", content=content, delay_ms=3_600_000)
        schedule(alice, plan)
        world["hs1"].set_clock(skew_ms=-60_000)
        world["hs1"].crash()
        assert not world["hs1"].up
        with pytest.raises(RequestFailed):
            alice.get("/account/whoami")
        assert view_of(world["hs1"], room_id) is not None
        world.advance(hours=2)
        world["hs1"].start()
        world.until_seen(lambda: "later" in bob.bodies(room_id), what="the overdue future")

        world.slow("hs2", 300)
        before = world.now_ms
        alice.send(room_id, "slowly")
        world.until_seen(lambda: "slowly" in bob.bodies(room_id), what="what was said")
        assert world.now_ms - before >= 300
        world.cut("hs1", "hs2", one_way=True)
        alice.send(room_id, "into the dark")
        world.advance(minutes=1)
        assert "into the dark" not in bob.bodies(room_id)
        world.heal("hs1", "hs2")
        world.until_seen(lambda: "into the dark" in bob.bodies(room_id), what="what was held back")
        assert world.traffic(["hs1"], ["hs2"]).pdus >= 3

        with pytest.raises(NotInRealWorlds, match="alice is a person"):
            world.cut("alice", "hs1")
        with pytest.raises(NotInRealWorlds, match="`network` is not in a real world"):
            world.network  # noqa: B018
        with pytest.raises(NotInRealWorlds, match="as fast as the machine's"):
            world["hs1"].set_clock(rate=1.1)
        with pytest.raises(UnknownName, match="Did you mean 'loss'"):
            world.condition("hs1", "hs2", los=0.1)
        with pytest.raises(UnknownName, match="Did you mean 'hs2'"):
            world.partition(["hs1"], ["h2"])
        world["hs1"].crash_at_commit()
        with pytest.raises(RequestFailed):
            alice.send(room_id, "never answered")
        world["hs1"].restart()
        assert "never answered" not in alice.bodies(room_id)
    with pytest.raises(RuntimeError, match="This world has ended"):
        alice.bodies(room_id)


def test_what_takes_a_day_is_waited_for_in_seconds_and_what_never_comes_says_what_was_pending() -> None:
    with World("hs1", real=True) as world:
        alice = world.user("alice", on="hs1")
        room_id = alice.create_room()
        content = {"msgtype": "m.text", "body": "later"}
        plan = Plan(room_id=room_id, type="m.room.message", content=content, delay_ms=86_400_000)
        schedule(alice, plan)
        with pytest.raises(NeverHappened) as caught:
            world.run_until(lambda: False, what="a miracle", within=5_000)
        told = str(caught.value)
        assert told.startswith("a miracle did not happen within 5 s.")
        assert "hs1 has 1 future scheduled, due at 1d 00:00:" in told
        began_ms = world.now_ms
        world.until_seen(lambda: "later" in alice.bodies(room_id), what="the future", within=2 * 86_400_000)
        assert 86_000_000 < world.now_ms - began_ms < 110_000_000
        with pytest.raises(NotInRealWorlds, match="`snapshot` is in this process"):
            world["hs1"].snapshot()
        with pytest.raises(UnknownName, match="no server called 'hs9'"):
            world.traffic(["hs9"])
        assert world.traffic([]).requests == 0


def test_what_real_worlds_cannot_do_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SYNAPSE_PYTHON, raising=False)
    with pytest.raises(NotInRealWorlds, match="policies: a real world has settings only"):
        World(["hs1"], real=True, policies=Policies())
    with pytest.raises(NotInRealWorlds, match="latency_ms: a real world"):
        World(["hs1"], real=True, latency_ms=3)
    with pytest.raises(NotInRealWorlds, match=r"none is named\. Make one .* MINIHS_LAB_SYNAPSE"):
        World(real=True, synapse="hs2")
    with pytest.raises(NotInRealWorlds, match="/nowhere/python is not there"):
        World(real=True, synapse="hs2", synapse_python="/nowhere/python")
    with pytest.raises(ValueError, match="takes a world with `real=True`"):
        World(["hs1"], synapse="hs1")
