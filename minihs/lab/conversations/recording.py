"""Records a conversation with one server as a page: requests, replies, and what appears in the room.

What is random gets a name in the order in which it appears, so that a page changes only when what it tells
does; time is that of the story, which begins at 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from minihs.lab.http_client import in_path
from minihs.lab.people import Client
from minihs.lab.world import World

C = "/_matrix/client"
V3 = f"{C}/v3"
U = f"{C}/unstable/org.matrix.msc4140"

EVENT_KEYS = ("type", "sender", "state_key", "redacts", "content")
"""What a page tells of an event, in this order."""

_NAMED_KEYS = re.compile(r"(?:(?P<kind>\w+)_token|delay_id|future_id|future_group_id|next_batch)\Z")
_RANDOM_LENGTH = 20
"""Names that people choose are shorter."""

_EVENT_ID = re.compile(r"\$[A-Za-z0-9_-]{43}")
_WIDTH = 100
"""Of a line of JSON."""


class Names:
    """Names for what is random: `SEND_TOKEN_1` for the first `send_token` that a reply has, and so on."""

    def __init__(self, room_id: str) -> None:
        self._names = {room_id: "!room", in_path(room_id): "!room"}
        self._counts: dict[str, int] = {}

    def learn(self, value: Any, key: str = "") -> None:
        """Name what is random in a JSON value."""
        if isinstance(value, dict):
            for inner_key, inner in value.items():
                self.learn(inner, inner_key)
        elif isinstance(value, list):
            for inner in value:
                self.learn(inner, key)
        elif isinstance(value, str):
            if _NAMED_KEYS.match(key) and (key == "next_batch" or len(value) >= _RANDOM_LENGTH):
                self._name(value, key.upper())
            for event_id in _EVENT_ID.findall(value):
                self._name(event_id, "$EVENT")

    def put(self, text: str) -> str:
        """The text with names for what they stand for."""
        for value in sorted(self._names, key=len, reverse=True):
            text = text.replace(value, self._names[value])
        return text

    def _name(self, value: str, kind: str) -> None:
        if value and value not in self._names:
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[value] = self._names[in_path(value)] = f"{kind}_{count}"


class Conversation:
    """A server that speaks `dialects`, a room in which Alice and Bob are, and the page about them.

    Bob has no power over what Alice sends; both may set `m.call.member`. `settings` are the server's, and
    `yields` is as in `World`.
    """

    def __init__(
        self, title: str, text: str, dialects: Sequence[str], *, yields: bool = False, **settings: Any
    ) -> None:
        settings = {f"futures.{name}": value for name, value in settings.items()}
        self.world = World(
            ["hs1"],
            seed=f"conversation {title}",
            settings={"futures.dialects": list(dialects), **settings},
            latency_ms=0,
            client_latency_ms=0,
            yields=yields,
        )
        self.alice = self.world.user("alice", on="hs1")
        self.bob = self.world.user("bob", on="hs1")
        levels = {"users": {self.alice.user_id: 100}, "events": {"m.call.member": 0}}
        self.room_id = self.alice.create_room(room_version="11", power_level_content_override=levels)
        self.bob.join(self.room_id)
        self.world.advance(ms=60_000 - self.world.now_ms % 60_000)
        self.room = f"{V3}/rooms/{in_path(self.room_id)}"
        self._names = Names(self.room_id)
        self._began_ms = self.world.now_ms
        self._began_ts = self.world["hs1"].clock.wall_ms()
        self._shown = {event["event_id"] for event in self.alice.messages(self.room_id)}
        self._lines = [
            f"# {title}",
            "",
            " ".join(text.split()),
            "",
            _preamble(dialects, settings, self._began_ts),
            "",
        ]

    def page(self) -> str:
        """The page so far; the world ends."""
        self.world.stop()
        return self._names.put("\n".join(self._lines).rstrip() + "\n")

    # What happens

    def asks(self, who: Client | None, method: str, path: str, body: Any = None, *, query: str = "") -> Any:
        """Somebody asks, without an access token when `who` is None. The reply's JSON."""
        target = f"{path}?{query}" if query else path
        asker = who or self.alice
        response = asker.request(method, target, json=body, as_nobody=who is None)
        self._names.learn(response.json)
        sender = "without an access token" if who is None else who.name
        self._lines += [f"**{self._now()}** {sender}:", "", "```http", f"{method} {target}"]
        if body is not None:
            self._lines += ["", _json(body)]
        self._lines += ["```", "", "```http", f"{response.status}{_headers(response.headers)}", ""]
        self._lines += [_json(response.json), "```", ""]
        self.shows()
        return response.json

    def waits(self, seconds: float) -> None:
        """Time passes."""
        self.world.advance(seconds=seconds)
        self.shows()

    def restarts(self) -> None:
        """The server's process is killed, and another one started on its database."""
        self.world["hs1"].restart()
        self._lines += [f"**{self._now()}** the server is killed and started again.", ""]
        self.shows()

    def goes_down(self) -> None:
        """The server's process is killed."""
        self.world["hs1"].crash()
        self._lines += [f"**{self._now()}** the server is killed.", ""]

    def comes_up(self) -> None:
        """Another process is started on the database."""
        self.world["hs1"].start()
        self._lines += [f"**{self._now()}** the server is started again.", ""]
        self.world.advance(ms=100)
        self.shows()

    def shows(self) -> None:
        """What is new in the room is written down, with its time."""
        new = [event for event in self.alice.messages(self.room_id) if event["event_id"] not in self._shown]
        for event in reversed(new):
            self._shown.add(event["event_id"])
            self._names.learn(event["event_id"])
            at = _seconds(event["origin_server_ts"] - self._began_ts)
            told = {key: event[key] for key in EVENT_KEYS if key in event}
            self._lines += [
                f"**{at}** the room shows `{event['event_id']}`:",
                "",
                "```json",
                _json(told),
                "```",
                "",
            ]

    # What is said about it

    def chapter(self, title: str) -> None:
        """A heading."""
        self._lines += [f"## {title}", ""]

    def says(self, text: str) -> None:
        """A paragraph."""
        self._lines += [" ".join(text.split()), ""]

    def txn(self) -> str:
        """A transaction ID that was not used yet."""
        return f"t{next(self.alice.txn_ids)}"

    def _now(self) -> str:
        return _seconds(self.world.now_ms - self._began_ms)


