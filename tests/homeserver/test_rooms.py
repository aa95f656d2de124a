"""The room service: building, authorising, persisting and placing events."""

from __future__ import annotations

import pytest

from minihs.events.ids import RoomID, UserID
from minihs.events.versions import ROOM_VERSIONS
from minihs.homeserver.errors import BadContent, Forbidden, TooLarge, Unavailable, UnknownRoom
from minihs.homeserver.rooms.service import EventDraft
from minihs.store.events import Standing
from minihs.store.writer import Batch
from tests.support.deferreds import finish, start
from tests.support.room_service import RoomServer

ALICE, BOB = "@alice:hs1", "@bob:hs1"


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_room_is_created_in_one_batch_and_survives_a_restart(version: str) -> None:
    server = RoomServer()
    room_id = server.create(version=version)
    message = server.send(room_id, ALICE)
    server.open()
    assert server.run(server.rooms.extremities(room_id)) == (message.event_id,)
    assert server.run(server.rooms.version_of(room_id)).id == version
    state = server.run(server.rooms.current_state(room_id))
    assert [key[0] for key in state] == [
        "m.room.create",
        "m.room.join_rules",
        "m.room.member",
        "m.room.power_levels",
    ]
    assert server.run(server.rooms.joined_users(room_id)) == (ALICE,)


@pytest.mark.parametrize("version", ["11", "12"])
def test_rooms_that_are_made_alike_in_the_same_millisecond_are_different_rooms(version: str) -> None:
    server = RoomServer()
    first, second = server.create(version=version), server.create(version=version)
    assert first != second
    server.send(first, ALICE)
    server.send(second, ALICE)


def test_each_event_follows_the_one_before() -> None:
    server = RoomServer()
    room_id = server.create()
    first = server.send(room_id, ALICE)
    second = server.send(room_id, ALICE)
    assert second.prev_events == (first.event_id,)
    assert second.depth == first.depth + 1
    assert [committed.event for committed in server.observer.committed[-2:]] == [first, second]


def test_events_are_pipelined_and_nothing_is_shown_before_it_is_durable() -> None:
    server = RoomServer()
    room_id = server.create()
    before = server.run(server.rooms.extremities(room_id))
    heard = len(server.observer.committed)
    drafts = [
        EventDraft(
            room_id=room_id, sender=UserID(ALICE), type="m.room.message", content={"body": str(number)}
        )
        for number in range(3)
    ]
    waiting = [start(server.rooms.send(draft)) for draft in drafts]
    assert server.run_now(server.rooms.extremities(room_id)) == before
    assert len(server.observer.committed) == heard
    events = [finish(server.clock, done) for done in waiting]
    assert [event.prev_events[0] for event in events[1:]] == [event.event_id for event in events[:-1]]
    assert [committed.event for committed in server.observer.committed[heard:]] == events


def test_an_event_that_the_rules_refuse_is_not_stored_and_the_refusal_names_the_rule() -> None:
    server = RoomServer()
    room_id = server.create()
    extremities = server.run(server.rooms.extremities(room_id))
    with pytest.raises(Forbidden) as refused:
        server.send(room_id, BOB)
    assert refused.value.rule is not None
    assert server.run(server.rooms.extremities(room_id)) == extremities
    server.send(room_id, BOB, "m.room.member", state_key=BOB, content={"membership": "join"})
    server.send(room_id, BOB)


def test_an_unknown_room_is_said_to_be_unknown() -> None:
    server = RoomServer()
    with pytest.raises(UnknownRoom):
        server.send(RoomID("!nowhere:hs1"), ALICE)


def test_content_that_can_be_no_event_is_refused() -> None:
    server = RoomServer()
    room_id = server.create()
    with pytest.raises(BadContent):
        server.send(room_id, ALICE, content={"number": 1.5})
    with pytest.raises(TooLarge):
        server.send(room_id, ALICE, content={"body": "x" * 70_000})
    server.send(room_id, ALICE, content={"number": 1, "body": "x" * 60_000})


