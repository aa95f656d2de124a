"""What one playing shows: a room before and after, who did what, every answer of the auth rules, the traffic.

An experiment of many cases watches each of them and hands what it saw to its report, found or not.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from minihs.lab.drawing import Life, Moment
from minihs.lab.transcript import Entry
from minihs.lab.views import RoomView, futures_of, view_of
from minihs.lab.watching import Decision
from minihs.lab.wire import Exchange, Traffic

if TYPE_CHECKING:
    from minihs.lab.world import World

Links = dict[tuple[str, str], Traffic]
"""Sums by who asked and who was asked."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One case of an experiment, from one moment to another. Those of a `chapter` belong together."""

    chapter: str
    title: str
    found: str
    before: list[RoomView]
    after: list[RoomView]
    decisions: list[Decision]
    traffic: Links
    lives: list[Life]
    """Of futures, from when their timers were last started."""
    transcript: list[Entry]
    on_page: bool = True
    """Whether the HTML page has it, too; the JSON has all."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "chapter": self.chapter,
            "title": self.title,
            "found": self.found,
            "before": [view.to_json() for view in self.before],
            "after": [view.to_json() for view in self.after],
            "decisions": self.decisions,
            "traffic": [
                {"from": source, "to": target, **msgspec.structs.asdict(traffic)}
                for (source, target), traffic in self.traffic.items()
            ],
            "futures": self.lives,
            "transcript": self.transcript,
        }


class Watch:
    """Watches one room of a world from now on.

    In a world of several rooms (`alone=False`) only what names the room is taken: requests whose path has
    its ID, and transactions that bring PDUs of it, counted as a whole but for those PDUs.
    """

    def __init__(self, world: World, room_id: str, *, alone: bool = True) -> None:
        self._world = world
        self._room_id = room_id
        self._alone = alone
        self._before = views_of(world, room_id)
        self._entries = len(world.transcript.entries)
        self._decisions = len(world.auth_trace.decisions)
        self._traffic = world.wire.traffic()
        self._exchanges: list[Exchange] = []
        if not alone:
            world.wire.on_request.append(self._asked)

    def say(self, text: str) -> None:
        """What the narrator has to say about this room."""
        self._world.transcript.add("say", "", text, room_id=self._room_id)

    def ends(self, chapter: str, title: str, found: str, *, on_page: bool = True) -> Evidence:
        """What was seen until now."""
        world = self._world
        return Evidence(
            chapter=chapter,
            title=title,
            found=found,
            before=self._before,
            after=views_of(world, self._room_id),
            decisions=decisions_about(world, {self._room_id}, since=self._decisions),
            traffic=self._since() if self._alone else self._of_the_room(),
            lives=lives_of(world, self._room_id),
            transcript=[each for each in world.transcript.entries[self._entries :] if self._concerns(each)],
            on_page=on_page,
        )

    def _asked(self, exchange: Exchange) -> None:
        if self._room_id in exchange.pdu_rooms or self._room_id in unquote(exchange.path):
            self._exchanges.append(exchange)

    def _since(self) -> Links:
        now = self._world.wire.traffic()
        grown = {link: now[link] - self._traffic.get(link, Traffic()) for link in now}
        return {link: traffic for link, traffic in grown.items() if traffic.requests}

    def _of_the_room(self) -> Links:
        links: Links = {}
        for each in self._exchanges:
            pdus = each.pdu_rooms.count(self._room_id)
            one = Traffic(1, pdus, each.edus, each.request_bytes + each.response_bytes)
            link = (each.source, each.target)
            links[link] = links.get(link, Traffic()) + one
        return {link: links[link] for link in sorted(links)}

    def _concerns(self, entry: Entry) -> bool:
        if self._alone:
            return True
        if entry.kind == "request":
            return self._room_id in unquote(entry.text)
        return bool(entry.details.get("room_id", self._room_id) == self._room_id)


def views_of(world: World, room_id: str) -> list[RoomView]:
    """The room as each server has it that knows it."""
    return [view for name in world.servers if (view := view_of(world.server(name), room_id)) is not None]


def lives_of(world: World, room_id: str) -> list[Life]:
    """The futures for a room on every server, and what became of them, by true time."""
    lives = []
    for server in world.servers.values():
        began_ms = world.clock.wall_ms() - world.now_ms + server.skew_ms
        for future in futures_of(server, room_id):
            moments = [Moment(min(world.now_ms, future.since_ts - began_ms), "scheduled")]
            if future.outcome is not None:
                mark = type(future.outcome).__name__.lower()
                moments.append(Moment(min(world.now_ms, future.outcome.at_wall_ms - began_ms), mark))
            lives.append(Life(f"{future.type.rpartition('.')[2]} of {future.owner}", tuple(moments)))
    return lives


def decisions_about(world: World, rooms: Collection[str], *, since: int = 0) -> list[Decision]:
    """What the auth rules were asked about events of these rooms, but for the first so many questions."""
    return [each for each in world.auth_trace.decisions[since:] if each.room_id in rooms]
