"""Sessions of interactive authentication are bounded, and forgotten in order."""

from __future__ import annotations

from typing import cast

import pytest

from minihs.http.client_api.interactive_auth import AuthenticationNeeded, InteractiveAuth
from minihs.http.client_api.password_check import PasswordCheck
from minihs.platform.clock import VirtualClock
from minihs.platform.entropy import SeededEntropy


def offered(interactive: InteractiveAuth, operation: str) -> str:
    with pytest.raises(AuthenticationNeeded) as challenge:
        interactive.require_dummy(None, operation)
    return str(challenge.value.body["session"])


def accepts(interactive: InteractiveAuth, session: str, operation: str) -> bool:
    try:
        interactive.require_dummy({"type": "m.login.dummy", "session": session}, operation)
    except AuthenticationNeeded:
        return False
    return True


def make(max_sessions: int) -> tuple[InteractiveAuth, VirtualClock]:
    clock = VirtualClock()
    check = cast(PasswordCheck, None)  # no stage here asks for a password
    return InteractiveAuth(check, clock=clock, entropy=SeededEntropy(1), max_sessions=max_sessions), clock


def test_the_oldest_session_makes_room_for_a_new_one() -> None:
    interactive, _clock = make(3)
    sessions = [offered(interactive, "x") for _ in range(4)]
    assert [accepts(interactive, session, "x") for session in reversed(sessions)] == [True, True, True, False]


def test_a_session_is_used_once() -> None:
    interactive, _clock = make(3)
    session = offered(interactive, "x")
    assert accepts(interactive, session, "x")
    assert not accepts(interactive, session, "x")


def test_expired_sessions_take_no_room() -> None:
    interactive, clock = make(100)
    for _ in range(50):
        offered(interactive, "x")
    clock.advance(15 * 60)
    fresh = offered(interactive, "x")
    assert list(interactive._sessions) == [fresh]
