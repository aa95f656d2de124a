"""`minihs keys …`: the keys that a server signs with, and throwaway certificates for trying things out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minihs.cli.settings import chosen_settings, settings_options

if TYPE_CHECKING:
    from minihs.federation.signing_keys import SigningKeys

DEV_FOLDER = Path("keys")


@click.group()
def keys() -> None:
    """Signing keys of a server, certificates of a throwaway authority."""


@keys.command()
@settings_options
def show(**settings: Any) -> None:
    """The public halves of the server's signing keys.

    Those that it no longer signs with are among them.
    """
    from minihs.federation.signing_keys import load

    config = chosen_settings(**settings)
    with _sentences():
        _show(load(Path(config.server.data_dir), config.server_name))


@keys.command()
@settings_options
def rotate(**settings: Any) -> None:
    """Sign with a new key from the next start on. The server must be stopped.

    What the old key signed stays good: it goes on being published as one that has ended.
    """
    from minihs.federation import signing_keys
    from minihs.platform.entropy import SystemEntropy
    from minihs.store.data_directory import DataDirectory

    config = chosen_settings(**settings)
    directory = DataDirectory(Path(config.server.data_dir))
    with _sentences():
        # Not beside a running server: it would go on signing with a key that has ended.
        directory.lock()
        try:
            before = signing_keys.load(directory.path, config.server_name)
            now_ms = time.time_ns() // 1_000_000
            _show(signing_keys.rotate(directory.path, before.server_name, SystemEntropy(), now_ms))
        finally:
            directory.unlock()


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
def new(file: Path) -> None:
    """Write a new signing key to FILE, which must not exist.

    A server reads it from `signing.key` in its data directory.
    """
    from minihs.federation.signing_keys import write_new_key
    from minihs.platform.entropy import SystemEntropy

    with _sentences():
        write_new_key(file, SystemEntropy())
    click.echo(f"{file} holds a new key. Whoever can read it can be your server.")


_folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEV_FOLDER,
    show_default=True,
    help="Where the authority is kept.",
)


@keys.command(name="dev-ca")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=DEV_FOLDER)
def dev_ca(folder: Path) -> None:
    """Make a throwaway certificate authority.

    It is kept in FOLDER; one that is there already stays. Never for a real server.
    """
    from minihs.federation.dev_ca import DevCa

    with _sentences():
        authority = DevCa(folder)
    click.echo(f"--federation-ca-file {authority.certificate}")


@keys.command(name="dev-certificate")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_folder_option
def dev_certificate(names: Sequence[str], folder: Path) -> None:
    """Make a certificate signed by the throwaway authority.

    It is good for servers by these NAMEs, and for loopback's. The authority is made if there is none.
    """
    from minihs.events.ids import InvalidIdentifier, parse_server_name, split_server_name
    from minihs.federation.dev_ca import DevCa, names_of

    with _sentences():
        try:
            checked = [parse_server_name(name) for name in names]
        except InvalidIdentifier as error:
            raise click.ClickException(str(error)) from error
        file_name = split_server_name(checked[0])[0].strip("[]").replace(":", "_")
        files = DevCa(folder).issue(file_name, names_of(checked))
    click.echo(f"--tls-certificate {files.certificate} --tls-private-key {files.private_key}")


def _show(found: SigningKeys) -> None:
    from unpaddedbase64 import encode_base64

    for key_id, key in found.verify_keys().items():
        click.echo(f"{key_id}  {encode_base64(key.encode())}  signs")
    for key_id, old in sorted(found.old.items()):
        ended = datetime.fromtimestamp(old.expired_ms / 1000, UTC)
        click.echo(f"{key_id}  {encode_base64(old.key.encode())}  signed until {ended:%Y-%m-%d %H:%M:%S} UTC")


@contextmanager
def _sentences() -> Iterator[None]:
    """What is expected to go wrong ends the command with its sentence."""
    from minihs.federation.dev_ca import DevCaUnusable
    from minihs.federation.signing_keys import SigningKeysUnusable
    from minihs.store.data_directory import DataDirectoryUnusable

    try:
        yield
    except (DevCaUnusable, SigningKeysUnusable, DataDirectoryUnusable, OSError) as error:
        raise click.ClickException(str(error)) from error
