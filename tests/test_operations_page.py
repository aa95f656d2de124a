"""What `docs/operations.md` names is there: commands, metrics, settings, exit codes; and its backup works."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest

from minihs.cli.futures import futures
from minihs.cli.users import users
from minihs.config import load_config, setting_names
from minihs.hosting import EXIT_DATABASE_FAILED
from minihs.serve import EXIT_CANNOT_START, EXIT_INTERRUPTED
from minihs.store.database import open_database, stored_server_name
from tests.support.world import World
from tests.world.test_metrics import Scrape

PAGE = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("group", [users, futures], ids=["users", "futures"])
def test_the_verbs_of_a_command_are_those_of_the_program(group: click.Group) -> None:
    [verbs] = re.findall(rf"^minihs {group.name} (\S+\|\S+)$", PAGE, re.MULTILINE)
    assert sorted(verbs.split("|")) == sorted(group.commands)


def test_every_metric_is_explained_and_every_explained_metric_is_there() -> None:
    exposed = set(re.findall(r"^# TYPE (minihs_\w+) ", Scrape(World("hs1"), "hs1").text(), re.MULTILINE))
    exposed = {name for name in exposed if not name.endswith("_created")}
    explained: set[str] = set()
    for row in re.findall(r"^\| (`minihs_.*?) \|", PAGE, re.MULTILINE):
        first, *rest = re.findall(r"`(\S+)`", row)
        explained.add(first)
        for name in rest:
            stem = "minihs_federation_destinations" if "failing" in name else "minihs_federation"
            explained.add(name.replace("…", stem))
    assert explained == exposed


def test_the_exit_codes_are_those_of_the_program() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == {0, EXIT_CANNOT_START, EXIT_DATABASE_FAILED, EXIT_INTERRUPTED}


def test_every_setting_that_is_named_exists() -> None:
    sections = {name.partition(".")[0] for name in setting_names()}
    named = set(re.findall(rf"`((?:{'|'.join(sorted(sections))})\.\w+)", PAGE)) - {"server.db"}
    assert named
    assert named <= set(setting_names())


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_of_settings_can_be_used(example: str, tmp_path: Path) -> None:
    file = tmp_path / "minihs.toml"
    file.write_text(example)
    load_config(file, {"server.name": "example.org"})


def test_the_backup_of_a_database_in_use_can_be_opened(tmp_path: Path) -> None:
    [command] = re.findall(r"^python3 (-c .*?\n.*)$", PAGE, re.MULTILINE)
    paths = {"/var/lib/minihs/minihs.db": tmp_path / "minihs.db", "/backup/minihs.db": tmp_path / "copy.db"}
    arguments = [str(paths.get(part, part)) for part in shlex.split(command.replace("\\\n", " "))]
    database = open_database(tmp_path / "minihs.db")
    database.claim("hs.test")
    assert (tmp_path / "minihs.db-wal").stat().st_size > 0  # what was written is in the log only
    subprocess.run([sys.executable, *arguments], check=True, timeout=60)
    database.close()
    assert stored_server_name(tmp_path / "copy.db") == "hs.test"
    open_database(tmp_path / "copy.db").close()
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    copy.close()
