"""Walks through space trees: their bounds."""

from __future__ import annotations

from typing import Any, cast

from minihs.events.ids import RoomID, ServerName, UserID
from minihs.homeserver.room_actions.hierarchy import (
    MAX_PAGE,
    MAX_ROOMS,
    MAX_STEPS,
    PAGE_MS,
    Hierarchy,
    TreePage,
)
from minihs.homeserver.room_actions.room_previews import Preview, RoomPreviews
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy
from minihs.rooms.spaces import ChildLink, SpaceChild
from minihs.rooms.summary import RoomSummary
from tests.support.deferreds import run

ALICE = UserID("@alice:hs1")
ROOT = RoomID("!0:hs1")


class Endless:
    """A tree in which room n has the children `children(n)`; asking takes `delay_ms`, some are not there."""

    def __init__(self, children: Any, *, delay_ms: int = 0, missing: Any = lambda number: False) -> None:
        self.clock = VirtualClock()
        self.children = children
        self.delay_ms = delay_ms
        self.missing = missing
        self.asked = 0
        self.hierarchy = Hierarchy(
            clock=self.clock, entropy=SeededEntropy(1), previews=cast(RoomPreviews, self)
        )

    def look_ahead(self, *_: Any) -> None:
        """Nobody else is asked here."""

    async def preview(self, user_id: UserID, room_id: RoomID, *_: Any, **__: Any) -> Preview | None:
        self.asked += 1
        self.clock.advance(self.delay_ms / 1000)
        number = int(room_id[1:].split(":")[0])
        if self.missing(number):
            return None
        links = [_link(RoomID(f"!{child}:hs1")) for child in self.children(number)]
        summary = RoomSummary(
            room_id=room_id, num_joined_members=1, world_readable=True, guest_can_join=False
        )
        return Preview(summary, tuple(links))

    def page(self, since: str | None = None, **limits: int) -> TreePage:
        page: TreePage = run(self.clock, self.hierarchy.page(ALICE, ROOT, since=since, **limits))
        return page

    def walk(self) -> list[TreePage]:
        pages = [self.page(limit=MAX_PAGE)]
        while pages[-1].next_batch is not None:
            pages.append(self.page(pages[-1].next_batch, limit=MAX_PAGE))
        return pages


def _link(room_id: RoomID) -> ChildLink:
    event = SpaceChild(type="m.space.child", state_key=room_id, sender=ALICE, content={}, origin_server_ts=1)
    return ChildLink(room_id, (ServerName("hs1"),), event)


def test_a_walk_ends_after_a_thousand_rooms() -> None:
    tree = Endless(lambda number: range(number * 10 + 1, number * 10 + 11))
    assert sum(len(page.rooms) for page in tree.walk()) == MAX_ROOMS


def test_a_chain_of_spaces_is_followed_for_fifty() -> None:
    tree = Endless(lambda number: [number + 1])
    assert sum(len(page.rooms) for page in tree.walk()) == 51


def test_a_page_has_at_most_a_hundred_rooms_whatever_the_limit() -> None:
    tree = Endless(lambda number: range(1, 500) if number == 0 else ())
    assert len(tree.page(limit=100_000).rooms) == MAX_PAGE


def test_links_that_lead_nowhere_cost_a_bounded_number_of_steps_for_a_page() -> None:
    tree = Endless(lambda number: range(1, 5_000) if number == 0 else (), missing=lambda number: number > 0)
    pages = tree.walk()
    assert [len(page.rooms) for page in pages] == [1, 0, 0, 0, 0]
    assert tree.asked == 5_000
    assert tree.asked / len(pages) <= MAX_STEPS


def test_a_page_that_takes_too_long_ends_where_it_is_and_goes_on_from_there() -> None:
    tree = Endless(lambda number: range(1, 10) if number == 0 else (), delay_ms=PAGE_MS // 4)
    first = tree.page()
    assert len(first.rooms) == 4
    second = tree.page(first.next_batch)
    assert [room.summary.room_id for room in second.rooms] == [f"!{number}:hs1" for number in range(4, 8)]
