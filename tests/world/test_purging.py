"""Rooms that everybody of a server has left and forgotten: their rows go, and nothing else does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from minihs.events.ids import UserID
from minihs.store import purges
from tests.support.world import Client, HomeServer, World

DAY_MS = 86_400_000


def tables(server: HomeServer) -> list[tuple[str, list[str]]]:
    """Every table of a server's database with its columns."""
    connection = server.database.writing
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    ).fetchall()
    return [(name, [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]) for (name,) in names]


def traces(server: HomeServer, room_id: str) -> dict[str, int]:
    """How many rows of each table belong to a room: by its ID, and those that belong to no other."""
    connection = server.database.writing
    found = {
        name: connection.execute(f"SELECT COUNT(*) FROM {name} WHERE room_id = ?", (room_id,)).fetchone()[0]
        for name, columns in tables(server)
        if "room_id" in columns and name != "futures"  # whose outcomes are kept for a while by themselves
    }
    alone = {
        "event_edges": "SELECT COUNT(*) FROM event_edges x WHERE NOT EXISTS"
        " (SELECT 1 FROM events WHERE events.event_id = x.event_id)",
        "redactions": "SELECT COUNT(*) FROM redactions x WHERE NOT EXISTS"
        " (SELECT 1 FROM events WHERE events.event_id = x.event_id)",
        "relations": "SELECT COUNT(*) FROM relations x WHERE NOT EXISTS"
        " (SELECT 1 FROM events WHERE events.event_id = x.event_id)",
        "outbound_events": "SELECT COUNT(*) FROM outbound_events x WHERE NOT EXISTS"
        " (SELECT 1 FROM events WHERE events.position = x.position)",
        "state_group_entries": "SELECT COUNT(*) FROM state_group_entries x WHERE NOT EXISTS"
        " (SELECT 1 FROM state_groups WHERE state_groups.state_group = x.state_group)",
        "state_groups": "WITH RECURSIVE used (g) AS (SELECT before_group FROM events UNION"
        " SELECT after_group FROM events UNION SELECT state_group FROM rooms UNION"
        " SELECT prev_group FROM used JOIN state_groups ON state_group = g)"
        " SELECT COUNT(*) FROM state_groups WHERE state_group NOT IN (SELECT g FROM used WHERE g NOT NULL)",
    }
    found.update((name, connection.execute(sql).fetchone()[0]) for name, sql in alone.items())
    return {name: number for name, number in found.items() if number}


class Story:
    """Alice and Carol of hs1, Bob of hs2, a room of theirs and one that stays."""

    def __init__(self, **settings: Any) -> None:
        self.world = World("hs1", "hs2", rate_limits__enabled=False, **settings)
        self.alice, self.carol = (self.world["hs1"].user(name) for name in ("alice", "carol"))
        self.bob = self.world["hs2"].user("bob")
        self.staying = self.room(self.bob, "stays")
        self.leaving = self.room(self.bob, "leaves")

    def room(self, owner: Client, name: str) -> str:
        room_id = owner.create_room(name=name)
        for user in (self.alice, self.carol):
            user.join(room_id, owner.server.name)
        self.world.advance(500)
        for number in range(5):
            event_id = self.alice.send(room_id, str(number))
            owner.set_state(room_id, "m.room.topic", {"topic": str(number)})
            self.world.advance(100)
        related = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": "+"}}
        self.alice.send_event(room_id, "m.reaction", related)
        self.alice.redact(room_id, event_id)
        self.carol.post(f"/rooms/{quote(room_id)}/receipt/m.read/{event_id}")
        self.carol.put(f"/user/{self.carol.user_id}/rooms/{quote(room_id)}/tags/u.x", {"order": 0.5})
        self.carol.put(f"/directory/room/{quote(f'#{name}:hs1')}", {"room_id": room_id})
        self.world.advance(500)
        return room_id

    def forget(self, room_id: str, *users: Client) -> None:
        for user in users or (self.alice, self.carol):
            user.leave(room_id)
            user.post(f"/rooms/{quote(room_id)}/forget")
        self.world.advance(500)

    def pass_time(self, ms: float = DAY_MS) -> None:
        self.world.advance(ms)
        self.world.advance(5_000)

    def gone(self) -> bool:
        return traces(self.world["hs1"], self.leaving) == {}


@pytest.fixture
def story() -> Iterator[Story]:
    story = Story()
    yield story
    story.world.stop()


def test_what_everybody_here_has_forgotten_goes_after_a_day_and_nothing_else_does(story: Story) -> None:
    hs1 = story.world["hs1"]
    kept = traces(hs1, story.staying)
    assert {"events", "memberships", "receipts", "account_data", "aliases"} <= kept.keys()
    story.forget(story.leaving)
    story.pass_time(DAY_MS - 60_000)
    assert {"rooms", "events", "state_changes"} <= traces(hs1, story.leaving).keys()
    story.pass_time(60_000)
    assert story.gone(), traces(hs1, story.leaving)
    assert traces(hs1, story.staying) == kept
    alias = story.alice.request("GET", f"/directory/room/{quote('#leaves:hs1')}")
    assert (alias.status, alias.errcode) == (404, "M_NOT_FOUND")
    story.alice.send(story.staying, "still here")
    story.world.advance(500)
    assert story.bob.bodies(story.staying)[-1] == "still here"
    assert story.bob.state(story.leaving)["m.room.member", story.carol.user_id]["content"] == {
        "membership": "leave"
    }


