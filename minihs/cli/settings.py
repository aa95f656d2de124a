"""The options by which commands are given a server's settings, and their way to a `Config`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from minihs.config import Config


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that reads a server's settings; `chosen_settings` takes their values."""
    for option in (
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any setting by its dotted name, such as futures.max_delay_ms=60000; repeatable.",
        ),
        click.option("--data-dir", metavar="DIR", help="Database and signing key."),
        click.option("--server-name", metavar="NAME", help="What stands behind the colon in user IDs."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE.toml",
            help="Settings file; flags override it.",
        ),
    ):
        command = option(command)
    return command


def chosen_settings(
    *,
    config_file: Path | None,
    settings: Sequence[str],
    server_name: str | None,
    data_dir: str | None,
    flags: Mapping[str, Any] | None = None,
    of_a_server: bool = False,
) -> Config:
    """The settings of the file, overridden by `--set`, overridden by flags (dotted name to value; None: not
    given). A server that has been started before need not be named again; `of_a_server` says that there must
    be one.

    Ends the command with a sentence when they cannot be used.
    """
    from minihs.config import InvalidSettings, load_config, parse_setting
    from minihs.store.data_directory import DataDirectory
    from minihs.store.database import DatabaseUnusable, stored_server_name

    def known_name(folder: str) -> str | None:
        database = DataDirectory(Path(folder)).database
        if of_a_server and not database.exists():
            raise click.ClickException(f"There is no server in {folder}: say where one is, with --data-dir.")
        return stored_server_name(database)

    given = {"server.name": server_name, "server.data_dir": data_dir, **(flags or {})}
    try:
        overrides = dict(parse_setting(setting) for setting in settings)
        overrides.update((name, value) for name, value in given.items() if value is not None)
        config = load_config(config_file, overrides, known_name=known_name)
        if of_a_server:
            known_name(config.server.data_dir)
        return config
    except (InvalidSettings, DatabaseUnusable) as error:
        raise click.ClickException(str(error)) from error
