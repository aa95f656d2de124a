"""One of two servers is away for a while; when it is back, neither of the two has missed anything."""

from __future__ import annotations

import signal

import pytest

from tests.interop.conftest import SIDES, Pair
from tests.support.peers import Peer
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

either_side_away = pytest.mark.parametrize("away", SIDES)


def messages_of(peer: Peer, room_id: str, sender: Peer) -> list[str]:
    """What `peer` can read of what `sender` has said, oldest first."""
    events = reversed(peer.messages(room_id))
    return [
        event["event_id"]
        for event in events
        if event["type"] == "m.room.message" and event["sender"] == sender.user_id
    ]


@either_side_away
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_said_while_a_server_was_away_reaches_it_in_order(
    pair: Pair, away: str, end: signal.Signals
) -> None:
    absent, present = pair.users(away)
    room_id = present.create("12")
    absent.join(room_id, via=present.server_name)
    present.sees_membership(absent, room_id, "join")
    server = pair.server(away)
    if end == signal.SIGTERM:
        server.stop()
    else:
        server.kill()
    said = [present.send(room_id, f"you missed {number}") for number in range(60)]
    present.put_state(room_id, "m.room.topic", {"topic": "set meanwhile"})
    server.start()
    # A sign of life from the one that was away, which the other may be waiting for before it tries again.
    answer = absent.send(room_id, "back again")
    present.sees(answer)
    absent.sees(said[-1])
    until(
        lambda: messages_of(absent, room_id, present) == said,
        "all that was said, once and in order",
    )


@either_side_away
def test_who_was_away_for_long_fills_the_gap(pair: Pair, away: str) -> None:
    """Ours then sends everything, page by page; Synapse only what is newest, and ours fetches the rest."""
    absent, present = pair.users(away)
    other = pair.ours("other") if away == "synapse" else pair.theirs("other")
    rooms = [present.create("11") for _ in range(2)]
    for room_id in rooms:
        absent.join(room_id, via=present.server_name)
        other.join(room_id, via=present.server_name)
        present.sees_membership(absent, room_id, "join")
    server = pair.server(away)
    server.stop()
    said: dict[str, list[str]] = {room_id: [] for room_id in rooms}
    for number in range(30):
        for room_id in rooms:
            said[room_id].append(present.send(room_id, f"{number}"))
            if number % 10 == 0:
                present.put_state(room_id, "m.room.topic", {"topic": f"after {number}"})
    neighbour = pair.neighbour(present, "neighbour")
    for room_id in rooms:
        other.act(room_id, "leave")
        neighbour.join(room_id, via=present.server_name)
    server.start()
    absent.send(rooms[0], "back again")
    for room_id in rooms:
        absent.sees(said[room_id][-1])
        until(
            lambda room_id=room_id: messages_of(absent, room_id, present) == said[room_id],
            "all that was said, once and in order",
        )
        assert absent.state(room_id)["m.room.topic", ""][1] == {"topic": "after 20"}
        assert absent.membership_of(neighbour, room_id) == "join"


@either_side_away
def test_who_was_invited_by_a_server_that_is_away_now_declines_all_the_same(pair: Pair, away: str) -> None:
    """It ends here and now, though the other server does not hear of it and goes on until it invites anew."""
    pair.provokes("This server is not in the room")  # when Synapse withdraws an invite that has been declined
    host, guest = pair.users(away)
    room_id = host.create("12", preset="private_chat")
    host.act(room_id, "invite", guest.user_id)
    guest.sees_invite(room_id)
    server = pair.server(away)
    server.stop()
    guest.act(room_id, "leave")
    guest.sees_the_end(room_id)
    server.start()
    host.act(room_id, "kick", guest.user_id)
    host.act(room_id, "invite", guest.user_id)
    until(lambda: room_id in guest.invites(), "the second invite")
    pair.joins(guest, room_id, host)


@either_side_away
def test_a_future_due_during_an_outage_arrives_after_it(pair: Pair, away: str) -> None:
    """Ours catches up when it was away itself, and delivers later when Synapse was."""
    ours, theirs = pair.users("minihs")
    room_id = ours.create("12")
    theirs.join(room_id, via=ours.server_name)
    ours.sees_membership(theirs, room_id, "join")
    delay_id = ours.schedule(room_id, "m.room.message", {"msgtype": "m.text", "body": "due meanwhile"}, 300)
    server = pair.server(away)
    server.kill()
    if away == "synapse":
        ours.outcome(delay_id)
    server.start()
    event_id = ours.outcome(delay_id)["event_id"]
    assert theirs.sees_body("due meanwhile")["event_id"] == event_id
    found = [event for event in theirs.messages(room_id) if event["content"].get("body") == "due meanwhile"]
    assert len(found) == 1
