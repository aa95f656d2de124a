"""Ways to end a call whose client has vanished: what a participant does, and what others do for it.

Used by `call_membership`. A way joins a participant and keeps it in the call until its client vanishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from minihs.homeserver.rooms.commits import CommittedEvent
from minihs.lab.handles import Handle, Plan, scheduling
from minihs.lab.http_client import RequestFailed, in_path
from minihs.lab.people import Client
from minihs.lab.wire import Exchange
from minihs.lab.world import World
from minihs.rooms.state_map import StateChange
from minihs.store.writer import Batch

CALL = "org.example.call.member"
BEAT_MS = 5_000
LEAVE_AFTER_MS = 15_000
"""The delay of futures: three heartbeats."""
MEDIA_TIMEOUT_MS = 10_000
"""How long an SFU waits for media before it takes a participant for gone."""
SYNC_MS = 30_000
SYNC_GONE_MS = 45_000
"""MSC4018: no `/sync` for so long, and the server takes the client for gone."""
RESEND_MS = 120_000
EXPIRES_MS = 300_000
"""Memberships that are sent again every two minutes expire after five."""
PATIENCE_MS = 4_000
OBSERVERS = 3
"""So many participants on each server, whose views of a polled SFU are followed; all others poll, too."""


def membership(participant: Participant) -> dict[str, Any]:
    """What a client of MatrixRTC says of itself, in size and shape."""
    device = f"{participant.client.device_id}"
    return {
        "application": "m.call",
        "call_id": "",
        "scope": "m.room",
        "device_id": device,
        "expires": EXPIRES_MS,
        "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
        "foci_preferred": [
            {
                "type": "livekit",
                "livekit_service_url": "https://sfu.example.org/livekit/jwt",
                "livekit_alias": "!a-room-of-the-call:hs1",
            }
        ],
    }


class Participant(msgspec.Struct):
    """Somebody in the call; `vanishes_ms` is when the client goes without a word, None for those who stay."""

    client: Client
    vanishes_ms: float | None = None

    @property
    def user_id(self) -> str:
        return self.client.user_id


class Heard(msgspec.Struct, frozen=True):
    """A membership of the call as it became known on a server."""

    at_ms: float
    server: str
    user_id: str
    present: bool
    local: bool


class CallWatch:
    """Observes the rooms of one server for memberships of the call."""

    def __init__(self, server: str, now_ms: Callable[[], float], heard: list[Heard]) -> None:
        self._server = server
        self._now_ms = now_ms
        self._heard = heard

    def event_queued(self, event: Any, batch: Batch, changes: Sequence[StateChange]) -> None:
        """Not durable yet."""

    def event_committed(self, committed: CommittedEvent) -> None:
        event = committed.event
        if event.type == CALL and event.state_key is not None:
            self._heard.append(
                Heard(self._now_ms(), self._server, event.state_key, bool(event.content), committed.local)
            )

    def event_failed(self, event: Any) -> None:
        """Nothing became known."""


class Call:
    """The call: its world, room, participants and end."""

    def __init__(self, world: World, room_id: str, participants: list[Participant], ends_ms: float) -> None:
        self.world = world
        self.room_id = room_id
        self.participants = participants
        self.ends_ms = ends_ms
        self.servers = sorted({participant.client.server.name for participant in participants})

    def present(self, participant: Participant) -> bool:
        """Whether the client is there now."""
        now_ms = self.world.now_ms
        return now_ms < self.ends_ms and (participant.vanishes_ms is None or now_ms < participant.vanishes_ms)

    async def pause(self, participant: Participant, ms: float) -> bool:
        """Wait; whether the client is still there afterwards."""
        await self.world.sleep(ms)
        return self.present(participant)

    async def ask(self, participant: Participant, method: str, path: str, **details: Any) -> int:
        """The status of an answer; 0 for none."""
        try:
            response = await participant.client.call(method, path, patience_ms=PATIENCE_MS, **details)
        except RequestFailed:
            return 0
        return response.status

    async def announce(self, participant: Participant) -> None:
        """Say that the participant is in the call, until it has been heard."""
        path = f"/rooms/{in_path(self.room_id)}/state/{CALL}/{in_path(participant.user_id)}"
        while self.present(participant):
            if await self.ask(participant, "PUT", path, json=membership(participant)) == 200:
                return
            await self.world.sleep(1_000)

    async def leave_later(self, participant: Participant, delay_ms: int) -> Handle | None:
        """Schedule the participant's leave; None when the client vanished before it could."""
        plan = Plan(
            room_id=self.room_id, type=CALL, content={}, state_key=participant.user_id, delay_ms=delay_ms
        )
        while self.present(participant):
            try:
                return await scheduling(participant.client, plan, "delay-query")
            except (RequestFailed, AssertionError):
                await self.world.sleep(1_000)
        return None


