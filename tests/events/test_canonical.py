"""Canonical JSON: what has a canonical form, what has not, and where the fault is said to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonical, check, encode

integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
values = st.recursive(
    st.none() | st.booleans() | integers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@given(values)
def test_what_is_encoded_reads_back_as_itself(value: Any) -> None:
    check(value)
    encoded = encode(value)
    assert json.loads(encoded) == value
    assert encode(json.loads(encoded)) == encoded


@given(values)
def test_the_fast_encoder_of_strict_values_gives_the_same_bytes(value: Any) -> None:
    check(value)
    assert encode(value, strict=True) == encode(value)
    assert encode(value, strict=True).decode() == json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )


@given(st.dictionaries(st.text(), integers))
def test_keys_are_in_order_of_their_code_points(value: dict[str, int]) -> None:
    assert list(json.loads(encode(value))) == sorted(value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (1.0, "the value"),
        ({"a": {"b": [0, 1.5]}}, "a.b[1]"),
        ([{"x": 2**53}], r"\[0\].x"),
        ({"n": -(2**53)}, "n"),
        ({"t": "\ud800"}, "t"),
        ({"a": {"\udfff": 1}}, "a"),
        ({"a": {1: 1}}, "a"),
        ({"a": (1,)}, "a"),
        ({"a": b"x"}, "a"),
        ({"k" * 99: 0.5}, "k" * 40),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value: Any, path: str) -> None:
    with pytest.raises(NotCanonical) as refused:
        check(value)
    message = str(refused.value)
    message.encode()
    assert message.startswith(path.replace("\\", "") + " ")


@pytest.mark.parametrize(
    "value", [MAX_INTEGER, -MAX_INTEGER, 0, True, False, None, "", "é\U0001f600", [], {}]
)
def test_the_edges_of_what_is_allowed_are_allowed(value: Any) -> None:
    check(value)


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}], ids=["list", "object"])
def test_nesting_is_bounded(wrap: Callable[[Any], Any]) -> None:
    check(nested(MAX_DEPTH, wrap))
    with pytest.raises(NotCanonical, match="nested deeper"):
        check(nested(MAX_DEPTH + 1, wrap))
    with pytest.raises(NotCanonical, match="nested deeper"):
        check(nested(50_000, wrap))


@pytest.mark.parametrize("value", [1.5, 2**53, -(2**60), 1e300, 2**1024 - 1])
def test_loose_versions_accept_other_numbers(value: Any) -> None:
    check([value], strict_integers=False)
    with pytest.raises(NotCanonical):
        check([value])


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), float("-inf"), 2**1024, -(10**5000)],
    ids=lambda value: type(value).__name__,
)
def test_even_loose_versions_refuse_numbers_beyond_a_double(value: Any) -> None:
    with pytest.raises(NotCanonical):
        check([value], strict_integers=False)
