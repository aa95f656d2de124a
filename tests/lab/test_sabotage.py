"""Verdicts that could not fail would say nothing: each fails when what it claims is sabotaged.

A sabotage is another policy or setting of every server of an experiment, or something that does not happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.homeserver.errors import Forbidden
from minihs.homeserver.futures.sending import EventSender
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.homeserver.sync.receipts import Receipts
from minihs.http.dialects import table
from minihs.lab.experiments import (
    call_membership,
    call_played,
    call_ways,
    presigned_life,
    run_experiment,
    scheduled_beats,
    self_destruct,
)
from minihs.lab.experiments.call_ways import Call, Heartbeats, Participant, PolledSfu, Resent
from minihs.lab.handles import Plan
from minihs.lab.people import Client
from minihs.lab.proposals import msc2228
from minihs.lab.proposals.msc2228 import AFTER, SelfDestruction
from minihs.lab.proposals.msc3277 import ScheduledMessages
from minihs.lab.proposals.msc4080 import ClientSignedEvents
from minihs.lab.report import Report
from minihs.lab.story import Unfulfilled
from minihs.lab.world import World
from minihs.rooms.auth import Allowed, Refused
from minihs.rooms.judge import Judge
from minihs.rooms.receipt import Accept, CitedEvents, Reject, SoftFail
from minihs.server import Policies
from minihs.store.receipts import ReceiptRow

FREE = Allowed("nobody asked")


class JudgesNoFutures(Judge):
    """What was scheduled is sent, whatever the rules say."""

    def own(self, event: Event, state: Mapping[StateKey, Event], *, was_future: bool) -> Allowed | Refused:
        return FREE if was_future else super().own(event, state, was_future=False)


class ForgetsCheck6(Judge):
    """The state of now is not asked."""

    def received(
        self,
        event: Event,
        cited: CitedEvents,
        state_before: Mapping[StateKey, Event],
        current_state: Mapping[StateKey, Event] | None,
    ) -> Reject | SoftFail | Accept:
        verdict = super().received(event, cited, state_before, current_state)
        return Accept() if isinstance(verdict, SoftFail) else verdict


class JudgesNothing(Judge):
    """Everything is allowed to everybody."""

    def own(self, *_: Any, **__: Any) -> Allowed | Refused:
        return FREE

    def received(self, *_: Any) -> Reject | SoftFail | Accept:
        return Accept()

    def outlier(self, *_: Any) -> Reject | Accept:
        return Accept()


class NeverSends:
    """Futures fail when they are due."""

    def __init__(self, sender: EventSender) -> None:
        self._sender = sender

    async def send(self, draft: EventDraft, **details: Any) -> EventID:
        if draft.was_future:
            raise Forbidden("It is not sent.")
        return await self._sender.send(draft, **details)


class BelievesEverySignature:
    """Verifies nothing."""

    async def verify_event(self, event: Event) -> None:
        """It is genuine."""

    async def verify_events(self, events: Sequence[Event]) -> Mapping[EventID, None]:
        return {event.event_id: None for event in events}


Change = Callable[[dict[str, Any], Policies], Policies]
"""Of a server's settings, in place, and policies."""


def setting(name: str, value: Any) -> Change:
    """Every server has this setting."""

    def change(settings: dict[str, Any], policies: Policies) -> Policies:
        settings[name] = value
        return policies

    return change


def judged_by(judge: Judge) -> Change:
    """Every server has this judge."""
    return lambda _settings, policies: replace(policies, judge=judge)


def _never_sends(_settings: dict[str, Any], policies: Policies) -> Policies:
    inner = policies.future_sender
    return replace(policies, future_sender=lambda *parts: NeverSends(inner(*parts)))


def _believes(_settings: dict[str, Any], policies: Policies) -> Policies:
    return replace(policies, event_keys=lambda _keys: BelievesEverySignature())


def _nothing(*_: object, **__: object) -> None:
    """It does not happen."""


def _serves_more(settings: dict[str, Any], policies: Policies) -> Policies:
    if settings.get("futures.dialects") == ["merged"]:
        settings["futures.dialects"] = [name for name in table.NAMES if name != "future-id"]
    return policies


