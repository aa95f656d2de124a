"""Rooms between our server and a real Synapse, made on either: what one side does, the other sees."""

from __future__ import annotations

import threading

import pytest

from tests.interop.conftest import Pair, either_side, every_version
from tests.support.peers import Peer, quote, refusal, timeline
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]


@every_version
@either_side
def test_a_redaction_takes_the_content_on_both_sides(pair: Pair, side: str, version: str) -> None:
    host, guest, room_id = pair.room(side, version)
    for sender, reader in ((host, guest), (guest, host)):
        event_id = sender.send(room_id, "said too much")
        reader.sees(event_id)
        redaction = reader.sees(sender.redact(room_id, event_id))
        assert (redaction.get("redacts") or redaction["content"]["redacts"]) == event_id
        for peer in (sender, reader):
            event = peer.room(room_id, "GET", f"event/{quote(event_id)}")
            assert event["content"] == {}
            assert event["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]


@either_side
def test_typing_and_receipts_are_seen(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
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
    host, guest, room_id = pair.room(side)
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


@every_version
@either_side
def test_changes_made_on_both_sides_at_once_end_in_one_state(pair: Pair, side: str, version: str) -> None:
    """Each side builds on what it knows, so the room forks and both have to resolve it alike."""
    host, guest, room_id = pair.room(side, version)
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


@either_side
@pytest.mark.parametrize("visibility", ["joined", "invited", "shared", "world_readable"])
def test_history_from_before_a_join_is_shown_as_the_room_says(pair: Pair, side: str, visibility: str) -> None:
    host, guest = pair.users(side)
    rule = {"type": "m.room.history_visibility", "state_key": ""}
    room_id = host.create("12", initial_state=[{**rule, "content": {"history_visibility": visibility}}])
    before = host.send(room_id, "before the invite")
    host.act(room_id, "invite", guest.user_id)
    invited = host.send(room_id, "before the join")
    pair.joins(guest, room_id, host)
    joined = host.send(room_id, "for both")
    guest.sees(joined)
    shown = {
        "joined": [joined],
        "invited": [joined, invited],
        "shared": [joined, invited, before],
        "world_readable": [joined, invited, before],
    }[visibility]
    read = [event["event_id"] for event in guest.messages(room_id) if event["type"] == "m.room.message"]
    assert read == shown
    for event_id in (before, invited, joined):
        if event_id in shown:
            assert guest.room(room_id, "GET", f"event/{quote(event_id)}")["event_id"] == event_id
        else:
            assert refusal(lambda: guest.room(room_id, "GET", f"event/{quote(event_id)}")) == "M_NOT_FOUND"  # noqa: B023


@either_side
@pytest.mark.parametrize(("old", "new"), [("9", "11"), ("10", "12"), ("11", "12"), ("12", "12")])
def test_an_upgraded_room_is_followed_to_its_replacement(pair: Pair, side: str, old: str, new: str) -> None:
    host, guest, room_id = pair.room(side, old)
    name = f"upgraded-{side}-{old}-{new}"
    alias = f"#{name}:{host.server_name}"
    path = f"/_matrix/client/v3/directory/room/{quote(alias)}"
    host.request("PUT", path, {"room_id": room_id})
    host.put_state(room_id, "m.room.canonical_alias", {"alias": alias})
    host.put_state(room_id, "m.room.topic", {"topic": "carried over"})
    guest.sees(host.set_power(room_id, guest.user_id, 50))

    new_id = host.room(room_id, "POST", "upgrade", {"new_version": new})["replacement_room"]
    until(lambda: ("m.room.tombstone", "") in guest.state(room_id), "the tombstone")
    assert guest.state(room_id)["m.room.tombstone", ""][1]["replacement_room"] == new_id
    assert guest.join(alias, via=host.server_name) == new_id
    host.sees_membership(guest, new_id, "join")
    state = guest.state(new_id)
    create = state["m.room.create", ""][1]
    assert (create["room_version"], create["predecessor"]["room_id"]) == (new, room_id)
    assert state["m.room.topic", ""][1] == {"topic": "carried over"}
    assert state["m.room.canonical_alias", ""][1] == {"alias": alias}
    assert guest.power_of(new_id, guest.user_id) == 50
    host.sees(guest.put_state(new_id, "m.room.topic", {"topic": "with the power carried over"}))


@either_side
def test_further_creators_of_a_room_have_the_power_of_creators(pair: Pair, side: str) -> None:
    """Version 12: `additional_creators` stand above every power level, and cannot be given another."""
    host, guest = pair.users(side)
    room_id = host.create("12", creation_content={"additional_creators": [guest.user_id]})
    pair.joins(guest, room_id, host)
    moderator = pair.neighbour(host, "moderator")
    pair.joins(moderator, room_id, host)
    host.sees(guest.set_power(room_id, moderator.user_id, 100))
    refused = {"minihs": "M_FORBIDDEN", "synapse": "M_UNKNOWN"}[side]
    assert refusal(lambda: host.set_power(room_id, guest.user_id, 0)) == refused
    until(lambda: moderator.power_of(room_id, moderator.user_id) == 100, "the moderator's power")
    assert refusal(lambda: moderator.act(room_id, "kick", guest.user_id)) == "M_FORBIDDEN"
    guest.act(room_id, "kick", moderator.user_id)
    host.sees_membership(moderator, room_id, "leave")