def test_rows_that_a_caller_adds_are_stored_with_the_event_or_not_at_all() -> None:
    server = RoomServer()
    room_id = server.create()
    server.database.writing.execute("CREATE TABLE outcomes (event_id TEXT PRIMARY KEY)")

    def send(name: str) -> str:
        draft = EventDraft(room_id=room_id, sender=UserID(ALICE), type="m.room.message", content={})
        sent = server.run(
            server.rooms.send(
                draft,
                also=lambda batch, event: batch.add("INSERT INTO outcomes VALUES (?)", (name,)),
            )
        )
        return str(sent.event_id)

    send("one")
    extremities = server.run(server.rooms.extremities(room_id))
    with pytest.raises(Unavailable):
        send("one")
    assert server.run(server.rooms.extremities(room_id)) == extremities
    assert len(server.observer.failed) == 1
    event_id = send("two")
    assert server.run(server.rooms.extremities(room_id)) == (event_id,)


def test_several_events_are_sent_all_or_none() -> None:
    server = RoomServer()
    room_id = server.create()
    extremities = server.run(server.rooms.extremities(room_id))
    good = EventDraft(room_id=room_id, sender=UserID(ALICE), type="m.room.message", content={})
    bad = EventDraft(room_id=room_id, sender=UserID(BOB), type="m.room.message", content={})
    with pytest.raises(Forbidden):
        server.run(server.rooms.send_all([good, bad]))
    assert server.run(server.rooms.extremities(room_id)) == extremities
    events = server.run(server.rooms.send_all([good, good]))
    assert events[0].prev_events == extremities
    assert events[1].prev_events == (events[0].event_id,)


def test_a_refused_event_takes_the_state_of_those_before_it_along() -> None:
    server = RoomServer()
    room_id = server.create()
    state = server.run(server.rooms.current_state(room_id))
    join = EventDraft(
        room_id=room_id,
        sender=UserID(BOB),
        type="m.room.member",
        state_key=BOB,
        content={"membership": "join"},
    )
    message = EventDraft(room_id=room_id, sender=UserID(BOB), type="m.room.message", content={})
    topic = EventDraft(room_id=room_id, sender=UserID(BOB), type="m.room.topic", state_key="", content={})
    with pytest.raises(Forbidden):
        server.run(server.rooms.send_all([join, topic]))
    with pytest.raises(Forbidden):
        server.send(room_id, BOB)
    server.send(room_id, ALICE)
    assert server.run(server.rooms.current_state(room_id)) == state
    assert server.run(server.rooms.joined_users(room_id)) == (ALICE,)
    assert len(server.run(server.rooms.send_all([join, message]))) == 2


def test_a_redaction_takes_the_content_away_also_after_a_restart() -> None:
    server = RoomServer()
    room_id = server.create()
    message = server.send(room_id, ALICE)
    redaction = server.send(
        room_id, ALICE, "m.room.redaction", content={"reason": "regret"}, redacts=message.event_id
    )
    for _ in range(2):
        row = server.run(server.rooms.row(message.event_id))
        assert row.event.content == {}
        assert row.redacted_by == redaction.event_id
        server.open()


def test_a_redaction_by_somebody_without_the_power_for_it_does_not_apply() -> None:
    server = RoomServer()
    room_id = server.create()
    other = RoomServer("hs2")
    join = _remote_join(server, other, room_id)
    message = server.send(room_id, ALICE)
    done = server.run(_receive_redaction(server, other, join, message))
    finish(server.clock, done)
    assert server.run(server.rooms.row(message.event_id)).redacted_by is None


def _remote_join(server: RoomServer, other: RoomServer, room_id: RoomID):  # type: ignore[no-untyped-def]
    """Carol of hs2 joins: her server builds the event, ours receives it."""
    from minihs.events.build import build_event

    async def join():  # type: ignore[no-untyped-def]
        state = await server.rooms.current_state(room_id)
        version = await server.rooms.version_of(room_id)
        prevs = await server.rooms.extremities(room_id)
        event = build_event(
            version=version,
            signer=other.signer,
            room_id=room_id,
            type="m.room.member",
            sender=UserID("@carol:hs2"),
            content={"membership": "join"},
            state_key="@carol:hs2",
            origin_server_ts=server.clock.wall_ms(),
            depth=10,
            prev_events=prevs,
            auth_events=(
                state["m.room.create", ""],
                state["m.room.power_levels", ""],
                state["m.room.join_rules", ""],
            ),
        )
        await (
            await server.rooms.receive(event, state_before=state, standing=Standing.ACCEPTED, refusal=None)
        )
        return event

    return server.run(join())


