"""Keys of other servers: which are good for what, cached, fetched when needed; and our own, published.

How documents are fetched is in `key_fetching`, how they are read in `key_documents`. Answers to "Retrieving
server keys" in the Server-Server API and to "Signing key validity period" of the room versions since 5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from signedjson.key import decode_verify_key_bytes, encode_verify_key_base64
from signedjson.types import VerifyKey
from twisted.internet.defer import Deferred, DeferredList
from unpaddedbase64 import decode_base64

from minihs.events.event import Event
from minihs.events.ids import EventID, ServerName
from minihs.events.signatures import BadSignature, KeyID, required_signers, verify_pdu
from minihs.federation.bounded_cache import BoundedCache
from minihs.federation.key_documents import (
    OWN_VALIDITY_MS,
    KeysUnavailable,
    KnownKey,
    own_document,
)
from minihs.federation.key_fetching import FetchFailed, KeyFetcher
from minihs.federation.shared_work import SharedWork
from minihs.federation.signing_keys import SigningKeys
from minihs.platform.clock import Clock
from minihs.platform.deferreds import in_parallel
from minihs.platform.logs import Logger
from minihs.platform.workers import Workers
from minihs.store.server_keys import KeyDocumentRow, ServerKeyRow, ServerKeyStore
from minihs.store.writer import Batch, BatchFailed, Writer, WriterStopped

log = Logger()

CACHED_SERVERS = 5_000
VERIFIED_AT_ONCE = 100
"""Events (0.1 ms each) that go to a worker together; fewer of which stay on the main thread."""
PARALLEL = 2
"""Workers that verify at once."""


class Keyring:
    """Answers whose signature is good, for requests, events and notaries' clients."""

    def __init__(
        self,
        *,
        own: SigningKeys,
        store: ServerKeyStore,
        writer: Writer,
        fetcher: KeyFetcher,
        clock: Clock,
        workers: Workers,
    ) -> None:
        self._own = own
        self._store = store
        self._writer = writer
        self._fetcher = fetcher
        self._clock = clock
        self._workers = workers
        self._cache: BoundedCache[ServerName, dict[KeyID, KnownKey]] = BoundedCache(CACHED_SERVERS)
        self._fetches: SharedWork[ServerName, bool] = SharedWork()
        self._own_keys = self._keys_of_our_own()
        self._own_document: dict[str, Any] | None = None

    # Verifying.

    async def verify_keys(
        self,
        server_name: ServerName,
        key_ids: Collection[KeyID],
        *,
        valid_at_ms: int | None,
        for_requests: bool = False,
    ) -> Mapping[KeyID, VerifyKey]:
        """Those of the keys that are good for what was signed at `valid_at_ms` (None: at any time).

        Keys that are not known, or not for long enough, are fetched, within limits. Requests may not be
        signed with old keys. The result may be empty; nothing is raised.
        """
        known = await self._known(server_name)
        good = _good(known, key_ids, valid_at_ms, for_requests)
        if good or server_name == self._own.server_name:
            return good
        if await self._refresh(server_name, valid_at_ms):
            good = _good(await self._known(server_name), key_ids, valid_at_ms, for_requests)
        return good

    async def verify_event(self, event: Event) -> None:
        """Check every signature that the event needs. Raises BadSignature or KeysUnavailable."""
        for check in await self._checks(event):
            check.perform()

    async def verify_events(
        self, events: Sequence[Event]
    ) -> dict[EventID, BadSignature | KeysUnavailable | None]:
        """The verdict on each event: None is good. Missing keys are fetched from all servers side by side."""
        await self._prefetch(events)
        if len(events) < VERIFIED_AT_ONCE:
            return {event.event_id: await self._verdict(event) for event in events}
        verdicts: dict[EventID, BadSignature | KeysUnavailable | None] = {}
        chunks = [
            events[start : start + VERIFIED_AT_ONCE] for start in range(0, len(events), VERIFIED_AT_ONCE)
        ]

        async def verify_share(share: Sequence[Sequence[Event]]) -> None:
            for chunk in share:
                checks: list[_Check] = []
                for event in chunk:
                    try:
                        checks.extend(await self._checks(event))
                        verdicts[event.event_id] = None
                    except (BadSignature, KeysUnavailable) as refusal:
                        verdicts[event.event_id] = refusal
                verdicts.update(await self._workers.run(_faults, checks))

        # libsodium lets go of the interpreter, so that two cores are of use.
        await in_parallel([verify_share(chunks[start::PARALLEL]) for start in range(PARALLEL)])
        return {event.event_id: verdicts[event.event_id] for event in events}

    async def verify_request(self, origin: ServerName, key_id: KeyID, message: bytes, signature: str) -> None:
        """Check the signature of a request, now. Raises BadSignature or KeysUnavailable."""
        keys = await self.verify_keys(origin, (key_id,), valid_at_ms=self._clock.wall_ms(), for_requests=True)
        key = keys.get(key_id)
        if key is None:
            raise KeysUnavailable(f"{origin} has no current key {key_id} that is known here")
        try:
            key.verify(message, decode_base64(signature))
        except Exception as error:  # the decoder and the key have many ways to say no
            raise BadSignature(f"the signature by {origin} with key {key_id} is wrong") from error

    # Publishing.

    def own_document(self) -> dict[str, Any]:
        """Our own key document; made anew when half of its time is over."""
        now_ms = self._clock.wall_ms()
        document = self._own_document
        if document is None or not 0 <= document["valid_until_ts"] - now_ms - OWN_VALIDITY_MS // 2 <= (
            OWN_VALIDITY_MS // 2
        ):
            document = self._own_document = own_document(self._own, now_ms)
        return document

    async def notarised(
        self, server_name: ServerName, minimum_valid_until_ms: int | None = None
    ) -> dict[str, Any] | None:
        """A server's key document with our signature added; None when there is none to be had.

        What is stored is fetched anew when half of its time is over or it is not good for long enough; when
        that fails, the last one stays good enough to check old events.
        """
        if server_name == self._own.server_name:
            return self.own_document()
        now_ms = self._clock.wall_ms()
        needed_ms = now_ms if minimum_valid_until_ms is None else minimum_valid_until_ms
        row = await self._store.maybe_document(server_name)
        fresh = row is not None and (
            row.valid_until_ms >= needed_ms
            and now_ms - row.fetched_ms < (row.valid_until_ms - row.fetched_ms) / 2
        )
        if not fresh:
            await self._refresh(server_name, needed_ms)
            row = await self._store.maybe_document(server_name) or row
        return None if row is None else self._own.signer.sign(msgspec.json.decode(row.document))

    # Inside.

    async def _checks(self, event: Event) -> list[_Check]:
        """What must be verified, with the keys for it. Raises BadSignature or KeysUnavailable."""
        valid_at_ms = event.origin_server_ts if event.version.enforce_key_validity else None
        checks: list[_Check] = []
        for server_name in required_signers(event):
            key_ids = _signed_with(event.pdu, server_name)
            if not key_ids:
                raise BadSignature(f"there is no signature by {server_name}")
            keys = await self.verify_keys(server_name, key_ids, valid_at_ms=valid_at_ms)
            if not keys:
                raise KeysUnavailable(f"no usable key of {server_name} is known")
            checks.append(_Check(event, server_name, keys))
        return checks

    async def _verdict(self, event: Event) -> BadSignature | KeysUnavailable | None:
        try:
            await self.verify_event(event)
        except (BadSignature, KeysUnavailable) as refusal:
            return refusal
        return None

    async def _known(self, server_name: ServerName) -> dict[KeyID, KnownKey]:
        if server_name == self._own.server_name:
            return self._own_keys
        known = self._cache.get(server_name, 0)
        if known is None:
            known = {
                row.key_id: KnownKey(
                    decode_verify_key_bytes(row.key_id, decode_base64(row.public_key)),
                    row.valid_until_ms,
                    row.is_old,
                )
                for row in await self._store.all_keys(server_name)
            }
            if known:
                self._cache.put(server_name, known)
        return known

    async def _refresh(self, server_name: ServerName, valid_at_ms: int | None) -> bool:
        """Fetch a server's keys, if it may be asked now; whether that brought anything."""
        before = await self._known(server_name)
        # Nothing waits between this question and the fetch, or more could slip in than may be under way.
        if server_name not in self._fetches and not self._fetcher.may_fetch(server_name):
            return False
        until_ms = self._clock.wall_ms() if valid_at_ms is None else valid_at_ms
        return await self._fetches.run(server_name, lambda: self._fetch(server_name, until_ms, before))

    async def _fetch(
        self, server_name: ServerName, minimum_valid_until_ms: int, before: Mapping[KeyID, KnownKey]
    ) -> bool:
        try:
            fetched = await self._fetcher.fetch(server_name, minimum_valid_until_ms)
        except FetchFailed as error:
            log.info("{error}", error=error)
            self._fetcher.was_useful(server_name, False)
            return False
        now_ms = self._clock.wall_ms()
        useful = any(
            key_id not in before or (before[key_id].valid_until_ms < now_ms <= known.valid_until_ms)
            for key_id, known in fetched.keys.items()
        )
        self._fetcher.was_useful(server_name, useful)
        self._cache.put(server_name, {**before, **fetched.keys})
        await self._save(server_name, fetched.document, fetched.keys, now_ms)
        return True

    async def _save(
        self,
        server_name: ServerName,
        document: Mapping[str, Any],
        keys: Mapping[KeyID, KnownKey],
        now_ms: int,
    ) -> None:
        batch = Batch()
        for key_id, known in sorted(keys.items()):
            row = ServerKeyRow(
                server_name=server_name,
                key_id=key_id,
                public_key=encode_verify_key_base64(known.key),
                valid_until_ms=known.valid_until_ms,
                is_old=known.is_old,
                fetched_ms=now_ms,
            )
            self._store.put_key(batch, row)
        until_ms = max(known.valid_until_ms for known in keys.values() if not known.is_old)
        self._store.put_document(
            batch,
            KeyDocumentRow(
                server_name=server_name,
                document=msgspec.json.encode(document),
                valid_until_ms=until_ms,
                fetched_ms=now_ms,
            ),
        )
        try:
            await self._writer.submit(batch)
        except (BatchFailed, WriterStopped) as error:
            log.warn("the keys of {server} were not stored: {error}", server=server_name, error=error)

    async def _prefetch(self, events: Iterable[Event]) -> None:
        """Ask every server whose keys some event lacks, at once and not one after the other."""
        wanted: dict[ServerName, tuple[set[KeyID], int | None]] = {}
        for event in events:
            for server_name in required_signers(event):
                key_ids, latest = wanted.get(server_name, (set(), None))
                key_ids.update(_signed_with(event.pdu, server_name))
                if event.version.enforce_key_validity:
                    latest = max(event.origin_server_ts, latest or 0)
                wanted[server_name] = (key_ids, latest)
        lacking: list[ServerName] = []
        for server_name, (key_ids, latest) in sorted(wanted.items()):
            known = await self._known(server_name)
            if key_ids and any(not _good(known, (key_id,), latest, False) for key_id in key_ids):
                lacking.append(server_name)
        await DeferredList(
            [
                Deferred.fromCoroutine(self._refresh(server_name, wanted[server_name][1]))
                for server_name in lacking
                if server_name != self._own.server_name
            ]
        )

    def _keys_of_our_own(self) -> dict[KeyID, KnownKey]:
        ours = {key_id: KnownKey(key, 1 << 62, False) for key_id, key in self._own.verify_keys().items()}
        ours.update(
            (key_id, KnownKey(old.key, old.expired_ms, True)) for key_id, old in self._own.old.items()
        )
        return ours


