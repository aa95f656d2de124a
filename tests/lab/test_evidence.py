"""What is gathered about one room is of that room, also beside others, and from one moment to another."""

from __future__ import annotations

from minihs.lab import World
from minihs.lab.evidence import Evidence, Watch
from minihs.lab.handles import Plan, schedule


def two_rooms() -> tuple[Evidence, Evidence, list[str]]:
    """Alice schedules a message in one room while Bob talks in another; both are watched. And the rooms."""
    world = World(["hs1", "hs2"])
    alice, bob = world.user("alice", on="hs1"), world.user("bob", on="hs2")
    rooms = [alice.create_room(), alice.create_room()]
    for room_id in rooms:
        bob.join(room_id, "hs1")
    alice.send(rooms[0], "before")
    world.settle()
    tea, talk = (Watch(world, room_id, alone=False) for room_id in rooms)
    tea.say("alice schedules a message")
    content = {"msgtype": "m.text", "body": "later"}
    schedule(alice, Plan(room_id=rooms[0], type="m.room.message", content=content, delay_ms=5_000))
    bob.send(rooms[1], "meanwhile")
    bob.send(rooms[1], "still")
    world.advance(seconds=6)
    world.settle()
    return tea.ends("rooms", "tea", "sent"), talk.ends("rooms", "talk", "said"), rooms


def test_a_room_beside_others_is_told_without_them() -> None:
    tea, talk, rooms = two_rooms()
    for case, room_id, new, link in (
        (tea, rooms[0], 1, ("hs1", "hs2")),
        (talk, rooms[1], 2, ("hs2", "hs1")),
    ):
        assert {view.room_id for view in (*case.before, *case.after)} == {room_id}
        assert [len(view.events) for view in case.after] == [len(view.events) + new for view in case.before]
        assert {decision.room_id for decision in case.decisions} == {room_id}
        assert case.traffic[link].pdus == new
        assert not any("before" in entry.text for entry in case.transcript)
    assert [entry.text for entry in tea.transcript if entry.kind == "say"] == ["alice schedules a message"]
    assert not [entry for entry in talk.transcript if entry.kind == "say"]
    assert [entry.place for entry in talk.transcript if entry.kind == "request"] == ["bob", "bob"]


def test_the_futures_of_a_room_are_told_with_what_became_of_them() -> None:
    tea, talk, _ = two_rooms()
    (life,) = tea.lives
    assert (life.name, [moment.mark for moment in life.moments]) == (
        "message of @alice:hs1",
        ["scheduled", "sent"],
    )
    assert 5_000 <= life.moments[1].at_ms - life.moments[0].at_ms <= 5_010
    assert talk.lives == []


def test_what_each_decision_read_is_in_the_json() -> None:
    told = two_rooms()[0].to_json()
    assert (told["chapter"], told["title"], told["found"]) == ("rooms", "tea", "sent")
    own, *elsewhere = told["decisions"]
    assert (own.server, own.question, own.allowed) == ("hs1", "own", True)
    assert "m.room.power_levels|" in own.state
    assert [decision.question for decision in elsewhere] == ["cited", "before"]
    assert {(row["from"], row["to"]) for row in told["traffic"]} >= {("alice", "hs1"), ("hs1", "hs2")}
