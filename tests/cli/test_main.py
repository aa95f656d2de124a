"""The command line as a whole: it is there at once, and a start pays only for what it uses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from minihs import __version__
from minihs.cli import main
from tests.support.commands import minihs


def imported_by(statement: str) -> set[str]:
    """The modules that are there after a fresh interpreter has run the statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def test_the_help_needs_neither_twisted_nor_the_server() -> None:
    assert not imported_by("import minihs.cli") & {"twisted", "msgspec", "sqlite3", "minihs.server"}


def test_a_start_does_not_load_what_it_does_not_use() -> None:
    """Each of these costs milliseconds or megabytes, and is loaded when somebody asks for it."""
    late = {"prometheus_client", "trustme", "rich", "treq", "twisted.web.client", "twisted.names.client"}
    parts = {"minihs.demo", "minihs.lab"}
    loaded = imported_by("import minihs.cli, minihs.serve")
    assert not loaded & (late | parts)
    assert {"minihs.server", "twisted.internet.defer"} <= loaded


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in sorted(group.commands.items()):
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*path, "--help"])
    assert result.exit_code == 0
    command: click.Command = main
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]}"


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert result.exit_code == 0
    assert result.output.rstrip().endswith(__version__)


@pytest.mark.parametrize("name", [[], ["--server-name", "hs1"]], ids=["without a name", "with a name"])
@pytest.mark.parametrize(
    "command",
    [
        ["futures", "list"],
        ["users", "list"],
        ["users", "lock", "alice"],
        ["rooms", "purge", "!r:hs1", "--yes"],
    ],
    ids=" ".join,
)
def test_a_directory_without_a_server_is_said_to_be_one_and_gets_none(
    tmp_path: Path, command: list[str], name: list[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    ended = CliRunner().invoke(main, [*command, "--data-dir", str(nowhere), *name])
    assert ended.exit_code == 1
    assert ended.output == f"Error: There is no server in {nowhere}: say where one is, with --data-dir.\n"
    assert not nowhere.exists()


def test_the_first_account_of_a_directory_makes_its_server(tmp_path: Path) -> None:
    made = minihs(
        *("users", "create", "alice", "--server-name", "hs1", "--data-dir", tmp_path / "new"),
        "--password-stdin",
        stdin="a long password\n",
    )
    assert (made.code, made.out, made.err) == (0, "@alice:hs1 was made.\n", "")
