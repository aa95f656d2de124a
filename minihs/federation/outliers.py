"""Events fetched without the state around them: auth events that we lack, and the state at a gap.

What is fetched is admitted (see `admission`), judged by its own auth events, and stored as outliers, refused
ones too. Everything is bounded in number. Source: Server-Server API, "Retrieving event authorisation
information" and "Retrieving events".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from minihs.events.event import Event
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.events.versions import RoomVersion
from minihs.federation.admission import Admission, Dropped
from minihs.federation.client import RemoteRefusal, Unreachable
from minihs.federation.receiver import Receiver, unknown_among
from minihs.federation.remote_rooms import RemoteRooms
from minihs.platform.deferreds import in_parallel
from minihs.platform.logs import Logger
from minihs.platform.workers import Workers
from minihs.rooms.dag import authorising_ids
from minihs.rooms.judge import THE_RULES, Judge
from minihs.rooms.outliers import JudgedOutliers, judge_outliers
from minihs.store.events import EventRow

log = Logger()

MAX_SINGLE_FETCHES = 50  # beyond this many missing events, the whole list is fetched in one answer
PARALLEL_FETCHES = 5
INLINE_EVENTS = 50  # beyond this many, judging leaves the main thread


class Outliers:
    """Gets events by ID from other servers and keeps them as outliers."""

    def __init__(
        self,
        *,
        remote: RemoteRooms,
        admission: Admission,
        receiver: Receiver,
        workers: Workers,
        judge: Judge = THE_RULES,
    ) -> None:
        self._remote = remote
        self._admission = admission
        self._receiver = receiver
        self._workers = workers
        self._judge = judge

    async def ensure_auth_events(self, origin: ServerName, event: Event, missing: Sequence[EventID]) -> None:
        """Fetch the auth events of `event` that we lack, with what authorises them, as far as possible."""
        room_id, version = event.room_id, event.version
        try:
            chain = await self._remote.event_auth(origin, room_id, event.event_id)
        except (RemoteRefusal, Unreachable) as problem:
            log.info("no auth chain of {event_id}: {problem}", event_id=event.event_id, problem=problem)
        else:
            await self.learn(room_id, version, chain, leading_to=missing)
        left = await unknown_among(self._receiver, missing)
        if left:
            await self.fetch(origin, room_id, version, left)

    async def fetch(
        self, origin: ServerName, room_id: RoomID, version: RoomVersion, event_ids: Sequence[EventID]
    ) -> None:
        """Fetch events one by one, some at a time, with what authorises them, and learn them.

        Of all that, at most MAX_SINGLE_FETCHES are asked for.
        """
        found: dict[EventID, Event] = {}
        asked: set[EventID] = set()
        wanted = list(event_ids)
        while wanted and len(asked) < MAX_SINGLE_FETCHES:
            wanted = wanted[: MAX_SINGLE_FETCHES - len(asked)]
            asked.update(wanted)
            came = await self._fetch_some(origin, room_id, version, wanted)
            found.update(came)
            parents = [parent for event in came.values() for parent in authorising_ids(event)]
            unknown = await unknown_among(self._receiver, parents)
            wanted = [parent for parent in unknown if parent not in asked]
        await self.learn(room_id, version, [event.pdu for event in found.values()])

    async def _fetch_some(
        self, origin: ServerName, room_id: RoomID, version: RoomVersion, event_ids: Sequence[EventID]
    ) -> dict[EventID, Event]:
        found: dict[EventID, Event] = {}

        async def fetch_share(share: Sequence[EventID]) -> None:
            for event_id in share:
                try:
                    pdu = await self._remote.event(origin, event_id)
                    event = self._admission.parse(pdu, version, room_id)
                except (RemoteRefusal, Dropped):
                    continue
                except Unreachable:
                    return
                if event.event_id == event_id:
                    found[event_id] = event

        shares = [event_ids[start::PARALLEL_FETCHES] for start in range(PARALLEL_FETCHES)]
        await in_parallel([fetch_share(share) for share in shares if share])
        return {event_id: found[event_id] for event_id in event_ids if event_id in found}

    async def learn(
        self,
        room_id: RoomID,
        version: RoomVersion,
        pdus: Sequence[object],
        *,
        leading_to: Iterable[EventID] | None = None,
    ) -> JudgedOutliers:
        """Admit, judge and keep what is new among `pdus`; the verdicts on what was new.

        With `leading_to`, only these events and what authorises them are looked at: nobody may have us verify
        and keep anything else.
        """
        of_use = None if leading_to is None else partial(_authorising, tuple(leading_to))
        admitted = await self._admission.admit_all(pdus, version, room_id, of_use)
        if admitted.dropped:
            log.info(
                "{count} events about {room_id} dropped, the first: {first}",
                count=len(admitted.dropped),
                room_id=room_id,
                first=admitted.dropped[0],
            )
        known = await self.known(admitted.events)
        new = [event for event_id, event in admitted.events.items() if event_id not in known]
        judged = await self.judge(new)
        await self._receiver.store_outliers([*((event, None) for event in judged.allowed), *judged.refused])
        return judged

    async def known(self, event_ids: Iterable[EventID]) -> Mapping[EventID, EventRow]:
        """Those that were judged before."""
        return await self._receiver.rows(event_ids)

    async def judge(self, new: Sequence[Event]) -> JudgedOutliers:
        """Judge events by their auth events, which are among them or known."""
        here = {event.event_id for event in new}
        parents = {parent for event in new for parent in authorising_ids(event) if parent not in here}
        rows = await self._receiver.rows(sorted(parents))
        known = {event_id: row.event for event_id, row in rows.items()}
        refused = refused_ids(rows.values())
        if len(new) <= INLINE_EVENTS:
            return judge_outliers(new, known=known, known_refused=refused, judge=self._judge)
        return await self._workers.run(
            judge_outliers, new, known=known, known_refused=refused, judge=self._judge
        )


def _authorising(event_ids: Iterable[EventID], among: Mapping[EventID, Event]) -> set[EventID]:
    """These events and what authorises them, directly or not, as far as they are `among` those given."""
    found: set[EventID] = set()
    to_visit = list(event_ids)
    while to_visit:
        event = among.get(to_visit.pop())
        if event is not None and event.event_id not in found:
            found.add(event.event_id)
            to_visit.extend(authorising_ids(event))
    return found


def refused_ids(rows: Iterable[EventRow]) -> frozenset[EventID]:
    """Those that were rejected."""
    return frozenset(row.event.event_id for row in rows if row.standing.is_rejected)
