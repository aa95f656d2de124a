"""Carries local events and EDUs to other servers. The life of an event that goes out:

The room service stores, in the event's own batch, one row of the outbound log: position and set of servers.
After the commit it calls `wake`. At the end of that turn of the reactor each destination that is not busy or
left alone loads its next page behind its cursor from the log (`queue` decides what that is), sends it as one
transaction, and moves the cursor once the answer is there; then it asks for the next page. Cursors are stored
in the background, many at once: a crash repeats at most what was sent since, with the same transaction IDs,
or else with events that the other side knows already and skips.

A destination that fails is paused (`retries`); after the pause, or at a sign of life, the same transaction is
repeated, and then the backlog follows page by page. Nothing here waits for another destination.
Answers to "Transactions" in the Server-Server API.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from itertools import islice
from typing import Any, Protocol, cast

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from minihs.events import canonical
from minihs.events.ids import ServerName
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.cursor_writer import CursorWriter
from minihs.federation.log_pruning import LogPruning
from minihs.federation.queue import MAX_EDUS, DestinationQueue, Load, QueuedPdu, Transaction
from minihs.federation.retries import RetryTable
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, token_urlsafe
from minihs.platform.logs import Logger
from minihs.store.destinations import DestinationRow, DestinationStore
from minihs.store.writer import Writer

log = Logger()

STAGGER_MS = 20
"""At start, destinations with a backlog begin one after the other at this distance."""
MARK_AFTER_MS = 250
"""A transaction that is not answered by then is noted in the store: a restart repeats it as it was."""
MAX_QUEUES = 5_000
"""Idle destinations whose cursor is kept in memory."""
LOOKED_AT = 20
"""How many of the oldest are looked at to find one that is idle."""
ANSWER_MAX_BYTES = 1024 * 1024


class TransactionClient(Protocol):
    """What the sender needs of `client.FederationClient`."""

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: bytes,
        *,
        timeout_ms: int,
        max_bytes: int,
        ignore_backoff: bool,
        must_succeed: bool,
    ) -> dict[str, Any]: ...


class SenderCounts(msgspec.Struct):
    """What has been done since the start, for metrics."""

    transactions: int = 0
    pdus: int = 0
    edus: int = 0
    failures: int = 0
    dropped_edus: int = 0


class FederationSender:
    """One queue for each destination that has something to get."""

    def __init__(
        self,
        *,
        server_name: ServerName,
        store: DestinationStore,
        writer: Writer,
        client: TransactionClient,
        retries: RetryTable,
        clock: Clock,
        entropy: Entropy,
        timeout_ms: int = 60_000,
    ) -> None:
        self._server_name = server_name
        self._store = store
        self._client = client
        self._retries = retries
        self._clock = clock
        self._entropy = entropy
        self._timeout_ms = timeout_ms
        self._session = ""
        self._started = False
        self._queues: OrderedDict[ServerName, DestinationQueue] = OrderedDict()
        self._early_edus: dict[ServerName, list[tuple[Mapping[str, Any], Hashable | None]]] = {}
        self._running: dict[ServerName, Deferred[None] | None] = {}
        self._timers: dict[ServerName, IDelayedCall] = {}
        self._woken: dict[ServerName, None] = {}
        self._cursors = CursorWriter(store, writer)
        self._pruning = LogPruning(store, writer)
        self.counts = SenderCounts()

    # What others call.

    def busy(self) -> int:
        """How many destinations are being worked on."""
        return len(self._running)

    async def start(self) -> None:
        """Take up what was left when the process ended: pauses, and destinations with a backlog."""
        self._session = token_urlsafe(self._entropy, 6)
        self._started = True
        for row in await self._store.all_failing():
            if row.retry_at_ms is not None and row.retry_interval_ms is not None:
                self._retries.restore(
                    row.server_name,
                    failing_since_ms=row.failing_since_ms or row.retry_at_ms,
                    retry_at_wall_ms=row.retry_at_ms,
                    interval_ms=row.retry_interval_ms,
                )
        self._retries.listen(self._retry_changed)
        for number, server_name in enumerate(await self._store.all_with_pending()):
            self._set_timer(server_name, number * STAGGER_MS)
        self._pruning.begin()

    async def stop(self) -> None:
        """Send nothing more; what is under way is given up, to be repeated after the next start."""
        self._started = False
        for timer in self._timers.values():
            cast(Any, timer).cancel()
        self._timers.clear()
        for running in list(self._running.values()):
            if running is not None:
                running.cancel()
        await self._cursors.idle()

    def wake(self, servers: Iterable[ServerName]) -> None:
        """Committed events for these servers are in the log. They are sent at the end of this turn."""
        if not self._woken:
            self._clock.call_later(0, self._start_woken)
        for server_name in servers:
            self._woken[server_name] = None

    def send_edu(
        self, destinations: Iterable[ServerName], edu: Mapping[str, Any], replaces: Hashable | None = None
    ) -> None:
        """Send an EDU (`edu_type`, `content`), once, to those destinations that work; others never get it.

        It takes the place of one with the same `replaces` that has not left yet.
        """
        reached = []
        for server_name in destinations:
            if server_name == self._server_name:
                continue
            if self._retries.retry_at_ms(server_name) is not None:
                self.counts.dropped_edus += 1
                continue
            queue = self._queues.get(server_name)
            if queue is not None:
                queue.add_edu(edu, replaces)
            else:
                early = self._early_edus.setdefault(server_name, [])
                early.append((edu, replaces))
                del early[:-MAX_EDUS]
            reached.append(server_name)
        self.wake(reached)

    def sign_of_life(self, server_name: ServerName) -> None:
        """The server was heard of: what waits for it is tried now."""
        self._retries.sign_of_life(server_name)

    # Inside.

    def _start_woken(self) -> None:
        woken, self._woken = self._woken, {}
        for server_name in sorted(woken):
            if server_name == self._server_name:
                continue
            queue = self._queues.get(server_name)
            if queue is not None:
                queue.events_added()
            self._kick(server_name)

    def _kick(self, server_name: ServerName) -> None:
        """Work on a destination, unless that is being done, or as soon as it may be."""
        timer = self._timers.pop(server_name, None)
        if timer is not None and cast(Any, timer).active():
            cast(Any, timer).cancel()
        if not self._started or server_name in self._running:
            return
        retry_at_ms = self._retries.retry_at_ms(server_name)
        if retry_at_ms is not None:
            self._set_timer(server_name, retry_at_ms - self._clock.monotonic_ms())
            return
        self._running[server_name] = None
        running = Deferred.fromCoroutine(self._work_on(server_name))
        self._running[server_name] = running
        running.addErrback(self._crashed, server_name)
        running.addCallback(self._worked, server_name)

    def _set_timer(self, server_name: ServerName, delay_ms: float) -> None:
        timer = self._timers.get(server_name)
        if timer is not None and cast(Any, timer).active():
            cast(Any, timer).cancel()
        self._timers[server_name] = self._clock.call_later(delay_ms, self._kick, server_name)

    async def _work_on(self, server_name: ServerName) -> None:
        queue = await self._queue_of(server_name)
        while self._started:
            transaction = await self._next_transaction(server_name, queue)
            if transaction is None or not await self._send(server_name, queue, transaction):
                break

    def _worked(self, _: None, server_name: ServerName) -> None:
        del self._running[server_name]
        self._forget_idle()
        queue = self._queues.get(server_name)
        if queue is not None and not queue.is_idle():
            self._kick(server_name)

    def _crashed(self, failure: Failure, server_name: ServerName) -> None:
        """A bug, or a store that cannot be read: begin again from what is stored, after a pause."""
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]
            log.failure("the queue of {server} crashed", failure, server=server_name)
        self._queues.pop(server_name, None)
        self._retries.failed(server_name)
        if self._started:
            self._set_timer(server_name, STAGGER_MS)

    async def _queue_of(self, server_name: ServerName) -> DestinationQueue:
        queue = self._queues.get(server_name)
        if queue is None:
            row = await self._store.maybe_destination(server_name)
            if row is None:
                row = DestinationRow(server_name=server_name)
            queue = DestinationQueue(self._session, row.sent_position, row.sending_position)
            queue.events_added()
            for edu, replaces in self._early_edus.pop(server_name, ()):
                queue.add_edu(edu, replaces)
            self._queues[server_name] = queue
        self._queues.move_to_end(server_name)
        return queue

    async def _next_transaction(self, server_name: ServerName, queue: DestinationQueue) -> Transaction | None:
        while True:
            step = queue.next_step()
            if not isinstance(step, Load):
                return step
            page = await self._store.page_of_pending(server_name, step.after, step.upto, step.limit)
            pdus = [QueuedPdu(event.position, event.pdu) for event in page.events]
            transaction = queue.loaded(pdus, page.upto)
            if transaction is not None:
                return transaction

    async def _send(self, server_name: ServerName, queue: DestinationQueue, transaction: Transaction) -> bool:
        """Send one transaction; whether it was delivered."""
        mark = self._clock.call_later(MARK_AFTER_MS, self._mark, server_name, queue, transaction)
        try:
            answer = await self._client.put(
                server_name,
                f"/_matrix/federation/v1/send/{transaction.txn_id}",
                self._body(transaction),
                timeout_ms=self._timeout_ms,
                max_bytes=ANSWER_MAX_BYTES,
                ignore_backoff=True,
                must_succeed=True,
            )
        except (Unreachable, RemoteRefusal, CancelledError) as error:
            queue.failed()
            self.counts.failures += 1
            self._save(server_name, queue)
            if not isinstance(error, CancelledError):
                log.info("sending to {server} failed: {error}", server=server_name, error=error)
            return False
        finally:
            if cast(Any, mark).active():
                cast(Any, mark).cancel()
        queue.delivered()
        self.counts.transactions += 1
        self.counts.pdus += len(transaction.pdus)
        self.counts.edus += len(transaction.edus)
        self._save(server_name, queue)
        self._pruning.delivered(len(transaction.pdus))
        _log_refused_pdus(server_name, answer)
        return True

    def _body(self, transaction: Transaction) -> bytes:
        decode = msgspec.json.decode
        body: dict[str, Any] = {
            "origin": self._server_name,
            "origin_server_ts": self._clock.wall_ms(),
            "pdus": [decode(queued.pdu) for queued in transaction.pdus],
        }
        if transaction.edus:
            body["edus"] = list(transaction.edus)
        return canonical.encode(body)

    def _mark(self, server_name: ServerName, queue: DestinationQueue, transaction: Transaction) -> None:
        if transaction.pdus:
            queue.sending_position = transaction.last_position
            self._save(server_name, queue)

    def _retry_changed(self, server_name: ServerName) -> None:
        queue = self._queues.get(server_name)
        if queue is None:
            return
        self._save(server_name, queue)
        if not queue.is_idle():
            self._kick(server_name)

    def _save(self, server_name: ServerName, queue: DestinationQueue) -> None:
        pause = self._retries.pause_of(server_name)
        self._cursors.save(
            DestinationRow(
                server_name=server_name,
                sent_position=queue.sent_position,
                sending_position=queue.sending_position,
                failing_since_ms=None if pause is None else pause.failing_since_ms,
                retry_at_ms=None if pause is None else self._retries.wall_ms_of(pause),
                retry_interval_ms=None if pause is None else pause.interval_ms,
            )
        )

    def _forget_idle(self) -> None:
        """Drop the queue that was used least recently, of those that hold nothing that is not stored."""
        if len(self._queues) <= MAX_QUEUES:
            return
        for server_name, queue in list(islice(self._queues.items(), LOOKED_AT)):
            busy = server_name in self._running or not queue.is_idle()
            if not busy and not self._cursors.holds(server_name):
                del self._queues[server_name]
                return
            self._queues.move_to_end(server_name)


def _log_refused_pdus(server_name: ServerName, answer: Mapping[str, Any]) -> None:
    results = answer.get("pdus")
    for event_id, result in sorted(results.items()) if isinstance(results, dict) else ():
        if isinstance(result, dict) and "error" in result:
            log.debug(
                "{server} refused {event_id}: {error}",
                server=server_name,
                event_id=event_id,
                error=str(result["error"])[:200],
            )
