"""Gets the key documents of other servers: from themselves, or else through notaries; not too often.

What a key is good for is `keyring`'s to judge. Answers to "Retrieving server keys" in the Server-Server API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from minihs.events import canonical
from minihs.events.ids import ServerName
from minihs.events.signatures import BadSignature, KeyID, verify_object
from minihs.federation.bounded_cache import BoundedCache
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.key_documents import BadKeyDocument, KnownKey, read_document
from minihs.platform.clock import Clock

FETCH_TIMEOUT_MS = 10_000
MAX_DOCUMENT_BYTES = 256 * 1024
MAX_NOTARY_BYTES = 1024 * 1024
MAX_CONCURRENT = 50
"""Fetches under way at once; one more fails. Requests that name made-up servers cost us no more than this."""
FIRST_WAIT_MS = 1_000
MAX_WAIT_MS = 3_600_000
"""A server whose document brought nothing new is not asked again for this long at most; it doubles from
`FIRST_WAIT_MS`. So that requests and events with made-up key IDs cannot make us ask in a loop."""
REMEMBERED_SERVERS = 10_000


class KeyRequests(Protocol):
    """What fetching needs of `client.FederationClient`."""

    async def get(
        self,
        destination: ServerName,
        path: str,
        args: Mapping[str, str | list[str]] | None = None,
        *,
        timeout_ms: int,
        max_bytes: int,
        ignore_backoff: bool,
    ) -> dict[str, Any]: ...


class FetchFailed(Exception):
    """No document could be had; the message says what was tried."""


class Fetched(msgspec.Struct, frozen=True):
    """A document that can be believed, and its keys."""

    document: dict[str, Any]
    keys: dict[KeyID, KnownKey]


class KeyFetcher:
    """Fetches documents within limits; the caller says whether one was of use."""

    def __init__(self, client: KeyRequests, clock: Clock, notaries: Sequence[ServerName] = ()) -> None:
        self._client = client
        self._clock = clock
        self._notaries = tuple(notaries)
        self._waits: BoundedCache[ServerName, tuple[float, int]] = BoundedCache(REMEMBERED_SERVERS)
        self._under_way = 0

    def may_fetch(self, server_name: ServerName) -> bool:
        """Whether this server may be asked now."""
        wait = self._waits.get(server_name, 0)
        return self._under_way < MAX_CONCURRENT and (wait is None or wait[0] <= self._clock.monotonic_ms())

    def was_useful(self, server_name: ServerName, useful: bool) -> None:
        """Whether the last fetch brought anything: if not, the next has to wait."""
        if useful:
            self._waits.discard(server_name)
            return
        before = self._waits.get(server_name, 0)
        wait_ms = FIRST_WAIT_MS if before is None else min(before[1] * 2, MAX_WAIT_MS)
        self._waits.put(server_name, (self._clock.monotonic_ms() + wait_ms, wait_ms))

    async def fetch(self, server_name: ServerName, minimum_valid_until_ms: int) -> Fetched:
        """The document of a server. Raises FetchFailed."""
        self._under_way += 1
        try:
            return await self._direct(server_name)
        except FetchFailed as first:
            for notary in self._notaries:
                if notary != server_name:
                    try:
                        return await self._through(notary, server_name, minimum_valid_until_ms)
                    except FetchFailed:
                        continue
            raise first
        finally:
            self._under_way -= 1

    async def _direct(self, server_name: ServerName) -> Fetched:
        try:
            document = await self._client.get(
                server_name,
                "/_matrix/key/v2/server",
                timeout_ms=FETCH_TIMEOUT_MS,
                max_bytes=MAX_DOCUMENT_BYTES,
                # A server that comes back shows it by a signed request; its keys cannot wait for the end of
                # its pause. The limits of this module apply instead.
                ignore_backoff=True,
            )
            return Fetched(document, read_document(document, server_name, self._clock.wall_ms()))
        except (Unreachable, RemoteRefusal, BadKeyDocument) as error:
            raise FetchFailed(f"The keys of {server_name} could not be fetched: {error}") from error

    async def _through(
        self, notary: ServerName, server_name: ServerName, minimum_valid_until_ms: int
    ) -> Fetched:
        """What a notary says, which counts only with the notary's signature and the server's own."""
        notary_keys = (await self._direct(notary)).keys
        try:
            answer = await self._client.get(
                notary,
                f"/_matrix/key/v2/query/{quote(server_name, safe='')}",
                {"minimum_valid_until_ts": str(minimum_valid_until_ms)},
                timeout_ms=FETCH_TIMEOUT_MS,
                max_bytes=MAX_NOTARY_BYTES,
                ignore_backoff=False,
            )
        except (Unreachable, RemoteRefusal) as error:
            raise FetchFailed(f"The notary {notary} did not answer: {error}") from error
        documents = answer.get("server_keys")
        current = {key_id: known.key for key_id, known in notary_keys.items() if not known.is_old}
        best: Fetched | None = None
        for document in documents if isinstance(documents, list) else ():
            try:
                keys = read_document(document, server_name, self._clock.wall_ms())
                canonical.check(document)
                verify_object(document, notary, current)
            except (BadKeyDocument, BadSignature, canonical.NotCanonical):
                continue
            if best is None or document["valid_until_ts"] > best.document["valid_until_ts"]:
                best = Fetched(document, keys)
        if best is None:
            raise FetchFailed(f"The notary {notary} has no usable keys of {server_name}.")
        return best
