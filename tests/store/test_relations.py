"""Relations of events that were stored before there was a table of them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from minihs.store.database import migrate


def test_relations_of_stored_events_are_found_by_the_migration(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    old = sqlite3.connect(path, isolation_level=None)
    migrate(old, upto=11)
    contents: list[Any] = [
        {"m.relates_to": {"event_id": "$root", "rel_type": "m.thread"}},
        {"m.relates_to": {"event_id": "$root"}},
        {"m.relates_to": {"event_id": 5, "rel_type": "m.thread"}},
        {"m.relates_to": "x"},
        {"body": "none"},
    ]
    for number, content in enumerate(contents, start=1):
        pdu = json.dumps({"content": content}).encode()
        old.execute(
            "INSERT INTO events (position, event_id, room_id, type, sender, depth, origin_server_ts,"
            " standing, pdu) VALUES (?, ?, '!r', 'm.x', '@a:b', 1, 1, 0, ?)",
            (number, f"${number}", pdu),
        )
    migrate(old)
    assert old.execute("SELECT * FROM relations").fetchall() == [("$root", "$1", "m.thread")]
    old.close()
