"""`minihs serve`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from minihs.cli.settings import chosen_settings, settings_options


@click.command()
@settings_options
@click.option("--client-listen", metavar="HOST:PORT", help="Client API, plain HTTP.")
@click.option("--federation-listen", metavar="HOST:PORT", help="Server-server API, TLS.")
@click.option("--tls-certificate", metavar="FILE", help="Certificate of the federation listener (PEM).")
@click.option("--tls-private-key", metavar="FILE", help="Its key (PEM).")
@click.option(
    "--federation-ca-file", metavar="FILE", help="More authorities to trust in other servers (PEM)."
)
@click.option("--open-registration", is_flag=True, default=None, help="Anybody may make an account.")
@click.option(
    "--allow-private-addresses", is_flag=True, default=None, help="Federate with private addresses."
)
@click.option("--no-rate-limits", is_flag=True, default=None, help="Put up with any number of requests.")
@click.option(
    "--lab",
    is_flag=True,
    help="Loopback only: whoever has the secret in DATA-DIR/lab.json turns the clock, breaks the network.",
)
@click.option(
    "--lab-listen",
    metavar="HOST:PORT",
    help="Where the laboratory answers, with --lab; without, on any free port of 127.0.0.1.",
)
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
    lab: bool,
    lab_listen: str | None,
) -> None:
    """Run a homeserver in the foreground until SIGTERM or Ctrl-C."""
    # Nearly all that is made while starting stays; `run_server` has it collected once, when that is done.
    gc.disable()
    if lab_listen is not None and not lab:
        raise click.UsageError("--lab-listen says where a laboratory answers that only --lab opens.")
    config = chosen_settings(
        config_file=config_file,
        settings=settings,
        server_name=server_name,
        data_dir=data_dir,
        flags={
            "server.client_listen": client_listen,
            "server.federation_listen": federation_listen,
            "server.tls_certificate": tls_certificate,
            "server.tls_private_key": tls_private_key,
            "federation.ca_file": federation_ca_file,
            "registration.enabled": open_registration,
            "registration.guests": open_registration,
            "federation.allow_private_addresses": allow_private_addresses,
            "rate_limits.enabled": None if no_rate_limits is None else not no_rate_limits,
            # Days pass in moments there: nobody waits for the disk a thousand times on the way.
            "database.synchronous": "OFF" if lab else None,
        },
    )
    from twisted.internet import reactor

    from minihs.serve import run_server

    if not lab:
        sys.exit(run_server(config, reactor))

    from minihs.lab.live.bench import ANY_PORT, Bench

    sys.exit(
        run_server(config, reactor, lambda config, reactor: Bench(config, reactor, lab_listen or ANY_PORT))
    )
