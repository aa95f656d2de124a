"""What is wrong with what: for each kind of parameter the values that it does not take, and the answers."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

TEXT = {"type": "m.room.message", "content": {"body": "x"}}
LONG = "x" * 256
MISSING, INVALID, GONE = (400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM"), (410, "M_NOT_FOUND")
TOO_MUCH = (413, "M_TOO_LARGE")
NOT_FOUND, FORBIDDEN = (404, "M_NOT_FOUND"), (403, "M_FORBIDDEN")
UNKNOWN_PARENT = (400, "M_UNKNOWN_FUTURE_PARENT_FUTURE_ID")
KINDS = ("merged", "query", "token", "batch", "expiry", "parent")
"""Of futures: `<alice:merged>` stands for the ID or token of hers of one kind."""

Answer = tuple[int, str]


class Absent:
    """The parameter is left out."""


class Raw(str):
    """JSON that is written as it stands."""


NOTHING: list[Any] = [5, 5.5, True, None, []]
NO_STRING: list[tuple[Any, Answer]] = [(value, INVALID) for value in (*NOTHING, ["x"], {}, {"x": "y"})]
NO_OBJECT: list[tuple[Any, Answer]] = [(value, INVALID) for value in (*NOTHING, "x", "{}", [{}])]
NO_NUMBER: list[tuple[Any, Answer]] = [
    (value, INVALID)
    for value in (
        0,
        -1,
        -(10**30),
        5.5,
        5.0,
        "5",
        "",
        "soon",
        True,
        False,
        None,
        [],
        [5],
        {},
        "\u0661",
        Raw("5e3"),
    )
]
NOT_JSON = [
    (Raw(text), (400, "M_NOT_JSON"))
    for text in ("NaN", "Infinity", "-Infinity", "0x10", "05", "+5", "'5'", "")
]
SECRETS = ("", "x", "~", "é", "a" * 5_000, "\0", "%2e%2e", "../..", "<room>")
BAD_PATH = [("%FF", INVALID), ("%C3", INVALID), ("%zz", INVALID), ("%ED%A0%80", INVALID)]


def strangers(own: str, answer: Answer) -> list[tuple[Any, Answer]]:
    """What is no ID of alice's: made up, of another kind, cut, doubled, in other letters."""
    kinds = [f"<alice:{kind}>" for kind in KINDS if kind not in own]
    made_up = [text for text in SECRETS if text]
    return [(value, answer) for value in (*made_up, *kinds)]


def quoted(values: list[tuple[Any, Answer]]) -> list[tuple[Any, Answer]]:
    return [(value if "<" in value else quote(value, safe=""), answer) for value, answer in values]


