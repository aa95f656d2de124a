"""The first three checks on a received PDU: its format, its signatures, its content hash.

They need only the PDU, the room's version and keys; whether the event is allowed is judged elsewhere.
Source: Server-Server API, "Checks performed on receipt of a PDU" 1 to 3 and "Validating hashes and
signatures on received events".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from minihs.events.event import Event, InvalidEvent, parse_event, redact_event
from minihs.events.hashes import content_hash_matches
from minihs.events.ids import EventID, RoomID
from minihs.events.signatures import BadSignature
from minihs.events.versions import RoomVersion
from minihs.federation.key_documents import KeysUnavailable
from minihs.platform.workers import Workers

INLINE_PDUS = 16  # beyond this many, the work leaves the main thread
CHUNK = 100


class Dropped(Exception):
    """The PDU is not what it claims to be, or that cannot be told; nothing of it is kept."""


class Unverifiable(Dropped):
    """The keys that could tell are not to be had at the moment; nothing is known against the PDU."""


class Keys(Protocol):
    """What is needed of `federation.keyring.Keyring`."""

    async def verify_event(self, event: Event) -> None: ...

    async def verify_events(
        self, events: Sequence[Event]
    ) -> Mapping[EventID, BadSignature | KeysUnavailable | None]: ...


class Admitted(msgspec.Struct, frozen=True):
    """What is left of many PDUs: the genuine events in the order given, and why others were dropped.

    `ids` has an entry for each PDU: its event ID, None for what is no event.
    """

    events: dict[EventID, Event]
    dropped: tuple[str, ...]
    ids: tuple[EventID | None, ...]


class Admission:
    """Turns PDUs from other servers into events that are genuine; a wrong content hash leaves the redacted
    form."""

    def __init__(self, keys: Keys, workers: Workers) -> None:
        self._keys = keys
        self._workers = workers

    def parse(self, pdu: object, version: RoomVersion, room_id: RoomID) -> Event:
        """Check 1; raises Dropped when the PDU is malformed or of another room. Nothing is verified yet.

        `pdu` is a JSON value, or one that has not been read yet (`msgspec.Raw`).
        """
        if isinstance(pdu, msgspec.Raw):
            try:
                pdu = msgspec.json.decode(pdu)
            except (msgspec.DecodeError, RecursionError) as error:
                raise Dropped(f"A PDU must be JSON: {error}") from error
        if not isinstance(pdu, Mapping):
            raise Dropped("A PDU must be a JSON object.")
        try:
            event = parse_event(pdu, version)
        except InvalidEvent as error:
            raise Dropped(str(error)) from error
        if event.room_id != room_id:
            raise Dropped(f"The event belongs to {event.room_id}, not to {room_id}.")
        return event

    async def verify(self, event: Event) -> Event:
        """Checks 2 and 3: the event, redacted when its hash is wrong. Raises Dropped, or Unverifiable."""
        try:
            await self._keys.verify_event(event)
        except KeysUnavailable as error:
            raise Unverifiable(str(error)) from error
        except BadSignature as error:
            raise Dropped(str(error)) from error
        return _with_true_content(event)

    async def admit(self, pdu: object, version: RoomVersion, room_id: RoomID) -> Event:
        """All three checks on one PDU; raises Dropped."""
        return await self.verify(self.parse(pdu, version, room_id))

    async def admit_all(
        self,
        pdus: Sequence[object],
        version: RoomVersion,
        room_id: RoomID,
        of_use: Callable[[Mapping[EventID, Event]], Collection[EventID]] | None = None,
    ) -> Admitted:
        """All three checks on many PDUs (an auth chain, a room's state), without holding up other work.

        Repeats count once. `of_use` says which of the well-formed ones are worth verifying; others are passed
        over in silence.
        """
        parsed: dict[EventID, Event] = {}
        ids: list[EventID | None] = []
        dropped: list[str] = []
        for start in range(0, len(pdus), CHUNK):
            for outcome in await self._off_thread(
                len(pdus), self._parse_chunk, pdus[start : start + CHUNK], version, room_id
            ):
                if isinstance(outcome, str):
                    dropped.append(outcome)
                    ids.append(None)
                else:
                    ids.append(outcome.event_id)
                    parsed.setdefault(outcome.event_id, outcome)
        if of_use is not None:
            wanted = of_use(parsed)
            parsed = {event_id: event for event_id, event in parsed.items() if event_id in wanted}
        verdicts = await self._keys.verify_events(list(parsed.values()))
        signed: list[Event] = []
        for event_id, event in parsed.items():
            fault = verdicts[event_id]
            if fault is None:
                signed.append(event)
            else:
                dropped.append(f"{event_id}: {fault}")
        genuine: dict[EventID, Event] = {}
        for start in range(0, len(signed), CHUNK):
            for event in await self._off_thread(
                len(signed), _all_with_true_content, signed[start : start + CHUNK]
            ):
                genuine[event.event_id] = event
        return Admitted(genuine, tuple(dropped), tuple(ids))

    async def _off_thread(self, count: int, work: Any, *args: Any) -> Any:
        if count <= INLINE_PDUS:
            return work(*args)
        return await self._workers.run(work, *args)

    def _parse_chunk(
        self, pdus: Sequence[object], version: RoomVersion, room_id: RoomID
    ) -> list[Event | str]:
        outcomes: list[Event | str] = []
        for pdu in pdus:
            try:
                outcomes.append(self.parse(pdu, version, room_id))
            except Dropped as dropped:
                outcomes.append(str(dropped))
        return outcomes


def _with_true_content(event: Event) -> Event:
    strict = event.version.strict_canonical_json
    return event if content_hash_matches(event.pdu, strict=strict) else redact_event(event)


def _all_with_true_content(events: Sequence[Event]) -> list[Event]:
    return [_with_true_content(event) for event in events]
