"""The throwaway authority: made once, and certificates that name what they should."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from minihs.federation.dev_ca import CA_KEY, DevCa, DevCaUnusable, names_of
from minihs.federation.tls import ClientTls, ServerTls, TlsUnusable


def test_a_certificate_names_what_was_asked_for_and_is_signed_by_the_authority(tmp_path: Path) -> None:
    authority = DevCa(tmp_path / "keys")
    files = authority.issue("hs1", ["hs1.test", "127.0.0.1", "::1"])
    leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    root = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hs1.test"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    leaf.verify_directly_issued_by(root)
    assert files.private_key.stat().st_mode & 0o777 == 0o600
    ServerTls(files.certificate, files.private_key)


def test_the_authority_of_a_folder_stays_the_same(tmp_path: Path) -> None:
    first = DevCa(tmp_path).certificate.read_bytes()
    again = DevCa(tmp_path)
    assert again.certificate.read_bytes() == first
    files = again.issue("later", ["localhost"])
    x509.load_pem_x509_certificates(files.certificate.read_bytes())[0].verify_directly_issued_by(
        x509.load_pem_x509_certificate(first)
    )


def test_a_damaged_authority_is_refused(tmp_path: Path) -> None:
    DevCa(tmp_path)
    (tmp_path / CA_KEY).write_text("nonsense")
    with pytest.raises(DevCaUnusable, match="cannot be read"):
        DevCa(tmp_path)


def test_the_names_of_servers_are_their_hosts_and_loopback() -> None:
    assert names_of(["hs1.test:8448", "[::1]:1", "hs1.test"]) == ["hs1.test", "::1", "localhost", "127.0.0.1"]


def test_unusable_files_are_named(tmp_path: Path) -> None:
    one = DevCa(tmp_path / "one").issue("one", ["localhost"])
    other = DevCa(tmp_path / "other").issue("other", ["localhost"])
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    ClientTls(tmp_path / "one" / "ca.pem").check()
    for attempt, message in (
        (lambda: ServerTls(one.certificate, other.private_key), "is not the private key of"),
        (lambda: ServerTls(nonsense, one.private_key), "nonsense.pem is not a usable PEM file"),
        (lambda: ServerTls(one.certificate, tmp_path / "missing.key"), "missing.key does not exist"),
        (lambda: ClientTls(nonsense).check(), "nonsense.pem is not a readable PEM file"),
    ):
        with pytest.raises(TlsUnusable, match=message):
            attempt()
