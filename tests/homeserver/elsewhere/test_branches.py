"""Forward extremities: what a server that forks without end can do, and what our own events follow."""

from __future__ import annotations

import pytest

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, UserID
from minihs.events.limits import MAX_PREV_EVENTS
from minihs.homeserver.room_actions.view import RoomView
from minihs.homeserver.rooms.branches import MAX_OF_ONE_SERVER
from minihs.rooms.state_map import StateMap
from minihs.store.events import Standing
from minihs.store.timeline import TimelineStore
from tests.homeserver.elsewhere.test_inbound_transactions import ALICE, MALLORY, meeting, standing
from tests.support.events import resign
from tests.support.federated import FederatedServer
from tests.support.hostile_peer import HostilePeer


def fork(peer: HostilePeer, sender: str, at: Event, number: int) -> Event:
    """A change of state on an old event: a branch of its own, with a state of its own."""
    name = {"membership": "join", "displayname": f"number {number}"}
    event = peer.room.make(sender, "m.room.member", name, sender, prev_events=[at], timestamp_ms=number)
    peer.room.events[event.event_id] = event
    return event


def tips(server: FederatedServer, room_id: RoomID) -> tuple[EventID, ...]:
    found: tuple[EventID, ...] = server.run(server.rooms.extremities(room_id))
    return found


def test_a_server_that_forks_without_end_leaves_a_bounded_number_of_branches() -> None:
    server, peer, room_id = meeting()
    start = peer.room.timeline[-1]
    forks = [fork(peer, MALLORY, start, number) for number in range(4 * MAX_OF_ONE_SERVER)]
    for event in forks:
        assert server.receive("evil", event) == {event.event_id: {}}
        assert len(tips(server, room_id)) <= MAX_OF_ONE_SERVER
    assert [standing(server, event) for event in forks] == [
        Standing.ACCEPTED if number < MAX_OF_ONE_SERVER else Standing.SOFT_FAILED
        for number in range(len(forks))
    ]
    row = server.run(server.rooms.row(forks[-1].event_id))
    assert "too many branches" in row.refusal
    going_on = resign(peer.message(MALLORY), prev_events=[forks[0].event_id])
    server.receive("evil", going_on)
    assert standing(server, going_on) is Standing.ACCEPTED


def test_what_another_server_says_meanwhile_is_taken() -> None:
    server, peer, room_id = meeting()
    other = HostilePeer("hs7", server)
    start = other.enter(room_id, "@zoe:hs7")
    for number in range(2 * MAX_OF_ONE_SERVER):
        server.receive("evil", fork(peer, MALLORY, start, number))
    question = other.room.make("@zoe:hs7", "m.room.message", {"body": "what is this?"}, prev_events=[start])
    server.receive("hs7", question)
    assert standing(server, question) is Standing.ACCEPTED
    assert len(tips(server, room_id)) == MAX_OF_ONE_SERVER + 1


def test_a_server_that_joins_its_branches_may_fork_again() -> None:
    """Also those which nobody was shown: their state counts with what follows them."""
    server, peer, room_id = meeting()
    start = peer.room.timeline[-1]
    forks = [fork(peer, MALLORY, start, number) for number in range(MAX_OF_ONE_SERVER + 5)]
    server.receive("evil", *forks)
    joined = peer.room.make(MALLORY, "m.room.message", {"body": "one"}, prev_events=forks)
    assert server.receive("evil", joined) == {joined.event_id: {}}
    assert standing(server, joined) is Standing.ACCEPTED
    assert tips(server, room_id) == (joined.event_id,)
    name = server.state(room_id)["m.room.member", MALLORY]
    assert name == forks[-1].event_id  # the latest of all, by its time
    again = fork(peer, MALLORY, start, 1_000)
    server.receive("evil", again)
    assert standing(server, again) is Standing.ACCEPTED


def test_our_next_event_follows_the_latest_branches_and_the_one_after_it_the_others() -> None:
    server, peer, room_id = meeting()
    users = {"hs7": "@zoe:hs7", "hs8": "@yan:hs8", "evil": MALLORY}
    peers = {"hs7": HostilePeer("hs7", server), "hs8": HostilePeer("hs8", server), "evil": peer}
    for name in ("hs7", "hs8"):
        start = peers[name].enter(room_id, users[name])
    forks: list[Event] = []
    for name, user in users.items():
        came = [fork(peers[name], user, start, number) for number in range(MAX_OF_ONE_SERVER)]
        server.receive(name, *came)
        forks += came
    latest_first = tuple(event.event_id for event in forks[::-1])
    assert tips(server, room_id) == latest_first
    assert len(latest_first) > MAX_PREV_EVENTS
    server.open()
    assert tips(server, room_id) == latest_first
    one = server.send(room_id, ALICE)
    assert one.prev_events == latest_first[:MAX_PREV_EVENTS]
    two = server.send(room_id, ALICE)
    assert two.prev_events == (one.event_id, *latest_first[MAX_PREV_EVENTS:])
    assert tips(server, room_id) == (two.event_id,)