async def _nothing_then(*_: object, **__: object) -> None:
    """The same, of what is waited for."""


async def _holds(_client: Client, _way: Any, _plan: Plan, held: Any) -> Any:
    """A heartbeat that changes nothing."""
    return held


def _beats_slowly(way: Heartbeats, call: Call, participant: Participant) -> Any:
    """A leave that is due much later than it should be."""
    way.leave_after_ms = 60_000
    return _LIVE(way, call, participant)


_LIVE = Heartbeats.live


def _leaves_when_gone(way: PolledSfu, call: Call, participant: Participant) -> Any:
    """Whoever is to poll the SFU, does as a future's client does."""
    return Heartbeats().live(call, participant)


def _sends_again(way: Heartbeats, call: Call, participant: Participant) -> Any:
    """Whoever is to restart a future, sends the state again."""
    return Resent().live(call, participant)


def _edits_instead(sender: Client, plan: Plan) -> None:
    """Whoever is to schedule a redaction, edits the message, and forgets to say when it is to go."""
    relation = {"rel_type": "m.replace", "event_id": plan.content["redacts"]}
    sender.send_event(plan.room_id, "m.room.message", {"body": "*", "m.relates_to": relation})


def _tells_nobody(person: Client, room_id: str, event_id: str) -> dict[str, Any]:
    """Nobody is told when a text is to go."""
    event = _EVENT(person, room_id, event_id)
    return {**event, "content": {key: value for key, value in event["content"].items() if key != AFTER}}


_EVENT = self_destruct._event


def _reads_all(proposal: SelfDestruction, receipts: Sequence[ReceiptRow]) -> None:
    """A receipt for any message is one for all."""
    events = [life.original.event_id for life in proposal._lives.values()]
    _READ(proposal, [replace(receipt, event_id=event_id) for receipt in receipts for event_id in events])


_READ = SelfDestruction._read

SABOTAGES: Mapping[str, Change] = {
    "futures are not judged": judged_by(JudgesNoFutures()),
    "check 6 is forgotten": judged_by(ForgetsCheck6()),
    "nobody judges anything": judged_by(JudgesNothing()),
    "futures are never sent": _never_sends,
    "every signature is believed": _believes,
    "any state ends a future": setting("futures.cancel_rule", "any"),
    "an ID is enough": setting("futures.management", "capability"),
    "what serves merged serves more": _serves_more,
}
MISHAPS: Mapping[str, tuple[object, str, object]] = {
    "the network is never parted": (World, "partition", _nothing),
    "the network is never mended": (World, "heal", _nothing),
    "unknown parameters are ignored": (table, "check_parameter", _nothing),
    "the room never moves on": (presigned_life, "_happens", _nothing),
    "what a server has made is not remembered": (ClientSignedEvents, "_check", _nothing_then),
    "no heart beats": (scheduled_beats, "beat", _holds),
    "what waits is shown to all": (ScheduledMessages, "seen", lambda _self, _user, entry: entry),
    "what waits is told to nobody": (ScheduledMessages, "_echo", _nothing),
    "what comes early is shown early": (ScheduledMessages, "came_early", lambda _self, _event: False),
    "what waits is never shown": (ScheduledMessages, "_due", _nothing),
    "no server takes a text away": (SelfDestruction, "_start", _nothing),
    "receipts are not heard": (SelfDestruction, "_read", _nothing),
    "every receipt is for all messages": (SelfDestruction, "_read", _reads_all),
    "receipts of others never come": (Receipts, "inbound_edu", _nothing_then),
    "edits are not heard": (msc2228, "_edited", _nothing),
    "edits come instead of futures": (self_destruct, "schedule", _edits_instead),
    "nobody is told when a text is to go": (self_destruct, "_event", _tells_nobody),
    "nothing befalls servers": (call_played, "_troubles_of_servers", _nothing),
    "every leave is due in a minute": (call_ways.Heartbeats, "live", _beats_slowly),
    "the SFU waits for a minute": (call_ways, "MEDIA_TIMEOUT_MS", 60_000),
    "who polls the SFU restarts a future": (PolledSfu, "live", _leaves_when_gone),
    "who restarts a future sends state again": (Heartbeats, "live", _sends_again),
    "state is hardly sent again": (call_ways, "RESEND_MS", 400_000),
    "clients sync all the time": (call_ways, "SYNC_MS", 500),
    "nobody polls": (PolledSfu, "live", lambda _way, call, participant: call.announce(participant)),
    "memberships say nothing": (call_membership, "membership", lambda _participant: {}),
}

