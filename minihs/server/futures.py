"""Wires futures: what holds them, what administrators ask of them, and the dialects in front."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from minihs.config import Config
from minihs.events.ids import ServerName, UserID
from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.administration import FutureAdministration
from minihs.homeserver.futures.explaining import FutureExplainer
from minihs.homeserver.futures.opening import FutureService, open_future_service
from minihs.homeserver.room_actions.rehearsal import Rehearsal
from minihs.homeserver.room_actions.sending import Sending
from minihs.homeserver.rooms.opening import RoomService
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.build import build_dialects
from minihs.http.dialects.table import Dialects
from minihs.http.limits import RateLimiter
from minihs.server.platform import CannotStart, Platform
from minihs.server.policies import Policies
from minihs.server.send_time import as_outcome, standing_at_send_time
from minihs.server.variants import admission_of, authorities_of, cancel_ruling_of, overdue_of
from minihs.store.futures_overview import FuturesOverview
from minihs.store.reader import Reader
from minihs.store.streams import Stream
from minihs.store.users import UserStore
from minihs.store.writer import Writer


class WiredFutures(msgspec.Struct, frozen=True, kw_only=True):
    """Futures on command and in time, the administrator's view, and what clients speak to."""

    service: FutureService
    administration: FutureAdministration
    dialects: Dialects


async def wire_futures(
    config: Config,
    platform: Platform,
    policies: Policies,
    *,
    reader: Reader,
    writer: Writer,
    limiter: RateLimiter,
    room_service: RoomService,
    sending: Sending,
    rehearsal: Rehearsal,
    transactions: Transactions,
    server_name: ServerName,
    users: UserStore,
    outcomes: Stream,
    announce: Callable[[UserID], None],
) -> WiredFutures:
    """Make them over what sends events; nothing is started."""
    clock, entropy, rooms = platform.clock, platform.entropy, room_service.rooms
    limits = FutureLimits(
        max_delay_ms=config.futures.max_delay_ms,
        max_scheduled=config.futures.max_scheduled,
        retention_ms=config.futures.retention_ms,
        retention_count=config.futures.retention_count,
    )
    standing_of = standing_at_send_time(users)

    def charge_due(user_id: UserID) -> None:
        limiter.charge("futures_due", user_id)

    def check_due(user_id: UserID) -> None:
        limiter.check("futures_due", user_id)

    admission = admission_of(config, rehearsal, standing_of)
    if policies.admission is not None:
        admission = policies.admission(rooms)
    service = await open_future_service(
        store=policies.future_store(reader),
        reader=reader,
        writer=writer,
        clock=clock,
        entropy=entropy,
        server_name=server_name,
        rooms=rooms,
        sender=policies.future_sender(sending, rooms, writer),
        standing_of=standing_of,
        describe=as_outcome,
        charge=policies.charge_due(charge_due),
        limits=limits,
        outcomes=outcomes,
        cancels=policies.cancels,
        cancel_ruling=cancel_ruling_of(config),
        admission=admission,
        admit_overdue=overdue_of(config),
        announce=announce,
    )
    futures = policies.commands(service)
    try:
        dialects = build_dialects(
            config.futures.dialects,
            futures=futures,
            listing=service.listing,
            sender=sending,
            transactions=transactions,
            limiter=policies.future_limits(limiter),
            clock=clock,
            entropy=entropy,
            limits=limits,
            authorities=authorities_of(config),
            unstable_conflict=config.futures.unstable_conflict,
            more=policies.dialects(futures),
        )
    except ValueError as error:
        raise CannotStart(f"futures.dialects: {error}.") from error
    administration = FutureAdministration(
        overview=FuturesOverview(reader),
        futures=service.futures,
        explainer=FutureExplainer(
            rooms=rooms,
            rehearsal=rehearsal,
            standing_of=standing_of,
            describe=as_outcome,
            check_budget=check_due,
        ),
        clock=service.steady,
    )
    return WiredFutures(service=service, administration=administration, dialects=dialects)
