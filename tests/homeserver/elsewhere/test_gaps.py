"""Events whose history or auth events are not here: what is fetched, what is believed, where it ends."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import RoomID
from minihs.federation import gaps
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.homeserver.elsewhere.inbound_transactions import REPLY_WITHIN_MS
from minihs.store.events import Standing
from tests.homeserver.elsewhere.test_inbound_transactions import ALICE, MALLORY, announced, meeting, standing
from tests.support.deferreds import finish, start
from tests.support.federated import FederatedServer
from tests.support.hostile_peer import HostilePeer


def test_missing_previous_events_are_fetched_and_come_first() -> None:
    server, peer, room_id = meeting()
    messages = [peer.message(MALLORY, str(number)) for number in range(5)]
    assert server.receive("evil", messages[-1]) == {messages[-1].event_id: {}}
    assert announced(server)[-5:] == [event.event_id for event in messages]
    assert server.run(server.rooms.extremities(room_id)) == (messages[-1].event_id,)
    assert peer.asked == ["get_missing_events"]


def test_a_fetched_event_that_is_not_genuine_leaves_its_gap() -> None:
    server, peer, _ = meeting()
    first, second, third = (peer.message(MALLORY, str(number)) for number in range(3))
    damaged = {**second.pdu, "signatures": {"evil": {"ed25519:1": "AAAA"}}}
    peer.lies["get_missing_events"] = lambda *_: {"events": [first.pdu, damaged]}
    peer.refuse("state_ids", "state")
    error = server.receive("evil", third)[third.event_id]["error"]
    assert "could not be fetched" in error
    assert standing(server, second) is None
    assert standing(server, third) is None
    peer.lies.clear()
    assert server.receive("evil", third) == {third.event_id: {}}


def test_events_that_do_not_lead_to_the_one_that_came_are_not_taken_from_the_answer() -> None:
    server, peer, _ = meeting()
    first = peer.message(MALLORY, "first")
    aside = peer.room.make(MALLORY, "m.room.message", {"body": "aside"})
    second = peer.message(MALLORY, "second", prev_events=[first])
    peer.lies["get_missing_events"] = lambda *_: {"events": [first.pdu, aside.pdu]}
    server.receive("evil", second)
    assert standing(server, first) is Standing.ACCEPTED
    assert standing(server, aside) is None


@pytest.mark.parametrize("portion", [1, 1_000])
def test_a_gap_too_wide_to_fill_is_bridged_with_the_state_at_its_edge(
    portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gaps, "READ_AT_ONCE", portion)
    server, peer, room_id = meeting()
    peer.room.join("@second:evil")
    before = dict(peer.room.state)
    edge = peer.message("@second:evil", "edge")
    peer.states[edge.event_id] = before
    latest = peer.message("@second:evil", "latest")
    peer.refuse("get_missing_events")
    assert server.receive("evil", latest) == {latest.event_id: {}}
    assert standing(server, latest) is Standing.ACCEPTED
    state = server.state(room_id)
    assert state["m.room.member", "@second:evil"] == before["m.room.member", "@second:evil"].event_id
    assert server.membership("@second:evil", room_id) == "join"


def test_state_at_a_gap_cannot_overrule_what_the_room_has_decided() -> None:
    server, peer, room_id = meeting()
    ban = server.send(room_id, ALICE, "m.room.member", state_key=MALLORY, content={"membership": "ban"})
    edge = peer.message(MALLORY, "edge")
    latest = peer.message(MALLORY, "latest")
    peer.refuse("get_missing_events")
    assert server.receive("evil", latest) == {latest.event_id: {}}
    assert standing(server, latest) is Standing.SOFT_FAILED
    assert server.state(room_id)["m.room.member", MALLORY] == ban.event_id
    assert standing(server, edge) is not Standing.ACCEPTED


@pytest.mark.parametrize("lie", ["not genuine", "refused", "no create event"])
def test_a_state_that_cannot_be_true_is_not_built_upon(lie: str) -> None:
    server, peer, room_id = meeting()
    edge = peer.message(MALLORY, "edge")
    state = dict(peer.room.state)
    if lie == "not genuine":
        levels = peer.room.make(ALICE, "m.room.power_levels", {"users": {MALLORY: 50}}, "")
        forged = peer.resign(levels, sender=ALICE)
        state["m.room.power_levels", ""] = forged
        peer.room.events[forged.event_id] = forged
        server.keys.unknown.add("hs1")
    elif lie == "refused":
        levels = peer.room.make(MALLORY, "m.room.power_levels", {"users": {MALLORY: 50}}, "")
        state["m.room.power_levels", ""] = levels
        peer.room.events[levels.event_id] = levels
    else:
        del state["m.room.create", ""]
    peer.states[edge.event_id] = state
    peer.refuse("get_missing_events")
    topic = peer.room.make(MALLORY, "m.room.topic", {"topic": "mine"}, "", state=state, prev_events=[edge])
    error = server.receive("evil", topic)[topic.event_id]["error"]
    assert error
    assert ("m.room.topic", "") not in server.state(room_id)
    assert standing(server, topic) in (None, Standing.REJECTED)


@pytest.mark.parametrize("how", ["at once", "one by one"])
def test_missing_auth_events_are_fetched_with_what_authorises_them(how: str) -> None:
    server, peer, _ = meeting()
    # Two joins that hs1 never saw authorise a message whose place in the graph it knows.
    known = [peer.room.timeline[-1]]
    peer.room.join("@second:evil")
    rename = peer.room.member("@second:evil", "@second:evil", "join", content={"displayname": "B"})
    message = peer.message("@second:evil", prev_events=known)
    if how == "one by one":
        peer.refuse("event_auth")
    error = server.receive("evil", message)[message.event_id]["error"]
    assert error.startswith("v12 6: check 5")
    assert standing(server, rename) is Standing.OUTLIER
    assert peer.asked == (["event_auth"] if how == "at once" else ["event_auth", "event", "event"])


def test_an_event_whose_auth_events_cannot_be_had_is_not_kept() -> None:
    server, peer, _ = meeting()
    known = [peer.room.timeline[-1]]
    peer.room.join("@second:evil")
    message = peer.room.make("@second:evil", "m.room.message", {}, prev_events=known)
    peer.refuse("event_auth", "event")
    assert "could not be had" in server.receive("evil", message)[message.event_id]["error"]
    assert standing(server, message) is None


def test_a_long_gap_is_walked_in_steps_and_the_walk_ends() -> None:
    server, peer, _ = meeting()
    for number in range(120):
        peer.message(MALLORY, str(number))
    latest = peer.room.timeline[-1]
    assert server.receive("evil", latest) == {latest.event_id: {}}
    assert peer.asked == ["get_missing_events"] * 4
    for number in range(400):
        peer.message(MALLORY, str(number))
    latest = peer.room.timeline[-1]
    peer.asked.clear()
    server.receive("evil", latest)
    assert peer.asked.count("get_missing_events") <= 6
    assert standing(server, latest) is Standing.ACCEPTED


def slow_transaction(server: FederatedServer, peer: HostilePeer, room_id: RoomID) -> tuple[Any, Any, Any]:
    """A message whose history takes long to come; the deferred answer of the transaction, and its release."""
    peer.message(MALLORY, "missing")
    latest = peer.message(MALLORY, "latest")
    answered: Deferred[None] = Deferred()

    async def slowly(rest, args, body):  # type: ignore[no-untyped-def]
        await answered
        return peer._get_missing_events(rest, args, body)

    peer.lies["get_missing_events"] = slowly
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": [latest.pdu]}
    reply = start(server.answer("PUT", "/_matrix/federation/v1/send/slow", {"": "evil"}, body))
    server.clock.pump([0] * 300)
    return latest, answered, reply


def test_a_slow_event_does_not_hold_up_the_reply_and_is_judged_later() -> None:
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    assert not reply.called
    server.clock.advance(REPLY_WITHIN_MS / 1000)
    assert finish(server.clock, reply) == {"pdus": {latest.event_id: {}}}
    assert standing(server, latest) is None
    answered.callback(None)
    server.clock.pump([0] * 300)
    assert standing(server, latest) is Standing.ACCEPTED
    assert server.run(server.database.reader.all("SELECT * FROM inbound_pdus ORDER BY 1")) == []


def test_a_slow_event_survives_a_restart() -> None:
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    server.clock.advance(REPLY_WITHIN_MS / 1000)
    finish(server.clock, reply)
    peer.lies.clear()
    server.open()
    server.clock.pump([0] * 300)
    assert standing(server, latest) is Standing.ACCEPTED
    assert server.run(server.database.reader.all("SELECT * FROM inbound_pdus ORDER BY 1")) == []
    server.wire.down.add("evil")  # what still waits in the server of before the restart ends here
    answered.errback(Unreachable("gone"))
    server.clock.pump([0] * 300)


def keep_out(server: FederatedServer, room_id: RoomID, denied: str) -> None:
    acl = {"allow": ["*"], "deny": [denied]}
    server.send(room_id, ALICE, "m.room.server_acl", state_key="", content=acl)


@pytest.mark.parametrize(("denied", "kept"), [("evil", None), ("other", Standing.ACCEPTED)])
@pytest.mark.parametrize("wait", ["in memory", "over a restart"])
def test_what_waited_for_its_history_is_weighed_against_the_access_control_list_of_its_turn(
    wait: str, denied: str, kept: Standing | None
) -> None:
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    if wait == "in memory":
        keep_out(server, room_id, denied)
        answered.callback(None)
        result = finish(server.clock, reply)["pdus"][latest.event_id]
        assert ("access control list keeps evil out" in result.get("error", "")) == (kept is None)
    else:
        server.clock.advance(REPLY_WITHIN_MS / 1000)
        finish(server.clock, reply)
        keep_out(server, room_id, denied)
        peer.lies.clear()
        asked = len(peer.asked)
        server.open()
        server.clock.pump([0] * 300)
        assert (len(peer.asked) == asked) == (kept is None)  # who is kept out is not asked for history
        server.wire.down.add("evil")
        answered.errback(Unreachable("gone"))
        server.clock.pump([0] * 300)
    assert standing(server, latest) is kept
    missing = [row for prev in latest.prev_events if (row := server.run(server.rooms.row(prev))) is not None]
    assert bool(missing) == (kept is not None)
    assert server.run(server.database.reader.all("SELECT * FROM inbound_pdus ORDER BY 1")) == []


@pytest.mark.parametrize(("membership", "kept"), [("ban", Standing.SOFT_FAILED), ("join", Standing.ACCEPTED)])
@pytest.mark.parametrize("wait", ["in memory", "over a restart"])
def test_what_waited_for_its_history_is_weighed_against_a_ban_that_came_meanwhile(
    wait: str, membership: str, kept: Standing
) -> None:
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    if wait == "over a restart":
        server.clock.advance(REPLY_WITHIN_MS / 1000)
        finish(server.clock, reply)
    if membership == "ban":
        server.send(room_id, ALICE, "m.room.member", state_key=MALLORY, content={"membership": "ban"})
    if wait == "over a restart":
        peer.lies.clear()
        server.open()
    else:
        answered.callback(None)
    server.clock.pump([0] * 300)
    assert standing(server, latest) is kept
    if wait == "over a restart":
        server.wire.down.add("evil")
        answered.errback(Unreachable("gone"))
        server.clock.pump([0] * 300)
    else:
        finish(server.clock, reply)


@pytest.mark.parametrize("stays", [True, False])
def test_what_waited_for_its_history_is_not_taken_into_a_room_that_we_have_left_meanwhile(
    stays: bool,
) -> None:
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    if not stays:
        server.send(room_id, ALICE, "m.room.member", state_key=ALICE, content={"membership": "leave"})
    answered.callback(None)
    result = finish(server.clock, reply)["pdus"][latest.event_id]
    assert ("not in the room" in result.get("error", "")) == (not stays)
    assert standing(server, latest) is (Standing.ACCEPTED if stays else None)


def test_a_slow_room_does_not_hold_up_another() -> None:
    server, peer, room_id = meeting()
    other = HostilePeer("hs7", server)
    other_room = server.create(ALICE)
    other.enter(other_room, "@zoe:hs7")
    _, answered, reply = slow_transaction(server, peer, room_id)
    quick = other.message("@zoe:hs7")
    assert server.receive("hs7", quick) == {quick.event_id: {}}
    answered.callback(None)
    finish(server.clock, reply)


def test_a_repeat_while_the_first_is_under_way_gets_its_reply() -> None:
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": [latest.pdu]}
    repeat = start(server.answer("PUT", "/_matrix/federation/v1/send/slow", {"": "evil"}, body))
    answered.callback(None)
    assert finish(server.clock, reply) == finish(server.clock, repeat) == {"pdus": {latest.event_id: {}}}
    assert announced(server).count(latest.event_id) == 1


def test_a_server_that_does_not_wait_for_replies_is_told_to() -> None:
    server, peer, room_id = meeting()
    _, answered, reply = slow_transaction(server, peer, room_id)
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": []}
    waiting = [
        start(server.answer("PUT", f"/_matrix/federation/v1/send/{number}", {"": "evil"}, body))
        for number in range(4)
    ]
    with pytest.raises(RemoteRefusal) as refusal:
        server.ask("evil", "PUT", "/_matrix/federation/v1/send/5", body=body)
    assert (refusal.value.status, refusal.value.errcode) == (429, "M_LIMIT_EXCEEDED")
    answered.callback(None)
    for done in (reply, *waiting):
        finish(server.clock, done)


def test_a_server_that_does_not_answer_holds_up_nobody_elses_events_of_the_room() -> None:
    server, peer, room_id = meeting()
    other = HostilePeer("hs7", server)
    other.enter(room_id, "@zoe:hs7")
    _, answered, reply = slow_transaction(server, peer, room_id)
    quick = other.message("@zoe:hs7")
    assert server.receive("hs7", quick) == {quick.event_id: {}}
    answered.callback(None)
    finish(server.clock, reply)


def test_an_event_that_comes_another_way_while_its_history_is_fetched_is_kept_once() -> None:
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    missing = peer.room.timeline[-2]
    server.receive("hs7", missing, latest)
    answered.callback(None)
    assert finish(server.clock, reply) == {"pdus": {latest.event_id: {}}}
    assert announced(server)[-2:] == [missing.event_id, latest.event_id]


def test_one_server_cannot_use_up_the_room_for_slow_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minihs.homeserver.elsewhere.inbound_transactions.MAX_PUT_ASIDE_OF_ONE", 1)
    server, peer, room_id = meeting()
    latest, answered, reply = slow_transaction(server, peer, room_id)
    server.clock.advance(REPLY_WITHIN_MS / 1000)
    assert finish(server.clock, reply) == {"pdus": {latest.event_id: {}}}
    more = peer.room.make(MALLORY, "m.room.message", {"body": "more"})
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": [more.pdu]}
    path = "/_matrix/federation/v1/send/more"
    again = start(server.answer("PUT", path, {"": "evil"}, body))
    server.clock.pump([0] * 300)
    server.clock.advance(REPLY_WITHIN_MS / 1000)
    with pytest.raises(RemoteRefusal) as refusal:
        finish(server.clock, again)
    assert refusal.value.status == 503
    answered.callback(None)
    server.clock.pump([0] * 300)
    assert server.ask("evil", "PUT", path, body=body) == {"pdus": {more.event_id: {}}}


def test_an_answer_with_more_events_than_any_room_has_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    server, peer, _ = meeting()
    peer.message(MALLORY, "edge")
    latest = peer.message(MALLORY, "latest")
    peer.refuse("get_missing_events")
    monkeypatch.setattr("minihs.federation.remote_rooms.MAX_EVENTS", 5)
    assert "could not be fetched" in server.receive("evil", latest)[latest.event_id]["error"]
    monkeypatch.undo()
    assert server.receive("evil", latest) == {latest.event_id: {}}


def limits_asked(peer: HostilePeer) -> list[tuple[int, list[str]]]:
    """Makes the peer note what questions for missing events ask: how many, and not going past which."""
    asked: list[tuple[int, list[str]]] = []

    def answer(rest: list[str], args: Any, body: Any) -> Any:
        asked.append((body["limit"], body["earliest_events"]))
        return peer._get_missing_events(rest, args, body)

    peer.lies["get_missing_events"] = answer
    return asked


def test_the_first_question_asks_for_few_events() -> None:
    server, peer, _ = meeting()
    asked = limits_asked(peer)
    for number in range(20):
        peer.message(MALLORY, str(number))
    server.receive("evil", peer.room.timeline[-1])
    assert [limit for limit, _ in asked] == [10, 50]


def test_a_question_names_what_is_known_before_our_own_newest_events_too() -> None:
    """The other server has not heard of our latest: it would go back to the beginning of the room."""
    server, peer, room_id = meeting()
    common = peer.room.timeline[-1]
    for _ in range(5):
        server.send(room_id, ALICE)
    asked = limits_asked(peer)
    missing = peer.message(MALLORY, "missing")
    latest = peer.message(MALLORY, "latest")
    announced_before = len(announced(server))
    assert server.receive("evil", latest) == {latest.event_id: {}}
    [(_, earliest)] = asked
    assert common.event_id in earliest
    assert announced(server)[announced_before:] == [missing.event_id, latest.event_id]


def test_events_from_before_our_time_do_not_come_as_news() -> None:
    """A branch that leaves the room's history before our join is joined by the state at its edge."""
    server, peer, room_id = meeting()
    old = peer.message(MALLORY, "old")
    server.receive("evil", old)
    late = FederatedServer("hs3", server.wire)
    late.join("@carol:hs3", room_id, "hs1")
    peer.server, peer.room.timeline = late, [old]
    shown = len(announced(late))
    first = peer.message(MALLORY, "first")
    latest = peer.message(MALLORY, "latest")
    assert late.receive("evil", latest) == {latest.event_id: {}}
    assert announced(late)[shown:] == [first.event_id, latest.event_id]
    assert standing(late, old) is Standing.OUTLIER