class Way:
    """How memberships end. `seen_gone_ms` is for ways in which nobody sends an event."""

    name = ""
    what = ""

    def begin(self, call: Call) -> None:
        """Before anybody joins."""

    async def live(self, call: Call, participant: Participant) -> None:
        """Join, and stay until the client vanishes or the call ends."""

    def watched(self, call: Call) -> list[str]:
        """The servers on which ghosts are looked for."""
        return call.servers


class Heartbeats(Way):
    name = "future, heartbeats"
    what = f"a leave in {LEAVE_AFTER_MS // 1000} s, restarted by the client every {BEAT_MS // 1000} s"

    def __init__(self, leave_after_ms: int = LEAVE_AFTER_MS) -> None:
        self.leave_after_ms = leave_after_ms

    async def live(self, call: Call, participant: Participant) -> None:
        await call.announce(participant)
        handle = await call.leave_later(participant, self.leave_after_ms)
        while handle is not None and await call.pause(participant, BEAT_MS):
            try:
                answer = await handle.command("restart")
            except RequestFailed:
                continue
            if answer.status in (404, 409) and call.present(participant):
                await call.announce(participant)
                handle = await call.leave_later(participant, self.leave_after_ms)


class Delegated(Way):
    name = "future, delegated to the SFU"
    what = (
        f"the SFU restarts the leave every {BEAT_MS // 1000} s while media flows, and sends it "
        f"{MEDIA_TIMEOUT_MS // 1000} s after the last"
    )

    def begin(self, call: Call) -> None:
        world = call.world
        self._sfu = {
            name: world.people.get(f"sfu-{name}") or world.person(f"sfu-{name}", on=name)
            for name in world.servers
        }

    async def live(self, call: Call, participant: Participant) -> None:
        await call.announce(participant)
        handle = await call.leave_later(participant, LEAVE_AFTER_MS)
        sfu = self._sfu[participant.client.server.name]
        while handle is not None and await call.pause(participant, BEAT_MS):
            try:
                answer = await handle.command("restart", by=sfu)
            except RequestFailed:
                continue
            if answer.status in (404, 409) and call.present(participant):
                await call.announce(participant)
                handle = await call.leave_later(participant, LEAVE_AFTER_MS)
        if handle is None or participant.vanishes_ms is None:
            return
        await call.world.sleep(max(0.0, participant.vanishes_ms + MEDIA_TIMEOUT_MS - call.world.now_ms))
        for _ in range(20):
            try:
                if (await handle.command("send", by=sfu)).status < 500:
                    return
            except RequestFailed:
                await call.world.sleep(1_000)


class Resent(Way):
    name = "state sent again"
    what = (
        f"the membership is sent anew every {RESEND_MS // 60_000} minutes and expires after "
        f"{EXPIRES_MS // 60_000}"
    )

    async def live(self, call: Call, participant: Participant) -> None:
        await call.announce(participant)
        while await call.pause(participant, RESEND_MS):
            await call.announce(participant)


