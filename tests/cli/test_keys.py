"""`minihs keys …`, each command as a person would type it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minihs.cli import main
from minihs.federation.signing_keys import KEY_FILE, load_or_create
from minihs.platform.entropy import SeededEntropy
from minihs.store.data_directory import DataDirectory
from minihs.store.database import open_database


def minihs(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The directory of a server that has been started once."""
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    database = open_database(directory.database)
    database.claim("hs.test")
    database.close()
    load_or_create(directory.path, "hs.test", SeededEntropy(1))  # type: ignore[arg-type]
    return directory.path


def test_the_public_key_is_shown_and_the_private_one_is_not(data_dir: Path) -> None:
    (line,) = lines(minihs("keys", "show", "--data-dir", data_dir))
    _, version, private = (data_dir / KEY_FILE).read_text().split()
    assert line.startswith(f"ed25519:{version}  ")
    assert line.endswith("  signs")
    assert private not in line


def test_a_rotated_key_goes_on_being_published_as_an_old_one(data_dir: Path) -> None:
    (before,) = lines(minihs("keys", "show", "--data-dir", data_dir))
    lines(minihs("keys", "rotate", "--data-dir", data_dir))
    new, old = lines(minihs("keys", "show", "--data-dir", data_dir))
    assert new.endswith("  signs")
    assert new.split()[:2] != before.split()[:2]
    assert old.split()[:2] == before.split()[:2]
    assert "signed until" in old


def test_keys_are_not_rotated_beside_a_running_server(data_dir: Path) -> None:
    running = DataDirectory(data_dir)
    running.lock()
    key = (data_dir / KEY_FILE).read_bytes()
    result = minihs("keys", "rotate", "--data-dir", data_dir)
    assert result.exit_code == 1
    assert "is in use by another process" in result.output
    assert (data_dir / KEY_FILE).read_bytes() == key
    running.unlock()
    assert minihs("keys", "rotate", "--data-dir", data_dir).exit_code == 0


def test_a_directory_without_a_server_has_no_keys_to_show(tmp_path: Path) -> None:
    result = minihs("keys", "show", "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert "server.name" in result.output
    result = minihs("keys", "show", "--data-dir", tmp_path, "--server-name", "hs.test")
    assert result.exit_code == 1
    assert f"{tmp_path}/{KEY_FILE} cannot be read: No such file or directory" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_new_key_is_private_and_never_replaces_one(tmp_path: Path) -> None:
    file = tmp_path / "signing.key"
    lines(minihs("keys", "new", file))
    key = file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key.startswith(b"ed25519 a_")
    result = minihs("keys", "new", file)
    assert result.exit_code == 1
    assert "exists already" in result.output
    assert file.read_bytes() == key


def test_a_new_key_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = minihs("keys", "new", tmp_path / "file" / "signing.key")
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_the_authority_is_made_once_and_says_what_to_type(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert lines(minihs("keys", "dev-ca", folder)) == [f"--federation-ca-file {folder}/ca.pem"]
    authority = (folder / "ca.pem").read_bytes()
    lines(minihs("keys", "dev-ca", folder))
    assert (folder / "ca.pem").read_bytes() == authority


def test_a_certificate_is_for_the_servers_that_were_named(tmp_path: Path) -> None:
    from cryptography import x509

    (line,) = lines(minihs("keys", "dev-certificate", "hs1.test:8448", "[::2]", "--dir", tmp_path))
    assert line == f"--tls-certificate {tmp_path}/hs1.test.pem --tls-private-key {tmp_path}/hs1.test.key"
    certificate = x509.load_pem_x509_certificate((tmp_path / "hs1.test.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hs1.test", "localhost"]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["::2", "127.0.0.1", "::1"]
    assert stat.S_IMODE((tmp_path / "hs1.test.key").stat().st_mode) == 0o600


def test_what_is_no_server_name_gets_no_certificate(tmp_path: Path) -> None:
    result = minihs("keys", "dev-certificate", "hs1.test/../../x", "--dir", tmp_path / "keys")
    assert result.exit_code == 1
    assert "is not a server name" in result.output
    assert not (tmp_path / "keys").exists()
