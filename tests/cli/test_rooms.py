"""`minihs rooms …` beside a running server and without one, as processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from minihs.demo.client import Client, RequestFailed
from tests.support.commands import minihs
from tests.support.processes import Stage

V3 = "/_matrix/client/v3"


@pytest.mark.process
def test_rooms_are_removed_whether_the_server_runs_or_not(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    server = stage.minihs("hs")
    where = ("--data-dir", server.data_dir, "--yes")
    alice = Client("127.0.0.1", server.client_port)
    try:
        server.start()
        alice.register("alice", "a long password")
        rooms = [alice.request("POST", f"{V3}/createRoom", {})["room_id"] for _ in range(2)]
        refused = minihs("rooms", "purge", rooms[0], *where)
        assert refused.code != 0
        assert "They must leave first" in refused.err
        for room_id in rooms:
            alice.request("POST", f"{V3}/rooms/{room_id}/leave", {})
        assert minihs("rooms", "purge", rooms[0], *where).out == f"{rooms[0]} is removed.\n"
        alice.request("GET", f"{V3}/rooms/{rooms[1]}/state")
        server.stop()
        assert minihs("rooms", "purge", rooms[1], *where).out == f"{rooms[1]} is removed.\n"
        server.start()
        with pytest.raises(RequestFailed) as unknown:
            alice.request("GET", f"{V3}/rooms/{rooms[1]}/state")
        assert unknown.value.errcode == "M_FORBIDDEN"
    finally:
        alice.close()
        stage.close()
