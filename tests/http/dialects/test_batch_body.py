"""The body of a batch: its spellings, what it lacks, and the ID of `send_now` in its places."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.http.dialects.batch_body import Part, is_batch, parse_batch
from minihs.http.errors import MatrixError

LEAVE: dict[str, Any] = {"type": "m.call.member", "state_key": "call", "content": {"left": True}}
HELLO: dict[str, Any] = {"type": "m.room.message", "content": {"body": "hello"}}
LEAST: dict[str, Any] = {"timeout": 10, "send_on_timeout": LEAVE}
PREFIXES = ["", "m.", "io.element."]


def refusal(body: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        parse_batch(body)
    return caught.value.status, caught.value.errcode


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_key_may_have_a_prefix(prefix: str) -> None:
    body = parse_batch(
        {
            f"{prefix}timeout": 10,
            f"{prefix}send_on_timeout": LEAVE,
            f"{prefix}send_on_action": {"hang up": HELLO},
            f"{prefix}send_now": HELLO,
        }
    )
    hello = Part("m.room.message", {"body": "hello"}, None)
    assert body.timeout_s == 10
    assert body.on_timeout == Part("m.call.member", {"left": True}, "call")
    assert body.on_action == {"hang up": hello}
    assert body.now == hello


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_action_may_be_part_of_its_key(prefix: str) -> None:
    body = {**LEAST, f"{prefix}send_on_action:a": HELLO, f"{prefix}send_on_action:b:c": HELLO}
    assert list(parse_batch(body).on_action) == ["a", "b:c"]


def test_both_ways_to_name_actions_go_together() -> None:
    body = {**LEAST, "send_on_action": {"a": HELLO}, "m.send_on_action:b": HELLO}
    assert sorted(parse_batch(body).on_action) == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, False),
        ({"body": "hello"}, False),
        ({"timeouts": 1, "m.timeouts": 1, "org.matrix.timeout": 1, "sender": 1}, False),
        ({"timeout": None}, True),
        ({"m.timeout": 1}, True),
        ({"io.element.send_now": 1}, True),
        ({"send_whatever": 1}, True),
        ({"m.send_on_action:x": 1}, True),
    ],
)
def test_what_wants_to_be_a_batch(body: dict[str, Any], expected: bool) -> None:
    assert is_batch(body) is expected


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"timeout": ...}, "M_MISSING_PARAM"),
        ({"send_on_timeout": ...}, "M_MISSING_PARAM"),
        *(({"timeout": bad}, "M_INVALID_PARAM") for bad in (0, -1, 1.5, 10.0, "10", True, None, [10], {})),
        *(({"send_on_timeout": bad}, "M_INVALID_PARAM") for bad in (None, 1, "x", [], [LEAVE])),
        *(({"send_now": bad}, "M_INVALID_PARAM") for bad in (None, 1, "x", [])),
        *(({"send_on_action": bad}, "M_INVALID_PARAM") for bad in (None, 1, "x", [], {"a": None}, {"a": 1})),
        ({"send_on_action": {"": HELLO}}, "M_INVALID_PARAM"),
        ({"send_on_action": {"x" * 256: HELLO}}, "M_INVALID_PARAM"),
        ({"send_on_action:": HELLO}, "M_INVALID_PARAM"),
        ({"send_on_action": {"a": HELLO}, "m.send_on_action:a": HELLO}, "M_INVALID_PARAM"),
        ({"send_on_action:a": HELLO, "m.send_on_action:a": HELLO}, "M_INVALID_PARAM"),
        ({"m.timeout": 10}, "M_INVALID_PARAM"),
        ({"io.element.send_on_timeout": LEAVE}, "M_INVALID_PARAM"),
        ({"send_later": HELLO}, "M_INVALID_PARAM"),
        ({"send_now:x": HELLO}, "M_INVALID_PARAM"),
        *(
            ({key: value}, errcode)
            for part, errcode in (
                ({"content": {}}, "M_MISSING_PARAM"),
                ({"type": "m.test"}, "M_MISSING_PARAM"),
                ({}, "M_MISSING_PARAM"),
                ({"type": 1, "content": {}}, "M_INVALID_PARAM"),
                ({"type": None, "content": {}}, "M_INVALID_PARAM"),
                ({"type": "m.test", "content": "x"}, "M_INVALID_PARAM"),
                ({"type": "m.test", "content": None}, "M_INVALID_PARAM"),
                ({"type": "m.test", "content": {}, "state_key": None}, "M_INVALID_PARAM"),
                ({"type": "m.test", "content": {}, "state_key": 1}, "M_INVALID_PARAM"),
                ({"type": "m.test", "content": {"m.will_expire": 5}}, "M_INVALID_PARAM"),
                ({"type": "future", "content": {"m.timeout": 5}}, "M_INVALID_PARAM"),
            )
            for key, value in (
                ("send_on_timeout", part),
                ("send_now", part),
                ("send_on_action", {"a": part}),
                ("m.send_on_action:a", part),
            )
        ),
    ],
)
def test_what_is_no_batch(changes: dict[str, Any], errcode: str) -> None:
    body = {key: value for key, value in {**LEAST, **changes}.items() if value is not ...}
    assert refusal(body) == (400, errcode)


def test_the_least_there_can_be() -> None:
    body = parse_batch({**LEAST, "body": "is nobody's"})
    assert (body.now, body.on_action) == (None, {})


@pytest.mark.parametrize("template", ["$m.send_now.event_id", "$io.element.send_now.event_id"])
def test_the_id_stands_wherever_the_template_stood(template: str) -> None:
    content = {"redacts": template, "deep": [{"text": f"see {template} and {template}"}, 1, None, True]}
    filled = Part("m.test", content, None).after("$id").content
    assert filled == {"redacts": "$id", "deep": [{"text": "see $id and $id"}, 1, None, True]}
    assert content["redacts"] == template, "the part itself is not touched"


def test_keys_and_other_dollars_are_left_alone() -> None:
    content = {"$m.send_now.event_id": "$m.send_now.eventId $5"}
    assert Part("m.test", content, "$m.send_now.event_id").after("$id") == Part(
        "m.test", content, "$m.send_now.event_id"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {}, optional={"type": json_values, "content": json_values, "state_key": json_values}
)
keys = st.sampled_from(
    [
        prefix + key
        for prefix in PREFIXES
        for key in ("timeout", "send_now", "send_on_timeout", "send_on_action", "send_on_action:x")
    ]
)


@given(st.dictionaries(keys | st.text(max_size=20), json_values | parts, max_size=6))
def test_any_object_is_understood_or_refused_with_a_status(body: dict[str, Any]) -> None:
    refused = None
    try:
        batch = parse_batch(body)
    except MatrixError as error:
        refused = error
    if refused is None:
        assert is_batch(body)
        assert batch.timeout_s > 0
    else:
        assert refused.status == 400
        assert refused.errcode in ("M_MISSING_PARAM", "M_INVALID_PARAM")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "m.test", "content": {"m.timeout": 5}},
        {"type": "future", "content": {"hello": 5}},
        {"type": "future", "content": {"m.timeout": 5}, "state_key": ""},
    ],
)
def test_a_part_that_only_resembles_a_batch_is_an_event(part: dict[str, Any]) -> None:
    assert parse_batch({**LEAST, "send_now": part}).now == Part(
        part["type"], part["content"], part.get("state_key")
    )
