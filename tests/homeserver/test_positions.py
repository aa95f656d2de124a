"""Stream tokens: text and back, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.homeserver.errors import InvalidParam
from minihs.homeserver.sync.positions import StreamToken

POSITIONS = st.integers(-(10**17), 10**17)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), POSITIONS, max_size=6), POSITIONS)
def test_a_token_survives_the_way_to_the_client_and_back(others: dict[str, int], event: int) -> None:
    token = StreamToken.of({**others, "e": event})
    assert StreamToken.parse(str(token)) == token


def test_a_stream_that_the_token_does_not_name_stands_at_zero() -> None:
    assert StreamToken.parse("e5")["x"] == 0


def test_moving_keeps_the_streams_that_are_not_named() -> None:
    moved = StreamToken.parse("e5_z9").moved_to({"e": 6, "r": 2})
    assert str(moved) == "e6_r2_z9"


def test_history_has_negative_positions() -> None:
    assert StreamToken.parse("e-12").event == -12


@given(st.text(max_size=40))
def test_any_text_is_a_token_or_refused(text: str) -> None:
    try:
        token = StreamToken.parse(text)
    except InvalidParam:
        return
    assert StreamToken.parse(str(token)) == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "e",
        "5",
        "r5",
        "e5_",
        "_e5",
        "e5__r1",
        "e5_e6",
        "E5",
        "e5.0",
        "e+5",
        "e 5",
        "e5_r",
        "e٥",
        "e" + "9" * 19,
        "eventstream5",
        "e5_" + "r5" * 600,
        "s72594_4483_1934",
    ],
)
def test_what_is_no_token_is_refused_by_its_parameters_name(text: str) -> None:
    with pytest.raises(InvalidParam, match="`from`"):
        StreamToken.parse(text, "from")
