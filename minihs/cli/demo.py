"""`minihs demo`."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--keep", is_flag=True, help="Leave both servers running when the story ends.")
def demo(keep: bool) -> None:
    """Two servers on loopback, told as a story.

    They federate over TLS, share a room, send futures into it; each promise is checked as it is told.
    """
    from minihs.demo.command import run_demo

    sys.exit(run_demo(keep=keep))