@pytest.mark.parametrize("version", ["11", "12"])
def test_servers_agree_again_with_the_event_that_follows_the_last_of_many_branches(version: str) -> None:
    """Our first event names 20 of 30 branches, each with a state of its own; the second one the others."""
    server, peer, room_id = meeting(version)
    honest = FederatedServer("hs2", server.wire)
    honest.join("@bob:hs2", room_id, "hs1")
    users = {"hs7": "@zoe:hs7", "hs8": "@yan:hs8", "evil": MALLORY}
    peers = {"hs7": HostilePeer("hs7", server), "hs8": HostilePeer("hs8", server), "evil": peer}
    for name in ("hs7", "hs8"):
        start = peers[name].enter(room_id, users[name])
        honest.receive(name, start)
    for name, user in users.items():
        came = [fork(peers[name], user, start, number) for number in range(MAX_OF_ONE_SERVER)]
        for one in (server, honest):
            assert set(map(str, one.receive(name, *came).values())) == {"{}"}
    assert tips(server, room_id) == tips(honest, room_id)
    assert len(tips(server, room_id)) > MAX_PREV_EVENTS
    topic = server.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "one"})
    assert honest.receive("hs1", topic) == {topic.event_id: {}}
    assert len(tips(honest, room_id)) > 1
    last = server.send(room_id, ALICE)
    assert honest.receive("hs1", last) == {last.event_id: {}}
    assert tips(server, room_id) == tips(honest, room_id) == (last.event_id,)
    assert server.state(room_id) == honest.state(room_id)
    assert [standing(honest, event) for event in (topic, last)] == [Standing.ACCEPTED] * 2


def test_an_event_that_is_followed_by_way_of_a_refused_one_is_no_branch() -> None:
    """Late comes what a soft-failed event follows, which in turn something accepted follows."""
    server, peer, room_id = meeting()
    other = HostilePeer("hs7", server)
    start = other.enter(room_id, "@zoe:hs7")
    late = peer.room.make(MALLORY, "m.room.message", {"body": "late"}, prev_events=[start])
    refused = peer.room.make(MALLORY, "m.room.message", {"body": "refused"}, prev_events=[late])
    ban = server.send(room_id, ALICE, "m.room.member", state_key=MALLORY, content={"membership": "ban"})
    peer.room.events.update({event.event_id: event for event in (start, late, refused)})
    before = dict(server.run(server.rooms.state_before(ban.event_id)))
    peer.states[late.event_id] = {
        key: server.run(server.rooms.row(event_id)).event for key, event_id in before.items()
    }
    peer.refuse("get_missing_events")
    server.receive("evil", refused)
    assert (standing(server, refused), standing(server, late)) == (Standing.SOFT_FAILED, Standing.OUTLIER)
    joined = other.room.make("@zoe:hs7", "m.room.message", {"body": "all"}, prev_events=[ban, refused])
    server.receive("hs7", joined)
    assert tips(server, room_id) == (joined.event_id,)
    # The ban keeps Mallory's servers' events out by themselves: this one is placed as if it had been in time.
    placed = server.rooms.receive(
        late, state_before=StateMap.of(before), standing=Standing.ACCEPTED, refusal=None
    )
    server.run(placed)
    assert tips(server, room_id) == (joined.event_id,)


@pytest.mark.parametrize("damaged", [True, False])
def test_an_event_whose_content_was_withheld_gets_it_when_it_comes_whole(damaged: bool) -> None:
    """A state event that came damaged with a state, or an auth chain, and then in its place."""
    server, peer, _ = meeting()
    fork_at = peer.room.timeline[-1:]
    renamed = peer.room.member(MALLORY, MALLORY, "join", content={"displayname": "M"}, prev_events=fork_at)
    edge = peer.message(MALLORY, "edge")
    peer.refuse("get_missing_events")
    if damaged:
        pdu = {**renamed.pdu, "content": {**renamed.content, "displayname": "someone else"}}
        peer.lies["event"] = lambda *_: {"pdus": [pdu]}
    latest = peer.room.make(MALLORY, "m.room.message", {}, prev_events=[edge])
    server.receive("evil", latest)
    known = server.run(server.rooms.row(renamed.event_id))
    assert known.standing is Standing.OUTLIER
    assert ("displayname" in known.event.content) is not damaged
    server.receive("evil", renamed)
    for _ in range(2):
        row = server.run(server.rooms.row(renamed.event_id))
        assert (row.standing, row.event.content["displayname"]) == (Standing.ACCEPTED, "M")
        server.open()


def test_what_is_known_whole_stays_whole_when_it_comes_damaged() -> None:
    server, peer, _ = meeting()
    fork_at = peer.room.timeline[-1:]
    renamed = peer.room.member(MALLORY, MALLORY, "join", content={"displayname": "M"}, prev_events=fork_at)
    edge = peer.message(MALLORY, "edge")
    peer.refuse("get_missing_events")
    server.receive("evil", peer.room.make(MALLORY, "m.room.message", {}, prev_events=[edge]))
    server.receive("evil", {**renamed.pdu, "content": {**renamed.content, "displayname": "someone else"}})
    for _ in range(2):
        row = server.run(server.rooms.row(renamed.event_id))
        assert (row.standing, row.event.content["displayname"]) == (Standing.ACCEPTED, "M")
        server.open()


def test_the_state_at_a_moment_is_that_of_the_room_and_not_of_the_branch_that_came_last() -> None:
    server, peer, room_id = meeting()
    fork_at = peer.room.timeline[-1]
    joined = server.send(
        room_id, "@bob:hs1", "m.room.member", state_key="@bob:hs1", content={"membership": "join"}
    )
    late = peer.room.make(MALLORY, "m.room.message", {"body": "late"}, prev_events=[fork_at])
    server.receive("evil", late)
    position = server.run(server.rooms.row(late.event_id)).position
    before = server.run(server.rooms.row(joined.event_id)).position - 1
    server.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "later"})
    view = RoomView(
        rooms=server.rooms,
        memberships=server.memberships,
        events=server.service.events,
        timeline=TimelineStore(server.database.reader),
    )
    then = server.run(view.state_at(UserID(ALICE), room_id, position))
    assert then["m.room.member", "@bob:hs1"] == joined.event_id
    assert ("m.room.topic", "") not in then
    earlier = server.run(view.state_at(UserID(ALICE), room_id, before))
    assert dict(earlier) == {key: event.event_id for key, event in peer.room.state.items()}
