"""What a resident server takes from others in handshakes; each refusal beside what is accepted."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from minihs.events.event import parse_event
from minihs.events.ids import RoomID
from minihs.events.versions import ROOM_VERSIONS
from minihs.federation.client import RemoteRefusal
from tests.support.events import signer_of
from tests.support.federated import FederatedServer, Wire
from tests.support.hostile_peer import V1, V2, HostilePeer

ALICE, MALLORY, OTHER = "@alice:hs1", "@mallory:evil", "@other:evil"


def meeting(version: str = "12", **options: Any) -> tuple[FederatedServer, HostilePeer, RoomID]:
    server = FederatedServer("hs1", Wire())
    return server, HostilePeer("evil", server), server.create(ALICE, version, **options)


def refused(work: Any) -> tuple[int, str]:
    with pytest.raises(RemoteRefusal) as refusal:
        work()
    return refusal.value.status, refusal.value.errcode


def submit(
    peer: HostilePeer, room_id: str, pdu: dict[str, Any], endpoint: str = "send_join", **path: str
) -> Any:
    version = ROOM_VERSIONS["12" if ":" not in room_id else "11"]
    event_id = path.get("event_id") or parse_event(pdu, version).event_id
    prefix = V1 if endpoint == "send_knock" else V2
    where = path.get("room_id", room_id)
    return peer.server.ask(peer.name, "PUT", f"{prefix}/{endpoint}/{where}/{event_id}", body=pdu)


@pytest.mark.parametrize("handshake", ["join", "leave", "knock"])
def test_a_template_is_for_users_of_the_asking_server_only(handshake: str) -> None:
    _server, peer, room_id = meeting()
    assert refused(lambda: peer.template(handshake, room_id, "@bob:hs2")) == (403, "M_FORBIDDEN")
    assert refused(lambda: peer.template(handshake, room_id, "mallory")) == (400, "M_INVALID_PARAM")


def test_a_template_needs_a_room_that_we_are_in() -> None:
    server, peer, room_id = meeting()
    assert refused(lambda: peer.template("join", "!unknown:hs1", MALLORY)) == (404, "M_NOT_FOUND")
    assert refused(lambda: peer.template("join", "nonsense", MALLORY)) == (400, "M_INVALID_PARAM")
    server.send(room_id, ALICE, "m.room.member", state_key=ALICE, content={"membership": "leave"})
    assert refused(lambda: peer.template("join", room_id, MALLORY)) == (404, "M_NOT_FOUND")


def test_a_template_needs_a_room_version_in_common() -> None:
    _server, peer, room_id = meeting("11")
    assert peer.template("join", room_id, MALLORY, ["1", "11"])["room_version"] == "11"
    for versions in ([], ["1"], ["12"]):
        assert refused(lambda versions=versions: peer.template("join", room_id, MALLORY, versions)) == (
            400,
            "M_INCOMPATIBLE_ROOM_VERSION",
        )


def test_a_template_is_what_the_user_signs_and_no_more() -> None:
    _, peer, room_id = meeting()
    template = peer.template("join", room_id, MALLORY)["event"]
    assert template["content"] == {"membership": "join"}
    assert template["sender"] == template["state_key"] == MALLORY
    assert template["room_id"] == room_id
    assert not {"hashes", "signatures", "unsigned", "event_id"} & template.keys()


@pytest.mark.parametrize("handshake", ["leave", "knock"])
def test_a_template_that_the_rules_would_refuse_is_not_given(handshake: str) -> None:
    _, peer, room_id = meeting()
    assert refused(lambda: peer.template(handshake, room_id, MALLORY)) == (403, "M_FORBIDDEN")


def test_a_server_that_the_list_keeps_out_gets_in_nowhere() -> None:
    server, peer, room_id = meeting()
    template = peer.template("join", room_id, MALLORY)["event"]
    pdu = peer.signed(template, "12")
    acl = {"allow": ["*"], "deny": ["evil"]}
    server.send(room_id, ALICE, "m.room.server_acl", state_key="", content=acl)
    assert refused(lambda: peer.template("join", room_id, MALLORY)) == (403, "M_FORBIDDEN")
    assert refused(lambda: submit(peer, room_id, pdu)) == (403, "M_FORBIDDEN")


def test_a_good_join_is_answered_with_the_state_before_it() -> None:
    server, peer, room_id = meeting()
    template = peer.template("join", room_id, MALLORY)["event"]
    state = server.state(room_id)
    reply = submit(peer, room_id, peer.signed(template, "12"))
    version = ROOM_VERSIONS["12"]
    told = {parse_event(pdu, version).key: parse_event(pdu, version).event_id for pdu in reply["state"]}
    assert told == state
    assert server.membership(MALLORY, room_id) == "join"


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "m.room.name"},
        {"content": {"membership": "leave"}},
        {"content": {"membership": "knock"}},
        {"content": {}},
        {"sender": ALICE},
        {"state_key": OTHER},
        {"state_key": None},
        {"depth": -1},
        {"origin_server_ts": "now"},
        {"room_id": "!elsewhere:hs1"},
        {"prev_events": [7]},
    ],
)
def test_what_is_no_join_of_the_sender_is_an_invalid_parameter(changes: dict[str, Any]) -> None:
    server, peer, room_id = meeting()
    template = peer.template("join", room_id, MALLORY)["event"]
    good = peer.signed(template, "12")
    bad = {key: value for key, value in {**good, **changes}.items() if value is not None}
    event_id = parse_event(good, ROOM_VERSIONS["12"]).event_id
    with contextlib.suppress(ValueError):
        event_id = parse_event(bad, ROOM_VERSIONS["12"]).event_id
    assert refused(lambda: submit(peer, room_id, bad, event_id=event_id)) == (400, "M_INVALID_PARAM")
    assert server.membership(MALLORY, room_id) is None
    submit(peer, room_id, good)


def test_a_join_must_be_signed_by_its_sender_and_have_the_right_hash_and_id() -> None:
    server, peer, room_id = meeting()
    good = peer.signed(peer.template("join", room_id, MALLORY)["event"], "12")
    invalid = (400, "M_INVALID_PARAM")
    assert refused(lambda: submit(peer, room_id, {**good, "signatures": {}})) == invalid
    by_other = {"evil": {"ed25519:1": next(iter(good["signatures"]["evil"].values()))[::-1]}}
    assert refused(lambda: submit(peer, room_id, {**good, "signatures": by_other})) == invalid
    renamed = {**good, "content": {"membership": "join", "displayname": "x"}}
    assert refused(lambda: submit(peer, room_id, renamed)) == invalid
    assert refused(lambda: submit(peer, room_id, good, event_id="$other")) == invalid
    assert server.membership(MALLORY, room_id) is None
    submit(peer, room_id, good)


def test_a_join_whose_keys_cannot_be_had_is_not_judged_for_good() -> None:
    server, peer, room_id = meeting()
    good = peer.signed(peer.template("join", room_id, MALLORY)["event"], "12")
    server.keys.unknown.add("evil")
    with pytest.raises(RemoteRefusal, match="at the moment: no usable key of evil is known") as unavailable:
        submit(peer, room_id, good)
    assert (unavailable.value.status, unavailable.value.errcode) == (503, "M_UNKNOWN")
    assert server.membership(MALLORY, room_id) is None
    server.keys.unknown.clear()
    submit(peer, room_id, good)
    assert server.membership(MALLORY, room_id) == "join"


@pytest.mark.parametrize("lacking", ["previous event", "auth event"])
def test_a_join_that_rests_on_what_cannot_be_had_is_not_judged_for_good(lacking: str) -> None:
    server, peer, room_id = meeting("11")
    peer.enter(room_id, OTHER)
    template = peer.template("join", room_id, MALLORY)["event"]
    if lacking == "previous event":
        unheard = peer.message(OTHER, "unheard")
        template["prev_events"] = [unheard.event_id]
    else:
        unheard = peer.room.make(OTHER, "m.room.join_rules", {"join_rule": "public"}, "")
        template["auth_events"] = [
            unheard.event_id if event_id == peer.room.state["m.room.join_rules", ""].event_id else event_id
            for event_id in template["auth_events"]
        ]
    join = peer.signed(template, "11")
    peer.refuse("get_missing_events", "state", "state_ids", "event", "event_auth")
    with pytest.raises(RemoteRefusal, match="cannot be judged here at the moment") as unavailable:
        submit(peer, room_id, join)
    assert (unavailable.value.status, unavailable.value.errcode) == (503, "M_UNKNOWN")
    assert server.membership(MALLORY, room_id) is None
    if lacking == "previous event":
        peer.lies.clear()
        peer.room.events[unheard.event_id] = unheard
        submit(peer, room_id, join)
        assert server.membership(MALLORY, room_id) == "join"


def test_a_server_that_is_shut_out_while_its_join_waits_for_history_does_not_get_in() -> None:
    for denied in ("other", "evil"):
        server, peer, room_id = meeting()
        peer.enter(room_id, OTHER)
        unheard = peer.message(OTHER, "unheard")
        template = peer.template("join", room_id, MALLORY)["event"]
        join = peer.signed({**template, "prev_events": [unheard.event_id]}, "12")

        def shut_out(
            rest: list[str],
            args: Any,
            body: Any,
            server: FederatedServer = server,
            peer: HostilePeer = peer,
            room_id: RoomID = room_id,
            acl: dict[str, list[str]] = {"allow": ["*"], "deny": [denied]},  # noqa: B006
        ) -> Any:
            server.send(room_id, ALICE, "m.room.server_acl", state_key="", content=acl)
            return peer._get_missing_events(rest, args, body)

        peer.lies["get_missing_events"] = shut_out
        if denied == "evil":
            with pytest.raises(RemoteRefusal, match="access control list keeps evil out") as kept_out:
                submit(peer, room_id, join)
            assert (kept_out.value.status, kept_out.value.errcode) == (403, "M_FORBIDDEN")
            assert server.membership(MALLORY, room_id) is None
        else:
            submit(peer, room_id, join)
            assert server.membership(MALLORY, room_id) == "join"


def test_a_join_that_the_room_does_not_allow_any_more_is_refused() -> None:
    server, peer, room_id = meeting()
    good = peer.signed(peer.template("join", room_id, MALLORY)["event"], "12")
    server.send(room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": "invite"})
    assert refused(lambda: submit(peer, room_id, good)) == (403, "M_FORBIDDEN")
    assert server.membership(MALLORY, room_id) is None


def test_we_sign_only_joins_whose_conditions_hold() -> None:
    server, peer, _ = meeting()
    space = server.create(ALICE)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    room_id = server.create(ALICE, extra=[{"type": "m.room.join_rules", "state_key": "", "content": rule}])
    peer.enter(space, OTHER)
    template = peer.template("join", room_id, OTHER)["event"]
    # The template for Other, signed for Mallory, who is not in the space.
    forged = peer.signed(template, "11", sender=MALLORY, state_key=MALLORY)
    assert refused(lambda: submit(peer, room_id, forged)) == (403, "M_FORBIDDEN")
    reply = submit(peer, room_id, peer.signed(template, "11"))
    assert sorted(reply["event"]["signatures"]) == ["evil", "hs1"]


def test_a_join_by_condition_is_taken_also_when_its_user_has_been_invited_meanwhile() -> None:
    server, peer, _ = meeting()
    space = server.create(ALICE)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    room_id = server.create(ALICE, extra=[{"type": "m.room.join_rules", "state_key": "", "content": rule}])
    peer.enter(space, OTHER)
    template = peer.template("join", room_id, OTHER)["event"]
    server.send(room_id, ALICE, "m.room.member", state_key=OTHER, content={"membership": "invite"})
    submit(peer, room_id, peer.signed(template, "11"))
    assert server.membership(OTHER, room_id) == "join"


def test_only_users_who_can_invite_vouch_for_a_join() -> None:
    server, peer, _ = meeting()
    space = server.create(ALICE)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    room_id = server.create(ALICE, extra=[{"type": "m.room.join_rules", "state_key": "", "content": rule}])
    levels = {"users": {ALICE: 100}, "invite": 50}
    server.send(room_id, ALICE, "m.room.power_levels", state_key="", content=levels)
    peer.enter(space, OTHER)
    template = peer.template("join", room_id, OTHER)["event"]
    by_nobody = {"membership": "join", "join_authorised_via_users_server": "@nobody:hs1"}
    forged = peer.signed(template, "11", content=by_nobody)
    assert refused(lambda: submit(peer, room_id, forged)) == (400, "M_UNABLE_TO_GRANT_JOIN")
    submit(peer, room_id, peer.signed(template, "11"))


def test_a_leave_goes_into_the_room_and_is_passed_on() -> None:
    server, peer, room_id = meeting()
    peer.enter(room_id, MALLORY)
    peer.enter(room_id, OTHER)
    good = peer.signed(peer.template("leave", room_id, MALLORY)["event"], "12")
    assert refused(lambda: submit(peer, room_id, good, "send_join")) == (400, "M_INVALID_PARAM")
    kick = {**good, "state_key": OTHER}
    assert refused(lambda: submit(peer, room_id, kick, "send_leave")) == (400, "M_INVALID_PARAM")
    assert submit(peer, room_id, good, "send_leave") == {}
    assert server.membership(MALLORY, room_id) == "leave"
    assert server.membership(OTHER, room_id) == "join"


def test_a_knock_needs_a_rule_that_lets_people_knock() -> None:
    server, peer, room_id = meeting()
    server.send(room_id, ALICE, "m.room.join_rules", state_key="", content={"join_rule": "knock"})
    good = peer.signed(peer.template("knock", room_id, MALLORY)["event"], "12")
    reply = submit(peer, room_id, good, "send_knock")
    assert reply["knock_room_state"][0]["type"] == "m.room.create"
    assert server.membership(MALLORY, room_id) == "knock"


def test_a_repeated_join_gets_its_answer_again() -> None:
    _, peer, room_id = meeting()
    good = peer.signed(peer.template("join", room_id, MALLORY)["event"], "12")
    assert submit(peer, room_id, good) == submit(peer, room_id, good)


def test_the_first_version_of_the_answers_is_a_pair() -> None:
    _, peer, room_id = meeting()
    pdu = peer.signed(peer.template("join", room_id, MALLORY)["event"], "12")
    event_id = parse_event(pdu, ROOM_VERSIONS["12"]).event_id
    status, reply = peer.server.ask("evil", "PUT", f"{V1}/send_join/{room_id}/{event_id}", body=pdu)
    assert (status, reply["members_omitted"]) == (200, False)
    leave = peer.signed(peer.template("leave", room_id, MALLORY)["event"], "12")
    event_id = parse_event(leave, ROOM_VERSIONS["12"]).event_id
    assert peer.server.ask("evil", "PUT", f"{V1}/send_leave/{room_id}/{event_id}", body=leave) == [200, {}]
    assert signer_of("evil").server_name == "evil"