WRONG: dict[str, list[tuple[Any, Answer]]] = {
    "room": [
        *(
            (value, FORBIDDEN)
            for value in ("x", "!nowhere:hs1", "%40alice%3Ahs1", "%F0%9F%8D%8C", "x" * 3_000)
        ),
        *BAD_PATH,
    ],
    "key": [(LONG, INVALID), ("%F0%9F%8D%8C" * 64, INVALID), *BAD_PATH],
    "ms": [
        (Absent, MISSING),
        *NO_NUMBER,
        *NOT_JSON,
        *((value, (400, "too large")) for value in (86_400_001, 2**53, 2**63, 10**30, 10**4_000)),
        (Raw("1e999"), INVALID),
    ],
    "seconds": [
        (Absent, MISSING),
        *NO_NUMBER,
        *NOT_JSON,
        *((value, INVALID) for value in (86_401, 2**53, 2**63, 10**30, 10**4_000)),
    ],
    "expiry": [(value, INVALID) for value in (0, -1, -(10**30), 86_401, 2**63, 10**30, 10**4_000)]
    + [(5.5, (400, "M_BAD_JSON")), (Raw("5e3"), (400, "M_BAD_JSON")), *NOT_JSON],
    "content": [
        (Absent, MISSING),
        *NO_OBJECT,
        *(({"a": value}, (400, "M_BAD_JSON")) for value in (1.5, 2**53, -(2**53), [1.5], {"b": [2**60]})),
        ({"a": "x" * 66_000}, TOO_MUCH),
        ({"m.will_expire": 5}, INVALID),
        (Raw('{"a": "\\ud800"}'), (400, "M_NOT_JSON")),
        (Raw('{"a": ' + "[" * 300 + "]" * 300 + "}"), (400, "M_BAD_JSON")),
    ],
    "state key": [*NO_STRING, (LONG, INVALID), ("é" * 128, INVALID), (Raw('"\\ud800"'), (400, "M_NOT_JSON"))],
    "part type": [(Absent, MISSING), *NO_STRING, (LONG, INVALID), ("é" * 128, INVALID)],
    # What is sent at once is refused as by `/send`.
    "type now": [(Absent, MISSING), *NO_STRING, (LONG, TOO_MUCH), ("é" * 128, TOO_MUCH)],
    "key now": [*NO_STRING, (LONG, TOO_MUCH), ("é" * 128, TOO_MUCH)],
    "needed part": [(Absent, MISSING), *NO_OBJECT, ({}, MISSING)],
    "part": [*NO_OBJECT, ({}, MISSING), ({"type": "m.x"}, MISSING), ({"content": {}}, MISSING)],
    "parts": [
        *NO_OBJECT,
        ({"": TEXT}, INVALID),
        ({LONG: TEXT}, INVALID),
        ({"b": None}, INVALID),
        ({"b": {}}, MISSING),
    ],
    "token": [
        (Absent, MISSING),
        *NO_STRING,
        *((text, GONE) for text in SECRETS),
        *strangers("batch expiry", GONE),
    ],
    "batch action": [
        ("b", NOT_FOUND),
        ("refresh", NOT_FOUND),
        ("%F0%9F%8D%8C", NOT_FOUND),
        ("timeout", NOT_FOUND),
        *BAD_PATH,
    ],
    "future ID": [
        (Absent, MISSING),
        *NO_STRING,
        *((text, GONE) for text in (*SECRETS, "<bob:parent>", "<spent>")),
    ],
    "parent": [
        *(
            (value, UNKNOWN_PARENT)
            for value in ("", "x", "a" * 5_000, "%00", "<room>", "<alice:child>", "<spent>")
        ),
        ("<bob:parent>", (400, "M_FORBIDDEN")),
        ("%FF", INVALID),
        (["<alice:parent>", "<alice:parent>"], INVALID),
    ],
    "word": [
        (Absent, MISSING),
        *NO_STRING,
        *((word, INVALID) for word in ("", "Restart", "restart ", "delete", "x" * 5_000, "é", "\0")),
    ],
    "delay ID": [*quoted(strangers("merged query", NOT_FOUND)), ("<bob:merged>", NOT_FOUND), *BAD_PATH],
    "open ID": [*quoted(strangers("merged query", NOT_FOUND)), *BAD_PATH],
    "action path": [
        *(
            (word, (404, "M_UNRECOGNIZED"))
            for word in ("refresh", "Send", "send%20", "x" * 5_000, "%C3%A9", "%00")
        ),
        *BAD_PATH,
    ],
    "sticky": [
        *((value, INVALID) for value in ("", "-1", "1.5", "soon", "3600001", "1" * 30, "%D9%A1", "%FF")),
        (["1", "1"], INVALID),
    ],
    "status of text 8": [
        *((word, (400, "M_UNKNOWN")) for word in ("", "sent", "Scheduled", "x" * 5_000, "%C3%A9")),
        (["scheduled", "scheduled"], INVALID),
        ("%FF", INVALID),
    ],
    "place": [
        *(
            (value, INVALID)
            for value in ("", "x", "s", "s1", "s-1_x", "q1_x", "s1.5_x", "s%D9%A1_x", "f" + "1" * 30 + "_x")
        ),
        ("s1_x~", INVALID),
        ("%FF", INVALID),
        (["s1_x", "s1_x"], INVALID),
    ],
    "direction": [
        *((word, INVALID) for word in ("", "F", "forwards", "%C3%A9", "%FF")),
        (["f", "f"], INVALID),
    ],
    "moment": [
        *(
            (value, INVALID)
            for value in ("", "-1", "1.5", "1e3", "soon", "9007199254740992", "1" * 30, "%D9%A1", "%FF")
        ),
        (["1", "1"], INVALID),
    ],
    "listed room": [
        *((value, INVALID) for value in ("", "x", "@alice:hs1", "%FF")),
        (["<room>", "<room>"], INVALID),
    ],
    "listed type": [("%FF", INVALID), (["m.x", "m.x"], INVALID)],
    "status": [
        *((word, INVALID) for word in ("", "error", "finalised", "Sent", "%FF")),
        (["sent", "sent"], INVALID),
    ],
    "page": [
        *((value, INVALID) for value in ("", "x", "~", "AAAA", "k" * 13_000, "%C3%A9", "%FF")),
        (["x", "x"], INVALID),
    ],
}
