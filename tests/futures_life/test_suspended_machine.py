"""What becomes of a future, in each dialect, when the machine sleeps meanwhile: time passes all the same."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.platform.clock import VirtualClock
from tests.http.dialects.every_parameter import SCHEDULING
from tests.support.future_server import C, FutureServer

WAYS: dict[str, tuple[str, str, Any]] = {
    dialect: (dialect, path, body) for dialect, path, body, _ in SCHEDULING.values()
} | {
    "tokens-on-send": ("tokens-on-send", f"{C}/v3/rooms/{{}}/send/m.x/{{}}?future_timeout=60000", {}),
}


def contents(server: FutureServer, room_id: str) -> list[Any]:
    """What was sent late, of `will-expire` too."""
    events = [event for name in ("m.x", "m.room.message") for event in server.sent(room_id, name)]
    return [event.content for event in events if event.content.get("m.will_expire") != "running"]


@pytest.mark.parametrize("dialect", WAYS)
def test_sleep_counts_and_makes_nothing_early(dialect: str) -> None:
    """A minute is asked for: half is slept and half is waited, or all of it is slept through."""
    name, path, body = WAYS[dialect]
    server = FutureServer(dialects=(name,), clock=VirtualClock(tells_boot=True))
    room_id = server.create()
    assert server.put(path.format(room_id, "a"), body).status == 200
    server.clock.sleep_ms(30_000)
    server.pass_ms(29_900)
    assert contents(server, room_id) == []
    server.pass_ms(10_200)  # clocks are looked at every ten seconds
    assert len(contents(server, room_id)) == 1
    assert server.put(path.format(room_id, "b"), body).status == 200
    server.clock.sleep_ms(3_600_000)
    server.pass_ms(10_200)
    assert len(contents(server, room_id)) == 2
