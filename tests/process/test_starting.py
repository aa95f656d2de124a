"""A server process begins: what it says when it is ready, and when it refuses to start."""

from __future__ import annotations

import re
import socket
import sqlite3
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from minihs.processes import ServerProcess, free_ports
from tests.support.peers import Cast
from tests.support.processes import PATIENCE_S, Stage, until

pytestmark = pytest.mark.process


def refused(command: list[str]) -> str:
    """The one sentence with which a server refuses to start."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if line.startswith("minihs: ")]
    assert len(said) == 1
    assert "Traceback" not in done.stderr
    return said[0]


def contents(folder: Path) -> dict[str, bytes]:
    """All that a data directory holds, but for the lock."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "lock"}


@pytest.fixture
def used(server: ServerProcess, cast: Cast) -> ServerProcess:
    """A server that was used for a while and has been stopped."""
    server.start()
    alice = cast.user(server, "alice")
    room_id = alice.create("12")
    for number in range(50):
        alice.send(room_id, f"message {number} {'x' * 500}")
    server.stop()
    return server


def test_the_ready_line_names_both_addresses_and_comes_once(server: ServerProcess) -> None:
    server.start()
    said = [line for line in server.log_file.read_text().splitlines() if line.startswith("minihs: ")]
    assert said == [
        f"minihs: {server.server_name} is ready: clients at {server.client_url}, "
        f"other servers at https://127.0.0.1:{server.federation_port}"
    ]


def test_metrics_have_a_listener_of_their_own(stage: Stage, cast: Cast) -> None:
    (port,) = free_ports(1)
    server = stage.minihs("minihs", [f"metrics.listen=127.0.0.1:{port}"])
    server.start()
    cast.user(server, "alice").create("12")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        metrics = reply.read().decode()
    created = re.search(r'minihs_http_requests_total\{[^}]*createRoom[^}]*status="200"\} (\S+)', metrics)
    assert created is not None
    assert float(created[1]) == 1
    assert "alice" not in metrics
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server.client_url}/metrics", timeout=5)


def test_a_second_process_on_the_same_data_is_refused_and_the_first_goes_on(
    server: ServerProcess, stage: Stage
) -> None:
    server.start()
    second = stage.minihs("second")
    second.label = server.label
    assert server.process is not None
    assert refused(second.command()) == (
        f"minihs: The data directory {server.data_dir} is in use by another process ({server.process.pid}). "
        "Stop that server, or name another --data-dir."
    )
    with urllib.request.urlopen(f"{server.client_url}/_matrix/client/versions", timeout=5) as reply:
        assert reply.status == 200


def test_a_killed_process_leaves_no_lock_behind(server: ServerProcess) -> None:
    server.start()
    server.kill()
    server.start()
    until(lambda: server.log_file.read_text().count(" is ready: ") == 2, "the second ready line")


@pytest.mark.parametrize("damage", ["header", "second half", "truncated"])
def test_a_damaged_database_is_refused_and_left_as_it_is(used: ServerProcess, damage: str) -> None:
    """Damage of the second half is not found by opening the file, only by reading what lies there."""
    database = used.data_dir / "minihs.db"
    whole = database.read_bytes()
    half = len(whole) // 2
    database.write_bytes(
        {
            "header": b"garbage!" * 8 + whole[64:],
            "second half": whole[:half] + b"\xa5" * (len(whole) - half),
            "truncated": whole[:half],
        }[damage]
    )
    before = contents(used.data_dir)
    sentence = refused(used.command())
    assert sentence.startswith(f"minihs: The database {database} cannot be opened: ")
    assert sentence.endswith("Restore it from a copy, or move it away to start with an empty one.")
    assert contents(used.data_dir) == before
    database.write_bytes(whole)
    used.start()


def test_a_newer_schema_is_refused_and_left_as_it_is(used: ServerProcess) -> None:
    with closing(sqlite3.connect(used.data_dir / "minihs.db")) as connection:
        connection.execute("PRAGMA user_version=9999")
    before = contents(used.data_dir)
    assert "was written by a newer release (schema 9999" in refused(used.command())
    assert contents(used.data_dir) == before


def test_an_address_in_use_is_refused_by_name(server: ServerProcess) -> None:
    with socket.create_server(("127.0.0.1", server.client_port)):
        assert f"127.0.0.1:{server.client_port} cannot be listened on" in refused(server.command())
    server.start()


def test_another_name_on_the_same_data_is_refused(used: ServerProcess) -> None:
    """Keys, rooms and users carry the server's name; with another one none of them would be valid."""
    command = used.command()
    command[command.index("--server-name") + 1] = "example.org"
    sentence = refused(command)
    assert f"belongs to the server {used.server_name}" in sentence
    assert "example.org" in sentence


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("futures.max_delay_ms=soon", "futures.max_delay_ms"),
        ("futures.no_such_setting=1", "no_such_setting"),
        ("rooms.default_version=2", "rooms.default_version"),
    ],
)
def test_a_bad_setting_is_refused_by_name(stage: Stage, setting: str, sentence: str) -> None:
    server = stage.minihs("minihs", [setting])
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not server.data_dir.exists()
