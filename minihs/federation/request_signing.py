"""Signed requests between servers: the X-Matrix header written, read and checked.

Where keys come from is the keyring's business, and what a refusal looks like over HTTP is `http`'s. Answers
to "Request Authentication" in the Server-Server API and to RFC 9110 section 11.4 (the header's grammar).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from minihs.events import canonical
from minihs.events.ids import InvalidIdentifier, ServerName, parse_server_name
from minihs.events.signatures import BadSignature, Signer
from minihs.federation.key_documents import KeysUnavailable

MAX_HEADERS = 4
"""A request carries one X-Matrix header for each key it is signed with; nobody has more keys than this."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110 section 5.6.2, not a secret
# Unquoted values may have colons: "For compatibility with older servers".
_PARAMETER = re.compile(
    rf"(?P<name>{_TOKEN})[ \t]*=[ \t]*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"'
    r"|(?P<plain>[!#$%&'*+\-.^_`|~0-9A-Za-z:/=]+))"
)
_SEPARATOR = re.compile(r"[ \t]*(?:,[ \t]*)+")
_ESCAPED = re.compile(r"\\(.)")


class NotAuthenticated(Exception):
    """The request does not prove which server makes it; the message says what is wrong."""


class Authorization(msgspec.Struct, frozen=True):
    """What an X-Matrix header says; `destination` is None from servers that are older than v1.3."""

    origin: ServerName
    destination: str | None
    key_id: str
    signature: str


def parse_authorization(header: str) -> Authorization:
    """Read the value of one `Authorization` header. Raises NotAuthenticated."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "x-matrix":
        raise NotAuthenticated("The Authorization header must be of the scheme X-Matrix.")
    parameters = _parameters(rest.strip(" \t"))
    try:
        origin = parse_server_name(parameters["origin"])
        return Authorization(origin, parameters.get("destination"), parameters["key"], parameters["sig"])
    except KeyError as error:
        raise NotAuthenticated(f"The Authorization header has no {error.args[0]}.") from error
    except InvalidIdentifier as error:
        raise NotAuthenticated(f"The origin of the Authorization header is wrong: {error}.") from error


def _parameters(text: str) -> dict[str, str]:
    """The name=value pairs; names in lower case, values without quotes and escapes."""
    parameters: dict[str, str] = {}
    at = 0
    while at < len(text):
        separator = _SEPARATOR.match(text, at)
        if separator is not None:
            at = separator.end()
        elif at > 0:
            raise NotAuthenticated(
                "The parameters of the Authorization header must have commas between them."
            )
        if at == len(text):
            break
        pair = _PARAMETER.match(text, at)
        if pair is None:
            raise NotAuthenticated("The Authorization header has a parameter that is not name=value.")
        at = pair.end()
        name = pair["name"].lower()
        if name in parameters:
            raise NotAuthenticated(f"The Authorization header has {name} twice.")
        quoted = pair["quoted"]
        parameters[name] = pair["plain"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
    return parameters


def signed_bytes(*, method: str, uri: str, origin: str, destination: str, content: bytes | None) -> bytes:
    """The canonical JSON that is signed for a request; `content` is the canonical body, None without one.

    The keys stand in canonical order, so that a large body is not encoded a second time.
    """
    encode = canonical.encode
    body = b"" if content is None else b'"content":' + content + b","
    return (
        b"{" + body + b'"destination":' + encode(destination) + b',"method":' + encode(method)
        + b',"origin":' + encode(origin) + b',"uri":' + encode(uri) + b"}"
    )  # fmt: skip


def sign_request(
    signer: Signer, *, method: str, uri: str, destination: ServerName, content: bytes | None
) -> str:
    """The `Authorization` header of a request; `uri` is its path and query as they go over the wire."""
    message = signed_bytes(
        method=method, uri=uri, origin=signer.server_name, destination=destination, content=content
    )
    return (
        f'X-Matrix origin="{signer.server_name}",destination="{destination}",'
        f'key="{signer.key_id}",sig="{signer.signature_of(message)}"'
    )


class RequestKeys(Protocol):
    """What the verifier needs of `keyring.Keyring`."""

    async def verify_request(self, origin: ServerName, key_id: str, message: bytes, signature: str) -> None:
        """Raises BadSignature or KeysUnavailable."""


class RequestVerifier:
    """Finds out which server signed a request.

    `on_sign_of_life` hears of every server that has proven itself, so that what waits for it can be sent.
    """

    def __init__(
        self,
        server_name: ServerName,
        keys: RequestKeys,
        on_sign_of_life: Callable[[ServerName], None] = lambda _server: None,
    ) -> None:
        self._server_name = server_name
        self._keys = keys
        self._on_sign_of_life = on_sign_of_life

    async def verify(
        self, method: str, uri: str, authorizations: Sequence[str], body: dict[str, Any] | None
    ) -> ServerName:
        """The server that made the request. `uri` is the path and query as they stood in the request line.

        Raises NotAuthenticated; `authorizations` are all Authorization headers, of which one good is enough.
        """
        if not authorizations:
            raise NotAuthenticated("The request must be signed: it has no Authorization header.")
        claims = [parse_authorization(header) for header in authorizations[:MAX_HEADERS]]
        origin = claims[0].origin
        for claim in claims:
            if claim.origin != origin:
                raise NotAuthenticated("The Authorization headers name different origins.")
            if claim.destination is not None and claim.destination != self._server_name:
                raise NotAuthenticated(
                    f"The request is signed for another destination, not {self._server_name}."
                )
        try:
            content = None if body is None else canonical.encode(body)
            message = signed_bytes(
                method=method, uri=uri, origin=origin, destination=self._server_name, content=content
            )
        except (ValueError, RecursionError) as error:
            raise NotAuthenticated("The request's body cannot be written as canonical JSON.") from error
        await self._check(claims, message)
        self._on_sign_of_life(origin)
        return origin

    async def _check(self, claims: Sequence[Authorization], message: bytes) -> None:
        refusals: list[str] = []
        for claim in claims:
            try:
                await self._keys.verify_request(claim.origin, claim.key_id, message, claim.signature)
            except (BadSignature, KeysUnavailable) as error:
                refusals.append(str(error))
            else:
                return
        raise NotAuthenticated(f"The request's signature was not accepted: {'; '.join(refusals)}.")
