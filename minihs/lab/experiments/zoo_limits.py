"""Animals of `ghost_zoo` that come out in a crowd: futures dropped, disarmed, starved behind one address."""

from __future__ import annotations

from typing import Any, cast

from minihs.homeserver.errors import LimitExceeded
from minihs.homeserver.futures.opening import FutureService
from minihs.homeserver.futures.service import Futures
from minihs.http.limits import RateLimiter
from minihs.lab.experiments.zoo_scene import CALL, MINUTE_MS, Sighting, scene
from minihs.server import Policies
from minihs.server.policies import Charge

MANY = 60


def _as_any_request(charge: Charge) -> Charge:
    """Due sends share a small budget, as if each were a request of a busy client."""
    left = 20

    def charged(user_id: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise LimitExceeded("Too many requests.", 1_000)
        charge(user_id)

    return charged


def dropped_by_limits(seed: int, wrong: bool) -> Sighting:
    """Sixty messages for one moment, with rate limits on."""
    policies = Policies(charge_due=_as_any_request) if wrong else None
    here = scene(seed, policies=policies, rate_limits__enabled=True)
    for number in range(MANY):
        here.later(str(number), 30_000)
    here.waits(40_000)
    came = len(here.bodies())
    return here.sighting(came != MANY, f"{came} of {MANY} came")


class OneTimerForAll:
    """Cancelling anything, again or not, stops the timer that waits for whatever is due next."""

    def __init__(self, service: FutureService) -> None:
        self._service = service

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service.futures, name)

    async def cancel(self, *args: Any, **details: Any) -> None:
        try:
            await self._service.futures.cancel(*args, **details)
        finally:
            await self._service.scheduler.stop()


def disarmed_by_another(seed: int, wrong: bool) -> Sighting:
    """One future is cancelled twice; another is due soon after."""
    policies = Policies(commands=lambda service: cast(Futures, OneTimerForAll(service))) if wrong else None
    here = scene(seed, policies=policies)
    other = here.later("cancelled", 60 * MINUTE_MS)
    here.later("must come", 8_000)
    for _ in range(2):  # the second one is redundant
        here.waits(1_000)
        other.do("cancel")
    here.waits(30_000)
    came = here.bodies().count("must come")
    return here.sighting(came != 1, f"{came} of 1 came")


class ChargedByAddress(RateLimiter):
    """Charges whoever shows a delay ID by their address, with a fifth of what sixty need."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def charge(self, bucket: str, key: str, cost: int = 1) -> None:
        if bucket == "futures_action":
            bucket, key = "futures_address", "the office"
        self._limiter.charge(bucket, key, cost)

    def check(self, bucket: str, key: str) -> None:
        self._limiter.check(bucket, key)

    def knows(self, bucket: str) -> bool:
        return self._limiter.knows(bucket)


def starved_behind_one_address(seed: int, wrong: bool) -> Sighting:
    """Sixty people in a call, with a heartbeat each every 5 seconds for a minute."""
    here = scene(
        seed,
        policies=Policies(future_limits=ChargedByAddress) if wrong else None,
        rate_limits__enabled=True,
        rate_limits__buckets={"futures_address": [5.0, 50], "registration": [100.0, 1000]},
    )
    handles = []
    for number in range(MANY):
        member = here.world.user(f"member{number}", "hs1")
        member.join(here.room_id)
        handles.append(here.leaving(15_000, "delay-query", member))
    here.begin_here()
    for _ in range(12):
        here.waits(5_000)
        for handle in handles:
            handle.do("restart", by=here.alice)  # one address for all of them
    gone = sum(key == CALL for key, _ in here.alice.state(here.room_id))
    return here.sighting(gone > 0, f"{gone} of {MANY} thrown out")
