"""What a world is waiting for, in words: for the moment when something that was expected does not come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minihs.futures.model import FutureID
from minihs.lab.conditions import Link
from minihs.lab.transcript import clock_time
from minihs.store.destinations import DestinationStore
from minihs.store.futures import FutureStore
from minihs.store.reader import Reader

if TYPE_CHECKING:
    from minihs.lab.servers import LabServer
    from minihs.lab.world import World

MOST = 8
"""Of each kind; the rest is counted."""


def pending_report(world: World) -> str:
    """Servers that are down, links that are cut, requests without answer, futures, the next timers."""
    lines = [f"It is {clock_time(world.now_ms)} in the world with the seed {world.seed!r}. Pending:"]
    lines += [f"  {name} is down" for name, server in world.servers.items() if not server.up]
    lines += _links(world)
    waiting = world.wire.waiting()
    lines += [
        f"  no answer yet since {clock_time(each.at_ms)}: "
        f"{each.source} → {each.target} {each.method} {each.path}"
        for each in waiting[:MOST]
    ]
    lines += _more(len(waiting))
    for server in world.servers.values():
        reader, moment = server.database.reader, _moments(server, world.now_ms)
        lines += unsent(server.name, reader, moment)
        lines += scheduled(server.name, reader, moment)
    timers = list(world.clock.waiting())
    for timer in timers[:MOST]:
        lines.append(f"  at {clock_time(timer.due_us / 1000)}: {_name(timer.call, timer.args)}")
    lines += _more(len(timers))
    return "\n".join(lines if len(lines) > 1 else [*lines, "  nothing at all"])


def _links(world: World) -> list[str]:
    names = {world.address(name): name for name in (*world.servers, *world.people)}
    return [
        f"  the way {names[source]} → {names[target]} is {world.network.path(source, target).state.value}"
        for source in names
        for target in names
        if source != target and world.network.state(source, target) is not Link.UP
    ]


def unsent(name: str, reader: Reader, moment: Callable[[int], str]) -> list[str]:
    """Who has not got what a server has for others, and since when it fails. `moment` tells what a wall time
    of the server is in the world's."""
    store = DestinationStore(reader)
    failing = {row.server_name: row for row in reader.now(store.all_failing())}
    lines = []
    for other in reader.now(store.all_with_pending()):
        why, row = "", failing.get(other)
        if row is not None and row.failing_since_ms is not None and row.retry_at_ms is not None:
            since, again = moment(row.failing_since_ms), moment(row.retry_at_ms)
            why = f": it fails since {since} and is tried again at {again}"
        lines.append(f"  {name} has events that {other} has not got{why}")
    return lines[:MOST] + _more(len(lines))


def scheduled(name: str, reader: Reader, moment: Callable[[int], str]) -> list[str]:
    """How many futures a server has, and when the first is due."""
    due = reader.now(FutureStore(reader).all_due_after((-1, FutureID(0)), MOST + 1))
    if not due:
        return []
    count = str(len(due)) if len(due) <= MOST else f"more than {MOST}"
    things = "future" if len(due) == 1 else "futures"
    return [f"  {name} has {count} {things} scheduled, due at {moment(due[0][0])} first"]


def _moments(server: LabServer, now_ms: float) -> Callable[[int], str]:
    here_ms = server.clock.wall_ms()
    return lambda wall_ms: clock_time(max(0.0, now_ms + (wall_ms - here_ms) / server.rate))


def _name(call: Any, args: Any) -> str:
    """The function behind a timer, through the clock of its server."""
    if getattr(call, "__name__", "") == "_call" and args:
        call = args[0]
    return getattr(call, "__qualname__", repr(type(call).__name__))


def _more(count: int) -> list[str]:
    return [f"  … and {count - MOST} more"] if count > MOST else []
