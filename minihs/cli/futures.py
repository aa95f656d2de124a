"""`minihs futures …`: any user's delayed events, beside a server while it runs or when it is stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click

from minihs.cli.settings import chosen_settings, settings_options

if TYPE_CHECKING:
    from minihs.cli.administration import AdminClient

FUTURES = "/_minihs/admin/v1/futures"
PAGE = 1000

ID_CONTEXT = {"ignore_unknown_options": True}
"""One delay ID in sixty-four begins with a hyphen, and is no option."""


@click.group()
def futures() -> None:
    """Delayed events of all users. ID is a number, as `list` shows it, or the delay ID that the owner knows.

    Works beside a running server and without one; it is enough to say --data-dir.
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Settings, --json, then ID."""
    return _listing_options(click.argument("future_id", metavar="ID")(command))


def _listing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    return settings_options(
        click.option("--json", "as_json", is_flag=True, help="What the server says, as JSON.")(command)
    )


@futures.command(name="list")
@_listing_options
@click.option("--user", metavar="NAME", help="Of one user: an ID, or what stands before its colon.")
@click.option("--room", metavar="ROOM_ID", help="For one room.")
@click.option("--finalised", is_flag=True, help="Those that were sent, cancelled or have failed, instead.")
def list_futures(user: str | None, room: str | None, finalised: bool, as_json: bool, **settings: Any) -> None:
    """Scheduled futures, by user and in order of scheduling. As JSON: one future on each line."""
    count = 0
    with _administration(settings) as client:
        for future in _all(client, user, "finalised" if finalised else "scheduled"):
            if room is None or future["room_id"] == room:
                count += 1
                click.echo(_json(future) if as_json else _row(future))
    if not as_json:
        click.echo(f"{count} {'finalised' if finalised else 'scheduled'}", err=True)


@futures.command(context_settings=ID_CONTEXT)
@_options
def show(future_id: str, as_json: bool, **settings: Any) -> None:
    """One future with the content of its event."""
    with _administration(settings) as client:
        future = client.call("GET", _path(future_id))
    click.echo(_json(future) if as_json else _portrait(future))


@futures.command(context_settings=ID_CONTEXT)
@_options
def cancel(future_id: str, as_json: bool, **settings: Any) -> None:
    """Give a future up in its owner's place."""
    with _administration(settings) as client:
        future = client.call("POST", _path(future_id, "cancel"), {})
    click.echo(_json(future) if as_json else f"{_title(future)}\n{_state(future)}")


@futures.command(context_settings=ID_CONTEXT)
@_options
def explain(future_id: str, as_json: bool, **settings: Any) -> None:
    """Whether a future would be sent now.

    Says what decides, and what the auth rules look at. Nothing is sent.
    """
    with _administration(settings) as client:
        explanation = client.call("GET", _path(future_id, "explain"))
    click.echo(_json(explanation) if as_json else _explanation(explanation))


@contextmanager
def _administration(settings: dict[str, Any]) -> Iterator[AdminClient]:
    from minihs.cli.administration import administration

    with administration(chosen_settings(**settings, of_a_server=True)) as client:
        yield client


def _all(client: AdminClient, user: str | None, status: str) -> Iterator[dict[str, Any]]:
    query = {"status": status, "limit": str(PAGE)}
    if user is not None:
        query["user"] = user
    while True:
        page = client.call("GET", f"{FUTURES}?{urlencode(query)}")
        yield from page["futures"]
        if "next" not in page:
            return
        query["after"] = page["next"]


def _path(future_id: str, *rest: str) -> str:
    return "/".join([FUTURES, quote(future_id, safe=""), *rest])


def _json(reply: Any) -> str:
    return json.dumps(reply, ensure_ascii=False, separators=(",", ":"))


# What people read


def _row(future: dict[str, Any]) -> str:
    cells = [str(future["id"]), future["user_id"], _kind(future), future["room_id"], _state(future)]
    cells += [future["dialect"], future.get("delay_id", "")]
    return _plain("  ".join(cells).rstrip())


def _kind(future: dict[str, Any]) -> str:
    key = future.get("state_key")
    return str(future["type"]) if key is None else f"{future['type']} {key!r}"


def _title(future: dict[str, Any]) -> str:
    return _plain(f"Future {future['id']} of {future['user_id']}: {_kind(future)} for {future['room_id']}")


def _state(future: dict[str, Any]) -> str:
    finalised = future.get("finalised")
    if finalised is None:
        wait_ms = future.get("due_in_ms")
        if wait_ms is None:
            return "waits for an action"
        return f"due in {_span(wait_ms)}" if wait_ms else "overdue"
    if "event_id" in finalised:
        return f"sent as {finalised['event_id']}"
    if "error" in finalised:
        return f"failed with {finalised['error']['errcode']}"
    return f"cancelled ({finalised['cause']})"


def _span(span_ms: int) -> str:
    """Two units at most: 3 d 4 h, 12 min 5 s, 0.8 s."""
    if span_ms < 10_000:
        return f"{span_ms / 1000:.1f} s"
    seconds = span_ms // 1000
    for unit_s, unit, smaller_s, smaller in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= unit_s:
            rest = seconds % unit_s // smaller_s
            return f"{seconds // unit_s} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"


def _plain(text: str) -> str:
    """Without what would move the cursor: types, keys and reasons come from users."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _portrait(future: dict[str, Any]) -> str:
    group = future["group"]
    rows = [
        ("delay ID", future.get("delay_id")),
        ("delay", None if "delay_ms" not in future else _span(future["delay_ms"])),
        ("dialect", future["dialect"]),
        ("part", future.get("part")),
        ("group", f"{group['id']}" + (f", called {group['name']!r}" if "name" in group else "")),
        ("ends by newer state", future["cancel_rule"]),
        ("outcome", _state(future)),
        ("error", future.get("finalised", {}).get("error", {}).get("error")),
        ("content", _json(future["content"])),
    ]
    lines = [f"  {name:<20} {_plain(value)}" for name, value in rows if value is not None]
    return "\n".join([_title(future), *lines])


def _explanation(told: dict[str, Any]) -> str:
    future = told["future"]
    lines = [_title(future), f"{_state(future)}; made by the dialect {future['dialect']}", ""]
    answer = {True: "Yes", False: "No", None: "Another server decides"}[told["would_be_sent"]]
    [decisive] = [check for check in told["checks"] if check["check"] == told["decided_by"]]
    lines.append(f"Would it be sent now? {answer}: {_plain(decisive['says'])}")
    if "error" in decisive:
        lines.append(f"Its owner would read {decisive['error']['errcode']}.")
    lines.append("")
    marks = {True: "✓", False: "✗", None: "?"}
    lines += [
        f"  {marks[check['passes']]} {check['check']:<14} {_plain(check['says'])}" for check in told["checks"]
    ]
    if told["events"]:
        lines += ["", "The auth rules looked at:"]
        for event in told["events"]:
            key = f" {event['state_key']!r}" if event["state_key"] else ""
            lines.append(_plain(f"  {event['type']}{key}: {event['summary']}"))
            lines.append(f"      {event['event_id']} by {event['sender']}")
    return "\n".join(lines)
