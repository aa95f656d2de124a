"""Fills the database of a stopped server with futures: over HTTP a million would take long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minihs.events.ids import RoomID, UserID
from minihs.futures.model import CancelRule, Future, FutureGroup, FutureID, GroupID, Millis
from minihs.store.database import open_database
from minihs.store.future_rows import Payload
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch

OWNERS = 10_000
STEP = 20_000


def populate(path: Path, rooms: Sequence[str], server_name: str, count: int, delay_ms: int) -> None:
    """Schedule `count` futures of 10,000 users in `rooms`, due from `delay_ms` on, a millisecond apart.

    Every other one is a state event that another user's newer state ends, as a "leave" from a call.
    """
    database = open_database(path)
    connection = database.writing
    store = FutureStore(database.reader)
    (last,) = connection.execute("SELECT COALESCE(MAX(future_id), 0) FROM futures").fetchone()
    row = connection.execute("SELECT offset_ms FROM steady_clock").fetchone()
    wall_ms = int(time.time() * 1000)
    steady_ms = wall_ms - (0 if row is None else row[0])
    for begin in range(0, count, STEP):
        batch = Batch()
        for index in range(begin, min(begin + STEP, count)):
            future = _future(last + 1 + index, index, rooms, server_name)
            future = _started(future, steady_ms + index, wall_ms + index, delay_ms)
            group = FutureGroup(GroupID(future.id), future.owner, members=(future,))
            store.add(batch, future, group, Payload(content={"msgtype": "m.text", "body": "later"}))
        connection.execute("BEGIN")
        for sql, params in batch.statements:
            connection.execute(sql, params)
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _future(number: int, index: int, rooms: Sequence[str], server_name: str) -> dict[str, Any]:
    owner = UserID(f"@user{index % OWNERS}:{server_name}")
    is_state = index % 2 == 0
    return {
        "id": FutureID(number),
        "delay_id": f"populated{number:023d}",
        "owner": owner,
        "room_id": RoomID(rooms[index % len(rooms)]),
        "type": "org.matrix.msc3401.call.member" if is_state else "m.room.message",
        "state_key": f"_{owner}_DEVICE{number}_m.call" if is_state else None,
        "cancel_rule": CancelRule.OTHER_SENDER if is_state else CancelRule.NEVER,
        "dialect": "delay-query" if is_state else "merged",
        "reveals_id": True,
    }


def _started(fields: dict[str, Any], steady_ms: int, wall_ms: int, delay_ms: int) -> Future:
    return Future(timeout_ms=delay_ms, started_ms=Millis(steady_ms), since_ts=wall_ms, **fields)
