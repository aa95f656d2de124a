"""`minihs serve` as a process: its files, its flags, and what it says of those that cannot be used.

How it starts on what it finds, and how it ends: `tests/process`.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
import requests

from minihs.processes import ServerProcess
from minihs.store.database import open_database
from tests.support.commands import Ended, minihs
from tests.support.processes import Stage, until

pytestmark = pytest.mark.process

PASSWORD = "a long password"


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


def register(server: ServerProcess, name: str) -> str:
    """A new account's access token."""
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    reply = requests.post(f"{server.client_url}/_matrix/client/v3/register", json=body, timeout=20)
    return str(reply.json()["access_token"])


def end(server: ServerProcess, number: int) -> int:
    """Send the signal and wait for the exit code."""
    assert server.process is not None
    server.process.send_signal(number)
    return server.process.wait(30)


def test_it_goes_on_where_it_was_and_keeps_its_files_private(stage: Stage) -> None:
    server = stage.minihs("hs1")
    server.data_dir.mkdir(mode=0o755)
    server.start()
    token = register(server, "alice")
    server.kill()
    server.start()
    reply = requests.get(
        f"{server.client_url}/_matrix/client/v3/account/whoami",
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
    )
    assert reply.json()["user_id"] == f"@alice:{server.server_name}"
    for file in sorted(server.data_dir.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_second_interrupt_ends_it_at_once(stage: Stage) -> None:
    """A request that waits for a silent server holds the clean end up."""
    server = stage.minihs("hs1")
    server.start()
    token = register(server, "alice")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_connection(("127.0.0.1", server.client_port)) as client,
    ):
        elsewhere = f"localhost:{silent.getsockname()[1]}"
        client.sendall(
            f"POST /_matrix/client/v3/join/%23room%3A{elsewhere} HTTP/1.1\r\nHost: hs\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        silent.settimeout(20)
        waiting = silent.accept()[0]
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        until(lambda: "stopping on SIGINT" in server.log_file.read_text(), "the first signal")
        assert server.process.poll() is None
        assert end(server, signal.SIGINT) == 130
        waiting.close()


def presented(server: ServerProcess) -> str:
    """The certificate that the federation listener shows, as PEM."""
    return ssl.get_server_certificate(("127.0.0.1", server.federation_port), timeout=20)


def test_a_renewed_certificate_is_taken_up_without_a_restart(stage: Stage) -> None:
    server = stage.minihs("hs1")
    server.start()
    process = server.process
    assert process is not None
    first = presented(server)
    stage.authority.issue(server.certificate.stem, ["localhost"])
    assert presented(server) == first
    process.send_signal(signal.SIGHUP)
    until(lambda: "the certificate was read again" in server.log_file.read_text(), "the renewal")
    second = presented(server)
    assert second != first
    server.certificate.write_text("no certificate")
    process.send_signal(signal.SIGHUP)
    until(lambda: "the certificate stays as it was: " in server.log_file.read_text(), "the complaint")
    assert presented(server) == second


class Refusal:
    """Attempts at starting a server that end before it is ready."""

    def __init__(self, stage: Stage) -> None:
        self.server = stage.minihs("hs1")
        self.server.data_dir.mkdir()
        self.options: dict[str, object] = {
            "--server-name": self.server.server_name,
            "--data-dir": self.server.data_dir,
            "--client-listen": f"127.0.0.1:{self.server.client_port}",
            "--federation-listen": f"127.0.0.1:{self.server.federation_port}",
            "--tls-certificate": self.server.certificate,
            "--tls-private-key": self.server.private_key,
        }

    def start(self, **changed: object) -> Ended:
        options = {
            **self.options,
            **{f"--{name.replace('_', '-')}": value for name, value in changed.items()},
        }
        arguments = [part for name, value in options.items() if value is not None for part in (name, value)]
        return minihs("serve", *arguments)

    def sentence(self, **changed: object) -> str:
        """The only line that it says before it ends with 1."""
        ended = self.start(**changed)
        lines = ended.err.splitlines()
        assert (ended.code, ended.out, len(lines)) == (1, "", 1), ended
        return lines[0]


@pytest.fixture
def refusal(stage: Stage) -> Refusal:
    return Refusal(stage)


def test_without_a_certificate_it_says_how_to_get_one(refusal: Refusal) -> None:
    said = refusal.sentence(tls_certificate=None, tls_private_key=None)
    assert said.startswith("minihs: The federation listener needs a certificate")
    assert list(refusal.server.data_dir.iterdir()) == []


def test_a_server_that_was_started_before_need_not_be_named(refusal: Refusal) -> None:
    assert "server.name: say what stands behind the colon" in refusal.sentence(server_name=None)
    database = open_database(refusal.server.data_dir / "minihs.db")
    database.claim(refusal.server.server_name)
    database.close()
    assert "/nowhere.pem does not exist." in refusal.sentence(
        server_name=None, tls_certificate="/nowhere.pem"
    )


def test_a_certificate_that_is_not_there_is_named(refusal: Refusal) -> None:
    assert "/nowhere.pem does not exist." in refusal.sentence(tls_certificate="/nowhere.pem")


def test_a_certificate_that_is_none_is_named(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "odd.pem").write_text("odd")
    said = refusal.sentence(tls_certificate=tmp_path / "odd.pem")
    assert f"{tmp_path}/odd.pem is not a usable PEM file: no start line." in said


def test_a_key_of_another_certificate_is_named(refusal: Refusal, stage: Stage) -> None:
    other = stage.authority.issue("other", ["localhost"]).private_key
    said = refusal.sentence(tls_private_key=other)
    assert f"{other} is not the private key of {refusal.server.certificate}: key values mismatch." in said


def test_a_port_that_is_taken_is_named(refusal: Refusal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for option in ("client_listen", "federation_listen"):
            said = refusal.sentence(**{option: address})
            assert (
                said == f"minihs: server.{option}: {address} cannot be listened on: Address already in use."
            )


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ('http.trusted_proxies=["proxy"]', "minihs: http.trusted_proxies: "),
        (
            "rate_limits.buckets={logins=[1.0, 5]}",
            "minihs: rate_limits.buckets: there is no rate limit called logins",
        ),
        ("rate_limits.buckets={login=[0.0, 5]}", "minihs: rate_limits.buckets: the rate limit login takes"),
        ("logging.file=/nowhere/log", "minihs: logging.file: /nowhere/log cannot be written: No such file"),
        ("federation.ca_file=/nowhere.pem", "minihs: /nowhere.pem is not a readable PEM file"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(refusal: Refusal, setting: str, sentence: str) -> None:
    assert refusal.sentence(set=setting).startswith(sentence)


def test_a_data_directory_that_cannot_be_made_is_named(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refusal.sentence(data_dir=tmp_path / "file")
    assert said == f"minihs: The data directory {tmp_path}/file cannot be made: File exists."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_directory_that_cannot_be_written_is_named(refusal: Refusal) -> None:
    refusal.server.data_dir.chmod(0o500)
    assert "cannot be written: Permission denied" in refusal.sentence()


def test_a_signing_key_that_is_none_is_named(refusal: Refusal) -> None:
    (refusal.server.data_dir / "signing.key").write_text("ed25519 a_odd not-a-key\n")
    said = refusal.sentence()
    assert f"{refusal.server.data_dir}/signing.key holds a line that is no signing key" in said
