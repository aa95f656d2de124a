"""Makes the dialects that the settings name. What each needs is visible here; who answers is in `table`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from minihs.futures.policies import FutureLimits
from minihs.homeserver.futures.listing import FutureListing
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.futures.service import Futures
from minihs.homeserver.transactions import Transactions
from minihs.http.dialects.base import Dialect
from minihs.http.dialects.batch import Batched
from minihs.http.dialects.delay_query import DelayQuery
from minihs.http.dialects.future_id import FutureId
from minihs.http.dialects.lockout import TokenLockout
from minihs.http.dialects.management import Authorities, Management
from minihs.http.dialects.merged import Merged
from minihs.http.dialects.msc4309 import Msc4309
from minihs.http.dialects.msc4486 import Msc4486
from minihs.http.dialects.redemption import Redemption
from minihs.http.dialects.running import RunningFutures
from minihs.http.dialects.table import NAMES, Dialects
from minihs.http.dialects.tokens import Tokens
from minihs.http.dialects.tokens_on_send import TokensOnSend
from minihs.http.dialects.will_expire import WillExpire
from minihs.http.limits import RateLimiter
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy


def build_dialects(
    names: Collection[str],
    *,
    futures: Futures,
    listing: FutureListing,
    sender: EventSender,
    transactions: Transactions,
    limiter: RateLimiter,
    clock: Clock,
    entropy: Entropy,
    limits: FutureLimits,
    authorities: Authorities,
    unstable_conflict: int,
    more: Sequence[Dialect] = (),
) -> Dialects:
    """The dialects of the setting `futures.dialects`, and `more` of somebody's own.

    ValueError for a name that this release cannot serve.
    """
    management = Management(
        futures=futures,
        limiter=limiter,
        authorities=authorities,
        unstable_conflict=unstable_conflict,
    )
    redemption = Redemption(futures=futures, limiter=limiter, lockout=TokenLockout(clock))
    running = RunningFutures(futures)
    makers: dict[str, Callable[[], Dialect]] = {
        "will-expire": lambda: WillExpire(
            futures=futures, transactions=transactions, limiter=limiter, redemption=redemption
        ),
        "batch": lambda: Batched(
            futures=futures,
            sender=sender,
            transactions=transactions,
            limiter=limiter,
            redemption=redemption,
            running=running,
        ),
        "tokens": lambda: Tokens(
            futures=futures,
            transactions=transactions,
            redemption=redemption,
            running=running,
            entropy=entropy,
        ),
        "tokens-on-send": lambda: TokensOnSend(
            futures=futures,
            transactions=transactions,
            limiter=limiter,
            redemption=redemption,
            running=running,
            entropy=entropy,
        ),
        "future-id": lambda: FutureId(
            futures=futures,
            transactions=transactions,
            limiter=limiter,
            running=running,
            authority=authorities.stable,
        ),
        "delay-query": lambda: DelayQuery(
            futures=futures,
            transactions=transactions,
            management=management,
            limiter=limiter,
            limits=limits,
        ),
        "merged": lambda: Merged(
            futures=futures, transactions=transactions, management=management, limits=limits
        ),
        "msc4486": lambda: Msc4486(listing=listing),
        "msc4309": lambda: Msc4309(futures=futures),
    }
    for name in names:
        if name not in makers:
            raise ValueError(f"the dialect {name!r} is not served by this release")
    return Dialects([*(makers[name]() for name in NAMES if name in names), *more])
