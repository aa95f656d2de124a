"""Invites across servers: what is signed and kept, what is refused, and how they end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from minihs.events.event import Event
from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.client import RemoteRefusal
from minihs.homeserver.errors import Forbidden, Unavailable
from tests.support.events import RoomBuilder, resign
from tests.support.federated import FederatedServer, Wire, member_change
from tests.support.hostile_peer import V1, V2

ALICE, BOB, ZOE = "@alice:hs1", "@bob:hs2", "@zoe:hs3"


def two_servers() -> tuple[FederatedServer, FederatedServer]:
    wire = Wire()
    return FederatedServer("hs1", wire), FederatedServer("hs2", wire)


def invite(server: FederatedServer, room_id: RoomID, target: str = BOB) -> Event:
    wanted = member_change("invite", ALICE, room_id, target)
    event: Event = server.run(server.federation.remote_memberships.invite_remote(wanted))
    return event


def told_state(server: FederatedServer, user_id: str) -> dict[str, Any]:
    (raw,) = server.run(
        server.database.reader.one("SELECT invite_state FROM memberships WHERE user_id = ?", (user_id,))
    )
    return {entry["type"]: entry for entry in msgspec.json.decode(raw)}


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_an_invite_is_signed_by_both_servers_and_kept_for_the_invited_user(version: str) -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(
        ALICE, version, extra=[{"type": "m.room.name", "state_key": "", "content": {"name": "Tea"}}]
    )
    event = invite(hs1, room_id)
    assert sorted(event.pdu["signatures"]) == ["hs1", "hs2"]
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == "invite"
    assert hs2.told == [BOB]
    told = told_state(hs2, BOB)
    assert told["m.room.name"]["content"] == {"name": "Tea"}
    assert told["m.room.member"] == {
        "type": "m.room.member",
        "state_key": BOB,
        "sender": ALICE,
        "content": {"membership": "invite"},
    }
    assert all(entry.keys() == {"type", "state_key", "sender", "content"} for entry in told.values())


def test_an_invited_user_joins_through_the_inviters_server() -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(ALICE)
    hs1.send(room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": "invite"})
    invite(hs1, room_id)
    hs2.join(BOB, room_id, "hs1")
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == "join"
    assert hs1.state(room_id) == hs2.state(room_id)


def test_an_invite_into_a_room_that_the_other_server_is_in_comes_with_the_rooms_events() -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(ALICE)
    hs2.join("@carol:hs2", room_id, "hs1")
    event = invite(hs1, room_id)
    assert hs2.membership(BOB, room_id) is None
    assert hs1.woken[-1] == ("hs2",)
    assert hs2.receive("hs1", event) == {event.event_id: {}}
    assert hs2.membership(BOB, room_id) == "invite"


def test_rejecting_an_invite_ends_it_on_both_servers() -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(ALICE)
    invite(hs1, room_id)
    leave = hs2.federation.remote_memberships.leave_remote
    hs2.run(leave(member_change("leave", BOB, room_id), [hs1.signer.server_name]))
    assert hs1.membership(BOB, room_id) == hs2.membership(BOB, room_id) == "leave"
    assert hs2.told == [BOB, BOB]


@pytest.mark.parametrize("how", ["away", "refuses", "nobody"])
def test_an_invite_can_be_rejected_though_nobody_helps(how: str) -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(ALICE)
    invite(hs1, room_id)
    if how == "away":
        hs1.wire.down.add("hs1")
    elif how == "refuses":
        hs1.send(room_id, ALICE, "m.room.member", state_key=BOB, content={"membership": "leave"})
    via = [] if how == "nobody" else [hs1.signer.server_name]
    leave = hs2.federation.remote_memberships.leave_remote
    hs2.run(leave(member_change("leave", BOB, room_id), via))
    assert hs2.membership(BOB, room_id) == "leave"


def test_an_invite_that_is_taken_back_ends_on_the_other_server() -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(ALICE)
    invite(hs1, room_id)
    kick = hs1.send(room_id, ALICE, "m.room.member", state_key=BOB, content={"membership": "leave"})
    assert hs1.woken[-1] == ("hs2",)
    assert hs2.receive("hs1", kick) == {kick.event_id: {}}
    assert hs2.membership(BOB, room_id) == "leave"


def test_only_the_inviters_server_can_take_an_invite_back() -> None:
    hs1, hs2 = two_servers()
    hs3 = FederatedServer("hs3", hs1.wire)
    room_id = hs1.create(ALICE)
    hs3.join(ZOE, room_id, "hs1")
    event = invite(hs1, room_id)
    room = RoomBuilder(event.version)
    room.room_id = room_id
    forged = room.make(
        ZOE, "m.room.member", {"membership": "leave"}, BOB, prev_events=[event], auth_events=[event]
    )
    assert "not in the room" in hs2.receive("hs3", forged)[forged.event_id]["error"]
    own = room.make(
        ALICE, "m.room.member", {"membership": "leave"}, BOB, prev_events=[event], auth_events=[event]
    )
    assert "not in the room" in hs2.receive("hs3", own)[own.event_id]["error"]
    assert hs2.membership(BOB, room_id) == "invite"
    assert hs2.receive("hs1", own) == {own.event_id: {}}
    assert hs2.membership(BOB, room_id) == "leave"


def test_nothing_goes_into_the_room_when_the_other_server_refuses_or_is_away() -> None:
    hs1, hs2 = two_servers()
    room_id = hs1.create(ALICE)
    state = hs1.state(room_id)
    hs2.accounts = set()
    with pytest.raises(RemoteRefusal) as refusal:
        invite(hs1, room_id)
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")
    hs2.accounts = None
    hs1.wire.down.add("hs2")
    with pytest.raises(Unavailable):
        invite(hs1, room_id)
    hs1.wire.down.clear()
    hs1.wire.peers["hs2"] = lambda method, path, args, body: {"event": body["event"]}
    with pytest.raises(Unavailable, match="did not sign"):
        invite(hs1, room_id)
    assert hs1.state(room_id) == state


def test_an_invite_that_the_rules_refuse_is_never_sent() -> None:
    hs1, _ = two_servers()
    room_id = hs1.create(ALICE)
    hs1.send(room_id, ALICE, "m.room.member", state_key=BOB, content={"membership": "ban"})
    with pytest.raises(Forbidden):
        invite(hs1, room_id)
    assert hs1.wire.asked == []


class Invitation:
    """What hs1 sends to hs2, with one thing changed."""

    def __init__(self, version: str = "12") -> None:
        self.server = FederatedServer("hs2", Wire())
        self.room = RoomBuilder.create(ALICE, version=version)
        self.event = self.room.make(ALICE, "m.room.member", {"membership": "invite"}, BOB)
        self.version = version
        self.state: list[Any] = [event.pdu for event in self.room.state.values()]

    def send(
        self,
        event: Event | dict[str, Any] | None = None,
        origin: str = "hs1",
        event_id: str | None = None,
        **changes: Any,
    ) -> Any:
        event = self.event if event is None else event
        pdu = event.pdu if isinstance(event, Event) else event
        name = event_id or (event.event_id if isinstance(event, Event) else self.event.event_id)
        body = {"room_version": self.version, "event": pdu, "invite_room_state": self.state, **changes}
        return self.server.ask(
            origin, "PUT", f"{V2}/invite/{changes.get('room_id', self.room.room_id)}/{name}", body=body
        )

    def refused(self, *args: Any, **options: Any) -> tuple[int, str]:
        with pytest.raises(RemoteRefusal) as refusal:
            self.send(*args, **options)
        assert self.server.membership(BOB, self.room.room_id) is None
        return refusal.value.status, refusal.value.errcode


INVALID = (400, "M_INVALID_PARAM")


def test_a_good_invitation_comes_back_signed_and_otherwise_untouched() -> None:
    invitation = Invitation()
    answer = invitation.send()["event"]
    assert sorted(answer["signatures"]) == ["hs1", "hs2"]
    del answer["signatures"]["hs2"]
    assert answer == invitation.event.pdu


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "m.room.name"},
        {"content": {"membership": "join"}},
        {"content": {"membership": "ban"}},
        {"sender": ZOE},
        {"state_key": ZOE},
        {"state_key": "nonsense"},
        {"state_key": None},
    ],
)
def test_what_is_no_invite_for_our_user_is_not_signed(changes: dict[str, Any]) -> None:
    invitation = Invitation()
    assert invitation.refused(resign(invitation.event, **changes)) == INVALID
    invitation.send()


def test_an_invite_must_be_signed_and_have_the_right_hash_and_id() -> None:
    invitation = Invitation()
    pdu = dict(invitation.event.pdu)
    assert invitation.refused({**pdu, "signatures": {}}) == INVALID
    assert invitation.refused({**pdu, "hashes": {"sha256": "AAAA"}}) == INVALID
    assert invitation.refused({**pdu, "content": {"membership": "invite", "is_direct": True}}) == INVALID
    assert invitation.refused(event_id="$other") == INVALID
    assert invitation.refused(origin="hs3") == INVALID
    invitation.send()


def test_an_invite_to_a_room_of_a_version_that_we_do_not_know_says_so() -> None:
    invitation = Invitation()
    incompatible = (400, "M_INCOMPATIBLE_ROOM_VERSION")
    assert invitation.refused(room_version="2") == incompatible
    assert invitation.refused(room_version="org.example") == incompatible
    with pytest.raises(RemoteRefusal) as refusal:
        invitation.server.ask(
            "hs1", "PUT", f"{V1}/invite/{invitation.room.room_id}/{invitation.event.event_id}", body={}
        )
    assert (refusal.value.status, refusal.value.errcode) == incompatible


@pytest.mark.parametrize(
    "wrong", ["no create", "stripped", "bad signature", "other room", "no state", "junk", "many"]
)
def test_from_version_12_on_the_state_told_must_be_genuine(wrong: str) -> None:
    invitation = Invitation()
    good = invitation.state
    create = invitation.room.state["m.room.create", ""]
    name = invitation.room.make(ALICE, "m.room.name", {"name": "Tea"}, "")
    match wrong:
        case "no create":
            invitation.state = [name.pdu]
        case "stripped":
            invitation.state = [
                create.pdu,
                {"type": "m.room.name", "state_key": "", "sender": ALICE, "content": {"name": "Tea"}},
            ]
        case "bad signature":
            invitation.state = [create.pdu, {**name.pdu, "signatures": {}}]
        case "other room":
            other = RoomBuilder.create(ALICE, version="12", content={"other": True})
            invitation.state = [create.pdu, other.make(ALICE, "m.room.name", {"name": "Tea"}, "").pdu]
        case "no state":
            invitation.state = [create.pdu, invitation.room.make(ALICE, "m.room.message", {}).pdu]
        case "junk":
            invitation.state = [create.pdu, 7]
        case "many":
            invitation.state = [create.pdu] * 101
    assert invitation.refused() == INVALID
    invitation.state = good
    invitation.send()


def test_before_version_12_bare_stripped_state_is_taken() -> None:
    invitation = Invitation("11")
    invitation.state = [
        {"type": "m.room.name", "state_key": "", "sender": ALICE, "content": {"name": "Tea"}, "extra": 1},
        {"type": "m.room.topic", "state_key": 7, "sender": ALICE, "content": {}},
        "junk",
    ]
    invitation.send()
    told = told_state(invitation.server, BOB)
    assert told["m.room.name"] == {
        "type": "m.room.name",
        "state_key": "",
        "sender": ALICE,
        "content": {"name": "Tea"},
    }
    assert sorted(told) == ["m.room.member", "m.room.name"]


def test_the_position_of_an_invite_is_not_given_again_after_a_restart() -> None:
    invitation = Invitation()
    invitation.send()
    server = invitation.server
    before = server.service.stream.current
    server.open()
    assert server.service.stream.current == before


@pytest.mark.parametrize("version", ROOM_VERSIONS)
def test_the_create_event_told_must_be_of_the_version_that_the_invite_names(version: str) -> None:
    other = "11" if version == "12" else "12"
    invitation = Invitation(version)
    good = invitation.state
    create = invitation.room.state["m.room.create", ""]
    content = {**create.content, "room_version": other}
    bare = {"type": "m.room.create", "state_key": "", "sender": ALICE, "content": content}
    invitation.state = [bare]
    assert invitation.refused() == INVALID
    invitation.state = good
    invitation.send()
