"""What the auth rules looked at, in words: one line about each event of the state that they were shown."""

from __future__ import annotations

import msgspec

from minihs.events.event import Event
from minihs.events.ids import EventID, UserID
from minihs.homeserver.rooms.building import Judged
from minihs.rooms.power import INFINITE, PowerLevels, creators


class LookedAt(msgspec.Struct, frozen=True):
    """An event of the state, and what it says about the matter."""

    event_id: EventID
    type: str
    state_key: str
    sender: UserID
    summary: str


def looked_at(judged: Judged) -> tuple[LookedAt, ...]:
    """The events, by type and state key."""
    return tuple(
        LookedAt(event.event_id, event.type, event.state_key or "", event.sender, _summary(event, judged))
        for _, event in sorted(judged.state.items())
    )


def _summary(event: Event, judged: Judged) -> str:
    match event.type:
        case "m.room.create":
            return f"a room of version {event.version.id}, created by {', '.join(sorted(creators(event)))}"
        case "m.room.member":
            return f"{event.state_key} is `{event.membership}`"
        case "m.room.power_levels":
            return _power(judged)
        case "m.room.join_rules":
            return f"the room is `{event.content.get('join_rule')}`"
        case "m.room.third_party_invite":
            return "an invite by a third party"
    return ""


def _power(judged: Judged) -> str:
    subject = judged.event
    levels = PowerLevels.of(judged.state, subject.version)
    text = f"{subject.sender} has {_level(levels.level_of(subject.sender))}"
    if subject.type == "m.room.member":
        if subject.state_key != subject.sender:
            text += (
                f", {subject.state_key} {_level(levels.level_of(subject.state_key or ''))}; "
                f"invite {levels.invite}, kick {levels.kick}, ban {levels.ban}"
            )
        return text
    if subject.type == "m.room.third_party_invite":
        return f"{text}; invite {levels.invite}"
    return f"{text}; {subject.type} needs {levels.needed_for_event(subject.type, is_state=subject.is_state)}"


def _level(level: float) -> str:
    return "no limit of power, as a creator" if level == INFINITE else str(level)