def test_a_room_that_is_gone_is_entered_anew_over_federation(story: Story) -> None:
    story.forget(story.leaving)
    story.pass_time()
    assert story.gone()
    story.bob.send(story.leaving, "come back")
    story.alice.join(story.leaving, "hs2")
    story.world.advance(500)
    story.alice.send(story.leaving, "here I am")
    story.world.advance(500)
    assert story.bob.bodies(story.leaving)[-2:] == ["come back", "here I am"]
    assert story.alice.bodies(story.leaving)[-2:] == ["come back", "here I am"]
    assert {key: event["event_id"] for key, event in story.alice.state(story.leaving).items()} == {
        key: event["event_id"] for key, event in story.bob.state(story.leaving).items()
    }
    assert story.alice.sync()["rooms"]["join"][story.leaving]["timeline"]["events"]


@pytest.mark.parametrize("why", ["somebody is in it", "somebody has not forgotten it", "somebody is invited"])
def test_a_room_stays_while_it_concerns_somebody_here(story: Story, why: str) -> None:
    story.forget(story.leaving, story.alice)
    if why != "somebody is in it":
        story.carol.leave(story.leaving)
        story.world.advance(500)
    if why == "somebody is invited":
        story.carol.post(f"/rooms/{quote(story.leaving)}/forget")
        story.bob.post(f"/rooms/{quote(story.leaving)}/invite", {"user_id": story.carol.user_id})
    story.pass_time()
    assert not story.gone()
    story.forget(story.leaving, story.carol)
    story.pass_time()
    assert story.gone()


def test_a_room_stays_while_a_future_waits_to_be_sent_into_it() -> None:
    story = Story(rooms__purge_after_ms=3_600_000)
    path = f"/rooms/{quote(story.leaving)}/send/m.room.message/x"
    story.alice.put(path, {"body": "later"}, query={"org.matrix.msc4140.delay": DAY_MS // 2})
    story.forget(story.leaving)
    story.pass_time(5 * 3_600_000)
    assert not story.gone()
    story.pass_time(10 * 3_600_000)
    assert story.gone()
    story.world.stop()


def test_with_the_setting_null_nothing_goes() -> None:
    story = Story(rooms__purge_after_ms=None)
    story.forget(story.leaving)
    story.pass_time(30 * DAY_MS)
    assert not story.gone()
    story.world.stop()


def test_rejected_invites_go_too(story: Story) -> None:
    room_id = story.bob.create_room(preset="private_chat")
    story.bob.post(f"/rooms/{quote(room_id)}/invite", {"user_id": story.alice.user_id})
    story.forget(room_id, story.alice)
    assert traces(story.world["hs1"], room_id).keys() >= {"memberships", "distant_rooms"}
    story.pass_time()
    assert traces(story.world["hs1"], room_id) == {}
    story.bob.post(f"/rooms/{quote(room_id)}/invite", {"user_id": story.alice.user_id})
    assert room_id in story.alice.sync()["rooms"]["invite"]


def test_a_deactivated_account_keeps_no_room(story: Story) -> None:
    story.forget(story.leaving, story.alice)
    users = story.world["hs1"].server.parts.accounts.users
    story.world.run(users.deactivate(UserID(story.carol.user_id)), "the end of an account")
    story.pass_time()
    assert story.gone()


@pytest.mark.parametrize("after", range(0, 19, 2))
def test_a_server_that_is_killed_meanwhile_carries_on(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Killed after so many slices, which are small here so that there are many."""
    monkeypatch.setattr(purges, "SLICE", 3)
    monkeypatch.setattr(purges, "ROWS", 4)
    story = Story()
    hs1 = story.world["hs1"]
    kept = traces(hs1, story.staying)
    story.forget(story.leaving)
    highest = hs1.server.parts.room_service.stream.current
    submitted = 0
    room_purges = hs1.server.parts.room_service.purges
    submit = room_purges._submit

    async def dying(fill: Any) -> None:
        nonlocal submitted
        if submitted == after:
            await Never()
        submitted += 1
        await submit(fill)

    monkeypatch.setattr(room_purges, "_submit", dying)
    story.world.advance(DAY_MS)
    assert submitted == after
    assert not story.gone()
    unknown = story.alice.request("GET", f"/rooms/{quote(story.leaving)}/state")
    assert (unknown.status, unknown.errcode) == (403, "M_FORBIDDEN")
    busy = story.alice.request("POST", f"/join/{quote(story.leaving)}?via=hs2", json={})
    assert busy.status == 503
    hs1.crash()
    hs1.start()
    story.world.advance(5_000)
    assert story.gone(), traces(hs1, story.leaving)
    assert traces(hs1, story.staying) == kept
    assert hs1.server.parts.room_service.stream.current >= highest
    story.alice.join(story.leaving, "hs2")
    story.alice.send(story.leaving, "back")
    story.world.advance(60_000)
    assert story.bob.bodies(story.leaving)[-1] == "back"
    story.world.stop()


class Never:
    """Awaited by what is to hang."""

    def __await__(self) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred().__await__()
