"""A third server in rooms of ours and Synapse's, also one that comes late while the room's own is away.

Who comes late has to take other servers' word for what was said and for the keys with which it was signed.
"""

from __future__ import annotations

from itertools import count

import pytest

from tests.interop.conftest import SIDES, Pair
from tests.support.peers import Peer
from tests.support.processes import QUICK_RETRIES, AnyServer, until

pytestmark = [pytest.mark.process, pytest.mark.full]

_numbers = count(1)


def newcomer(pair: Pair, kind: str) -> tuple[AnyServer, AnyServer]:
    """A server that has not been started, and the running one of the other kind that is its notary."""
    label = f"newcomer-{next(_numbers)}"
    if kind == "minihs":
        notaries = f'federation.notaries=["{pair.synapse.server_name}"]'
        return pair.stage.minihs(label, [*QUICK_RETRIES, notaries]), pair.synapse
    trusted = [{"server_name": pair.minihs.server_name}]
    return pair.stage.synapse(label, {"trusted_key_servers": trusted}), pair.minihs


def all_hear_each_other(*peers: Peer, room_id: str) -> None:
    """What each says comes to all."""
    said = [peer.send(room_id, f"from {peer.user_id}") for peer in peers]
    for peer in peers:
        for event_id in said:
            peer.sees(event_id)


@pytest.mark.parametrize("kind", SIDES)
def test_a_newcomer_joins_by_a_third_server_while_the_rooms_own_is_away(pair: Pair, kind: str) -> None:
    late, notary = newcomer(pair, kind)
    origin = pair.start(pair.stage.minihs(f"origin-{next(_numbers)}"))
    host, middle = pair.cast.user(origin, "host"), pair.cast.user(notary, "middle")
    room_id = host.create("12", name="A room", topic="Where everybody is away")
    middle.join(room_id, via=origin.server_name)
    said = [host.send(room_id, f"said before {number}") for number in range(3)]
    middle.sees(said[-1])
    assert middle.messages(room_id)[-1]["type"] == "m.room.create"  # its server has the whole history now
    origin.stop()

    guest = pair.cast.user(pair.start(late), "guest")
    pair.joins(guest, room_id, middle)
    read = [event["event_id"] for event in guest.messages(room_id) if event["type"] == "m.room.message"]
    assert read == said[::-1]

    origin.start()
    # A sign of life: on its own, Synapse looks for servers that were away only once a minute.
    host.send(room_id, "back again")
    until(lambda: host.membership_of(guest, room_id) == "join", "the guest, where the room was made")
    all_hear_each_other(host, middle, guest, room_id=room_id)


@pytest.mark.parametrize("side", SIDES)
def test_two_of_ours_and_a_synapse_share_a_room(pair: Pair, side: str) -> None:
    """State that all three set, a member of each who moderates, and one server away in between."""
    host, guest, room_id = pair.room(side)
    third = pair.start(pair.stage.minihs(f"third-{next(_numbers)}"))
    visitor = pair.cast.user(third, "visitor")
    pair.joins(visitor, room_id, guest)
    host.sees_membership(visitor, room_id, "join")
    for peer in (guest, visitor):
        host.set_power(room_id, peer.user_id, 50)
    until(lambda: visitor.power_of(room_id, visitor.user_id) == 50, "the visitor's power")
    until(lambda: guest.power_of(room_id, visitor.user_id) == 50, "the visitor's power")
    for peer in (host, guest, visitor):
        peer.put_state(room_id, "m.room.topic", {"topic": f"by {peer.user_id}"})
    all_hear_each_other(host, guest, visitor, room_id=room_id)

    third.stop()
    for peer in (host, guest):
        peer.put_state(room_id, "m.room.topic", {"topic": f"meanwhile by {peer.user_id}"})
    unruly = pair.neighbour(guest, "unruly")
    pair.joins(unruly, room_id, guest)
    host.sees_membership(unruly, room_id, "join")
    host.act(room_id, "ban", unruly.user_id)
    third.start()
    all_hear_each_other(visitor, host, guest, room_id=room_id)
    until(lambda: visitor.membership_of(unruly, room_id) == "ban", "the ban")


def test_an_invite_knock_and_restricted_join_by_a_third_server(pair: Pair) -> None:
    """Ours is the resident that does the handshake for others in a room of Synapse's."""
    theirs, ours, hall = pair.room("synapse")
    third = pair.start(pair.stage.minihs(f"third-{next(_numbers)}"))
    visitor, knocker = pair.cast.user(third, "visitor"), pair.cast.user(third, "knocker")
    allowed = [{"type": "m.room_membership", "room_id": hall}]
    rule = {"join_rule": "knock_restricted", "allow": allowed}
    parlour = theirs.create(
        "12", initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    )
    pair.joins(ours, parlour, theirs)
    until(lambda: ours.membership_of(ours, parlour) == "join", "ours in the parlour")
    theirs.set_power(parlour, ours.user_id, 50)
    until(lambda: ours.power_of(parlour, ours.user_id) == 50, "the power to invite")

    knocker.knock(parlour, via=ours.server_name)
    theirs.sees_membership(knocker, parlour, "knock")
    ours.act(parlour, "invite", knocker.user_id)
    knocker.sees_invite(parlour)
    pair.joins(knocker, parlour, ours)

    pair.joins(visitor, hall, ours)
    visitor.join(parlour, via=ours.server_name)
    theirs.sees_membership(visitor, parlour, "join")
