"""The command line: one module for each command. The only package that names the global reactor.

A command imports what it needs when it runs, so that `minihs --help` is there at once.
"""

from __future__ import annotations

import click

from minihs import __version__
from minihs.cli.demo import demo
from minihs.cli.futures import futures
from minihs.cli.keys import keys
from minihs.cli.lab import lab
from minihs.cli.rooms import rooms
from minihs.cli.serve import serve
from minihs.cli.users import users


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="minihs")
def main() -> None:
    """minihs: a small federating Matrix homeserver and a laboratory for delayed events."""


for command in (serve, demo, lab, futures, users, rooms, keys):
    main.add_command(command)
