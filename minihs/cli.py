"""The command line, and the only module that names the global reactor. Each command imports what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="minihs")
def main() -> None:
    """minihs: a small federating Matrix homeserver and a laboratory for delayed events."""


def _config_options(command: Any) -> Any:
    """The options of every command that reads a server's settings."""
    for option in (
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable."
        ),
        click.option("--data-dir", metavar="DIR", help="Database and signing key."),
        click.option("--server-name", metavar="NAME", help="What stands behind the colon in user IDs."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE.toml",
            help="Settings file; flags override it.",
        ),
    ):
        command = option(command)
    return command


@main.command()
@_config_options
@click.option("--client-listen", metavar="HOST:PORT", help="Client API, plain HTTP.")
@click.option("--federation-listen", metavar="HOST:PORT", help="Server-server API, TLS.")
@click.option("--tls-certificate", metavar="FILE", help="Certificate of the federation listener (PEM).")
@click.option("--tls-private-key", metavar="FILE", help="Its key (PEM).")
@click.option(
    "--federation-ca-file", metavar="FILE", help="More authorities to trust in other servers (PEM)."
)
@click.option("--open-registration", is_flag=True, default=None, help="Anybody may make an account.")
@click.option(
    "--allow-private-addresses",
    is_flag=True,
    default=None,
    help="Federate with private addresses.",
)
@click.option("--no-rate-limits", is_flag=True, default=None, help="Put up with any number of requests.")
def serve(
    config_file: Path | None,
    settings: Sequence[str],
    server_name: str | None,
    data_dir: str | None,
    client_listen: str | None,
    federation_listen: str | None,
    tls_certificate: str | None,
    tls_private_key: str | None,
    federation_ca_file: str | None,
    open_registration: bool | None,
    allow_private_addresses: bool | None,
    no_rate_limits: bool | None,
) -> None:
    """Run a homeserver in the foreground until SIGTERM or Ctrl-C."""
    from minihs.serve import run_server

    config = _config(
        config_file,
        settings,
        {
            "server.name": server_name,
            "server.data_dir": data_dir,
            "server.client_listen": client_listen,
            "server.federation_listen": federation_listen,
            "server.tls_certificate": tls_certificate,
            "server.tls_private_key": tls_private_key,
            "federation.ca_file": federation_ca_file,
            "registration.enabled": open_registration,
            "registration.guests": open_registration,
            "federation.allow_private_addresses": allow_private_addresses,
            "rate_limits.enabled": None if no_rate_limits is None else not no_rate_limits,
        },
    )
    from twisted.internet import reactor

    sys.exit(run_server(config, reactor))


@main.command()
@click.option("--keep", is_flag=True, help="Leave both servers running when the story ends.")
def demo(keep: bool) -> None:
    """Two servers on loopback, a room between them, and futures: a story that is checked as it is told."""
    from minihs.demo.command import run_demo

    sys.exit(run_demo(keep=keep))


def _config(file: Path | None, settings: Sequence[str], flags: dict[str, Any]) -> Any:
    """The settings, or the end of the process with a sentence."""
    from minihs.config import InvalidSettings, load_config, parse_setting

    try:
        overrides = dict(parse_setting(setting) for setting in settings)
        overrides.update((name, value) for name, value in flags.items() if value is not None)
        return load_config(file, overrides)
    except InvalidSettings as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