class SyncLoop(Way):
    name = "sync loop (MSC4018)"
    what = f"the server ends the membership {SYNC_GONE_MS // 1000} s after the last /sync of the client"

    def __init__(self) -> None:
        self._handles: dict[str, Handle] = {}
        self._calls: list[Call] = []

    def begin(self, call: Call) -> None:
        if not self._calls:
            call.world.wire.on_request.append(self._heard)
        self._calls.append(call)

    async def live(self, call: Call, participant: Participant) -> None:
        await call.announce(participant)
        handle = await call.leave_later(participant, SYNC_GONE_MS)
        if handle is None:
            return
        self._handles[participant.client.name] = handle
        since: str | None = None
        narrow = (
            '{"presence":{"types":[]},"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true}}}'
        )
        while call.present(participant):
            query = {"timeout": SYNC_MS, "filter": narrow}
            if since is not None:
                query["since"] = since
            try:
                answer = await participant.client.call(
                    "GET", "/sync", query=query, patience_ms=SYNC_MS + 10_000
                )
            except RequestFailed:
                continue
            if answer.status == 200:
                since = answer.json["next_batch"]
            # Clients draw what they got before they ask again.
            await call.world.sleep(1_000)

    def _heard(self, exchange: Exchange) -> None:
        handle = self._handles.get(exchange.source)
        if handle is None or "/sync" not in exchange.path:
            return
        server = handle.owner.server
        if server.up and handle.delay_id is not None:
            restarting = Deferred.fromCoroutine(server.parts.futures.futures.restart(handle.delay_id))
            restarting.addErrback(lambda _: self._anew(handle))

    def _anew(self, handle: Handle) -> None:
        """The server had taken the client for gone: it is in the call again."""
        for call in self._calls:
            for participant in call.participants:
                if participant.client is handle.owner and call.present(participant):
                    Deferred.fromCoroutine(self._again(call, participant))

    async def _again(self, call: Call, participant: Participant) -> None:
        self._handles.pop(participant.client.name, None)
        await call.announce(participant)
        handle = await call.leave_later(participant, SYNC_GONE_MS)
        if handle is not None:
            self._handles[participant.client.name] = handle


class PolledSfu(Way):
    name = "polling the SFU"
    what = f"everybody asks the SFU every {BEAT_MS // 1000} s who is there; the room says nothing of it"

    def __init__(self) -> None:
        self.polls = 0
        self.noticed: list[Heard] = []
        """What those who are followed saw."""
        self._followed: set[str] = set()

    def begin(self, call: Call) -> None:
        self._followed |= {
            participant.user_id
            for server in call.servers
            for participant in [
                each
                for each in call.participants
                if each.client.server.name == server and each.vanishes_ms is None
            ][:OBSERVERS]
        }

    def watched(self, call: Call) -> list[str]:
        """Those with somebody who stays and is followed."""
        return sorted(
            {each.client.server.name for each in call.participants if each.user_id in self._followed}
        )

    async def live(self, call: Call, participant: Participant) -> None:
        await call.announce(participant)
        missed: set[str] = set()
        while await call.pause(participant, BEAT_MS):
            self.polls += 1
            if participant.user_id in self._followed:
                for other in call.participants:
                    if other.user_id not in missed and _media_gone(call, other):
                        missed.add(other.user_id)
                        server = participant.client.server.name
                        self.noticed.append(Heard(call.world.now_ms, server, other.user_id, False, False))


def _media_gone(call: Call, participant: Participant) -> bool:
    """Whether the SFU has had no media of somebody for so long that it takes them for gone."""
    gone_ms = participant.vanishes_ms
    return gone_ms is not None and call.world.now_ms >= gone_ms + MEDIA_TIMEOUT_MS


WAYS: tuple[type[Way], ...] = (Heartbeats, Delegated, Resent, SyncLoop, PolledSfu)
