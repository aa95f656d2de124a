"""Both servers go on while they cannot reach each other; once they can, they resolve what contradicts alike.

Each is told for both algorithms: state resolution 2, of versions 3 to 11, and 2.1, of version 12.
"""

from __future__ import annotations

import pytest

from tests.interop.conftest import SIDES, Pair, either_side
from tests.support.peers import Peer, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

in_versions = pytest.mark.parametrize("version", ["11", "12"])


def topic(peer: Peer, room_id: str) -> str:
    return str(peer.state(room_id)["m.room.topic", ""][1]["topic"])


def divided_room(pair: Pair, side: str, version: str) -> tuple[Peer, Peer, str]:
    """A room whose guest may do what moderators may, with a witness for each of the two."""
    pair.provokes(" Soft-failing <Event ")  # what somebody did who had not heard that it is no longer allowed
    host, guest, room_id = pair.room(side, version)
    for peer in (host, guest):
        pair.joins(pair.neighbour(peer, "witness"), room_id, host)
    guest.sees(host.set_power(room_id, guest.user_id, 50))
    guest.sees(host.put_state(room_id, "m.room.topic", {"topic": "before"}))
    return host, guest, room_id


def speak_again(pair: Pair, room_id: str, *peers: Peer) -> None:
    """Signs of life, by which each server learns that the other is back; what was missed comes first."""
    said = [peer.send(room_id, "there you are") for peer in peers]
    for peer in peers:
        for event_id in said:
            peer.sees(event_id)


@in_versions
@either_side
def test_what_both_said_and_set_comes_together(pair: Pair, side: str, version: str) -> None:
    host, guest, room_id = divided_room(pair, side, version)
    with pair.parted():
        said = {peer.user_id: [peer.send(room_id, f"alone {n}") for n in range(12)] for peer in (host, guest)}
        for peer in (host, guest):
            peer.put_state(room_id, "m.room.topic", {"topic": f"by {peer.user_id}"})
            peer.put_state(room_id, "org.example.own", {"by": peer.user_id}, peer.user_id)
            pair.neighbour(peer, "newcomer").join(room_id, via=peer.server_name)
        assert topic(host, room_id) != topic(guest, room_id)
    speak_again(pair, room_id, host, guest)
    for reader, other in ((host, guest), (guest, host)):
        until(lambda: ("org.example.own", other.user_id) in reader.state(room_id), "the other's own state")  # noqa: B023
        read = [event["event_id"] for event in reader.messages(room_id) if event["sender"] == other.user_id]
        assert [event_id for event_id in reversed(read) if event_id in said[other.user_id]] == said[
            other.user_id
        ]


@in_versions
@either_side
def test_power_taken_away_on_one_side_undoes_what_was_done_with_it_on_the_other(
    pair: Pair, side: str, version: str
) -> None:
    host, guest, room_id = divided_room(pair, side, version)
    with pair.parted():
        host.set_power(room_id, guest.user_id, 0)
        guest.put_state(room_id, "m.room.topic", {"topic": "too late"})
        guest.put_state(room_id, "m.room.name", {"name": "too late"})
        host.put_state(room_id, "m.room.topic", {"topic": "in force"})
    speak_again(pair, room_id, host, guest)
    for peer in (host, guest):
        until(lambda peer=peer: topic(peer, room_id) == "in force", "the host's topic")
        assert ("m.room.name", "") not in peer.state(room_id)
        assert peer.power_of(room_id, guest.user_id) == 0


@in_versions
@either_side
def test_who_was_banned_meanwhile_has_spoken_to_the_own_server_only(
    pair: Pair, side: str, version: str
) -> None:
    host, guest, room_id = divided_room(pair, side, version)
    other = pair.neighbour(guest, "other")
    pair.joins(other, room_id, host)
    with pair.parted():
        host.act(room_id, "ban", guest.user_id)
        unheard = guest.send(room_id, "unheard")
        guest.put_state(room_id, "m.room.topic", {"topic": "of one who is banned"})
    speak_again(pair, room_id, host, other)
    for peer in (host, other):
        until(lambda peer=peer: peer.membership_of(guest, room_id) == "ban", "the ban")
        until(lambda peer=peer: topic(peer, room_id) == "before", "the topic before")
    assert unheard not in [event["event_id"] for event in host.messages(room_id)]
    assert refusal(lambda: guest.send(room_id, "and now?")) == "M_FORBIDDEN"


@in_versions
@either_side
def test_who_joined_while_the_other_side_closed_the_door_is_not_in(
    pair: Pair, side: str, version: str
) -> None:
    host, guest, room_id = divided_room(pair, side, version)
    newcomer = pair.neighbour(guest, "newcomer")
    with pair.parted():
        host.put_state(room_id, "m.room.join_rules", {"join_rule": "invite"})
        newcomer.join(room_id, via=guest.server_name)
        newcomer.send(room_id, "is anybody there?")
    speak_again(pair, room_id, host, guest)
    for peer in (host, guest):
        until(lambda peer=peer: peer.membership_of(newcomer, room_id) is None, "the newcomer outside")


@in_versions
@either_side
def test_of_two_who_turn_on_each_other_the_more_powerful_stays(pair: Pair, side: str, version: str) -> None:
    host, guest, room_id = divided_room(pair, side, version)
    rival, heir = pair.neighbour(host, "rival"), pair.neighbour(guest, "heir")
    pair.joins(rival, room_id, host)
    pair.joins(heir, room_id, host)
    rival.sees(host.set_power(room_id, guest.user_id, 60))
    guest.sees(host.set_power(room_id, rival.user_id, 50))
    levels = host.room(room_id, "GET", "state/m.room.power_levels/")
    guest.sees(host.put_state(room_id, "m.room.power_levels", {**levels, "events": {}, "state_default": 40}))
    with pair.parted():
        guest.act(room_id, "ban", rival.user_id)
        rival.set_power(room_id, heir.user_id, 40)
        rival.put_state(room_id, "m.room.topic", {"topic": "the rival's"})
    speak_again(pair, room_id, host, guest)
    for peer in (host, guest):
        until(lambda peer=peer: peer.membership_of(rival, room_id) == "ban", "the ban")


@pytest.mark.parametrize("unreachable", SIDES)
def test_one_way_is_enough_to_hear_and_the_other_way_catches_up(pair: Pair, unreachable: str) -> None:
    """Whom nobody reaches still reaches others, and is told the rest when it can be reached again."""
    deaf, heard, room_id = pair.room(unreachable)
    deaf.sees(heard.send(room_id, "can you hear me?"))
    with pair.parted(unreachable):
        for number in range(3):
            heard.sees(deaf.send(room_id, f"can you hear me? {number}"))
        missed = [heard.send(room_id, f"yes {number}") for number in range(3)]
        deaf.put_state(room_id, "m.room.topic", {"topic": "nobody answers"})
    speak_again(pair, room_id, deaf, heard)
    read = [event["event_id"] for event in reversed(deaf.messages(room_id))]
    assert [event_id for event_id in read if event_id in missed] == missed