async def _receive_redaction(server, other, join, message):  # type: ignore[no-untyped-def]
    from minihs.events.build import build_event

    state = await server.rooms.current_state(join.room_id)
    event = build_event(
        version=join.version,
        signer=other.signer,
        room_id=join.room_id,
        type="m.room.redaction",
        sender=join.sender,
        content={},
        state_key=None,
        origin_server_ts=server.clock.wall_ms(),
        depth=20,
        prev_events=(message.event_id,),
        auth_events=(state["m.room.create", ""], state["m.room.power_levels", ""], join.event_id),
        redacts=message.event_id,
    )
    return await server.rooms.receive(event, state_before=state, standing=Standing.ACCEPTED, refusal=None)


def test_an_event_from_elsewhere_joins_its_sender_and_ours_go_to_that_server_from_then_on() -> None:
    server = RoomServer()
    room_id = server.create()
    join = _remote_join(server, RoomServer("hs2"), room_id)
    assert server.run(server.rooms.joined_servers(room_id)) == ("hs1", "hs2")
    assert server.run(server.rooms.extremities(room_id)) == (join.event_id,)
    assert server.woken == []
    message = server.send(room_id, ALICE)
    assert message.prev_events == (join.event_id,)
    assert server.woken == [("hs2",)]
    outbound = server.run(
        server.database.reader.all("SELECT position FROM outbound_events ORDER BY position")
    )
    assert outbound == [(server.run(server.rooms.row(message.event_id)).position,)]


def test_forks_are_kept_as_extremities_until_the_next_event_joins_them() -> None:
    server = RoomServer()
    room_id = server.create()
    before = server.run(server.rooms.current_state(room_id))
    fork_point = server.run(server.rooms.extremities(room_id))
    other = RoomServer("hs2")
    ours = server.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "ours"})

    async def fork():  # type: ignore[no-untyped-def]
        from minihs.events.build import build_event

        event = build_event(
            version=ours.version,
            signer=other.signer,
            room_id=room_id,
            type="m.room.member",
            sender=UserID("@carol:hs2"),
            content={"membership": "join"},
            state_key="@carol:hs2",
            origin_server_ts=server.clock.wall_ms(),
            depth=5,
            prev_events=fork_point,
            auth_events=(
                before["m.room.create", ""],
                before["m.room.power_levels", ""],
                before["m.room.join_rules", ""],
            ),
        )
        await (
            await server.rooms.receive(event, state_before=before, standing=Standing.ACCEPTED, refusal=None)
        )
        return event

    theirs = server.run(fork())
    assert set(server.run(server.rooms.extremities(room_id))) == {ours.event_id, theirs.event_id}
    state = server.run(server.rooms.current_state(room_id))
    assert state["m.room.topic", ""] == ours.event_id
    assert state["m.room.member", "@carol:hs2"] == theirs.event_id
    server.open()
    assert server.run(server.rooms.current_state(room_id)) == state
    joined = server.send(room_id, ALICE)
    assert set(joined.prev_events) == {ours.event_id, theirs.event_id}
    assert server.run(server.rooms.extremities(room_id)) == (joined.event_id,)
    assert server.run(server.rooms.state_after(joined.event_id)) == state


def test_a_batch_of_another_room_is_not_touched_by_a_failed_one() -> None:
    server = RoomServer()
    one, two = server.create(), server.create(creator=BOB)

    def break_it(batch: Batch, event: object) -> None:
        batch.add("INSERT INTO rooms (room_id, version, state_group) VALUES (?, '11', 1)", (one,))

    draft = EventDraft(room_id=one, sender=UserID(ALICE), type="m.room.message", content={})
    failing = start(server.rooms.send(draft, also=break_it))
    following = start(server.rooms.send(draft))
    elsewhere = start(
        server.rooms.send(EventDraft(room_id=two, sender=UserID(BOB), type="m.room.message", content={}))
    )
    for done in (failing, following):
        with pytest.raises(Unavailable):
            finish(server.clock, done)
    event = finish(server.clock, elsewhere)
    assert server.run(server.rooms.extremities(two)) == (event.event_id,)
    server.send(one, ALICE)
