"""Replies to send_join that lie: each lie beside the truth that differs in one thing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from minihs.events.event import parse_event
from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.client import Unreachable
from minihs.homeserver.errors import Unavailable, UnknownRoom
from tests.support.events import RoomBuilder, resign
from tests.support.federated import FederatedServer, Wire

ALICE, BOB = "@alice:hs1", "@bob:hs2"
Tamper = Callable[[dict[str, Any]], None]


class Meeting:
    """hs2 joins a room of hs1, and hears of it what `tamper` makes of the truth."""

    def __init__(self, version: str = "12") -> None:
        self.wire = Wire()
        self.hs1, self.hs2 = FederatedServer("hs1", self.wire), FederatedServer("hs2", self.wire)
        self.version = ROOM_VERSIONS[version]
        self.room_id: RoomID = self.hs1.create(ALICE, version)
        self.hs1.send(self.room_id, ALICE, "m.room.topic", state_key="", content={"topic": "true"})

    def join(self, tamper: Tamper = lambda reply: None, endpoint: str = "send_join") -> None:
        async def answer(method: str, path: str, args: Any, body: Any) -> Any:
            reply = copy.deepcopy(await self.hs1.answer(method, path, args, body))
            if endpoint in path:
                tamper(reply)
            return reply

        self.wire.peers["hs1"] = answer
        self.hs2.join(BOB, self.room_id, "hs1")

    def builder(self, reply: dict[str, Any]) -> RoomBuilder:
        room = RoomBuilder(self.version)
        room.room_id = self.room_id
        for pdu in reply["state"]:
            room.add(parse_event(pdu, self.version))
        return room


def entry(reply: dict[str, Any], event_type: str) -> dict[str, Any]:
    found: dict[str, Any] = next(pdu for pdu in reply["state"] if pdu["type"] == event_type)
    return found


def drop(event_type: str) -> Tamper:
    def tamper(reply: dict[str, Any]) -> None:
        for part in ("state", "auth_chain"):
            reply[part] = [pdu for pdu in reply[part] if pdu["type"] != event_type]

    return tamper


def with_bad_signature(event_type: str) -> Tamper:
    def tamper(reply: dict[str, Any]) -> None:
        for part in ("state", "auth_chain"):
            reply[part] = [
                {**pdu, "signatures": {"hs1": {"ed25519:1": "AAAA"}}} if pdu["type"] == event_type else pdu
                for pdu in reply[part]
            ]

    return tamper


def update(**changes: Any) -> Tamper:
    return lambda reply: reply.update(changes)


@pytest.mark.parametrize("version", ROOM_VERSIONS)
@pytest.mark.parametrize(
    ("tamper", "complaint"),
    [
        (drop("m.room.create"), "create event"),
        (with_bad_signature("m.room.create"), "create event"),
        (drop("m.room.member"), "auth event|not allowed"),
        (with_bad_signature("m.room.join_rules"), "auth event"),
        (update(members_omitted=True), "members were left out"),
        (update(event=None), None),
        (update(event=7), "wrong shape"),
        (update(state=7), "wrong shape"),
        (update(state=[7]), "create event"),
        (lambda reply: reply.pop("auth_chain"), "wrong shape"),
        (lambda reply: reply["event"].update(content={"membership": "leave"}), "another event"),
        (lambda reply: reply["event"].update(depth="deep"), "damaged"),
        (lambda reply: reply["event"].update(signatures={}), "signature"),
        (lambda reply: reply["event"]["content"].update(displayname="Mallory"), "other content"),
        (lambda reply: reply["state"].append({"type": "junk"}), None),
        (lambda reply: None, None),
    ],
)
def test_a_reply_that_cannot_be_true_is_refused(version: str, tamper: Tamper, complaint: str | None) -> None:
    meeting = Meeting(version)
    if complaint is None:
        meeting.join(tamper)
        assert meeting.hs2.state(meeting.room_id) == meeting.hs1.state(meeting.room_id)
        return
    with pytest.raises(Unavailable, match=complaint):
        meeting.join(tamper)
    with pytest.raises(UnknownRoom):
        meeting.hs2.run(meeting.hs2.rooms.version_of(meeting.room_id))
    assert meeting.hs2.membership(BOB, meeting.room_id) is None
    # hs1 had let bob in: he has left again, and can come back.
    assert meeting.hs1.membership(BOB, meeting.room_id) == "leave"
    meeting.join()
    assert meeting.hs1.membership(BOB, meeting.room_id) == "join"


def test_a_join_whose_reply_is_lost_is_taken_back_and_one_that_works_elsewhere_is_not() -> None:
    meeting = Meeting()
    hs3 = FederatedServer("hs3", meeting.wire)
    hs3.join("@carol:hs3", meeting.room_id, "hs1")

    async def lose_the_answer(method: str, path: str, args: Any, body: Any) -> Any:
        answer = await meeting.hs1.answer(method, path, args, body)
        if "send_join" in path:
            raise Unreachable("the connection broke")
        return answer

    meeting.wire.peers["hs1"] = lose_the_answer
    with pytest.raises(Unavailable, match="the connection broke"):
        meeting.hs2.join(BOB, meeting.room_id, "hs1")
    assert meeting.hs1.membership(BOB, meeting.room_id) == "leave"
    meeting.hs2.join(BOB, meeting.room_id, "hs1", "hs3")
    assert meeting.hs2.membership(BOB, meeting.room_id) == "join"
    assert sum("send_leave" in path for *_, path in meeting.wire.asked) == 1


def test_state_that_the_rules_refuse_is_left_out() -> None:
    meeting = Meeting()

    def tamper(reply: dict[str, Any]) -> None:
        room = meeting.builder(reply)
        name = room.make("@zoe:hs9", "m.room.name", {"name": "forged"}, "")
        reply["state"].append(name.pdu)

    meeting.join(tamper)
    state = meeting.hs2.state(meeting.room_id)
    assert ("m.room.name", "") not in state
    assert state == meeting.hs1.state(meeting.room_id)


def test_two_events_for_one_key_of_the_state_are_refused() -> None:
    meeting = Meeting()

    def tamper(reply: dict[str, Any]) -> None:
        room = meeting.builder(reply)
        topic = parse_event(entry(reply, "m.room.topic"), meeting.version)
        reply["state"].append(resign(topic, content={"topic": "other"}).pdu)
        assert room.room_id == meeting.room_id

    with pytest.raises(Unavailable, match="two events"):
        meeting.join(tamper)


def test_a_second_create_event_is_refused() -> None:
    meeting = Meeting("11")

    def tamper(reply: dict[str, Any]) -> None:
        create = parse_event(entry(reply, "m.room.create"), meeting.version)
        reply["auth_chain"].append(resign(create, content={"room_version": "11", "a": "b"}).pdu)

    with pytest.raises(Unavailable, match="more than one create"):
        meeting.join(tamper)


def test_a_room_of_another_version_than_the_template_said_is_refused() -> None:
    meeting = Meeting("11")
    with pytest.raises(Unavailable, match="create event"):
        meeting.join(lambda reply: reply.update(room_version="10"), "make_join")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda reply: reply.update(room_version="2"),
        lambda reply: reply.pop("room_version"),
        lambda reply: reply.update(event=[]),
        lambda reply: reply["event"].update(sender=ALICE),
        lambda reply: reply["event"].update(state_key=ALICE),
        lambda reply: reply["event"].update(room_id="!other:hs1"),
        lambda reply: reply["event"].update(type="m.room.name"),
        lambda reply: reply["event"]["content"].update(membership="leave"),
        lambda reply: reply["event"].pop("prev_events"),
        lambda reply: reply["event"].update(prev_events=["nonsense"]),
        lambda reply: reply["event"].update(auth_events=["$x"] * 11),
        lambda reply: reply["event"].update(depth=-1),
    ],
)
def test_a_template_for_something_else_is_not_signed(tamper: Tamper) -> None:
    meeting = Meeting()
    with pytest.raises(Unavailable):
        meeting.join(tamper, "make_join")
    assert not any("send_join" in path for *_, path in meeting.wire.asked)
    meeting.join()


def test_what_a_template_adds_to_the_content_is_not_signed() -> None:
    meeting = Meeting()
    meeting.join(lambda reply: reply["event"]["content"].update(displayname="Mallory"), "make_join")
    join = meeting.hs2.run(meeting.hs2.rooms.state_event(meeting.room_id, "m.room.member", BOB))
    assert join.content == {"membership": "join"}
