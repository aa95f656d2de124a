"""What becomes of a genuine event that another server sent: checks 4 to 6 on receipt, in order.

Facts in, verdict out: whoever asks has fetched events and resolved states. Checks 1 to 3, which need keys,
are in `federation.admission`; check 7 concerns rooms with a policy server, which this server does not
consult. Answers to "Checks performed on receipt of a PDU" of the server-server API.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from minihs.events.event import Event, StateKey
from minihs.events.ids import EventID
from minihs.rooms.auth import Refused, authorise, check_auth_events
from minihs.rooms.dag import MissingEvents
from minihs.rooms.power import CREATE


class Reject(msgspec.Struct, frozen=True):
    """Kept as rejected: not state, not shown, not built upon, yet known to later events that refer to it."""

    rule: str
    reason: str


class SoftFail(msgspec.Struct, frozen=True):
    """Part of the graph and of its own state, but not shown to clients and not built upon."""

    rule: str
    reason: str


class Accept(msgspec.Struct, frozen=True):
    """An event of the room like any other."""


class CitedEvents(msgspec.Struct, frozen=True, kw_only=True):
    """What an event's `auth_events` name, as far as it is known, and which of that was rejected.

    `create` is the create event that a room ID of version 12 implies; None in older rooms, where it is
    cited, and if it is not known or was rejected.
    """

    events: Mapping[EventID, Event]
    rejected: AbstractSet[EventID] = frozenset()
    create: Event | None = None

    def of(self, event: Event) -> list[Event]:
        """The events that `event` cites, in its order; raises `MissingEvents` if any is not known."""
        if missing := [event_id for event_id in event.auth_events if event_id not in self.events]:
            raise MissingEvents(missing)
        return [self.events[event_id] for event_id in event.auth_events]


def check_rights(
    event: Event,
    cited: CitedEvents,
    state_before: Mapping[StateKey, Event],
    current_state: Mapping[StateKey, Event] | None,
) -> Reject | SoftFail | Accept:
    """Checks 4 to 6: was its sender allowed to send it, then and now?

    The states need hold only what `authorise` reads. `current_state` is None for an event fetched as history,
    which is not news and so cannot soft-fail.
    """
    by_citations = check_citations(event, cited)
    if isinstance(by_citations, Reject):
        return by_citations
    then = authorise(event, state_before, event.version)
    if isinstance(then, Refused):
        return Reject(then.rule, f"check 5, the state before it: {then.reason}")
    if current_state is None:
        return Accept()
    now = authorise(event, current_state, event.version)
    if isinstance(now, Refused):
        return SoftFail(now.rule, f"check 6, the current state: {now.reason}")
    return Accept()


def check_citations(event: Event, cited: CitedEvents) -> Reject | Accept:
    """Check 4: do its auth events allow it? This is all that can be asked of an outlier.

    Raises `MissingEvents` if `cited` lacks one of the event's `auth_events`.
    """
    auth_events = cited.of(event)
    selection = check_auth_events(event, auth_events, event.version, cited.rejected)
    if isinstance(selection, Refused):
        return Reject(selection.rule, f"check 4, its auth events: {selection.reason}")
    basis = {auth_event.key: auth_event for auth_event in auth_events}
    if cited.create is not None:
        basis[CREATE] = cited.create
    allowed = authorise(event, basis, event.version)
    if isinstance(allowed, Refused):
        return Reject(allowed.rule, f"check 4, its auth events: {allowed.reason}")
    return Accept()