AFFECTED: Mapping[str, tuple[str, ...]] = {
    "auth-at-send-time": ("nobody judges anything", "futures are not judged", "check 6 is forgotten"),
    "presigned": (
        "futures are never sent",
        "check 6 is forgotten",
        "every signature is believed",
        "the room never moves on",
        "what a server has made is not remembered",
    ),
    "msc3277-vs-futures": (
        "futures are never sent",
        "futures are not judged",
        "nobody judges anything",
        "no heart beats",
        "what waits is shown to all",
        "what waits is told to nobody",
        "what comes early is shown early",
        "what waits is never shown",
    ),
    "self-destruct": (
        "futures are never sent",
        "the network is never parted",
        "no server takes a text away",
        "receipts are not heard",
        "every receipt is for all messages",
        "receipts of others never come",
        "edits are not heard",
        "edits come instead of futures",
        "nobody is told when a text is to go",
    ),
    "call-membership": (
        "futures are never sent",
        "nothing befalls servers",
        "every leave is due in a minute",
        "the SFU waits for a minute",
        "who polls the SFU restarts a future",
        "who restarts a future sends state again",
        "state is hardly sent again",
        "clients sync all the time",
        "nobody polls",
        "memberships say nothing",
    ),
    "ghost-zoo": ("futures are never sent", "unknown parameters are ignored"),
    "drafts": (
        "futures are never sent",
        "any state ends a future",
        "an ID is enough",
        "what serves merged serves more",
    ),
}
"""What it takes for every verdict of an experiment to fail."""


@contextmanager
def sabotaged(name: str) -> Iterator[None]:
    """Every world is like this."""
    make = World._make_server

    def make_other(
        world: World, label: str, host: Any, settings: Mapping[str, Any], policies: Policies, **details: Any
    ) -> Any:
        chosen = dict(settings)
        changed = SABOTAGES[name](chosen, policies)
        return make(world, label, host, chosen, changed, **details)

    with ExitStack() as stack:
        if name in MISHAPS:
            stack.enter_context(patch.object(*MISHAPS[name]))
        else:
            stack.enter_context(patch.object(World, "_make_server", make_other))
        yield


def failing(report: Report) -> set[int]:
    """Verdicts that do not hold."""
    return {index for index, verdict in enumerate(report.verdicts) if not verdict.holds}


@pytest.mark.full
@pytest.mark.parametrize("experiment", AFFECTED)
def test_every_verdict_fails_under_some_sabotage_of_what_it_claims(experiment: str) -> None:
    honest = run_experiment(experiment, seed=1, size="small")
    assert failing(honest) == set()
    failed: set[int] = set()
    for name in AFFECTED[experiment]:
        with sabotaged(name):
            failed |= failing(run_experiment(experiment, seed=1, size="small"))
    assert [verdict.text for index, verdict in enumerate(honest.verdicts) if index not in failed] == []


def test_servers_that_judge_nothing_fulfil_no_claim_about_rights() -> None:
    with sabotaged("nobody judges anything"):
        report = run_experiment("auth-at-send-time", seed=1, size="small")
    held = [verdict.text for verdict in report.verdicts if verdict.holds]
    assert [text for text in held if "the servers agree" not in text] == []


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("check 6 is forgotten", "on hs2 the topic is soft-failed (it is accepted)"),
        ("futures are never sent", "apart, hs1 sends both in good faith"),
        ("the network is never parted", "apart, hs1 sends both in good faith"),
        ("the network is never mended", "on hs2 the topic is soft-failed (it is unknown)"),
    ],
)
def test_a_story_ends_where_what_it_tells_is_sabotaged(name: str, claim: str) -> None:
    with sabotaged(name), pytest.raises(Unfulfilled, match="this was expected and is not so") as caught:
        run_experiment("demoted", seed=1)
    assert str(caught.value).startswith(f"demoted: this was expected and is not so: {claim}")
