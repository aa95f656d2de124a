"""Server ACLs: every step of the list in `m.room.server_acl`, from both sides."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minihs.events.ids import ServerName
from minihs.rooms.server_acl import ServerACL


def allows(content: dict[str, Any], server: str) -> bool:
    return ServerACL.of(content).allows(ServerName(server))


@pytest.mark.parametrize(
    ("content", "allowed", "denied"),
    [
        ({"allow": ["*"], "allow_ip_literals": False}, "example.org", "1.2.3.4"),
        ({"allow": ["*"], "allow_ip_literals": False}, "example.org:8448", "1.2.3.4:8448"),
        ({"allow": ["*"], "allow_ip_literals": False}, "example.org", "[::1]:8448"),
        ({"allow": ["*"], "deny": ["evil.com"]}, "evil.com.au", "evil.com"),
        ({"allow": ["*"], "deny": ["*.evil.com"]}, "evil.com", "very.evil.com"),
        ({"allow": ["*"], "deny": ["evil.com"]}, "good.com:1234", "evil.com:1234"),
        ({"allow": ["*"], "deny": ["EVIL.com"]}, "good.com", "evil.COM"),
        ({"allow": ["good.com"]}, "good.com", "better.com"),
        ({"allow": ["h?.good.com"]}, "h1.good.com", "h12.good.com"),
        ({"allow": ["a*b*c"]}, "axxbxxc", "axxcxxb"),
        ({"allow": ["a.b"]}, "a.b", "axb"),
        ({"allow": [7, "good.com"], "deny": [None]}, "good.com", "other.com"),
    ],
)
def test_a_server_is_let_in_or_kept_out(content: dict[str, Any], allowed: str, denied: str) -> None:
    assert allows(content, allowed)
    assert not allows(content, denied)


@pytest.mark.parametrize("allow_ip_literals", [True, None, "false", 0])
def test_ip_literals_are_allowed_unless_the_setting_is_false(allow_ip_literals: object) -> None:
    assert allows({"allow": ["*"], "allow_ip_literals": allow_ip_literals}, "1.2.3.4")


@pytest.mark.parametrize("content", [{}, {"allow": []}, {"allow": "*"}, {"deny": []}, {"allow": {"*": 1}}])
def test_a_list_that_allows_nobody_keeps_everybody_out(content: dict[str, Any]) -> None:
    assert not allows(content, "example.org")


def test_deny_wins_over_allow() -> None:
    assert not allows({"allow": ["evil.com"], "deny": ["evil.com"]}, "evil.com")


@given(st.text("ab.*?", max_size=8), st.text("ab.", min_size=1, max_size=8))
def test_globs_match_as_a_plain_walk_does(glob: str, name: str) -> None:
    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(matches(pattern[1:], text[skipped:]) for skipped in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])

    acl = ServerACL.of({"allow": [glob]})
    assert (acl.allowed.fullmatch(name) is not None) == matches(glob, name)


def test_a_hostile_glob_is_answered_at_once() -> None:
    started = time.process_time()
    assert not allows({"allow": ["*a" * 100 + "b"]}, "a" * 220)
    assert time.process_time() - started < 0.5
