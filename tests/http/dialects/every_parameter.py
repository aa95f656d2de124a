"""Every parameter of every dialect, each as one request that a good value of it completes.

Query parameters that are numbers or names of groups are in `test_bad_input`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.http.dialects.wrong_values import TEXT
from tests.support.future_server import C, U

SCHEDULING: dict[str, tuple[str, str, Any, str]] = {
    "merged": (
        "merged",
        f"{C}/v3/rooms/{{}}/delayed_event/m.x/{{}}",
        {"delay_ms": 60_000, "content": {}},
        "delay_id",
    ),
    "query": ("delay-query", f"{C}/v3/rooms/{{}}/send/m.x/{{}}?delay=60000", {}, "delay_id"),
    "token": ("tokens", f"{C}/v1/rooms/{{}}/send_future/m.x/{{}}?future_timeout=60000", {}, "refresh_token"),
    "batch": (
        "batch",
        f"{C}/v3/rooms/{{}}/send/future/{{}}",
        {"timeout": 60, "send_on_timeout": TEXT},
        "future_token",
    ),
    "expiry": (
        "will-expire",
        f"{C}/v3/rooms/{{}}/send/m.x/{{}}",
        {"m.will_expire": 60},
        "expire_refresh_token",
    ),
    "parent": ("future-id", f"{C}/v3/rooms/{{}}/send/m.x/{{}}?future_timeout=60000", {}, "future_id"),
}
"""How a future of each kind comes to be: dialect, path with room and transaction, body, ID in the reply."""


class Parameter(NamedTuple):
    """One parameter of one endpoint: `<*>` in the path, a query parameter, or a key (`a/b`) of the body."""

    dialect: str
    method: str
    path: str
    place: str
    name: str
    kind: str
    good: Any
    """None where a good value is one that only an earlier reply can give."""
    body: Any = {}  # noqa: RUF012 - never changed
    token: str | None = "alice"


def in_path(
    dialect: str, path: str, kind: str, good: Any, body: Any, method: str = "PUT", **more: Any
) -> Parameter:
    return Parameter(dialect, method, path, "path", kind, kind, good, body, **more)


LATER = {"delay_ms": 60_000, "content": {}}
BATCH = {
    "timeout": 60,
    "send_now": {**TEXT, "state_key": "k"},
    "send_on_timeout": {**TEXT, "state_key": "k"},
    "send_on_action": {"a": {**TEXT, "state_key": "k"}},
}
PARTS = ("send_now", "send_on_timeout", "send_on_action/a")
MERGED = (f"{C}/v3/rooms/<room>/delayed_event/m.x/<txn>", f"{U}/rooms/<room>/delayed_event/m.x/<txn>")
BATCHES = tuple(f"{root}/rooms/<room>/send/future/<txn>" for root in (f"{C}/v1", f"{C}/v3", U))
SENDING: dict[str, tuple[tuple[str, ...], Any]] = {
    "merged": (("v3/rooms/{}/delayed_event/{}/<txn>",), LATER),
    "delay-query": (("v3/rooms/{}/send/{}/<txn>?delay=60000", "v3/rooms/{}/state/{}/k?delay=60000"), {}),
    "tokens-on-send": (
        ("v3/rooms/{}/send/{}/<txn>?future_timeout=60000", "v3/rooms/{}/state/{}/k?future_timeout=60000"),
        {},
    ),
    "future-id": (
        ("v3/rooms/{}/send/{}/<txn>?future_timeout=60000", "v3/rooms/{}/state/{}/k?future_timeout=60000"),
        {},
    ),
    "tokens": (
        (
            "v1/rooms/{}/send_future/{}/<txn>?future_timeout=60000",
            "v3/rooms/{}/state_future/{}/k?future_timeout=60000",
        ),
        {},
    ),
    "will-expire": (("v3/rooms/{}/send/{}/<txn>", "v3/rooms/{}/state/{}/k"), {"m.will_expire": 60}),
    "batch": (("v3/rooms/{}/send/future/<txn>", "v1/rooms/{}/send/future/<txn>"), BATCH),
}
LISTING = f"{U}/delayed_events"
LISTING_4486 = f"{C}/v1/delayed_events"

PARAMETERS: list[Parameter] = [
    # Where an event is to go, and what it is
    *(
        in_path(dialect, f"{C}/{path.format('<*>', 'm.x')}", "room", "<room>", body)
        for dialect, (paths, body) in SENDING.items()
        for path in paths
    ),
    *(
        in_path(dialect, f"{C}/{path.format('<room>', '<*>')}", "key", "m.x", body)
        for dialect, (paths, body) in SENDING.items()
        for path in paths
        if dialect != "batch"
    ),
    *(
        in_path(dialect, f"{C}/{path.format('<room>', 'm.x').replace('/k', '/<*>')}", "key", "k", body)
        for dialect, (paths, body) in SENDING.items()
        for path in paths
        if "/k" in path
    ),
    # merged
    *(Parameter("merged", "PUT", path, "body", "delay_ms", "ms", 1, LATER) for path in MERGED),
    *(Parameter("merged", "PUT", path, "body", "content", "content", {"a": 1}, LATER) for path in MERGED),
    *(Parameter("merged", "PUT", path, "body", "state_key", "state key", "k", LATER) for path in MERGED),
    in_path("merged", f"{C}/v1/delayed_events/<*>/restart", "delay ID", "<alice:merged>", {}, "POST"),
    in_path("merged", f"{U}/delayed_events/<*>/restart", "delay ID", "<alice:merged>", {}, "POST"),
    in_path("merged", f"{U}/delayed_events/<*>/restart", "open ID", "<alice:merged>", {}, "POST", token=None),
    in_path("merged", f"{C}/v1/delayed_events/<alice:merged>/<*>", "action path", "restart", {}, "POST"),
    in_path("merged", f"{U}/delayed_events/<alice:merged>/<*>", "action path", "restart", {}, "POST"),
    in_path("merged", f"{C}/v1/delayed_events/<*>", "delay ID", "<alice:merged>", {}, "GET"),
    # delay-query
    in_path(
        "delay-query", f"{U}/delayed_events/<*>", "delay ID", "<alice:query>", {"action": "restart"}, "POST"
    ),
    Parameter("delay-query", "POST", f"{LISTING}/<alice:query>", "body", "action", "word", "restart"),
    Parameter(
        "delay-query",
        "PUT",
        f"{C}/v3/rooms/<room>/send/m.x/<txn>?delay=60000",
        "query",
        "org.matrix.msc4354.sticky_duration_ms",
        "sticky",
        "3600000",
    ),
    Parameter("delay-query", "GET", LISTING, "query", "status", "status of text 8", "finalised"),
    *(
        Parameter("delay-query", "GET", f"{LISTING}{path}", "query", "from", "place", "s1_x")
        for path in ("", "/scheduled", "/finalised")
    ),
    # tokens, tokens-on-send: numbers and names are in test_bad_input
    # future-id
    Parameter(
        "future-id",
        "PUT",
        f"{C}/v3/rooms/<room>/send/m.x/<txn>",
        "query",
        "parent_future_id",
        "parent",
        "<alice:parent>",
    ),
    Parameter(
        "future-id",
        "PUT",
        f"{C}/v3/rooms/<room>/state/m.x/k?future_timeout=1000",
        "query",
        "org.matrix.msc4140.parent_future_id",
        "parent",
        "<alice:parent>",
    ),
    *(
        Parameter(
            "future-id",
            "POST",
            path,
            "body",
            name,
            kind,
            good,
            {"future_id": "<alice:parent>", "action": "refresh"},
        )
        for path in (f"{C}/v1/update_future", f"{U}/update_future")
        for name, kind, good in (("future_id", "future ID", "<alice:parent>"), ("action", "word", "refresh"))
    ),
    # batch
    *(
        Parameter("batch", "PUT", path, "body", name, kind, good, BATCH)
        for path in BATCHES
        for name, kind, good in (
            ("timeout", "seconds", 1),
            ("send_on_timeout", "needed part", TEXT),
            ("send_now", "part", TEXT),
            ("send_on_action", "parts", {"b": TEXT}),
            ("send_on_action/a", "part", TEXT),
            *((f"{part}/type", "part type" if part != "send_now" else "type now", "m.x") for part in PARTS),
            *((f"{part}/content", "content", {"a": 1}) for part in PARTS),
            *((f"{part}/state_key", "state key" if part != "send_now" else "key now", "k") for part in PARTS),
        )
    ),
    *(
        Parameter(
            "batch",
            method,
            f"{C}/v3/futures/{path}",
            "body",
            "future_token",
            "token",
            "<alice:batch>",
            token=None,
        )
        for method in ("POST", "PUT")
        for path in ("refresh",)
    ),
    in_path(
        "batch",
        f"{C}/v3/futures/action/<*>",
        "batch action",
        None,
        {"future_token": "<alice:batch>"},
        "POST",
        token=None,
    ),
    # will-expire
    *(
        Parameter(
            "will-expire",
            "PUT",
            f"{C}/v3/rooms/<room>/{path}",
            "body",
            "m.will_expire",
            "expiry",
            1,
            {"body": "x"},
        )
        for path in ("send/m.x/<txn>", "state/m.x/k", "send/m.room.encrypted/<txn>")
    ),
    Parameter(
        "will-expire",
        "PUT",
        f"{C}/v3/expiration/refresh",
        "body",
        "expire_refresh_token",
        "token",
        "<alice:expiry>",
        token=None,
    ),
    # MSC4486
    *(
        Parameter("msc4486", "GET", LISTING_4486, "query", f"{prefix}{name}", kind, good)
        for prefix in ("", "org.matrix.msc4486.")
        for name, kind, good in (
            ("dir", "direction", "b"),
            ("from_ts", "moment", "0"),
            ("to_ts", "moment", "9007199254740991"),
            ("room_id", "listed room", "<room>"),
            ("type", "listed type", "m.x"),
            ("status", "status", "failed"),
            ("from", "page", None),
        )
    ),
]