def _preamble(dialects: Sequence[str], settings: dict[str, Any], began_ts: int) -> str:
    sentences = [
        "Made by `scripts/transcripts` from a run under a virtual clock; do not edit.",
        f"Dialects that are on: {', '.join(f'`{name}`' for name in dialects)}.",
        *(f"`{name}` is {value}." for name, value in settings.items()),
        "Alice and Bob are in `!room`; both may set `m.call.member`.",
        "What is random has a name, such as `$EVENT_1`.",
        f"Times are seconds since the beginning, which is {began_ts} by the server's clock.",
    ]
    return " ".join(sentences)


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.3f} s"


def _headers(headers: dict[str, str]) -> str:
    waits = headers.get("retry-after")
    return "" if waits is None else f"\nRetry-After: {waits}"


def _json(value: Any, indent: int = 0) -> str:
    """JSON of which a line holds as much as fits."""
    line = _line(value)
    if len(line) + indent <= _WIDTH or not isinstance(value, dict | list):
        return line
    inner = indent + 2
    if isinstance(value, dict):
        parts = [f"{_line(key)}: {_json(each, inner)}" for key, each in value.items()]
    else:
        parts = [_json(each, inner) for each in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    separator = ",\n" + " " * inner
    return f"{opening}\n{' ' * inner}{separator.join(parts)}\n{' ' * indent}{closing}"


def _line(value: Any) -> str:
    """JSON with a space behind each colon and comma."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_line(key)}: {_line(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_line, value))}]"
    return msgspec.json.encode(value).decode()
