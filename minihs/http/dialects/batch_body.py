"""The body of a batch, in all its spellings: text 2, the alternative in text 4, and mixtures of the two.

Futures specification, 2.5. Nothing is scheduled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from minihs.http.dialects.spelling import BATCH_TYPE, WILL_EXPIRE
from minihs.http.errors import MatrixError

SPELLINGS = ("m.", "io.element.")
"""What may stand before any key."""

TEMPLATES = tuple(f"${prefix}send_now.event_id" for prefix in SPELLINGS)
"""What stands for the event ID of `send_now` in the content of other parts."""

TIMEOUT, NOW, ON_TIMEOUT, ON_ACTION = "timeout", "send_now", "send_on_timeout", "send_on_action"
MAX_NAME_BYTES = 255


class Part(msgspec.Struct, frozen=True):
    """One event of a batch."""

    type: str
    content: dict[str, Any]
    state_key: str | None

    def to_json(self) -> dict[str, Any]:
        """The event as it was given."""
        event: dict[str, Any] = {"type": self.type, "content": self.content}
        if self.state_key is not None:
            event["state_key"] = self.state_key
        return event

    def after(self, event_id: str) -> Part:
        """The event with the ID of `send_now` in its places."""
        return Part(self.type, _filled_in(self.content, event_id), self.state_key)


class BatchBody(msgspec.Struct, frozen=True):
    """What is asked for: `now` at once, `on_timeout` after `timeout_s` seconds, or one of `on_action`."""

    timeout_s: int
    now: Part | None
    on_timeout: Part
    on_action: Mapping[str, Part]


def is_batch(keys: Iterable[str]) -> bool:
    """Whether a body with these keys wants to be a batch, be it a good one or not."""
    return any(key == TIMEOUT or key.startswith("send_") for key in map(_plain, keys))


def parse_batch(content: Mapping[str, Any]) -> BatchBody:
    """The batch; MatrixError 400 `M_MISSING_PARAM` or `M_INVALID_PARAM`."""
    fields: dict[str, Any] = {}
    actions: list[tuple[str, Any]] = []
    for key, value in content.items():
        plain, _, action = _plain(key).partition(":")
        if plain == ON_ACTION and action:
            actions.append((action, value))
        elif plain in fields:
            raise _invalid(f"`{plain}` is given under several names.")
        elif plain in (TIMEOUT, NOW, ON_TIMEOUT, ON_ACTION) and not action:
            fields[plain] = value
        elif plain.startswith("send_"):
            raise _invalid(f"There is no `{key}` in a batch.")
    actions.extend(_object(fields.get(ON_ACTION, {}), ON_ACTION).items())
    for needed in (TIMEOUT, ON_TIMEOUT):
        if needed not in fields:
            raise MatrixError(400, "M_MISSING_PARAM", f"The batch lacks `{needed}`.")
    timeout_s = fields[TIMEOUT]
    if type(timeout_s) is not int or timeout_s <= 0:
        raise _invalid(f"`{TIMEOUT}` must be a positive number of seconds.")
    return BatchBody(
        timeout_s,
        _part(fields[NOW], NOW) if NOW in fields else None,
        _part(fields[ON_TIMEOUT], ON_TIMEOUT),
        _actions(actions),
    )


def _actions(given: Iterable[tuple[str, Any]]) -> dict[str, Part]:
    actions: dict[str, Part] = {}
    for name, value in given:
        if not 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES:
            raise _invalid(f"The name of an action has 1 to {MAX_NAME_BYTES} bytes.")
        if name in actions:
            raise _invalid(f"The action {name!r} is given twice.")
        actions[name] = _part(value, f"{ON_ACTION}.{name}")
    return actions


def _part(value: Any, where: str) -> Part:
    part = _object(value, where)
    for needed in ("type", "content"):
        if needed not in part:
            raise MatrixError(400, "M_MISSING_PARAM", f"`{where}` lacks `{needed}`.")
    event_type, content, state_key = part["type"], part["content"], part.get("state_key")
    if not isinstance(event_type, str):
        raise _invalid(f"`{where}.type` must be a string.")
    if "state_key" in part and not isinstance(state_key, str):
        raise _invalid(f"`{where}.state_key` must be a string.")
    content = _object(content, f"{where}.content")
    if type(content.get(WILL_EXPIRE)) is int:
        raise _invalid(f"An integer `{WILL_EXPIRE}` belongs to another dialect of delayed events: use one.")
    if event_type == BATCH_TYPE and state_key is None and is_batch(content):
        raise _invalid(f"`{where}` is a batch of events itself, which a batch cannot hold.")
    return Part(event_type, content, state_key)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(f"`{where}` must be an object.")
    return value


def _plain(key: str) -> str:
    for prefix in SPELLINGS:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def _filled_in(value: Any, event_id: str) -> Any:
    if isinstance(value, str):
        for template in TEMPLATES:
            value = value.replace(template, event_id)
        return value
    if isinstance(value, dict):
        return {key: _filled_in(inner, event_id) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled_in(inner, event_id) for inner in value]
    return value


def _invalid(sentence: str) -> MatrixError:
    return MatrixError(400, "M_INVALID_PARAM", sentence)
