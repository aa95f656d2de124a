"""`minihs users …` beside a running server and without one, as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from minihs.cli import main
from minihs.processes import ServerProcess
from minihs.store.data_directory import DataDirectory
from tests.support.commands import minihs
from tests.support.processes import Stage

PASSWORD = "a long password"


def ok(*args: object, stdin: str = "") -> list[str]:
    ended = minihs("users", *args, stdin=stdin)
    assert (ended.code, ended.err) == (0, "")
    return ended.out.splitlines()


def refused(*args: object, stdin: str = "") -> str:
    ended = minihs("users", *args, stdin=stdin)
    assert ended.code != 0
    assert "Traceback" not in ended.err
    return ended.err


def logged_in(server: ServerProcess) -> str:
    """An access token of alice."""
    identifier = {"type": "m.id.user", "user": "alice"}
    body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    reply = requests.post(f"{server.client_url}/_matrix/client/v3/login", json=body, timeout=20)
    return str(reply.json()["access_token"])


def whoami(server: ServerProcess, token: str) -> tuple[int, str | None]:
    reply = requests.get(
        f"{server.client_url}/_matrix/client/v3/account/whoami",
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
    )
    return reply.status_code, reply.json().get("errcode")


@pytest.mark.process
def test_accounts_are_made_and_changed_whether_the_server_runs_or_not(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    # A path far longer than the address of a UNIX socket can be.
    server = stage.minihs("-".join(["a-long-name"] * 12))
    where = ("--data-dir", server.data_dir)
    name = server.server_name
    try:
        # Before the first start: the server must be named, once.
        assert "There is no server in" in refused("list", *where)
        unnamed = refused("create", "alice", "--password-stdin", *where, stdin=PASSWORD)
        assert "server.name: say what" in unnamed
        made = ok(
            "create", "alice", "--admin", "--password-stdin", "--server-name", name, *where, stdin=PASSWORD
        )
        assert made == [f"@alice:{name} was made, an administrator."]
        assert ok("list", *where) == [f"@alice:{name}  admin"]

        # Beside the running server, which has remembered who alice is.
        server.start()
        alice = logged_in(server)
        assert whoami(server, alice) == (200, None)
        assert ok("lock", "alice", *where) == [f"@alice:{name} is locked."]
        assert whoami(server, alice) == (401, "M_USER_LOCKED")
        assert ok("unlock", f"@alice:{name}", *where) == [f"@alice:{name} is not locked."]
        assert whoami(server, alice) == (200, None)
        ok("create", "bob", "--password", PASSWORD, *where)
        assert "There is no user carol on this server." in refused("show", "carol", *where)
        assert "This username is taken." in refused("create", "bob", "--password", PASSWORD, *where)

        # Killed: the socket is still there, and nobody answers.
        server.kill()
        assert (server.data_dir / "admin.sock").exists()
        assert ok("suspend", "bob", *where) == [f"@bob:{name} is suspended."]
        assert ok("deactivate", "alice", "--yes", *where) == [f"@alice:{name} is deactivated."]
        assert ok("list", *where) == [f"@alice:{name}  deactivated", f"@bob:{name}  suspended"]
        assert not (server.data_dir / "command.sock").exists()
    finally:
        stage.close()


@pytest.mark.process
def test_two_commands_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Each waits until the one that owns the directory is done."""
    where = ["--data-dir", str(tmp_path / "data"), "--server-name", "hs.test"]
    create = [sys.executable, "-m", "minihs", "users", "create"]
    with ExitStack() as ending:  # also when one of them takes too long
        commands = [
            ending.enter_context(
                subprocess.Popen(
                    [*create, name, "--password", PASSWORD, *where],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            for name in ("alice", "bob")
        ]
        for command in commands:
            ending.callback(command.kill)
        results = [(command.communicate(timeout=60)[1], command.returncode) for command in commands]
    assert results == [(b"", 0)] * 2
    listed = ok("list", *where)
    assert listed == ["@alice:hs.test", "@bob:hs.test"]


def test_an_owner_of_the_directory_that_does_not_answer_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the lock and does nothing else."""
    monkeypatch.setattr("minihs.cli.administration.PATIENCE_S", 0.0)
    monkeypatch.setattr("os.umask", lambda _mask: 0)
    directory = DataDirectory(tmp_path)
    directory.lock()
    create = ["users", "create", "alice", "--password", PASSWORD, "--server-name", "hs.test"]
    result = CliRunner().invoke(main, [*create, "--data-dir", str(tmp_path)])
    directory.unlock()
    assert result.exit_code == 1
    assert f"The process that owns {tmp_path} does not answer commands" in result.output


def test_a_deactivation_that_is_not_confirmed_does_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["users", "deactivate", "alice", "--data-dir", str(tmp_path)], input="n\n"
    )
    assert result.exit_code == 1
    assert "End the account alice for good?" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_asked_for_where_nobody_can_answer(tmp_path: Path) -> None:
    where = ["--data-dir", str(tmp_path), "--server-name", "hs.test"]
    result = CliRunner().invoke(main, ["users", "create", "alice", *where])
    assert result.exit_code == 2
    assert "use --password-stdin" in result.output
    both = ["--password", "x", "--password-stdin"]
    result = CliRunner().invoke(main, ["users", "create", "alice", *both, *where])
    assert result.exit_code == 2
    assert "exclude each other" in result.output
    assert list(tmp_path.iterdir()) == []
