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
from minihs.http.dialects import table
from minihs.lab.experiments import presigned_life, run_experiment
from minihs.lab.report import Report
from minihs.lab.story import Unfulfilled
from minihs.lab.world import World
from minihs.rooms.auth import Allowed, Refused
from minihs.rooms.judge import Judge
from minihs.rooms.receipt import Accept, CitedEvents, Reject, SoftFail
from minihs.server import Policies

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
MISHAPS: Mapping[str, tuple[object, str]] = {
    "the network is never parted": (World, "partition"),
    "the network is never mended": (World, "heal"),
    "unknown parameters are ignored": (table, "check_parameter"),
    "the room never moves on": (presigned_life, "_happens"),
}

AFFECTED: Mapping[str, tuple[str, ...]] = {
    "auth-at-send-time": ("nobody judges anything", "futures are not judged", "check 6 is forgotten"),
    "presigned": (
        "futures are never sent",
        "check 6 is forgotten",
        "every signature is believed",
        "the room never moves on",
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
            stack.enter_context(patch.object(*MISHAPS[name], _nothing))
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
