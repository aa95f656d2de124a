"""A room between our server and a real Synapse, made on either: what one side does, the other sees.

After each scenario both have the same complete current state, event IDs included.
"""

from __future__ import annotations

import threading

import pytest

from tests.interop.conftest import Pair
from tests.support.peers import Peer, assert_same_state, quote, refusal, timeline
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

VERSIONS = ("10", "11", "12")
SIDES = ("minihs", "synapse")

every_version = pytest.mark.parametrize("version", VERSIONS)
either_side = pytest.mark.parametrize("side", SIDES)


def joined_room(host: Peer, guest: Peer, version: str = "12") -> str:
    """A public room of `host`'s that `guest` has joined, as both know."""
    room_id = host.create(version)
    guest.join(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "join")
    return room_id


@every_version
@either_side
def test_each_joins_the_others_room_and_both_read_each_other(pair: Pair, side: str, version: str) -> None:
    host, guest = pair.users(side)
    room_id = joined_room(host, guest, version)
    for sender, reader in ((host, guest), (guest, host)):
        event_id = sender.send(room_id, f"from {sender.user_id}")
        assert reader.sees(event_id)["content"]["body"] == f"from {sender.user_id}"
    assert host.state(room_id)["m.room.create", ""][1]["room_version"] == version
    assert_same_state(room_id, host, guest)


