"""Judges one event that another server sent, with everything that must be known for it, and hands it on.

The PDU has been admitted (`admission`); here come checks 4 to 6, the fetching that they need, and the order
of things. What becomes of the event is kept by a `Receiver`, the room service. Source: Server-Server API,
"Checks performed on receipt of a PDU".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID, RoomID, ServerName
from minihs.federation.gaps import Bridge, Gaps
from minihs.federation.outliers import Outliers, refused_ids
from minihs.federation.receiver import CannotDecide, Receiver, unknown_among
from minihs.platform.lanes import Lanes
from minihs.platform.logs import Logger
from minihs.rooms.auth import needed_state
from minihs.rooms.dag import authorising_ids
from minihs.rooms.judge import THE_RULES, Judge
from minihs.rooms.outliers import cited_events
from minihs.rooms.power import CREATE
from minihs.rooms.receipt import Accept, Reject, SoftFail
from minihs.rooms.state_map import StateMap
from minihs.store.along import Along
from minihs.store.events import Standing

log = Logger()

MAX_CHAINS_FETCHED = 5  # for one event and those before it
FETCHES_WAITING = 200  # events of one server in one room that lack something

LetIn = Callable[[], Awaitable[None]]
"""Returns if the server that sent an event may take part in its room, as the room now is; else raises."""


class Received(msgspec.Struct, frozen=True):
    """What became of an event: its standing, why if it was not accepted, and whether it was news."""

    standing: Standing
    refusal: str | None
    is_new: bool
    durable: Deferred[None] | None = None
    """Fires when a new event is durable; it is in its place before."""


class InboundEvents:
    """Receives events of other servers.

    Events of one room are judged one after another, in the order in which they are ready; what is missing is
    fetched before, so that a slow server holds up nobody else's events.
    """

    def __init__(
        self,
        *,
        receiver: Receiver,
        outliers: Outliers,
        gaps: Gaps,
        lanes: Lanes[RoomID],
        judge: Judge = THE_RULES,
    ) -> None:
        self._receiver = receiver
        self._outliers = outliers
        self._gaps = gaps
        self._lanes = lanes
        self._judge_rights = judge.received
        # One server has us fetch one thing at a time about one room.
        self._fetching: Lanes[tuple[ServerName, RoomID]] = Lanes(FETCHES_WAITING)

    async def receive(
        self,
        origin: ServerName,
        event: Event,
        *,
        forward: bool = False,
        along: Along | None = None,
        let_in: LetIn | None = None,
    ) -> Received:
        """Judge a genuine event that `origin` sent, and keep it; what is missing is asked of `origin`.

        With `forward`, an accepted event is passed on to the other servers in the room; `along` is stored
        with it if it was not known. `let_in` is asked before anything is fetched, and again when it is the
        event's turn, because the room may have shut out `origin` meanwhile; what it raises ends the matter.
        Raises CannotDecide when something that is needed cannot be had, and LaneFull when too many events
        of the room are waiting; nothing is kept then.
        """
        known = await self._known(event.event_id)
        if known is not None:
            return known
        if not await self._lacks(event):
            return await self._lanes.run(
                event.room_id, lambda: self._receive(origin, event, Bridge(), forward, along, let_in)
            )
        return await self._fetching.run(
            (origin, event.room_id), lambda: self._fetch_and_receive(origin, event, forward, along, let_in)
        )

    async def _lacks(self, event: Event) -> bool:
        """Whether something must be fetched to judge the event."""
        return bool(
            await unknown_among(self._receiver, event.prev_events, or_outlier=True)
            or await unknown_among(self._receiver, authorising_ids(event))
        )

    async def _fetch_and_receive(
        self, origin: ServerName, event: Event, forward: bool, along: Along | None, let_in: LetIn | None
    ) -> Received:
        if let_in is not None:
            await let_in()
        # Asked only now: what came before it from there has often brought what this one lacked, too.
        bridge = Bridge()
        if await unknown_among(self._receiver, event.prev_events, or_outlier=True):
            bridge = await self._gaps.bridge(origin, event)
        await self._fetch_cited(origin, (*bridge.earlier, event))
        return await self._lanes.run(
            event.room_id, lambda: self._receive(origin, event, bridge, forward, along, let_in)
        )

    async def _known(self, event_id: EventID) -> Received | None:
        row = (await self._receiver.rows((event_id,))).get(event_id)
        if row is None or row.standing.is_outlier:
            return None
        return Received(row.standing, row.refusal, is_new=False)

    async def _receive(
        self,
        origin: ServerName,
        event: Event,
        bridge: Bridge,
        forward: bool,
        along: Along | None,
        let_in: LetIn | None,
    ) -> Received:
        for earlier in bridge.earlier:
            try:
                received = await self._place(
                    origin, earlier, bridge, forward=False, along=None, let_in=let_in
                )
            except CannotDecide as problem:
                log.info("{event_id} left out: {problem}", event_id=earlier.event_id, problem=problem)
            else:
                # Batches of a room are stored in order, so whoever waits for `event` waits for this one.
                if received.durable is not None:
                    received.durable.addErrback(_heard_by_the_last)
        return await self._place(origin, event, bridge, forward, along, let_in)

    async def _place(
        self,
        origin: ServerName,
        event: Event,
        bridge: Bridge,
        forward: bool,
        along: Along | None,
        let_in: LetIn | None,
    ) -> Received:
        known = await self._known(event.event_id)  # it may have come another way while others were fetched
        if known is not None:
            return known
        if let_in is not None:
            await let_in()
        state_before, bridged = await self._gaps.state_before(event, bridge.told)
        return await self._judge(origin, event, state_before, bridged=bridged, forward=forward, along=along)

    async def refusal_as_history(
        self, origin: ServerName, event: Event, state_before: StateMap
    ) -> str | None:
        """Why checks 4 and 5 refuse a genuine event from before our time; None when they do not.

        Raises CannotDecide as `receive` does.
        """
        await self._fetch_cited(origin, (event,))
        verdict = await self._verdict(event, state_before, None)
        return f"{verdict.rule}: {verdict.reason}" if isinstance(verdict, Reject) else None

    async def check_create(self, event: Event) -> None:
        """Raises CannotDecide for a create event that is not the room's.

        Until v11 the rules allow any number of them to the server that the room ID names: each would be a
        way to begin the room anew.
        """
        if event.type == "m.room.create":
            state = await self._receiver.newest_state(event.room_id)
            if state.get(CREATE) != event.event_id:
                raise CannotDecide(f"The room {event.room_id} has its create event, and it is another one.")

    async def _judge(
        self,
        origin: ServerName,
        event: Event,
        state_before: StateMap,
        *,
        bridged: bool,
        forward: bool,
        along: Along | None,
    ) -> Received:
        """Checks 4 to 6, and what follows from them."""
        newest = await self._receiver.newest_state(event.room_id)
        await self.check_create(event)
        if bridged:
            # We have missed something, so our view of the room may be old. Resolved with the event's it still
            # keeps out whoever makes gaps on purpose: bans win.
            newest = await self._receiver.resolve(event.version, [newest, state_before])
        verdict = await self._verdict(event, state_before, newest)
        if isinstance(verdict, Accept) and await self._receiver.opens_one_branch_too_many(event):
            verdict = SoftFail("branches", "its server has left too many branches of the room open")
        match verdict:
            case Accept():
                standing, refusal = Standing.ACCEPTED, None
            case SoftFail(rule, reason):
                standing, refusal = Standing.SOFT_FAILED, f"{rule}: {reason}"
            case Reject(rule, reason):
                standing, refusal = Standing.REJECTED, f"{rule}: {reason}"
        if refusal is not None:
            log.info(
                "{event_id} by {sender} in {room_id} {standing}: {refusal}",
                event_id=event.event_id,
                sender=event.sender,
                room_id=event.room_id,
                standing=standing.name.lower().replace("_", "-"),
                refusal=refusal,
            )
        durable = await self._receiver.receive(
            event,
            state_before=state_before,
            standing=standing,
            refusal=refusal,
            forward_from=origin if forward and refusal is None else None,
            along=along,
        )
        return Received(standing, refusal, is_new=True, durable=durable)

    async def _verdict(
        self, event: Event, state_before: StateMap, newest: StateMap | None
    ) -> Accept | SoftFail | Reject:
        cited = await self._receiver.rows(authorising_ids(event))
        for event_id in authorising_ids(event):
            if event_id not in cited:
                raise CannotDecide(f"The auth event {event_id} of {event.event_id} could not be had.")
        keys = (
            CREATE,
            *needed_state(event.type, event.sender, event.state_key, event.content, event.version),
        )
        before = _held(state_before, keys)
        # Judged by the same events it would get the same answer.
        now = before if newest is None or newest is state_before else _held(newest, keys)
        known = await self._receiver.rows([*before.values(), *now.values()])
        if any(event_id not in known for event_id in (*before.values(), *now.values())):
            raise CannotDecide(f"The state before {event.event_id} holds events that are not known.")
        return self._judge_rights(
            event,
            cited_events(
                event,
                {event_id: row.event for event_id, row in cited.items()},
                refused_ids(cited.values()),
            ),
            {key: known[event_id].event for key, event_id in before.items()},
            None if now == before else {key: known[event_id].event for key, event_id in now.items()},
        )

    async def _fetch_cited(self, origin: ServerName, events: Sequence[Event]) -> None:
        """Fetch what authorises the events, where neither they nor we have it."""
        here = {event.event_id for event in events}
        fetches_left = MAX_CHAINS_FETCHED
        for event in events:
            cited = [event_id for event_id in authorising_ids(event) if event_id not in here]
            missing = await unknown_among(self._receiver, cited)
            if missing and fetches_left:
                fetches_left -= 1
                await self._outliers.ensure_auth_events(origin, event, missing)


def _heard_by_the_last(_: Failure) -> None:
    """The failure reaches the event that was built on this one, too."""


def _held(state: StateMap, keys: Sequence[StateKey]) -> dict[StateKey, EventID]:
    return {key: event_id for key in keys if (event_id := state.get(key)) is not None}
