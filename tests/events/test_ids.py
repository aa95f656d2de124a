"""Identifiers: their grammar on both sides of every limit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events import ids
from minihs.events.ids import InvalidIdentifier

PARSERS = (
    ids.parse_user_id,
    ids.parse_room_id,
    ids.parse_event_id,
    ids.parse_room_alias,
    ids.parse_server_name,
)

SERVER_NAMES = (
    "matrix.org",
    "matrix.org:8888",
    "1.2.3.4",
    "1.2.3.4:1234",
    "[1234:5678::abcd]",
    "[1234:5678::abcd]:5678",
    "UPPER.example",
    "localhost:1",
    "x" * 255,
)
NOT_SERVER_NAMES = (
    "",
    "x" * 256,
    "matrix.org:",
    "matrix.org:123456",
    "matrix.org:12a",
    "matrix.org:8448:8448",
    "mätrix.org",
    "under_score.org",
    "[::1",
    "[:]x",
    "[1]",
    "[::g]",
    "matrix.org\n",
    "user@host",
    "matrix.org/path",
    "matrix.org:\u0661",
)


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_published_and_other_server_names_are_accepted(name: str) -> None:
    assert ids.parse_server_name(name) == name
    host, port = ids.split_server_name(name)
    assert name == (host if port is None else f"{host}:{port}")


@pytest.mark.parametrize("name", NOT_SERVER_NAMES)
def test_what_is_no_server_name_is_refused_everywhere(name: str) -> None:
    for parse, text in (
        (ids.parse_server_name, name),
        (ids.split_server_name, name),
        (ids.parse_user_id, f"@user:{name}"),
        (ids.parse_room_alias, f"#room:{name}"),
        (ids.parse_room_id, f"!room:{name}"),
    ):
        with pytest.raises(InvalidIdentifier):
            parse(text)


def test_an_ipv6_host_keeps_its_brackets() -> None:
    assert ids.split_server_name("[::1]:8448") == ("[::1]", 8448)
    assert ids.split_server_name("[::1]") == ("[::1]", None)


@pytest.mark.parametrize("localpart", ["alice", "", "Ünïcode 名", "a b\n\t", "a@b#c!d$", "\x7f"])
def test_historical_user_ids_are_accepted(localpart: str) -> None:
    assert ids.parse_user_id(f"@{localpart}:hs1") == f"@{localpart}:hs1"


@pytest.mark.parametrize(
    "text", ["alice:hs1", "@alice", "@a\x00b:hs1", "@a\ud800:hs1", " @alice:hs1", "@alice:hs1 ", "#alice:hs1"]
)
def test_what_is_no_user_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidIdentifier):
        ids.parse_user_id(text)


@pytest.mark.parametrize(
    ("parse", "prefix", "suffix"),
    [
        (ids.parse_user_id, "@", ":hs1"),
        (ids.parse_room_id, "!", ":hs1"),
        (ids.parse_room_alias, "#", ":hs1"),
        (ids.parse_event_id, "$", ""),
    ],
)
def test_identifiers_have_at_most_255_bytes(parse: Callable[[str], str], prefix: str, suffix: str) -> None:
    room = 255 - len(prefix) - len(suffix)
    assert parse(prefix + "x" * room + suffix)
    assert parse(prefix + "é" * (room // 2) + suffix)
    for too_long in ("x" * (room + 1), "é" * (room // 2 + 1), "\U0001f600" * 64):
        with pytest.raises(InvalidIdentifier, match="255 bytes"):
            parse(prefix + too_long + suffix)


def test_a_room_id_has_a_domain_or_is_a_hash() -> None:
    assert ids.parse_room_id("!Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ")
    assert ids.parse_room_id("!abc:example.org")
    for text in ("!short", "!" + "x" * 42, "!" + "x" * 44, "!" + "+" * 43, "!:hs1", "$" + "x" * 43):
        with pytest.raises(InvalidIdentifier):
            ids.parse_room_id(text)


def test_event_ids_are_opaque() -> None:
    for text in ("$acR1l0raoZnm60CBwAVgqbqZoO/mYU81xysh1u7XcJk", "$0:domain", "$x"):
        assert ids.parse_event_id(text) == text
    for text in ("$", "x", "", "$a\x00", "$\udfff"):
        with pytest.raises(InvalidIdentifier):
            ids.parse_event_id(text)


def test_the_server_and_the_localpart_meet_at_the_first_colon() -> None:
    assert ids.server_name_of("@alice:hs1:8448") == "hs1:8448"
    assert ids.localpart_of("@alice:hs1:8448") == "alice"
    with pytest.raises(InvalidIdentifier):
        ids.server_name_of("!" + "x" * 43)


@pytest.mark.parametrize(
    ("localpart", "fits"),
    [
        ("alice", True),
        ("a.b_c=d-e/f+9", True),
        ("", False),
        ("Alice", False),
        ("al ice", False),
        ("ä", False),
    ],
)
def test_new_accounts_have_the_narrow_grammar(localpart: str, fits: bool) -> None:
    assert ids.is_new_localpart(localpart) == fits


@given(
    st.none()
    | st.integers()
    | st.text(alphabet=st.characters(codec=None) | st.sampled_from("@!#$:[].1a\x00\n"), max_size=60)
    | st.lists(st.text(max_size=3), max_size=2)
)
def test_anything_is_parsed_or_refused(value: object) -> None:
    for parse in PARSERS:
        try:
            parsed = parse(value)
        except InvalidIdentifier as refused:
            str(refused).encode()
        else:
            assert parsed == value
            parsed.encode()
