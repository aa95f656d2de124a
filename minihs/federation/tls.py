"""TLS for both directions: what we present, what we demand of others. Verification cannot be switched off.

No sockets: these objects make OpenSSL connections for Twisted's TLS protocol. Answers to "TLS" in the
Server-Server API. What verification costs in memory and time (the system's authorities) is paid when the
first connection is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.python.failure import Failure
from zope.interface import implementer

from minihs.federation.addresses import ip_literal

if TYPE_CHECKING:
    from OpenSSL.SSL import Connection, Context

_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE


class TlsUnusable(Exception):
    """A certificate, key or CA file cannot be used; the message says which and why."""


class ClientTls:
    """Makes the client side of connections: any name, one set of trusted authorities.

    The system's authorities are trusted, and those in `ca_file` (PEM) besides them.
    """

    def __init__(self, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._context: Context | None = None

    def check(self) -> None:
        """Raise TlsUnusable now rather than at the first connection."""
        if self._ca_file is not None:
            self._load_ca(SSL.Context(SSL.TLS_CLIENT_METHOD), self._ca_file)

    def creator_for(self, verify_name: str) -> Any:
        """An IOpenSSLClientConnectionCreator that accepts only a certificate for this name or address."""
        if self._context is None:
            self._context = self._make_context()
        return _ClientConnections(self._context, verify_name)

    def _make_context(self) -> Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_default_verify_paths()
        if self._ca_file is not None:
            self._load_ca(context, self._ca_file)
        return context

    def _load_ca(self, context: Context, ca_file: Path) -> None:
        try:
            context.load_verify_locations(str(ca_file))
        except SSL.Error as error:
            raise TlsUnusable(f"{ca_file} is not a readable PEM file of certificate authorities.") from error


@implementer(IOpenSSLClientConnectionCreator)
class _ClientConnections:
    def __init__(self, context: Context, verify_name: str) -> None:
        self._context = context
        self._verify_name = verify_name

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:  # noqa: N802, N803
        connection = SSL.Connection(self._context, None)
        connection.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _check_of(self._verify_name, tlsProtocol)
        )
        # A certificate for an IP address is asked for without SNI (Server-Server API, "TLS").
        if ip_literal(self._verify_name) is None and ":" not in self._verify_name:
            connection.set_tlsext_host_name(self._verify_name.encode("ascii"))
        return connection


def _check_of(verify_name: str, protocol: Any) -> Any:
    """OpenSSL's callback for each certificate of a chain: its own verdict, and for the leaf the name."""
    from service_identity import CertificateError, VerificationError
    from service_identity.hazmat import DNS_ID, IPAddress_ID, ServiceID, verify_service_identity
    from service_identity.pyopenssl import extract_patterns

    is_address = ":" in verify_name or ip_literal(verify_name) is not None
    wanted: ServiceID = IPAddress_ID(verify_name) if is_address else DNS_ID(verify_name)

    def check(_connection: Any, certificate: Any, _error: int, depth: int, trusted: int) -> bool:
        if not trusted or depth != 0:
            return bool(trusted)
        try:
            verify_service_identity(extract_patterns(certificate), [wanted], [])
        except (VerificationError, CertificateError):
            protocol.failVerification(Failure())  # type: ignore[no-untyped-call]
            return False
        return True

    return check


def _reason(error: SSL.Error) -> str:
    """The first of the reasons that OpenSSL gives: what went wrong at the bottom."""
    reasons = [entry[-1] for entry in error.args[0]] if error.args else []
    return str(reasons[0]) if reasons else "OpenSSL does not say why"


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Makes the server side of connections, with one certificate chain and key (PEM files)."""

    def __init__(self, certificate: Path, private_key: Path) -> None:
        """Raises TlsUnusable."""
        self._certificate = certificate
        self._private_key = private_key
        self._context = self._load()

    def reload(self) -> None:
        """Read both files again, for connections to come; TlsUnusable, and nothing changes, if that fails."""
        self._context = self._load()

    def _load(self) -> Context:
        certificate, private_key = self._certificate, self._private_key
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        for file in (certificate, private_key):
            if not file.is_file():
                raise TlsUnusable(f"{file} does not exist.")
        try:
            context.use_certificate_chain_file(str(certificate))
        except SSL.Error as error:
            raise TlsUnusable(f"{certificate} is not a usable PEM file: {_reason(error)}.") from error
        try:
            context.use_privatekey_file(str(private_key))
        except SSL.Error as error:
            raise TlsUnusable(
                f"{private_key} is not the private key of {certificate}: {_reason(error)}."
            ) from error
        return context

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Connection:  # noqa: ARG002, N802, N803
        """A new server connection."""
        return SSL.Connection(self._context, None)
