"""Fills the database of a stopped server with futures: over HTTP a million would take long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from minihs.events.ids import RoomID, UserID
from minihs.futures.model import CancelRule, Future, FutureGroup, FutureID, GroupID, Millis
from minihs.store.database import open_database
from minihs.store.future_rows import Payload
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch

STEP = 20_000

DelayOf = Callable[[int], int]


def populate(
    path: Path,
    rooms: Sequence[str],
    owners: Sequence[str],
    count: int,
    delay_of: DelayOf,
    *,
    calls: bool = False,
) -> list[str]:
    """Schedule `count` futures, in turn in each room and by each owner; returns their delay IDs.

    All their timers start now; `delay_of(index)` is in milliseconds. With `calls`, every other one is a state
    event that another user's newer state ends, as a "leave" from a call.
    """
    database = open_database(path)
    connection = database.writing
    store = FutureStore(database.reader)
    (last,) = connection.execute("SELECT COALESCE(MAX(future_id), 0) FROM futures").fetchone()
    row = connection.execute("SELECT offset_ms FROM steady_clock").fetchone()
    wall_ms = int(time.time() * 1000)
    steady_ms = Millis(wall_ms - (0 if row is None else row[0]))
    ids = []
    for begin in range(0, count, STEP):
        batch = Batch()
        for index in range(begin, min(begin + STEP, count)):
            number = last + 1 + index
            owner = UserID(owners[index % len(owners)])
            is_state = calls and index % 2 == 0
            future = Future(
                id=FutureID(number),
                delay_id=f"populated{number:023d}",
                owner=owner,
                room_id=RoomID(rooms[index % len(rooms)]),
                type="m.call.member" if is_state else "m.room.message",
                state_key=f"_{owner}_{number}_m.call" if is_state else None,
                timeout_ms=delay_of(index),
                started_ms=steady_ms,
                since_ts=wall_ms,
                cancel_rule=CancelRule.OTHER_SENDER if is_state else CancelRule.NEVER,
                dialect="delay-query" if is_state else "merged",
                reveals_id=True,
            )
            ids.append(future.delay_id)
            group = FutureGroup(GroupID(future.id), owner, members=(future,))
            store.add(batch, future, group, Payload(content={"msgtype": "m.text", "body": f"due {index}"}))
        connection.execute("BEGIN")
        for sql, params in batch.statements:
            connection.execute(sql, params)
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return ids
