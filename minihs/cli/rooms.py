"""`minihs rooms …`: the rooms of a server, beside it while it runs or when it is stopped."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from minihs.cli.settings import chosen_settings, settings_options

ROOMS = "/_minihs/admin/v1/rooms"


@click.group()
def rooms() -> None:
    """Rooms: removing what is stored of them.

    Works beside a running server and without one; it is enough to say --data-dir.
    """


@rooms.command()
@settings_options
@click.argument("room_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(room_id: str, yes: bool, **settings: Any) -> None:
    """Remove what is stored of a room.

    Every user of this server must have left it.
    """
    from minihs.cli.administration import administration

    if not yes:
        click.confirm(f"Remove the history of {room_id} from this server for good?", abort=True)
    with administration(chosen_settings(**settings, of_a_server=True)) as client:
        client.call("POST", f"{ROOMS}/{quote(room_id, safe='')}/purge", {})
    click.echo(f"{room_id} is removed.")