def test_events_of_one_server_that_lack_the_same_history_fetch_it_once() -> None:
    server, peer, _ = meeting()
    peer.message(MALLORY, "missing")
    latest, answered, reply = slow_transaction(server, peer, RoomID(""))
    later = peer.message(MALLORY, "later")
    server.clock.advance(REPLY_WITHIN_MS / 1000)
    finish(server.clock, reply)  # the first event has been put aside
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": [later.pdu]}
    second = start(server.answer("PUT", "/_matrix/federation/v1/send/next", {"": "evil"}, body))
    server.clock.pump([0] * 300)
    assert peer.asked == ["get_missing_events"]
    answered.callback(None)
    assert finish(server.clock, second) == {"pdus": {later.event_id: {}}}
    assert peer.asked == ["get_missing_events"]
    assert (standing(server, latest), standing(server, later)) == (Standing.ACCEPTED,) * 2


def test_what_was_refused_out_of_place_is_rejected_in_its_place_and_can_be_followed() -> None:
    server, peer, room_id = meeting()
    before = peer.room.timeline[-1:]
    grab = peer.room.make(MALLORY, "m.room.power_levels", {"users": {MALLORY: 50}}, "", prev_events=before)
    peer.room.events[grab.event_id] = grab
    edge = peer.message(MALLORY, "edge", prev_events=before)
    peer.states[edge.event_id] = {**peer.room.state, grab.key: grab}
    peer.refuse("get_missing_events")
    server.receive("evil", peer.room.make(MALLORY, "m.room.message", {}, prev_events=[edge]))
    assert standing(server, grab) is Standing.REJECTED_OUTLIER
    state = server.state(room_id)
    assert "v12 8" in server.receive("evil", grab)[grab.event_id]["error"]
    assert standing(server, grab) is Standing.REJECTED
    follows = peer.message(MALLORY, "after it", prev_events=[grab])
    assert server.receive("evil", follows) == {follows.event_id: {}}
    assert standing(server, follows) is Standing.ACCEPTED
    assert server.run(server.rooms.state_before(follows.event_id)) == server.run(
        server.rooms.state_before(grab.event_id)
    )
    assert server.state(room_id) == state
