"""What one destination is sent next: batching, one transaction at a time, retries that repeat it. Pure.

No clock, no network, no SQL: `sender` loads pages, sends transactions and reports what became of them; the
pause after a failure is `retries`'. Answers to "Transactions" in the Server-Server API.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

MAX_PDUS = 50
MAX_EDUS = 100
"""The most that one transaction may hold (Server-Server API, "Transactions")."""
MAX_BODY_BYTES = 3 * 1024 * 1024
"""A transaction ends early rather than grow beyond this; one PDU of 64 KiB always fits."""


class QueueMisused(Exception):
    """A report that does not fit the queue's state: a bug in the caller."""


class QueuedPdu(msgspec.Struct, frozen=True):
    """One event that goes to the destination: its position in the log, and its JSON."""

    position: int
    pdu: bytes


class Load(msgspec.Struct, frozen=True):
    """Load the next page: at most `limit` events with positions in (after, upto]; upto None: no bound."""

    after: int
    upto: int | None
    limit: int


class Transaction(msgspec.Struct, frozen=True):
    """What is sent in one request. `last_position` is where the cursor stands once it is delivered."""

    txn_id: str
    pdus: tuple[QueuedPdu, ...]
    edus: tuple[Mapping[str, Any], ...]
    last_position: int


class DestinationQueue:
    """The queue of one destination.

    `sent_position`: everything up to here is delivered. `sending_position`: the end of a transaction that was
    sent and not yet answered; until it is delivered it is repeated with exactly the same events and the same
    ID, which is made of them, so that a restart changes neither. `session` goes into the IDs of transactions
    without events and must be another one after a restart.
    """

    def __init__(self, session: str, sent_position: int = 0, sending_position: int | None = None) -> None:
        self._session = session
        self.sent_position = sent_position
        self.sending_position = sending_position
        self._more_events = sending_position is not None
        self._edus: OrderedDict[Hashable, Mapping[str, Any]] = OrderedDict()
        self._edu_count = 0
        self._in_flight: Transaction | None = None

    @property
    def in_flight(self) -> Transaction | None:
        """The transaction that is under way."""
        return self._in_flight

    def events_added(self) -> None:
        """There may be events for this destination behind the cursor."""
        self._more_events = True

    def add_edu(self, edu: Mapping[str, Any], replaces: Hashable | None = None) -> None:
        """Queue an EDU; one with the same `replaces` that has not left yet is dropped, as is the oldest when
        there are too many: what they tell is soon out of date."""
        self._edu_count += 1
        key: Hashable = ("unique", self._edu_count) if replaces is None else ("replaces", replaces)
        self._edus.pop(key, None)
        self._edus[key] = edu
        if len(self._edus) > MAX_EDUS:
            self._edus.popitem(last=False)

    def next_step(self) -> Load | Transaction | None:
        """What to do now: load events, send EDUs alone, or (None) nothing."""
        if self._in_flight is not None:
            return None
        if self._more_events:
            return Load(self.sent_position, self.sending_position, MAX_PDUS)
        if self._edus:
            return self._start((), self.sent_position, f"e{self._session}.{self._edu_count}")
        return None

    def loaded(self, pdus: Sequence[QueuedPdu], upto: int | None) -> Transaction | None:
        """The page that `Load` asked for, and the position up to which it leaves nothing out.

        `upto` None: nothing is pending. Returns the transaction to send; None when there was nothing in the
        page, then ask `next_step` again.
        """
        if self._in_flight is not None:
            raise QueueMisused("a page was loaded while a transaction is under way")
        if upto is None:
            self._more_events = False
            if self.sending_position is not None:
                # What was to be repeated is gone from the log.
                self.sending_position, self._more_events = None, True
            return None
        if not pdus:
            self.sent_position = max(self.sent_position, upto)
            return None
        pdus = _within_size(pdus)
        last = pdus[-1].position
        # Positions alone would come again, with other events, on a server that was restored from a copy.
        contents = blake2b(b"\n".join(queued.pdu for queued in pdus), digest_size=8).hexdigest()
        return self._start(tuple(pdus), last, f"p{pdus[0].position}.{last}.{contents}")

    def delivered(self) -> None:
        """The transaction under way was answered with 200."""
        done = self._take_in_flight()
        self.sent_position = done.last_position
        self.sending_position = None
        if done.pdus:
            # A full page, or one that was bounded because it is a repeat, says nothing of what comes after.
            self._more_events = True

    def failed(self) -> None:
        """It was not: its events are repeated as they were, its EDUs and those that wait are dropped."""
        failed = self._take_in_flight()
        if failed.pdus:
            self.sending_position = failed.last_position
            self._more_events = True
        self._edus.clear()

    def is_idle(self) -> bool:
        """Nothing is known that would have to be sent."""
        return self._in_flight is None and not self._more_events and not self._edus

    def _start(self, pdus: tuple[QueuedPdu, ...], last_position: int, txn_id: str) -> Transaction:
        edus = tuple(self._edus.values())
        self._edus.clear()
        self._in_flight = Transaction(txn_id, pdus, edus, last_position)
        return self._in_flight

    def _take_in_flight(self) -> Transaction:
        if self._in_flight is None:
            raise QueueMisused("no transaction is under way")
        transaction, self._in_flight = self._in_flight, None
        return transaction


def _within_size(pdus: Sequence[QueuedPdu]) -> Sequence[QueuedPdu]:
    size = 0
    for number, queued in enumerate(pdus):
        size += len(queued.pdu)
        if size > MAX_BODY_BYTES and number > 0:
            return pdus[:number]
    return pdus
