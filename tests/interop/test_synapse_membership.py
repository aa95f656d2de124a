"""Coming into rooms and leaving them, between our server and Synapse, in rooms made on either."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.conftest import Pair, either_side, every_version
from tests.support.peers import Json, Peer, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

BANNED = ("M_FORBIDDEN", "M_BAD_STATE")
"""Synapse says M_BAD_STATE to a user of its own of whose ban it knows."""


def with_rule(host: Peer, version: str, rule: Json, **options: Any) -> str:
    """A room that is joined by that rule."""
    state = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    return host.create(version, initial_state=state, **options)


@every_version
@either_side
def test_an_invite_is_accepted_and_left_again(pair: Pair, side: str, version: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create(version, preset="private_chat", name="a private room")
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) == "M_FORBIDDEN"
    for invited in (guest, witness := pair.neighbour(guest, "witness")):
        host.act(room_id, "invite", invited.user_id)
        stripped = invited.sees_invite(room_id)
        names = [event["content"]["name"] for event in stripped if event["type"] == "m.room.name"]
        assert names == ["a private room"]
        pair.joins(invited, room_id, host)
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")
    assert witness.membership_of(guest, room_id) == "leave"


@either_side
def test_an_invite_is_declined(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create("12", preset="private_chat")
    host.act(room_id, "invite", guest.user_id)
    guest.sees_invite(room_id)
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) == "M_FORBIDDEN"
    host.act(room_id, "invite", guest.user_id)
    until(lambda: room_id in guest.invites(), "the second invite")
    pair.joins(guest, room_id, host)


@either_side
def test_an_invite_is_withdrawn(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create("12", preset="private_chat")
    host.act(room_id, "invite", guest.user_id)
    guest.sees_invite(room_id)
    host.act(room_id, "kick", guest.user_id)
    guest.sees_the_end(room_id)
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) == "M_FORBIDDEN"
    host.act(room_id, "invite", guest.user_id)
    until(lambda: room_id in guest.invites(), "the second invite")
    pair.joins(guest, room_id, host)


@either_side
def test_a_member_of_the_guests_server_invites_from_there(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
    host.put_state(room_id, "m.room.join_rules", {"join_rule": "invite"})
    guest.sees(host.set_power(room_id, guest.user_id, 50))
    for invited in (pair.neighbour(host, "invited"), pair.neighbour(guest, "invited")):
        guest.act(room_id, "invite", invited.user_id)
        invited.sees_invite(room_id)
        pair.joins(invited, room_id, guest)
        host.sees_membership(invited, room_id, "join")


@either_side
@pytest.mark.parametrize(
    ("version", "rule"), [("7", "knock"), ("9", "knock"), ("10", "knock_restricted"), ("12", "knock")]
)
def test_who_knocks_is_let_in_by_an_invite(pair: Pair, side: str, version: str, rule: str) -> None:
    host, guest = pair.users(side)
    room_id = with_rule(host, version, {"join_rule": rule, "allow": []}, name="behind a door")
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) == "M_FORBIDDEN"
    guest.knock(room_id, via=host.server_name, reason="it is raining")
    host.sees_membership(guest, room_id, "knock")
    assert host.state(room_id)["m.room.member", guest.user_id][1]["reason"] == "it is raining"
    stripped = guest.look_for(
        lambda reply: reply.get("rooms", {}).get("knock", {}).get(room_id), "its own knock"
    )
    seen = {event["type"]: event["content"] for event in stripped["knock_state"]["events"]}
    assert seen["m.room.name"] == {"name": "behind a door"}
    assert seen["m.room.member"]["membership"] == "knock"
    host.act(room_id, "invite", guest.user_id)
    guest.sees_invite(room_id)
    pair.joins(guest, room_id, host)


def test_a_knock_at_synapses_door_is_taken_back(pair: Pair) -> None:
    """Synapse takes back knocks of its own users for themselves alone (`docs/interoperation.md`)."""
    host, guest = pair.users("synapse")
    room_id = with_rule(host, "12", {"join_rule": "knock"})
    guest.knock(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "knock")
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")
    guest.knock(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "knock")
    host.act(room_id, "invite", guest.user_id)
    guest.sees_invite(room_id)
    pair.joins(guest, room_id, host)


@either_side
def test_a_knock_is_refused_where_the_rule_or_the_host_says_so(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    pair.provokes(" Failed to create new knock ")
    private = host.create("12", preset="private_chat")
    assert refusal(lambda: guest.knock(private, via=host.server_name)) == "M_FORBIDDEN"
    room_id = with_rule(host, "12", {"join_rule": "knock"})
    guest.knock(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "knock")
    host.act(room_id, "kick", guest.user_id)
    host.sees_membership(guest, room_id, "leave")
    # Synapse neither tells a server whose user's knock was refused nor hears it (`docs/interoperation.md`).
    host.act(room_id, "ban", guest.user_id)
    assert refusal(lambda: guest.knock(room_id, via=host.server_name)) in BANNED
    witness = pair.neighbour(guest, "witness")
    witness.knock(room_id, via=host.server_name)
    host.sees_membership(witness, room_id, "knock")
    host.act(room_id, "invite", witness.user_id)
    witness.sees_invite(room_id)
    pair.joins(witness, room_id, host)


@either_side
def test_who_knocks_at_a_room_that_the_own_server_is_in_is_heard_by_all(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create("12")
    pair.joins(guest, room_id, host)
    guest.sees(host.put_state(room_id, "m.room.join_rules", {"join_rule": "knock"}))
    visitor = pair.neighbour(guest, "visitor")
    visitor.knock(room_id, via=guest.server_name)
    host.sees_membership(visitor, room_id, "knock")


@every_version
@either_side
def test_a_kicked_member_comes_back_and_a_banned_one_does_not(pair: Pair, side: str, version: str) -> None:
    host, guest, room_id = pair.room(side, version)
    witness = pair.neighbour(guest, "witness")
    pair.joins(witness, room_id, host)
    host.act(room_id, "kick", guest.user_id)
    witness.sees_membership(guest, room_id, "leave")
    assert refusal(lambda: guest.send(room_id, "still here?")) == "M_FORBIDDEN"
    pair.joins(guest, room_id, host)
    host.act(room_id, "ban", guest.user_id)
    witness.sees_membership(guest, room_id, "ban")
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) in BANNED
    assert refusal(lambda: host.act(room_id, "invite", guest.user_id)) in BANNED
    host.act(room_id, "unban", guest.user_id)
    witness.sees_membership(guest, room_id, "leave")
    pair.joins(guest, room_id, host)


@either_side
def test_a_moderator_elsewhere_kicks_and_bans_who_is_below_and_nobody_else(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
    unruly = pair.neighbour(host, "unruly")
    pair.joins(unruly, room_id, host)
    assert refusal(lambda: guest.act(room_id, "kick", unruly.user_id)) == "M_FORBIDDEN"
    guest.sees(host.set_power(room_id, guest.user_id, 50))
    for action in ("kick", "ban", "unban"):
        guest.act(room_id, action, unruly.user_id)
        host.sees_membership(unruly, room_id, "ban" if action == "ban" else "leave")
    assert refusal(lambda: guest.act(room_id, "ban", host.user_id)) == "M_FORBIDDEN"


@either_side
@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("8", "restricted"),
        ("9", "restricted"),
        ("10", "knock_restricted"),
        ("11", "restricted"),
        ("12", "restricted"),
    ],
)
def test_a_restricted_room_is_joined_by_members_of_another_room(
    pair: Pair, side: str, version: str, rule: str
) -> None:
    host, guest = pair.users(side)
    hall = host.create(version)
    allowed = {"type": "m.room_membership", "room_id": hall}
    parlour = with_rule(host, version, {"join_rule": rule, "allow": [allowed]})
    assert refusal(lambda: guest.join(parlour, via=host.server_name)) == "M_FORBIDDEN"
    pair.joins(guest, hall, host)
    pair.joins(guest, parlour, host)
    content = host.state(parlour)["m.room.member", guest.user_id][1]
    assert content["join_authorised_via_users_server"] == host.user_id


@either_side
def test_a_restricted_room_takes_back_no_one_who_was_banned_there(pair: Pair, side: str) -> None:
    host, guest, hall = pair.room(side)
    allowed = {"type": "m.room_membership", "room_id": hall}
    parlour = with_rule(host, "12", {"join_rule": "restricted", "allow": [allowed]})
    pair.joins(guest, parlour, host)
    host.act(parlour, "ban", guest.user_id)
    guest.sees_the_end(parlour)
    assert refusal(lambda: guest.join(parlour, via=host.server_name)) in BANNED


@either_side
def test_a_member_whose_server_may_invite_vouches_for_a_neighbour(pair: Pair, side: str) -> None:
    """A server in the room with somebody who may invite needs no other to let its own users in."""
    host, guest, hall = pair.room(side)
    allowed = {"type": "m.room_membership", "room_id": hall}
    parlour = with_rule(host, "12", {"join_rule": "restricted", "allow": [allowed]})
    pair.joins(guest, parlour, host)
    guest.sees(host.set_power(parlour, guest.user_id, 50))
    neighbour = pair.neighbour(guest, "neighbour")
    assert refusal(lambda: neighbour.join(parlour, via=guest.server_name)) == "M_FORBIDDEN"
    pair.joins(neighbour, hall, host)
    neighbour.join(parlour, via=guest.server_name)
    host.sees_membership(neighbour, parlour, "join")
    vouched = host.state(parlour)["m.room.member", neighbour.user_id][1]["join_authorised_via_users_server"]
    assert vouched in (guest.user_id, host.user_id)


@every_version
@either_side
def test_a_server_that_had_left_the_room_comes_back_to_what_it_is_now(
    pair: Pair, side: str, version: str
) -> None:
    """Nobody told it what happened since its last member left: it has to ask the other one."""
    host, guest, room_id = pair.room(side, version)
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")
    host.put_state(room_id, "m.room.topic", {"topic": "set meanwhile"})
    host.put_state(room_id, "m.room.name", {"name": "named meanwhile"})
    neighbour = pair.neighbour(host, "neighbour")
    neighbour.join(room_id, via=host.server_name)
    host.set_power(room_id, neighbour.user_id, 50)
    said = [host.send(room_id, f"meanwhile {number}") for number in range(5)]
    guest.join(room_id, via=host.server_name)
    assert guest.state(room_id)["m.room.topic", ""][1] == {"topic": "set meanwhile"}
    read = [event["event_id"] for event in guest.messages(room_id) if event["type"] == "m.room.message"]
    assert read == said[::-1]
    for sender, reader in ((host, guest), (guest, host), (neighbour, guest)):
        reader.sees(sender.send(room_id, "together again"))
