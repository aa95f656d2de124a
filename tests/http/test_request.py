"""Queries, and which address a request came from."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.http.addresses import TrustedProxies
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest, BodyReader, Query


class Wrapping(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a body."""

    paper: Literal["plain", "red"] = "plain"
    bow: bool = False


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """A body with words that are fixed."""

    action: Literal["send", "cancel"]
    pace: Literal["slow", "fast"] | None = None
    wrapping: Wrapping | None = None


QUERY = Query(
    b"one=1&two=a&two=b%20c&plus=a+b&empty=&flag&snow=%E2%98%83&yes=true&no=false&big=99999&minus=-5"
)


def test_values_are_read_as_text() -> None:
    assert QUERY.one("one") == "1"
    assert QUERY.one("two") == "a"
    assert QUERY.many("two") == ["a", "b c"]
    assert (QUERY.one("plus"), QUERY.one("empty"), QUERY.one("flag"), QUERY.one("snow")) == (
        "a b",
        "",
        "",
        "☃",
    )
    assert (QUERY.one("none"), QUERY.many("none")) == (None, [])
    assert QUERY.names()[:3] == ("one", "two", "plus")
    assert Query(b"").names() == ()


def test_numbers_and_words_are_checked() -> None:
    assert QUERY.integer("one") == 1
    assert QUERY.integer("none", default=7) == 7
    assert QUERY.integer("big", maximum=1000) == 1000
    assert QUERY.integer("minus") == -5
    assert (QUERY.boolean("yes"), QUERY.boolean("no"), QUERY.boolean("none", default=True)) == (
        True,
        False,
        True,
    )
    assert QUERY.choice("two", ("a", "b")) == "a"
    assert QUERY.choice("none", ("a",), default="a") == "a"
    assert QUERY.required("one") == "1"


@pytest.mark.parametrize(
    ("ask", "errcode", "name"),
    [
        (lambda query: query.required("none"), "M_MISSING_PARAM", "none"),
        (lambda query: query.integer("two"), "M_INVALID_PARAM", "two"),
        (lambda query: query.integer("empty"), "M_INVALID_PARAM", "empty"),
        (lambda query: query.integer("snow"), "M_INVALID_PARAM", "snow"),
        (lambda query: query.integer("minus", minimum=0), "M_INVALID_PARAM", "minus"),
        (lambda query: query.boolean("one"), "M_INVALID_PARAM", "one"),
        (lambda query: query.choice("one", ("a", "b")), "M_INVALID_PARAM", "one"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(ask: object, errcode: str, name: str) -> None:
    with pytest.raises(MatrixError) as refused:
        ask(QUERY)  # type: ignore[operator]
    assert (refused.value.status, refused.value.errcode) == (400, errcode)
    assert f"`{name}`" in refused.value.error


@pytest.mark.parametrize("number", ["٣", "1_000", " 1", "1.0", "1e3", "9" * 19, "+1", "0x1"])
def test_only_plain_decimal_integers_are_integers(number: str) -> None:
    with pytest.raises(MatrixError):
        Query(urlencode({"n": number}).encode()).integer("n")


def test_a_query_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(MatrixError, match="UTF-8"):
        Query(b"a=%ff").one("a")


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_any_query_survives_encoding(values: dict[str, str]) -> None:
    query = Query(urlencode(values).encode())
    assert {name: query.one(name) for name in values} == values


@given(st.binary(max_size=40))
def test_no_query_makes_it_fail(raw: bytes) -> None:
    with suppress(MatrixError):
        Query(raw).one("x")


def test_a_handler_that_asks_for_more_than_its_route_checked_is_a_bug() -> None:
    request = ApiRequest(method="GET", path="/", args={}, query=Query())
    with pytest.raises(RuntimeError, match="token"):
        _ = request.user
    with pytest.raises(RuntimeError, match="signature"):
        _ = request.server
    assert request.header("X") is None


PROXIES = TrustedProxies(["10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["2001:db8::5"], "2001:db8::5"),
        ("::1", ["1.2.3.4"], "1.2.3.4"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["nonsense, 10.0.0.2"], "10.0.0.2"),
        ("9.9.9.9", ["1.2.3.4"], "9.9.9.9"),
        ("", ["1.2.3.4"], ""),
    ],
)
def test_the_client_is_the_first_address_that_is_no_trusted_proxy(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert PROXIES.client_address(peer, forwarded) == client


def test_a_proxy_is_an_address_or_a_network() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        TrustedProxies(["nonsense"])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"action": "explode"}', "`action` is wrong: invalid enum value 'explode'; it takes cancel, send."),
        (b'{"action": "send", "pace": "x"}', "`pace` is wrong: invalid enum value 'x'; it takes fast, slow."),
        (
            b'{"action": "send", "wrapping": {"paper": "x"}}',
            "`wrapping.paper` is wrong: invalid enum value 'x'; it takes plain, red.",
        ),
        (
            b'{"action": "send", "wrapping": {"bows": 2}}',
            "`wrapping` is wrong: object contains unknown field `bows`; it takes paper, bow.",
        ),
    ],
)
def test_a_wrong_word_is_told_which_are_right(body: bytes, sentence: str) -> None:
    reader = BodyReader(Order)
    with pytest.raises(MatrixError) as refused:
        reader.read(body)
    assert refused.value.errcode == "M_INVALID_PARAM"
    assert refused.value.error == f"The body's {sentence}"
    assert reader.read(b'{"action": "send", "pace": "slow"}') == Order("send", "slow")


def test_an_unknown_field_is_told_which_there_are() -> None:
    with pytest.raises(MatrixError) as refused:
        BodyReader(Order).read(b'{"acton": "send"}')
    assert refused.value.errcode == "M_BAD_JSON"
    assert refused.value.error == (
        "The body is wrong: object contains unknown field `acton`; it takes action, pace, wrapping."
    )
