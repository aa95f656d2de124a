"""Scenarios that read like the story they tell: people, rooms, futures, faults, and what is expected.

Everything is named; what nobody knows is answered with the nearest name. An expectation that does not hold
ends the story with all of it so far, what each server believes, and the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from minihs.lab.drawing import Life, Moment, Span, draw_lives
from minihs.lab.driving import duration_ms
from minihs.lab.handles import Handle, Plan, schedule
from minihs.lab.http_client import Response, in_path
from minihs.lab.names import named
from minihs.lab.people import Client
from minihs.lab.report import Drawing, Report
from minihs.lab.views import RoomView, differences, future_on, newest_future, view_of
from minihs.lab.world import World

RESTARTED = "restarted"
ENDED = ("sent", "cancelled", "failed")


class Unfulfilled(AssertionError):
    """An expectation did not hold; the message has the story up to it, the servers' views and the seed."""


class ToldFuture:
    """A future of the story."""

    def __init__(self, name: str, handle: Handle, delay_id: str | None, now_ms: float) -> None:
        """`delay_id` is its public ID, which some dialects do not tell."""
        self.name = name
        self.handle = handle
        self.delay_id = delay_id
        self.moments = [Moment(now_ms, "scheduled")]


class Story:
    """A world, and what is said of it. Names of rooms and futures are the story's own.

    `details` are those of `World`: settings, policies, latencies.
    """

    def __init__(self, title: str, *, servers: Iterable[str], seed: int = 1, **details: Any) -> None:
        self.title = title
        self.seed = seed
        self.world = World(servers, seed=seed, **details)
        self.rooms: dict[str, str] = {}
        self._before: dict[str, list[RoomView]] = {}
        self._spans: list[Span] = []
        self._open: dict[str, float] = {}
        self.futures: dict[str, ToldFuture] = {}
        self.report = Report(name=title, question=title, seed=seed)
        self._say(title)

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.stop()

    # Who and where

    def person(self, name: str, *, on: str) -> Client:
        """Somebody gets an account."""
        client = self.world.user(name, on=on)
        self._say(f"{name} is a user of {on}")
        return client

    def room(
        self,
        name: str,
        *,
        made_by: str,
        joined_by: Collection[str] = (),
        version: str = "12",
        power: dict[str, int] | None = None,
        events: dict[str, int] | None = None,
    ) -> str:
        """A room, public, with its members; `power` is by person, `events` by event type. Its ID."""
        maker = self._person(made_by)
        override: dict[str, Any] = {}
        if power is not None:
            override["users"] = {self._person(who).user_id: level for who, level in power.items()}
            if version != "12":
                override["users"][maker.user_id] = 100
        if events is not None:
            override["events"] = events
        body: dict[str, Any] = {"room_version": version}
        if override:
            body["power_level_content_override"] = override
        room_id = maker.create_room(**body)
        self.rooms[name] = room_id
        for who in joined_by:
            self._person(who).join(room_id, maker.server.name)
        self.world.settle()
        self._before[name] = self._views(name)
        joined = f", joined by {', '.join(joined_by)}" if joined_by else ""
        self._say(f"{made_by} makes the room {name!r} of version {version}{joined}")
        return room_id

    # What people do

    def says(self, who: str, text: str, *, in_room: str) -> str:
        """A message; its event ID."""
        return self._person(who).send(self._room(in_room), text)

    def sets(self, who: str, event_type: str, content: dict[str, Any], *, in_room: str, key: str = "") -> str:
        """A state event; its ID."""
        return self._person(who).set_state(self._room(in_room), event_type, content, key)

    def gives_power(self, who: str, level: int, *, to: str, in_room: str) -> None:
        """Somebody's power becomes `level`."""
        target = self._person(to).user_id
        self._person(who).set_power(self._room(in_room), users={target: level})
        self._say(f"{who} sets the power of {to} to {level}")

    def removes(self, who: str, whom: str, *, from_room: str, ban: bool = False) -> None:
        """A kick, or a ban."""
        path = f"/rooms/{in_path(self._room(from_room))}/{'ban' if ban else 'kick'}"
        self._person(who).post(path, {"user_id": self._person(whom).user_id})
        self._say(f"{who} {'bans' if ban else 'kicks'} {whom}")

    # Futures

    def schedules(
        self,
        who: str,
        name: str,
        *,
        in_room: str,
        content: dict[str, Any] | None = None,
        event_type: str = "m.room.message",
        key: str | None = None,
        dialect: str = "merged",
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> ToldFuture:
        """A future called `name`; without `content`, a message that says its name."""
        delay_ms = duration_ms(days=days, hours=hours, minutes=minutes, seconds=seconds)
        plan = Plan(
            room_id=self._room(in_room),
            type=event_type,
            content={"msgtype": "m.text", "body": name} if content is None else content,
            state_key=key,
            delay_ms=int(delay_ms),
        )
        handle = schedule(self._person(who), plan, dialect)
        server: Any = handle.owner.server
        delay_id = (
            handle.delay_id if self.world.real else newest_future(server, handle.owner.user_id, dialect)
        )
        future = ToldFuture(name, handle, delay_id, self.world.now_ms)
        self.futures[name] = future
        self._say(f"{who} schedules {name!r} by {dialect}, in {delay_ms / 1000:g} s")
        return future

    def restarts(self, name: str) -> Response:
        """A heartbeat."""
        return self._command(name, "restart", RESTARTED)

    def cancels(self, name: str) -> Response:
        """The future is given up."""
        return self._command(name, "cancel", "cancelled")

    def sends_now(self, name: str) -> Response:
        """The future is sent before its time."""
        return self._command(name, "send", "sent")

    # Time and the network

    def waits(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, ms: float = 0
    ) -> None:
        """Time passes."""
        self.world.advance(days=days, hours=hours, minutes=minutes, seconds=seconds, ms=ms)
        if not self.world.real:
            self._see_outcomes()

    def parts(self, *sides: Collection[str]) -> None:
        """The network parts between these sides, and nobody notices."""
        self.world.partition(*sides)
        self._open.setdefault("apart", self.world.now_ms)

    def cuts(self, source: str, target: str, *, one_way: bool = False) -> None:
        """The way from one server or person to another is gone, both ways unless `one_way`; unnoticed."""
        self.world.cut(source, target, one_way=one_way)
        self._open.setdefault(f"{source} {'→' if one_way else '↔'} {target} cut", self.world.now_ms)

    def mends(self) -> None:
        """Everything gets through again; servers are given the time to notice."""
        self.world.heal()
        for name in [name for name in self._open if name == "apart" or name.endswith(" cut")]:
            self._close(name)

    def disturbs(self, one: str, other: str, **conditions: Any) -> None:
        """The way between two machines is bad: `loss=0.1`, `jitter_ms=50` and the like (`Conditions`)."""
        self.world.condition(one, other, **conditions)

    def slows(self, server: str, *, ms: float) -> None:
        """Everything to and from a server takes so much longer."""
        self.world.slow(server, ms)

    def sets_clock(self, server: str, *, seconds_ahead: float) -> None:
        """A server's wall clock is wrong from now on; negative is behind the truth."""
        self.world.server(server).set_clock(skew_ms=round(seconds_ahead * 1000))
        where = "behind" if seconds_ahead < 0 else "ahead"
        self._say(f"the clock of {server} is {abs(seconds_ahead):g} s {where}")

    def kills(self, server: str) -> None:
        """A server's process is gone."""
        self.world.server(server).crash()
        self._open.setdefault(f"{server} down", self.world.now_ms)

    def starts(self, server: str) -> None:
        """A server's process begins again."""
        self.world.server(server).start()
        self._close(f"{server} down")
        self._say(f"{server} is started again")

    # What is expected

    def expect(self, text: str, holds: bool | Callable[[], bool]) -> None:
        """Something that must be so now; Unfulfilled otherwise."""
        held = holds() if callable(holds) else holds
        self.report.check(text, held)
        self.world.transcript.add("expect", "", f"{'✓' if held else '✗'} {text}")
        if not held:
            raise Unfulfilled(self._so_far(text))

    def expect_seen(self, who: str, text: str, *, in_room: str) -> None:
        """Somebody reads this message."""
        self.expect(f"{who} reads {text!r}", text in self._person(who).bodies(self._room(in_room)))

    def expect_unseen(self, who: str, text: str, *, in_room: str) -> None:
        """Somebody does not read this message."""
        self.expect(
            f"{who} does not read {text!r}", text not in self._person(who).bodies(self._room(in_room))
        )

    def expect_standing(
        self, server: str, event_id: str, standing: str, *, in_room: str, called: str = "the event"
    ) -> None:
        """What a server thinks of an event: `accepted`, `soft-failed`, `rejected`, `unknown`."""
        view = self._view(server, in_room)
        found = "unknown" if view is None else view.standing(event_id)
        instead = "" if found == standing else f" (it is {found})"
        self.expect(f"on {server} {called} is {standing}{instead}", found == standing)

    def expect_agreement(self, room: str) -> None:
        """All servers that know the room have the same state of it."""
        differing = differences(self._views(room))
        told = f": {'; '.join(differing)}" if differing else ""
        self.expect(f"the servers agree about {room!r}{told}", not differing)

    def ends(self) -> Report:
        """The report of a story that held, with drawings."""
        try:
            self._take_evidence()
        finally:
            self.world.stop()
        return self.report

    def _take_evidence(self) -> None:
        report, world = self.report, self.world
        self._see_outcomes()
        for name in self.rooms:
            before, views = self._before[name], self._views(name)
            report.show_room(f"The room {name!r} in the beginning", before)
            report.show_room(f"The room {name!r} in the end", views, before=before)
        if self.futures:
            lives = [Life(future.name, tuple(future.moments)) for future in self.futures.values()]
            spans = [*self._spans, *(Span(begins, world.now_ms, name) for name, begins in self._open.items())]
            report.drawings.append(Drawing("Futures in time", draw_lives(lives, world.now_ms, spans)))
        every_view = [view for name in self.rooms for view in self._views(name)]
        report.show_exchange(world, every_view, "Traffic between servers")
        world.gather()
        report.transcript = list(world.transcript.entries)

    def _see_outcomes(self) -> None:
        """What became of the futures that nobody ended by a command."""
        for future in self.futures.values():
            if future.moments[-1].mark in ENDED:
                continue
            ended = self._ended_for_real(future) if self.world.real else self._ended(future)
            if ended is not None:
                mark, at_ts = ended
                began_ms = self.world.clock.wall_ms() - self.world.now_ms + future.handle.owner.server.skew_ms
                at_ms = min(self.world.now_ms, max(future.moments[-1].at_ms, at_ts - began_ms))
                future.moments.append(Moment(at_ms, mark))

    def _ended(self, future: ToldFuture) -> tuple[str, int] | None:
        """How and when, by its server's clock."""
        stored = future.delay_id and future_on(
            self.world.server(future.handle.owner.server.name), future.delay_id
        )
        if not stored or stored.outcome is None:
            return None
        return type(stored.outcome).__name__.lower(), stored.outcome.at_wall_ms

    def _ended_for_real(self, future: ToldFuture) -> tuple[str, int] | None:
        """The same of a server that must be asked, where its dialect tells an ID."""
        owner = future.handle.owner
        if future.delay_id is None or not owner.server.up:
            return None
        answer = owner.request("GET", f"/_matrix/client/v1/delayed_events/{in_path(future.delay_id)}")
        finalised = answer.json.get("finalised") if answer.ok else None
        if finalised is None:
            return None
        mark = "sent" if "event_id" in finalised else "failed" if "error" in finalised else "cancelled"
        return mark, finalised["finalised_ts"]

    # Inside

    def _person(self, name: str) -> Client:
        return named("person", name, self.world.people)

    def _room(self, name: str) -> str:
        return named("room", name, self.rooms)

    def _command(self, name: str, action: str, mark: str) -> Response:
        future = named("future", name, self.futures)
        response = future.handle.do(action)
        if response.ok:
            future.moments.append(Moment(self.world.now_ms, mark))
        self._say(f"{action} of {name!r}: {response.status} {response.errcode or ''}".rstrip())
        return response

    def _view(self, server: str, room: str) -> RoomView | None:
        return view_of(self.world.server(server), self._room(room))

    def _views(self, room: str) -> list[RoomView]:
        return [view for name in self.world.servers if (view := self._view(name, room)) is not None]

    def _close(self, name: str) -> None:
        """What was so until now is so no more."""
        begins_ms = self._open.pop(name, None)
        if begins_ms is not None:
            self._spans.append(Span(begins_ms, self.world.now_ms, name))

    def _say(self, text: str) -> None:
        self.world.transcript.add("say", "", text)

    def _so_far(self, text: str) -> str:
        self.world.gather()
        lines = [f"{self.title}: this was expected and is not so: {text}", "", "The story so far:"]
        lines += self.world.transcript.lines()
        for room in self.rooms:
            lines += ["", *(view.text() for view in self._views(room))]
        return "\n".join([*lines, "", f"The seed is {self.seed}."])