class _Check(msgspec.Struct, frozen=True):
    """One server's signatures of one event, and the keys that are good for them."""

    event: Event
    server_name: ServerName
    keys: Mapping[KeyID, VerifyKey]

    def perform(self) -> None:
        """Raises BadSignature."""
        verify_pdu(self.event.pdu, self.event.version, self.server_name, self.keys)


def _faults(checks: Sequence[_Check]) -> dict[EventID, BadSignature]:
    """What is wrong with the events, for those with which something is; touches nothing else."""
    faults: dict[EventID, BadSignature] = {}
    for check in checks:
        try:
            check.perform()
        except BadSignature as fault:
            faults[check.event.event_id] = fault
    return faults


def _good(
    known: Mapping[KeyID, KnownKey], key_ids: Collection[KeyID], valid_at_ms: int | None, for_requests: bool
) -> dict[KeyID, VerifyKey]:
    good: dict[KeyID, VerifyKey] = {}
    for key_id in key_ids:
        candidate = known.get(key_id)
        if candidate is None or (for_requests and candidate.is_old):
            continue
        if valid_at_ms is None or valid_at_ms <= candidate.valid_until_ms:
            good[key_id] = candidate.key
    return good


def _signed_with(pdu: Mapping[str, Any], server_name: ServerName) -> tuple[KeyID, ...]:
    """The key IDs under a server's name in `signatures`, sorted; none when the part has another shape."""
    signatures = pdu.get("signatures")
    by_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    return tuple(sorted(by_server)) if isinstance(by_server, dict) else ()
