"""A server that the room's access control list keeps out, and lets in again: by its name without the port."""

from __future__ import annotations

import pytest

from tests.interop.conftest import Pair, either_side
from tests.support.peers import Json, Peer, bodies, quote, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

ALL: Json = {"allow": ["*"], "deny": []}


@pytest.fixture(autouse=True)
def _provoked(pair: Pair) -> None:
    pair.provokes("access control list keeps", " from banned server", " Backfill denied from ")


def keeping_out(peer: Peer) -> Json:
    """A list that keeps out the server of `peer` alone."""
    return {"allow": ["*"], "deny": [peer.server_name.partition(":")[0]]}


@either_side
def test_what_a_server_that_is_kept_out_says_is_not_heard_until_it_is_let_in(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
    elsewhere = host.create("12")
    pair.joins(guest, elsewhere, host)
    guest.sees(host.put_state(room_id, "m.room.server_acl", keeping_out(guest)))
    guest.send(room_id, "unheard")
    guest.room(room_id, "PUT", f"typing/{quote(guest.user_id)}", {"typing": True, "timeout": 30_000})
    newcomer = pair.neighbour(guest, "newcomer")
    newcomer.join(room_id, via=guest.server_name)
    host.sees(guest.send(elsewhere, "heard"))  # what was said before has been received, and not taken
    assert bodies(host.messages(room_id)) == []
    assert host.membership_of(newcomer, room_id) is None
    assert all(room_id not in (reply.get("rooms") or {}).get("ephemeral", {}) for reply in host.replies)

    guest.sees(host.put_state(room_id, "m.room.server_acl", ALL))
    host.sees(guest.send(room_id, "heard again"))
    until(lambda: host.membership_of(newcomer, room_id) == "join", "the newcomer")
    assert bodies(host.messages(room_id)) == ["heard again", "unheard"]


@either_side
def test_nobody_of_a_server_that_is_kept_out_comes_in(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    acl = {"type": "m.room.server_acl", "state_key": "", "content": keeping_out(guest)}
    rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    public = host.create("12", initial_state=[acl])
    closed = host.create("12", initial_state=[acl, rules])
    assert refusal(lambda: guest.join(public, via=host.server_name)) == "M_FORBIDDEN"
    assert refusal(lambda: guest.knock(closed, via=host.server_name)) == "M_FORBIDDEN"
    for room_id in (public, closed):
        host.put_state(room_id, "m.room.server_acl", ALL)
    guest.knock(closed, via=host.server_name)
    host.sees_membership(guest, closed, "knock")
    pair.joins(guest, public, host)


def test_addresses_are_kept_out_where_names_are_wanted(pair: Pair) -> None:
    """Synapse bears an IP address in these tests, our server a name."""
    host, guest, room_id = pair.room("minihs")
    elsewhere = host.create("12")
    pair.joins(guest, elsewhere, host)
    guest.sees(host.put_state(room_id, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": False}))
    guest.send(room_id, "from an address")
    host.sees(guest.send(elsewhere, "heard"))
    assert bodies(host.messages(room_id)) == []
    guest.sees(host.put_state(room_id, "m.room.server_acl", {"allow": ["*"], "allow_ip_literals": True}))
    host.sees(guest.send(room_id, "from an address again"))


def test_a_list_that_keeps_everybody_out_lets_nobody_speak_to_the_other(pair: Pair) -> None:
    """What each says is for its own server alone. (Synapse does not let its own users set such a list.)"""
    host, guest, room_id = pair.room("minihs")
    elsewhere = host.create("12")
    pair.joins(guest, elsewhere, host)
    host.put_state(room_id, "m.room.server_acl", {"allow": ["example.org"], "deny": []})
    until(lambda: ("m.room.server_acl", "") in guest.state(room_id), "the list")
    host.send(room_id, "to ourselves")
    guest.send(room_id, "to ourselves")
    host.sees(guest.send(elsewhere, "heard"))
    guest.sees(host.send(elsewhere, "heard"))
    assert bodies(host.messages(room_id)) == bodies(guest.messages(room_id)) == ["to ourselves"]