@either_side
def test_a_room_is_joined_by_its_alias(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create("12", room_alias_name=f"hall-{side}")
    alias = f"#hall-{side}:{host.server_name}"
    assert guest.join(alias, via=host.server_name) == room_id
    host.sees_membership(guest, room_id, "join")
    assert_same_state(room_id, host, guest)


@every_version
@either_side
def test_an_invite_is_accepted_and_left_again(pair: Pair, side: str, version: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create(version, preset="private_chat", name="a private room")
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) == "M_FORBIDDEN"
    host.act(room_id, "invite", guest.user_id)
    stripped = guest.sees_invite(room_id)
    names = [event["content"]["name"] for event in stripped if event["type"] == "m.room.name"]
    assert names == ["a private room"]
    guest.join(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "join")
    assert_same_state(room_id, host, guest)
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")


@either_side
def test_an_invite_is_declined(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create("12", preset="private_chat")
    host.act(room_id, "invite", guest.user_id)
    guest.sees_invite(room_id)
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) == "M_FORBIDDEN"


@either_side
def test_an_invite_is_withdrawn(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create("12", preset="private_chat")
    host.act(room_id, "invite", guest.user_id)
    guest.sees_invite(room_id)
    host.act(room_id, "kick", guest.user_id)
    guest.look_for(lambda reply: reply.get("rooms", {}).get("leave", {}).get(room_id), "the invite withdrawn")


@every_version
@either_side
def test_a_kicked_member_comes_back_and_a_banned_one_does_not(pair: Pair, side: str, version: str) -> None:
    host, guest = pair.users(side)
    room_id = joined_room(host, guest, version)
    witness = pair.theirs("witness") if side == "minihs" else pair.ours("witness")
    witness.join(room_id, via=host.server_name)
    host.act(room_id, "kick", guest.user_id)
    witness.sees_membership(guest, room_id, "leave")
    assert refusal(lambda: guest.send(room_id, "still here?")) == "M_FORBIDDEN"
    guest.join(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "join")
    host.act(room_id, "ban", guest.user_id)
    witness.sees_membership(guest, room_id, "ban")
    # Synapse says M_BAD_STATE to a user of its own of whose ban it knows.
    assert refusal(lambda: guest.join(room_id, via=host.server_name)) in ("M_FORBIDDEN", "M_BAD_STATE")
    host.act(room_id, "unban", guest.user_id)
    witness.sees_membership(guest, room_id, "leave")
    guest.join(room_id, via=host.server_name)
    host.sees_membership(guest, room_id, "join")
    assert_same_state(room_id, host, guest, witness)


@every_version
@either_side
def test_a_redaction_takes_the_content_on_both_sides(pair: Pair, side: str, version: str) -> None:
    host, guest = pair.users(side)
    room_id = joined_room(host, guest, version)
    for sender, reader in ((host, guest), (guest, host)):
        event_id = sender.send(room_id, "said too much")
        reader.sees(event_id)
        redaction = reader.sees(sender.redact(room_id, event_id))
        assert (redaction.get("redacts") or redaction["content"]["redacts"]) == event_id
        for peer in (sender, reader):
            event = peer.room(room_id, "GET", f"event/{quote(event_id)}")
            assert event["content"] == {}
            assert event["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]
    assert_same_state(room_id, host, guest)


@either_side
def test_typing_and_receipts_are_seen(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = joined_room(host, guest)
    for one, other in ((host, guest), (guest, host)):
        user = one.user_id
        one.room(room_id, "PUT", f"typing/{quote(user)}", {"typing": True, "timeout": 30_000})
        other.sees_ephemeral(room_id, "m.typing", lambda content, user=user: user in content["user_ids"])
        one.room(room_id, "PUT", f"typing/{quote(user)}", {"typing": False})
        other.sees_ephemeral(room_id, "m.typing", lambda content, user=user: user not in content["user_ids"])
        event_id = other.send(room_id, "read this")
        one.sees(event_id)
        one.room(room_id, "POST", f"receipt/m.read/{quote(event_id)}", {})
        other.sees_ephemeral(
            room_id,
            "m.receipt",
            lambda content, user=user, event_id=event_id: user in content.get(event_id, {}).get("m.read", {}),
        )


@either_side
def test_a_new_display_name_reaches_the_room_and_the_directory(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = joined_room(host, guest)
    for one, other in ((host, guest), (guest, host)):
        path = f"/_matrix/client/v3/profile/{quote(one.user_id)}/displayname"
        one.request("PUT", path, {"displayname": "Somebody else"})
        other.look_for(
            lambda reply, user=one.user_id: any(
                event["type"] == "m.room.member"
                and event["state_key"] == user
                and event["content"].get("displayname") == "Somebody else"
                for event in timeline(reply, room_id)
            ),
            "the new name",
        )
        assert other.request("GET", path)["displayname"] == "Somebody else"
    assert_same_state(room_id, host, guest)


@every_version
@either_side
def test_who_comes_late_pages_back_through_what_was_said_before(pair: Pair, side: str, version: str) -> None:
    host, guest = pair.users(side)
    room_id = host.create(version)
    said = [host.send(room_id, f"message {number}") for number in range(60)]
    guest.join(room_id, via=host.server_name)
    read = [event["event_id"] for event in guest.messages(room_id) if event["type"] == "m.room.message"]
    assert read == said[::-1]
    everything = [[event["event_id"] for event in peer.messages(room_id)] for peer in (guest, host)]
    assert everything[0] == everything[1]
    assert_same_state(room_id, host, guest)


@every_version
@either_side
def test_changes_made_on_both_sides_at_once_end_in_one_state(pair: Pair, side: str, version: str) -> None:
    """Each side builds on what it knows, so the room forks and both have to resolve it alike."""
    host, guest = pair.users(side)
    room_id = joined_room(host, guest, version)
    host.set_power(room_id, guest.user_id, 50)
    guest.look_for(lambda _: guest.power_of(room_id, guest.user_id) == 50, "the new power")

    def change(peer: Peer) -> None:
        for number in range(15):
            peer.put_state(room_id, "m.room.topic", {"topic": f"{peer.user_id} {number}"})
            peer.put_state(room_id, "m.room.name", {"name": f"{peer.user_id} {number}"})

    threads = [threading.Thread(target=change, args=(peer,)) for peer in (host, guest)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = [peer.send(room_id, "that was all") for peer in (host, guest)]
    host.sees(last[1])
    guest.sees(last[0])
    assert_same_state(room_id, host, guest)


@either_side
def test_a_restricted_room_is_joined_by_members_of_another_room(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    hall = host.create("12")
    allowed = {"type": "m.room_membership", "room_id": hall}
    rule = {"join_rule": "restricted", "allow": [allowed]}
    parlour = host.create(
        "12", initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    )
    assert refusal(lambda: guest.join(parlour, via=host.server_name)) == "M_FORBIDDEN"
    guest.join(hall, via=host.server_name)
    until(lambda: host.membership_of(guest, hall) == "join", "the member of the hall")
    guest.join(parlour, via=host.server_name)
    content = host.state(parlour)["m.room.member", guest.user_id][1]
    assert content["join_authorised_via_users_server"] == host.user_id
    assert_same_state(parlour, host, guest)


@every_version
@either_side
def test_a_server_that_had_left_the_room_comes_back_to_what_it_is_now(
    pair: Pair, side: str, version: str
) -> None:
    """Nobody told it what happened since its last member left: it has to ask the other one."""
    host, guest = pair.users(side)
    room_id = joined_room(host, guest, version)
    assert_same_state(room_id, host, guest)
    guest.act(room_id, "leave")
    host.sees_membership(guest, room_id, "leave")
    host.put_state(room_id, "m.room.topic", {"topic": "set meanwhile"})
    host.put_state(room_id, "m.room.name", {"name": "named meanwhile"})
    neighbour = pair.ours("neighbour") if side == "minihs" else pair.theirs("neighbour")
    neighbour.join(room_id, via=host.server_name)
    host.set_power(room_id, neighbour.user_id, 50)
    said = [host.send(room_id, f"meanwhile {number}") for number in range(5)]
    guest.join(room_id, via=host.server_name)
    assert guest.state(room_id)["m.room.topic", ""][1] == {"topic": "set meanwhile"}
    read = [event["event_id"] for event in guest.messages(room_id) if event["type"] == "m.room.message"]
    assert read == said[::-1]
    for sender, reader in ((host, guest), (guest, host), (neighbour, guest)):
        reader.sees(sender.send(room_id, "together again"))
    assert_same_state(room_id, host, guest, neighbour)


@either_side
def test_history_from_before_a_join_stays_hidden_where_the_room_says_so(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    visibility = {"type": "m.room.history_visibility", "state_key": ""}
    room_id = host.create("12", initial_state=[{**visibility, "content": {"history_visibility": "joined"}}])
    hidden = host.send(room_id, "for those who are here")
    guest.join(room_id, via=host.server_name)
    shown = host.send(room_id, "for both")
    guest.sees(shown)
    assert [event["event_id"] for event in guest.messages(room_id) if event["type"] == "m.room.message"] == [
        shown
    ]
    assert refusal(lambda: guest.room(room_id, "GET", f"event/{quote(hidden)}")) == "M_NOT_FOUND"
    assert_same_state(room_id, host, guest)


@either_side
def test_an_upgraded_room_is_followed_to_its_replacement(pair: Pair, side: str) -> None:
    host, guest = pair.users(side)
    room_id = joined_room(host, guest, "10")
    new_id = host.room(room_id, "POST", "upgrade", {"new_version": "12"})["replacement_room"]
    until(lambda: ("m.room.tombstone", "") in guest.state(room_id), "the tombstone")
    tombstone = guest.state(room_id)["m.room.tombstone", ""][1]
    assert tombstone["replacement_room"] == new_id
    guest.join(new_id, via=host.server_name)
    create = guest.state(new_id)["m.room.create", ""][1]
    assert (create["room_version"], create["predecessor"]["room_id"]) == ("12", room_id)
    assert_same_state(room_id, host, guest)
    assert_same_state(new_id, host, guest)
