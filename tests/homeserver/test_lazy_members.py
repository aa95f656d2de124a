"""What lazy loading remembers of each device."""

from __future__ import annotations

from minihs.events.ids import EventID, RoomID, UserID
from minihs.homeserver.sync.lazy_members import LazyMembers
from minihs.homeserver.sync.positions import StreamToken

DEVICE = (UserID("@alice:hs1"), "PHONE")
ROOM, BOB = RoomID("!r:hs1"), UserID("@bob:hs1")
SENT = {ROOM: {BOB: EventID("$1")}}


def token(position: int) -> StreamToken:
    return StreamToken.at_event(position)


def begun() -> LazyMembers:
    """A device whose first sync ended at 1 and brought Bob."""
    members = LazyMembers()
    assert members.held(DEVICE, None) == {}
    members.sent(DEVICE, token(1), SENT)
    return members


def test_what_was_sent_counts_once_the_device_has_its_token() -> None:
    members = begun()
    assert members.held(DEVICE, token(1)) == SENT


def test_what_was_lost_with_a_reply_does_not_count() -> None:
    members = begun()
    members.held(DEVICE, token(1))
    members.sent(DEVICE, token(2), {ROOM: {BOB: EventID("$2")}})
    assert members.held(DEVICE, token(1)) == SENT


def test_a_newer_event_takes_the_place_of_an_older_one() -> None:
    members = begun()
    members.held(DEVICE, token(1))
    members.sent(DEVICE, token(2), {ROOM: {BOB: EventID("$2")}})
    assert members.held(DEVICE, token(2)) == {ROOM: {BOB: "$2"}}


def test_a_token_that_is_not_known_starts_afresh() -> None:
    members = begun()
    assert members.held(DEVICE, token(99)) == {}


def test_a_first_sync_starts_afresh() -> None:
    members = begun()
    members.held(DEVICE, token(1))
    assert members.held(DEVICE, None) == {}


def test_devices_do_not_know_of_one_another() -> None:
    members = begun()
    assert members.held((DEVICE[0], "LAPTOP"), token(1)) == {}


def test_only_so_many_devices_are_remembered() -> None:
    members = LazyMembers(max_devices=1)
    members.held(DEVICE, None)
    members.sent(DEVICE, token(1), SENT)
    members.held((DEVICE[0], "LAPTOP"), None)
    assert members.held(DEVICE, token(1)) == {}
