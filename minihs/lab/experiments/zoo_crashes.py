"""Animals of `ghost_zoo` that come out when a server dies: futures lost, sent twice, sent early."""

from __future__ import annotations

from typing import cast

from minihs.events.event import Event
from minihs.events.ids import EventID
from minihs.futures.model import Future
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.lab.experiments.zoo_scene import MINUTE_MS, Sighting, scene
from minihs.server import Policies
from minihs.store.along import Also
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, Writer


def lost_on_restart(seed: int, wrong: bool) -> Sighting:
    """Wrong: what the disk has is what it had before the future, which was in memory only."""
    here = scene(seed)
    before = here.server.snapshot()
    here.later("still wanted", 60 * MINUTE_MS)
    here.server.crash()
    if wrong:
        here.say("its disk has nothing of the future")
        here.server.database = before
    here.comes_back()
    here.waits(120 * MINUTE_MS)
    came = here.bodies().count("still wanted")
    return here.sighting(came != 1, f"{came} of 1 came")


class OutcomeAfterwards:
    """Sends the event, and only then stores that the future was sent."""

    def __init__(self, sender: EventSender, writer: Writer) -> None:
        self._sender = sender
        self._writer = writer

    async def send(self, draft: EventDraft, *, is_guest: bool = False, also: Also | None = None) -> EventID:
        if also is None or not draft.was_future:
            return await self._sender.send(draft, is_guest=is_guest, also=also)
        made: list[Event] = []
        event_id = await self._sender.send(
            draft, is_guest=is_guest, also=lambda _batch, event: made.append(event)
        )
        outcome = Batch()
        also(outcome, made[0])
        await self._writer.submit(outcome)
        return event_id


def sent_twice(seed: int, wrong: bool) -> Sighting:
    """The server dies before and after each of the next three commits, and comes back."""
    policies = None
    if wrong:
        policies = Policies(
            future_sender=lambda sender, _rooms, writer: cast(EventSender, OutcomeAfterwards(sender, writer))
        )
    counts, cases = [], []
    for after in (False, True):
        for nth in (1, 2, 3):
            here = scene(seed, policies=policies)
            here.later("once", 5_000)
            here.waits(4_000)
            where = f"{'after' if after else 'before'} commit {nth}"
            here.say(f"hs1 will be killed {where} from now")
            here.server.crash_at_commit(nth, after=after)
            here.waits(3_000)
            here.comes_back()
            here.waits(3_000)
            count = here.bodies().count("once")
            counts.append(count)
            cases.append(here.ends(f"{count} of 1 came", f", killed {where}"))
    copies = ", ".join(map(str, counts))
    return Sighting(set(counts) != {1}, f"copies after six crashes: {copies}", tuple(cases))


class HeartbeatsInMemory(FutureStore):
    """Stores everything but heartbeats."""

    def restart(self, batch: Batch, future: Future) -> None:
        """Whoever dies forgets it."""


def sent_early(seed: int, wrong: bool) -> Sighting:
    """Heartbeats at 5 and 10 seconds hold it up until 20; the server is started anew at 10."""
    policies = Policies(future_store=HeartbeatsInMemory) if wrong else None
    here = scene(seed, policies=policies)
    handle = here.later("not before 20 s", 10_000)
    for _ in range(2):
        here.waits(5_000)
        handle.do("restart")
    held_until_ms = here.world.now_ms + 10_000
    here.comes_back()
    came_ms: float | None = None
    while came_ms is None and here.world.now_ms < held_until_ms + 5_000:
        here.world.advance(ms=100)
        if here.bodies():
            came_ms = here.world.now_ms
    if came_ms is None:
        return here.sighting(True, "never came")
    late_ms = came_ms - held_until_ms
    if abs(late_ms) <= 500:
        return here.sighting(False, "on time")
    return here.sighting(True, f"{abs(late_ms) / 1000:.1f} s {'early' if late_ms < 0 else 'late'}")
