"""Judges events that come without the state around them: an auth chain, the state of a room we enter.

Each is allowed or refused by its own auth events alone (check 4 of the server-server API's "Checks performed
on receipt of a PDU"); the state around it is not known. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID
from minihs.rooms.dag import authorising_ids, topological_order
from minihs.rooms.judge import THE_RULES, Judge
from minihs.rooms.receipt import CitedEvents, Reject


class JudgedOutliers(msgspec.Struct, frozen=True):
    """`allowed` and `refused` (with the reason) in topological order; `undecided` lack an auth event."""

    allowed: tuple[Event, ...]
    refused: tuple[tuple[Event, str], ...]
    undecided: tuple[Event, ...]


def judge_outliers(
    events: Iterable[Event],
    *,
    known: Mapping[EventID, Event],
    known_refused: Set[EventID],
    judge: Judge = THE_RULES,
) -> JudgedOutliers:
    """Have genuine events of one room judged, each after those that authorise it.

    `known` holds events that were judged before, `known_refused` those of them that were rejected.
    """
    judged: dict[EventID, Event] = dict(known)
    rejected = set(known_refused)
    allowed: list[Event] = []
    refused: list[tuple[Event, str]] = []
    undecided: list[Event] = []
    for event in topological_order(events, parents=authorising_ids):
        if any(parent not in judged for parent in authorising_ids(event)):
            undecided.append(event)
            continue
        judged[event.event_id] = event
        verdict = judge.outlier(event, cited_events(event, judged, rejected))
        if isinstance(verdict, Reject):
            rejected.add(event.event_id)
            refused.append((event, f"{verdict.rule}: {verdict.reason}"))
        else:
            allowed.append(event)
    return JudgedOutliers(tuple(allowed), tuple(refused), tuple(undecided))


def cited_events(event: Event, known: Mapping[EventID, Event], rejected: Set[EventID]) -> CitedEvents:
    """What `event` cites, the create event that its room ID implies included, from events that are known."""
    create: Event | None = None
    if event.type != "m.room.create" and not event.version.create_in_auth_events:
        create_id = authorising_ids(event)[0]
        create = None if create_id in rejected else known.get(create_id)
    return CitedEvents(events=known, rejected=rejected, create=create)
