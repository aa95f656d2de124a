"""Puts the futures service together from its parts: the one place that knows in which order they are made."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from minihs.events.ids import EventID, ServerName, UserID
from minihs.futures.policies import (
    CancelPolicy,
    CancelRuling,
    FutureLimits,
    as_its_dialect_says,
    by_cancel_rule,
)
from minihs.homeserver.futures.due_times import DueTimes
from minihs.homeserver.futures.finding import FutureFinder
from minihs.homeserver.futures.groups import FutureGroups
from minihs.homeserver.futures.listing import FutureListing
from minihs.homeserver.futures.retention import FutureRetention
from minihs.homeserver.futures.scheduler import Scheduler
from minihs.homeserver.futures.scheduling import Admission, FutureScheduling
from minihs.homeserver.futures.send_order import SendOrder
from minihs.homeserver.futures.sending import DescribeError, EventSender, FutureSending, StandingOf
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.futures.steady_clock import SteadyClock
from minihs.homeserver.futures.steps import FutureSteps
from minihs.homeserver.futures.tokens import FutureTokens
from minihs.homeserver.rooms.service import Rooms
from minihs.platform.clock import Clock, sleep
from minihs.platform.entropy import Entropy
from minihs.store.future_listing import FutureListingStore
from minihs.store.futures import FutureStore
from minihs.store.reader import Reader
from minihs.store.streams import Stream
from minihs.store.writer import Writer


class FutureService(msgspec.Struct, frozen=True, kw_only=True):
    """Futures on command, listed and measured, and the scheduler that `start`s and `stop`s."""

    futures: Futures
    listing: FutureListing
    scheduler: Scheduler
    sending: FutureSending
    store: FutureStore
    steady: SteadyClock


async def open_future_service(
    *,
    reader: Reader,
    writer: Writer,
    clock: Clock,
    entropy: Entropy,
    server_name: ServerName,
    rooms: Rooms,
    sender: EventSender,
    standing_of: StandingOf,
    describe: DescribeError,
    charge: Callable[[UserID], None],
    limits: FutureLimits,
    outcomes: Stream,
    announce: Callable[[UserID], None],
    cancels: CancelPolicy = by_cancel_rule,
    cancel_ruling: CancelRuling = as_its_dialect_says,
    admission: Admission | None = None,
    admit_overdue: Callable[[UserID], None] = lambda _owner: None,
    store: FutureStore | None = None,
) -> FutureService:
    """The futures service over a database; it observes `rooms` from now on. Time stands still for it until
    `scheduler.start()`.

    `sender` sends events (`Sending`), `standing_of` says what an account may do, `describe` puts a refusal
    into Matrix' words, `charge` takes one due send from a user's budget, and after a restart `admit_overdue`
    is asked instead. `outcomes` goes on behind `FutureStore.last_position`; `announce` is called with a
    user's ID when one of theirs is durable.
    """

    async def sender_of(event_id: EventID) -> UserID | None:
        row = await rooms.row(event_id)
        return None if row is None else row.event.sender

    store = store or FutureStore(reader)
    steady = SteadyClock(clock, store)
    groups = FutureGroups(store)
    due_times = DueTimes(store.all_due_after)
    retention = FutureRetention(store=store, writer=writer, clock=clock, limits=limits)
    steps = FutureSteps(
        store=store,
        writer=writer,
        clock=steady,
        groups=groups,
        due_times=due_times,
        retention=retention,
        outcomes=outcomes,
        announce=announce,
        sender_of=sender_of,
        pause=lambda: sleep(clock, 0),
        cancels=cancels,
    )
    sending = FutureSending(
        store=store,
        clock=steady,
        groups=groups,
        due_times=due_times,
        steps=steps,
        order=SendOrder(clock),
        sender=sender,
        standing_of=standing_of,
        describe=describe,
        charge=charge,
        admit_overdue=admit_overdue,
    )
    finder = FutureFinder(store=store, groups=groups, retention=retention)
    tokens = FutureTokens(store)
    scheduling = FutureScheduling(
        server_name=server_name,
        store=store,
        entropy=entropy,
        clock=steady,
        groups=groups,
        finder=finder,
        steps=steps,
        sender=sender,
        tokens=tokens,
        rooms=rooms,
        limits=limits,
        admission=admission,
        cancel_ruling=cancel_ruling,
    )
    futures = Futures(
        store=store,
        writer=writer,
        entropy=entropy,
        clock=steady,
        groups=groups,
        finder=finder,
        steps=steps,
        scheduling=scheduling,
        sending=sending,
        tokens=tokens,
        retention=retention,
    )
    await futures.load()
    rooms.observe(steps)
    rooms.prepare_state(steps.before_state)
    scheduler = Scheduler(clock=clock, steady=steady, due_times=due_times, sender=sending, writer=writer)
    listing = FutureListing(store=FutureListingStore(reader), clock=steady, retention=retention)
    return FutureService(
        futures=futures,
        listing=listing,
        scheduler=scheduler,
        sending=sending,
        store=store,
        steady=steady,
    )
