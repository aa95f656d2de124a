"""Who may see what: the numbered rules of history visibility, before and after the event."""

from __future__ import annotations

import pytest

from minihs.events.event import Event
from minihs.events.ids import ServerName
from minihs.rooms.visibility import HistoryVisibility, may_see, server_may_see, visibility_in

from .drawing import ALICE, BOB, CAROL, Drawing, member

WORLD_READABLE = HistoryVisibility.WORLD_READABLE
SHARED = HistoryVisibility.SHARED
INVITED = HistoryVisibility.INVITED
JOINED = HistoryVisibility.JOINED
HS1, HS2 = ServerName("hs1"), ServerName("hs2")
FAR = "@far:hs2"


def message() -> Event:
    return Drawing("12").add("$message", ALICE, "m.room.message", None, {"body": "x"})


def setting(value: object, state_key: str = "") -> Event:
    content = {"history_visibility": value}
    return Drawing("12").add("$setting", ALICE, "m.room.history_visibility", state_key, content)


def membership_of(user_id: str, membership: str) -> Event:
    return Drawing("12").add("$member", ALICE, *member(user_id, membership))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"history_visibility": "world_readable"}, WORLD_READABLE),
        ({"history_visibility": "shared"}, SHARED),
        ({"history_visibility": "invited"}, INVITED),
        ({"history_visibility": "joined"}, JOINED),
        ({"history_visibility": "secret"}, SHARED),
        ({"history_visibility": ["joined"]}, SHARED),
        ({}, SHARED),
        (None, SHARED),
    ],
)
def test_a_setting_that_is_absent_or_not_understood_is_shared(
    content: dict[str, object] | None, expected: HistoryVisibility
) -> None:
    assert visibility_in(content) is expected


# rows: membership before the event, joins later; columns: who of the four settings lets the event be seen
@pytest.mark.parametrize(
    ("membership", "joins_later", "lets_see"),
    [
        (None, False, {WORLD_READABLE}),
        (None, True, {WORLD_READABLE, SHARED}),
        ("leave", False, {WORLD_READABLE}),
        ("leave", True, {WORLD_READABLE, SHARED}),
        ("ban", False, {WORLD_READABLE}),
        ("ban", True, {WORLD_READABLE, SHARED}),
        ("knock", False, {WORLD_READABLE}),
        ("knock", True, {WORLD_READABLE, SHARED}),
        ("invite", False, {WORLD_READABLE, INVITED}),
        ("invite", True, {WORLD_READABLE, SHARED, INVITED}),
        ("join", False, {WORLD_READABLE, SHARED, INVITED, JOINED}),
        ("join", True, {WORLD_READABLE, SHARED, INVITED, JOINED}),
    ],
)
def test_setting_and_membership_at_the_event_decide(
    membership: str | None, joins_later: bool, lets_see: set[HistoryVisibility]
) -> None:
    seen_under = {
        visibility
        for visibility in HistoryVisibility
        if may_see(message(), BOB, visibility=visibility, membership=membership, joins_later=joins_later)
    }
    assert seen_under == lets_see


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        (WORLD_READABLE, "joined", True),
        (JOINED, "world_readable", True),
        (JOINED, "invited", False),
        (INVITED, "joined", False),
        (JOINED, "nonsense", False),
    ],
)
def test_a_change_of_the_setting_is_seen_if_either_setting_lets_it(
    before: HistoryVisibility, after: str, seen: bool
) -> None:
    assert may_see(setting(after), BOB, visibility=before, membership=None, joins_later=False) is seen


def test_only_the_setting_with_the_empty_state_key_counts_as_a_change() -> None:
    event = setting("world_readable", state_key="else")
    assert not may_see(event, BOB, visibility=JOINED, membership=None, joins_later=False)


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        (None, "join", True),
        ("join", "leave", True),
        ("join", "ban", True),
        ("invite", "leave", False),
        (None, "invite", False),
    ],
)
def test_ones_own_membership_is_seen_if_either_side_of_the_change_lets_it(
    before: str | None, after: str, seen: bool
) -> None:
    event = membership_of(BOB, after)
    assert may_see(event, BOB, visibility=JOINED, membership=before, joins_later=False) is seen


def test_an_invite_is_seen_by_the_invited_where_invited_people_see() -> None:
    event = membership_of(BOB, "invite")
    assert may_see(event, BOB, visibility=INVITED, membership=None, joins_later=False)
    assert not may_see(event, CAROL, visibility=INVITED, membership=None, joins_later=False)


class TestServers:
    def sees(self, event: Event, visibility: HistoryVisibility, **memberships: str) -> bool:
        rows = [(f"@{name}:hs2", membership) for name, membership in memberships.items()]
        return server_may_see(event, HS2, visibility=visibility, memberships=[(BOB, "join"), *rows])  # type: ignore[list-item]

    def test_open_history_is_for_every_server(self) -> None:
        assert self.sees(message(), WORLD_READABLE)
        assert self.sees(message(), SHARED)

    def test_closed_history_is_for_servers_with_somebody_there(self) -> None:
        assert not self.sees(message(), JOINED)
        assert not self.sees(message(), JOINED, far="invite")
        assert self.sees(message(), JOINED, far="invite", near="join")
        assert not self.sees(message(), INVITED, far="leave")
        assert self.sees(message(), INVITED, far="invite")

    def test_a_server_sees_what_it_sent(self) -> None:
        own = Drawing("12").add("$own", FAR, "m.room.message", None, {})
        assert self.sees(own, JOINED)

    def test_a_server_sees_memberships_that_let_its_users_in_and_changes_that_open_up(self) -> None:
        assert self.sees(membership_of(FAR, "join"), JOINED)
        assert not self.sees(membership_of(FAR, "ban"), JOINED)
        assert self.sees(setting("world_readable"), JOINED)
        assert not self.sees(setting("invited"), JOINED)

    def test_a_state_key_that_is_no_user_id_belongs_to_no_server(self) -> None:
        assert not self.sees(membership_of("hs2", "join"), JOINED)
