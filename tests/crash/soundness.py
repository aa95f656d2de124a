"""What must hold of a database at any moment, whatever was lost: it is whole, and its tables agree.

Looks at SQL on purpose: outcomes, timers and events must agree in every state that a crash can leave,
also where no request would show it.
"""

from __future__ import annotations

import hashlib

from minihs.store.database import Database

CONTRADICTIONS = {
    "a sent future without its event": """
        SELECT future_id FROM futures f LEFT JOIN events USING (event_id)
        WHERE outcome = 1 AND events.event_id IS NULL
            -- Of rooms that the server is not in, it keeps memberships and no events.
            AND NOT (f.type = 'm.room.member' AND f.room_id IN (SELECT room_id FROM distant_rooms))
        ORDER BY future_id""",
    "an event of a future that is not said to be sent as this event": """
        SELECT e.event_id FROM events e LEFT JOIN futures f
            ON f.delay_id = e.delay_id AND f.outcome = 1 AND f.event_id = e.event_id
        WHERE e.delay_id IS NOT NULL AND f.future_id IS NULL ORDER BY e.event_id""",
    "two events of one group": """
        SELECT group_id FROM futures WHERE outcome = 1 GROUP BY group_id HAVING COUNT(*) > 1
        ORDER BY group_id""",
    "a timer without a scheduled future, or the other way round": """
        SELECT future_id FROM futures
        WHERE outcome IS NULL AND timeout_ms IS NOT NULL
            AND future_id NOT IN (SELECT future_id FROM future_timers)
        UNION SELECT future_id FROM future_timers
        WHERE future_id NOT IN (SELECT future_id FROM futures WHERE outcome IS NULL) ORDER BY future_id""",
    "a timer that rings at another time than its delay says": """
        SELECT future_id FROM future_timers t JOIN futures USING (future_id)
        WHERE t.due_ms <> t.started_ms + timeout_ms ORDER BY future_id""",
    "an action future that nothing will end": """
        SELECT group_id FROM futures WHERE outcome IS NULL
        GROUP BY group_id HAVING COUNT(timeout_ms) = 0 ORDER BY group_id""",
    "a wrong count of scheduled futures": """
        SELECT owner FROM future_counts c
        WHERE scheduled <> (SELECT COUNT(*) FROM futures f WHERE f.owner = c.owner AND f.outcome IS NULL)
        ORDER BY owner""",
    "a finished group with members that are not": """
        SELECT group_id FROM futures GROUP BY group_id
        HAVING SUM(outcome = 1) > 0 AND SUM(outcome IS NULL) > 0 ORDER BY group_id""",
}


def check_database(database: Database) -> bytes:
    """AssertionError if the database contradicts itself; a digest of all that it says."""
    execute = database.writing.execute
    assert execute("PRAGMA integrity_check").fetchall() == [("ok",)], "the database is damaged"
    assert not execute("PRAGMA foreign_key_check").fetchall(), "a reference leads nowhere"
    for what, sql in CONTRADICTIONS.items():
        found = execute(sql).fetchall()
        assert not found, f"{what}: {len(found)} times, such as {found[0]}"
    digest = hashlib.blake2b(digest_size=16)
    tables = execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    for (table,) in tables:
        rows = sorted(map(repr, execute(f"SELECT * FROM {table}")))
        digest.update("\n".join((table, *rows)).encode())
    return digest.digest()
