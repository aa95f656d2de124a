"""`minihs lab`: the experiments, listed and run."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def lab() -> None:
    """Experiments with delayed events.

    Several servers in one process, on a clock that jumps, or real processes.
    """


@lab.command("list")
def list_experiments() -> None:
    """The experiments there are."""
    from minihs.lab.experiments import EXPERIMENTS

    width = max(map(len, EXPERIMENTS))
    for name, line in EXPERIMENTS.items():
        click.echo(f"{name:<{width}}  {line}")


@lab.command("run")
@click.argument("name")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same run, byte for byte.")
@click.option(
    "--size",
    type=click.Choice(["small", "full"]),
    default="full",
    show_default=True,
    help="small takes seconds, full is what the pages in docs/lab tell of.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), metavar="F", help="Also as JSON."
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="F",
    help="Also as one HTML page with drawings.",
)
@click.option(
    "--ndjson",
    "graphs_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also the graphs that it shows, a file for each server, as the TARDIS visualiser reads them.",
)
@click.option("--real", is_flag=True, help="On real processes: sockets, TLS, SQLite files.")
@click.option(
    "--synapse",
    metavar="PYTHON",
    help="With --real: hs2 is a Synapse, of the environment of this interpreter.",
)
@click.option("--story", is_flag=True, help="Tell everything that happened, too.")
@click.option(
    "--case",
    metavar="WORDS",
    help="Tell everything of the cases whose titles have these words, such as 'sent twice'.",
)
def run(
    name: str,
    seed: int,
    size: str,
    json_file: Path | None,
    html_file: Path | None,
    graphs_folder: Path | None,
    real: bool,
    synapse: str | None,
    story: bool,
    case: str | None,
) -> None:
    """Run an experiment.

    The exit code says whether everything that was expected is so.
    """
    from typing import Literal, cast

    from rich.console import Console

    from minihs.lab.experiments import VirtualOnly, run_experiment
    from minihs.lab.names import UnknownName
    from minihs.lab.real import NotInRealWorlds
    from minihs.processes import ServerDidNotStart

    if synapse is not None and not real:
        raise click.UsageError("--synapse takes --real: a Synapse is a process.")
    world: dict[str, object] | None = {"real": True} if real else None
    if world is not None and synapse is not None:
        world |= {"synapse": "hs2", "synapse_python": synapse}
    for file in (json_file, html_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise click.ClickException(f"{file} cannot be written: there is no folder {file.parent}.")
    if graphs_folder is not None:
        try:
            graphs_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"{graphs_folder} cannot be made: {error.strerror}.") from error
    try:
        report = run_experiment(name, seed=seed, size=cast(Literal["small", "full"], size), world=world)
    except UnknownName as error:
        raise click.ClickException(f"{error} `minihs lab list` tells of each.") from error
    except (VirtualOnly, NotInRealWorlds, ServerDidNotStart, AssertionError) as error:
        raise click.ClickException(str(error)) from error
    try:
        if json_file is not None:
            json_file.write_bytes(report.to_json())
        if html_file is not None:
            html_file.write_text(report.to_html(), encoding="utf-8")
        if graphs_folder is not None:
            if not report.exports:
                raise click.ClickException(f"{name} shows no room: there is no graph to write.")
            report.write_exports(graphs_folder)
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be written: {error.strerror}.") from error
    try:
        report.tell(Console(), story=story, case=case)
    except LookupError as error:
        raise click.ClickException(f"{name} has no case with these words: {error.args[0]}.") from error
    sys.exit(0 if report.holds else 1)
