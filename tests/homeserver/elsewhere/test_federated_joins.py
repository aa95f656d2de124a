"""Joining, leaving and knocking through other servers: two real room services back to back."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.client import RemoteRefusal
from minihs.homeserver.errors import Unavailable, UnknownRoom
from minihs.store.events import Standing
from tests.support.deferreds import finish, start
from tests.support.federated import FederatedServer, Wire, member_change

ALICE, BOB, CAROL, ZOE = "@alice:hs1", "@bob:hs2", "@carol:hs2", "@zoe:hs3"


def servers(*names: str) -> list[FederatedServer]:
    wire = Wire()
    return [FederatedServer(name, wire) for name in names]


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_a_user_of_another_server_joins_and_both_servers_agree_on_the_room(version: str) -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE, version)
    hs2.join(BOB, room_id, "hs1", displayname="Bob")
    assert hs2.state(room_id) == hs1.state(room_id)
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == "join"
    extremities = hs1.run(hs1.rooms.extremities(room_id))
    assert hs2.run(hs2.rooms.extremities(room_id)) == extremities
    join = hs1.run(hs1.rooms.row(extremities[0])).event
    assert join.content == {"membership": "join", "displayname": "Bob"}
    message = hs2.send(room_id, BOB)
    assert hs1.receive("hs2", message) == {message.event_id: {}}
    assert hs1.run(hs1.rooms.extremities(room_id)) == (message.event_id,)


def test_the_join_is_passed_on_to_the_other_servers_in_the_room() -> None:
    hs1, hs2, hs3 = servers("hs1", "hs2", "hs3")
    room_id = hs1.create(ALICE)
    hs3.join(ZOE, room_id, "hs1")
    hs1.woken.clear()
    hs2.join(BOB, room_id, "hs1")
    assert hs1.woken == [("hs3",)]
    join = hs1.run(hs1.rooms.state_event(room_id, "m.room.member", BOB))
    assert hs3.receive("hs1", join) == {join.event_id: {}}
    assert hs3.state(room_id) == hs1.state(room_id) == hs2.state(room_id)


def test_the_room_joined_is_still_there_after_a_restart() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    hs2.join(BOB, room_id, "hs1")
    state = hs2.state(room_id)
    hs2.open()
    assert hs2.state(room_id) == state
    message = hs2.send(room_id, BOB)
    assert hs1.receive("hs2", message) == {message.event_id: {}}


@pytest.mark.parametrize("portion", [2, 3, 1_000])
def test_a_large_room_is_read_and_stored_in_portions(portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minihs.homeserver.rooms.placement.OUTLIERS_AT_ONCE", portion)
    monkeypatch.setattr("minihs.homeserver.elsewhere.serving.READ_AT_ONCE", portion)
    monkeypatch.setattr("minihs.federation.admission.CHUNK", portion)
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    for number in range(20):
        hs1.send(room_id, ALICE, "org.example.item", state_key=f"{number}", content={"number": number})
    hs2.join(BOB, room_id, "hs1")
    assert hs2.state(room_id) == hs1.state(room_id)
    hs2.open()
    assert hs2.state(room_id) == hs1.state(room_id)
    message = hs2.send(room_id, BOB)
    assert hs1.receive("hs2", message) == {message.event_id: {}}


def test_servers_are_asked_in_turn_until_one_helps() -> None:
    hs1, hs2, hs3 = servers("hs1", "hs2", "hs3")
    room_id = hs1.create(ALICE)
    hs2.wire.down.add("hs9")
    hs2.join(BOB, room_id, "hs9", "hs3", "hs1")
    assert [asked for _, asked, _, path in hs2.wire.asked if "make_join" in path] == ["hs9", "hs3", "hs1"]
    assert hs2.membership(BOB, room_id) == "join"
    assert not hs3.run(hs3.rooms.is_resident(room_id))


def test_a_refusal_is_passed_on_and_nothing_is_kept() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    hs1.send(room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": "invite"})
    with pytest.raises(RemoteRefusal) as refusal:
        hs2.join(BOB, room_id, "hs9", "hs1")
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")
    with pytest.raises(UnknownRoom):
        hs2.run(hs2.rooms.version_of(room_id))
    hs1.send(room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": "public"})
    hs2.join(BOB, room_id, "hs9", "hs1")


@pytest.mark.parametrize("endpoint", ["make_join", "send_join"])
@pytest.mark.parametrize(("status", "final"), [(503, False), (429, False), (500, False), (403, True)])
def test_a_server_that_could_not_decide_has_not_refused(status: int, final: bool, endpoint: str) -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    answer = hs1.wire.peers["hs1"]

    def unable(method: str, path: str, args: Any, body: Any) -> Any:
        if endpoint in path:
            raise RemoteRefusal(status, "M_FORBIDDEN" if final else "M_UNKNOWN", "not now")
        return answer(method, path, args, body)

    hs1.wire.peers["hs1"] = unable
    error, words = (RemoteRefusal, "not now") if final else (Unavailable, "hs1 cannot at the moment: not now")
    with pytest.raises(error, match=words):
        hs2.join(BOB, room_id, "hs1")
    hs1.wire.peers["hs1"] = answer
    hs2.join(BOB, room_id, "hs1")
    assert hs2.membership(BOB, room_id) == "join"


def test_a_join_that_may_have_been_let_in_behind_a_failing_proxy_is_taken_back() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    answer = hs1.wire.peers["hs1"]

    async def impatient(method: str, path: str, args: Any, body: Any) -> Any:
        reply = await answer(method, path, args, body)
        if "send_join" in path:
            raise RemoteRefusal(504, "M_UNKNOWN", "the gateway timed out")
        return reply

    hs1.wire.peers["hs1"] = impatient
    with pytest.raises(Unavailable):
        hs2.join(BOB, room_id, "hs1")
    assert hs1.membership(BOB, room_id) == "leave"


def test_when_nobody_can_be_asked_it_may_work_later() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    hs2.wire.down.add("hs1")
    with pytest.raises(Unavailable):
        hs2.join(BOB, room_id, "hs1")
    hs2.wire.down.clear()
    hs2.join(BOB, room_id, "hs1")


def test_two_joins_to_one_room_at_once_need_one_handshake() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    join = hs2.federation.remote_memberships.join_remote
    waiting = [
        start(join(member_change("join", user, room_id), [hs1.signer.server_name]))
        for user in (BOB, CAROL, BOB)
    ]
    for done in waiting:
        finish(hs2.clock, done)
    assert sum("send_join" in path for *_, path in hs2.wire.asked) == 1
    assert hs2.membership(BOB, room_id) == hs2.membership(CAROL, room_id) == "join"


def test_events_that_come_during_a_join_wait_for_it() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    gate: Deferred[None] = Deferred()

    async def slowly(method: str, path: str, args: Any, body: Any) -> Any:
        reply = await hs1.answer(method, path, args, body)
        if "send_join" in path:
            await gate
        return reply

    hs1.wire.peers["hs1"] = slowly
    joining = start(
        hs2.federation.remote_memberships.join_remote(
            member_change("join", BOB, room_id), [hs1.signer.server_name]
        )
    )
    hs2.clock.pump([0] * 300)
    message = hs1.send(room_id, ALICE)
    body = {"origin": "hs1", "origin_server_ts": 1, "pdus": [message.pdu]}
    sending = start(hs2.answer("PUT", "/_matrix/federation/v1/send/1", {"": "hs1"}, body))
    assert not sending.called
    gate.callback(None)
    finish(hs2.clock, joining)
    assert finish(hs2.clock, sending) == {"pdus": {message.event_id: {}}}
    assert hs2.run(hs2.rooms.extremities(room_id)) == (message.event_id,)


def test_a_transaction_for_a_room_that_is_long_in_joining_is_to_be_repeated() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    message = hs1.send(room_id, ALICE)
    gate: Deferred[Any] = Deferred()
    hs1.wire.peers["hs1"] = lambda *_: gate
    joining = start(
        hs2.federation.remote_memberships.join_remote(
            member_change("join", BOB, room_id), [hs1.signer.server_name]
        )
    )
    body = {"origin": "hs1", "origin_server_ts": 1, "pdus": [message.pdu]}
    sending = start(hs2.answer("PUT", "/_matrix/federation/v1/send/1", {"": "hs1"}, body))
    hs2.clock.pump([0] * 300)
    hs2.clock.advance(15)
    with pytest.raises(RemoteRefusal) as refusal:
        finish(hs2.clock, sending)
    assert refusal.value.status == 503
    gate.callback({})
    with pytest.raises(Unavailable):
        finish(hs2.clock, joining)


def test_a_server_that_left_comes_back_with_the_state_of_today() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    hs2.join(BOB, room_id, "hs1")
    leave = hs2.send(room_id, BOB, "m.room.member", state_key=BOB, content={"membership": "leave"})
    hs1.receive("hs2", leave)
    hs1.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "while you were away"})
    assert hs2.membership(BOB, room_id) == "leave"
    hs2.join(BOB, room_id, "hs1")
    assert hs2.state(room_id) == hs1.state(room_id)
    assert hs2.membership(BOB, room_id) == "join"
    assert hs2.run(hs2.rooms.extremities(room_id)) == hs1.run(hs1.rooms.extremities(room_id))


@pytest.mark.parametrize("change", ["kick", "ban", "leave"])
def test_users_are_kicked_banned_and_leave_across_servers(change: str) -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    hs2.join(BOB, room_id, "hs1")
    hs2.join(CAROL, room_id)
    join = hs2.run(hs2.rooms.state_event(room_id, "m.room.member", CAROL))
    hs1.receive("hs2", join)
    membership = "ban" if change == "ban" else "leave"
    actor, here, there = (BOB, hs2, hs1) if change == "leave" else (ALICE, hs1, hs2)
    event = here.send(room_id, actor, "m.room.member", state_key=BOB, content={"membership": membership})
    assert there.receive(here.name, event) == {event.event_id: {}}
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == membership
    late = there.run(there.rooms.judged(_draft(room_id, BOB)))
    assert late.verdict.rule == "v12 6"


def test_a_redaction_applies_on_the_other_server_too() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    hs2.join(BOB, room_id, "hs1")
    message = hs1.send(room_id, ALICE)
    redaction = hs1.send(room_id, ALICE, "m.room.redaction", content={}, redacts=message.event_id)
    hs2.receive("hs1", message, redaction)
    row = hs2.run(hs2.rooms.row(message.event_id))
    assert row.event.content == {}
    assert row.redacted_by == redaction.event_id


def test_a_restricted_room_is_joined_with_the_resident_servers_signature() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    space = hs1.create(ALICE)
    hs2.join(BOB, space, "hs1")
    rule = {
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": space}],
    }
    room_id = hs1.create(ALICE, extra=[{"type": "m.room.join_rules", "state_key": "", "content": rule}])
    hs2.join(BOB, room_id, "hs1")
    join = hs2.run(hs2.rooms.state_event(room_id, "m.room.member", BOB))
    assert join.content["join_authorised_via_users_server"] == ALICE
    assert sorted(join.pdu["signatures"]) == ["hs1", "hs2"]
    assert hs1.state(room_id) == hs2.state(room_id)
    with pytest.raises(RemoteRefusal) as refusal:
        hs3_join(hs1, room_id)
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


def test_a_join_that_another_server_vouches_for_keeps_what_we_have_of_the_room() -> None:
    """What Bob did has not reached hs1 when Dave joins through it."""
    hs1, hs2 = servers("hs1", "hs2")
    dave = "@dave:hs2"
    club = hs1.create(ALICE)
    for user_id in (BOB, dave):
        hs2.join(user_id, club, "hs1")
    hs2.deliver(hs1, club)
    allow = [{"type": "m.room_membership", "room_id": club}]
    rule = {"join_rule": "restricted", "allow": allow}
    levels = {"users": {ALICE: 100}, "invite": 50, "events": {"m.room.topic": 0}}
    room_id = hs1.create(
        ALICE,
        extra=[
            {"type": "m.room.join_rules", "state_key": "", "content": rule},
            {"type": "m.room.power_levels", "state_key": "", "content": levels},
        ],
    )
    hs2.join(BOB, room_id, "hs1")
    topic = hs2.send(room_id, BOB, "m.room.topic", state_key="", content={"topic": "ours"})
    hs2.join(dave, room_id, "hs1")
    assert hs2.membership(dave, room_id) == "join"
    assert hs2.state(room_id)["m.room.topic", ""] == topic.event_id
    assert topic.event_id in hs2.run(hs2.rooms.extremities(room_id))
    assert hs1.receive("hs2", topic) == {topic.event_id: {}}
    assert hs1.state(room_id) == hs2.state(room_id)


@pytest.mark.parametrize(
    ("unknown_room", "power", "errcode"),
    [(True, None, "M_UNABLE_TO_AUTHORISE_JOIN"), (False, 101, "M_UNABLE_TO_GRANT_JOIN"), (False, 50, None)],
)
def test_a_server_says_why_it_cannot_help_into_a_restricted_room(
    unknown_room: bool, power: int | None, errcode: str | None
) -> None:
    hs1, hs2 = servers("hs1", "hs2")
    space = hs1.create(ALICE)
    hs2.join(BOB, space, "hs1")
    allow = [{"type": "m.room_membership", "room_id": "!elsewhere:hs7" if unknown_room else space}]
    extra = [
        {
            "type": "m.room.join_rules",
            "state_key": "",
            "content": {"join_rule": "restricted", "allow": allow},
        }
    ]
    if power is not None:
        levels = {"users": {ALICE: 100}, "invite": power}
        extra.append({"type": "m.room.power_levels", "state_key": "", "content": levels})
    if errcode is None:
        hs2.join(BOB, hs1.create(ALICE, extra=extra), "hs1")
        return
    if power == 101:  # nobody may set a level above their own; so one with the power leaves
        extra[-1]["content"] = {"users": {ALICE: 100, "@gone:hs1": 50}, "invite": 50}
        room_id = hs1.create(ALICE, extra=extra)
        demotion = {"users": {ALICE: 0}, "invite": 50}
        hs1.send(room_id, ALICE, "m.room.power_levels", state_key="", content=demotion)
    else:
        room_id = hs1.create(ALICE, extra=extra)
    with pytest.raises(RemoteRefusal) as refusal:
        hs2.join(BOB, room_id, "hs1")
    assert (refusal.value.status, refusal.value.errcode) == (400, errcode)


def test_a_knock_goes_through_a_resident_server_and_is_answered_with_an_invite() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(
        ALICE,
        extra=[
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}},
            {"type": "m.room.name", "state_key": "", "content": {"name": "Behind the door"}},
        ],
    )
    knock = hs2.federation.remote_memberships.knock_remote
    hs2.run(knock(member_change("knock", BOB, room_id, reason="please"), [hs1.signer.server_name]))
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == "knock"
    assert hs2.told == [BOB]
    told = hs2.run(hs2.database.reader.one("SELECT invite_state FROM memberships WHERE user_id = ?", (BOB,)))
    assert b"Behind the door" in told[0]
    hs1.run(hs1.federation.remote_memberships.invite_remote(member_change("invite", ALICE, room_id, BOB)))
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == "invite"
    hs2.join(BOB, room_id, "hs1")
    assert hs2.membership(BOB, room_id) == "join"


def test_a_knock_is_refused_by_a_kick_that_cites_it() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(
        ALICE, extra=[{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    )
    knock = hs2.federation.remote_memberships.knock_remote
    hs2.run(knock(member_change("knock", BOB, room_id), [hs1.signer.server_name]))
    kick = hs1.send(room_id, ALICE, "m.room.member", state_key=BOB, content={"membership": "leave"})
    unrelated = hs1.send(room_id, ALICE)
    results = hs2.receive("hs1", unrelated, kick)
    assert "not in the room" in results[unrelated.event_id]["error"]
    assert results[kick.event_id] == {}
    assert hs2.membership(BOB, room_id) == "leave"


def hs3_join(hs1: FederatedServer, room_id: RoomID) -> None:
    FederatedServer("hs3", hs1.wire).join(ZOE, room_id, "hs1")


def _draft(room_id: RoomID, sender: str) -> Any:
    from minihs.homeserver.rooms.service import EventDraft

    return EventDraft(room_id=room_id, sender=sender, type="m.room.message", content={})  # type: ignore[arg-type]


def test_both_servers_accept_each_others_forks() -> None:
    hs1, hs2 = servers("hs1", "hs2")
    room_id = hs1.create(ALICE)
    hs2.join(BOB, room_id, "hs1")
    ours, theirs = hs1.send(room_id, ALICE), hs2.send(room_id, BOB)
    hs1.receive("hs2", theirs)
    hs2.receive("hs1", ours)
    assert sorted(hs1.run(hs1.rooms.extremities(room_id))) == sorted([ours.event_id, theirs.event_id])
    merged = hs2.send(room_id, BOB)
    assert hs1.receive("hs2", merged) == {merged.event_id: {}}
    assert hs1.run(hs1.rooms.extremities(room_id)) == (merged.event_id,)
    assert hs1.run(hs1.rooms.row(merged.event_id)).standing is Standing.ACCEPTED
