"""`minihs users …`: the accounts of a server, beside it while it runs or when it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from minihs.cli.settings import chosen_settings, settings_options

if TYPE_CHECKING:
    from minihs.cli.administration import AdminClient

USERS = "/_minihs/admin/v1/users"


@click.group()
def users() -> None:
    """Accounts: make, list and change them. NAME is a user ID or what stands before its colon.

    Works beside a running server and without one; it is enough to say --data-dir.
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Settings, then NAME."""
    return settings_options(click.argument("name")(command))


def _password_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--password", metavar="TEXT", help="Other users of this machine can see it meanwhile."),
        click.option("--password-stdin", is_flag=True, help="Read one line from standard input."),
    ):
        command = option(command)
    return command


@users.command()
@_options
@_password_options
@click.option("--admin", is_flag=True, help="An administrator of the server.")
def create(name: str, password: str | None, password_stdin: bool, admin: bool, **settings: Any) -> None:
    """Make an account. Asks for the password unless it is given."""
    chosen = _password(password, password_stdin)
    with _administration(settings, of_a_server=False) as client:
        body = {"username": name, "password": chosen, "admin": admin}
        user = client.call("POST", USERS, body)
    click.echo(f"{user['user_id']} was made{', an administrator' if admin else ''}.")


@users.command(name="list")
@settings_options
def list_users(**settings: Any) -> None:
    """All accounts, by user ID, with what is special about each."""
    after = ""
    with _administration(settings) as client:
        while True:
            page = client.call("GET", f"{USERS}?after={quote(after, safe='')}")
            for user in page["users"]:
                click.echo(_line(user))
            if "next" not in page:
                return
            after = page["next"]


@users.command()
@_options
def show(name: str, **settings: Any) -> None:
    """One account."""
    with _administration(settings) as client:
        click.echo(_line(client.call("GET", _path(name))))


@users.command(name="set-password")
@_options
@_password_options
@click.option("--keep-sessions", is_flag=True, help="Do not log the user out.")
def set_password(
    name: str, password: str | None, password_stdin: bool, keep_sessions: bool, **settings: Any
) -> None:
    """Give the user another password and log them out everywhere."""
    chosen = _password(password, password_stdin)
    with _administration(settings) as client:
        body = {"password": chosen, "logout_devices": not keep_sessions}
        user = client.call("PUT", _path(name, "password"), body)
    out = "" if keep_sessions else ", and is logged out everywhere"
    click.echo(f"{user['user_id']} has another password{out}.")


@users.command()
@_options
@click.option("--yes", is_flag=True, help="Do not ask.")
def deactivate(name: str, yes: bool, **settings: Any) -> None:
    """End an account for good.

    It leaves its rooms, is logged out, its futures are cancelled, and its name stays taken.
    """
    if not yes:
        click.confirm(f"End the account {name} for good?", abort=True)
    with _administration(settings) as client:
        user = client.call("POST", _path(name, "deactivate"), {})
    click.echo(f"{user['user_id']} is deactivated.")


def _standing_command(verb: str, help_text: str, change: dict[str, bool], done: str) -> None:
    @users.command(name=verb, help=help_text)
    @_options
    def command(name: str, **settings: Any) -> None:
        with _administration(settings) as client:
            user = client.call("PUT", _path(name, "standing"), change)
        click.echo(f"{user['user_id']} {done}.")


_standing_command("lock", "Refuse every request of the user until unlocked.", {"locked": True}, "is locked")
_standing_command("unlock", "Let a locked user in again.", {"locked": False}, "is not locked")
_standing_command(
    "suspend", "Let the user read and leave rooms, and little else.", {"suspended": True}, "is suspended"
)
_standing_command("unsuspend", "End a suspension.", {"suspended": False}, "is not suspended")
_standing_command("make-admin", "Make the user an administrator.", {"admin": True}, "is an administrator")
_standing_command(
    "revoke-admin", "Make an administrator an ordinary user.", {"admin": False}, "is no administrator"
)


@contextmanager
def _administration(settings: dict[str, Any], *, of_a_server: bool = True) -> Iterator[AdminClient]:
    from minihs.cli.administration import administration

    with administration(chosen_settings(**settings, of_a_server=of_a_server)) as client:
        yield client


def _password(given: str | None, from_stdin: bool) -> str:
    if given is not None and from_stdin:
        raise click.UsageError("--password and --password-stdin exclude each other.")
    if given is not None:
        return given
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask for the password at: use --password-stdin.")
    answer: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return answer


def _path(name: str, *rest: str) -> str:
    return "/".join([USERS, quote(name, safe=""), *rest])


def _line(user: dict[str, Any]) -> str:
    marks = [mark for mark in ("admin", "guest", "locked", "suspended", "deactivated") if user[mark]]
    return "  ".join([user["user_id"], *marks])
