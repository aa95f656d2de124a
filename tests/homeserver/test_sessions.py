"""Sessions: what is remembered of tokens, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.events.ids import DeviceID, UserID
from minihs.homeserver.accounts.sessions import REMEMBER_MS, Sessions, UnknownToken
from minihs.store.access_tokens import AccessTokenStore, TokenRow
from tests.support.accounts import AccountsWorld

ALICE = UserID("@alice:hs.test")


@pytest.fixture
def world() -> AccountsWorld:
    world = AccountsWorld()
    world.run(world.users.create("alice", None))
    return world


def requester(world: AccountsWorld, token: str) -> Any:
    return world.run(world.sessions.requester(token, "1.2.3.4", "agent"))


def test_a_token_is_remembered_once_it_was_used_and_forgotten_after_a_while(world: AccountsWorld) -> None:
    token = world.run(world.sessions.open(ALICE)).access_token
    assert world.sessions.recent(token) is None
    found = requester(world, token)
    assert world.sessions.recent(token) == found
    world.clock.advance(REMEMBER_MS / 1000 + 1)
    assert world.sessions.recent(token) is None
    assert requester(world, token) == found


def test_tokens_are_stored_hashed(world: AccountsWorld) -> None:
    token = world.run(world.sessions.open(ALICE)).access_token
    dump = "\n".join(world.database.writing.iterdump())
    assert token not in dump
    assert ALICE in dump


@pytest.mark.parametrize("token", ["", "x", "é", "a" * 10_000])
def test_a_token_that_nobody_has_is_unknown(world: AccountsWorld, token: str) -> None:
    with pytest.raises(UnknownToken):
        requester(world, token)


def test_a_change_of_standing_is_seen_at_the_next_request(world: AccountsWorld) -> None:
    token = world.run(world.sessions.open(ALICE)).access_token
    assert not requester(world, token).is_suspended
    world.run(world.users.set_suspended(ALICE, True))
    assert world.sessions.recent(token) is None
    assert requester(world, token).is_suspended


def test_only_so_many_tokens_are_remembered(world: AccountsWorld) -> None:
    sessions = Sessions(
        AccessTokenStore(world.database.reader),
        world.device_store,
        world.writer,
        clock=world.clock,
        entropy=world.entropy,
        max_remembered=4,
    )
    tokens = [world.run(sessions.open(ALICE)).access_token for _ in range(5)]
    for token in tokens:
        world.run(sessions.requester(token, "", ""))
    remembered = [sessions.recent(token) is not None for token in tokens]
    assert remembered == [False, True, True, True, True]


class SlowTokens:
    """Answers with what was true when it was asked, as late as the test wants."""

    def __init__(self) -> None:
        self.asked: list[Deferred[TokenRow | None]] = []

    async def maybe_token(self, token_hash: bytes) -> TokenRow | None:
        waiting: Deferred[TokenRow | None] = Deferred()
        self.asked.append(waiting)
        return await waiting


def test_a_logout_while_the_store_is_asked_leaves_nothing_remembered(world: AccountsWorld) -> None:
    slow = SlowTokens()
    sessions = Sessions(
        slow,  # type: ignore[arg-type]
        world.device_store,
        world.writer,
        clock=world.clock,
        entropy=world.entropy,
    )
    row = TokenRow(ALICE, DeviceID("D"), False, False, False, False)
    for logout, remembered in ((False, True), (True, False)):
        answer = Deferred.fromCoroutine(sessions.requester("token", "", ""))
        if logout:
            sessions.forget_user(ALICE)
            answer = Deferred.fromCoroutine(sessions.requester("token", "", ""))
            sessions.ended(ALICE, [DeviceID("D")])
        slow.asked[-1].callback(row)
        assert answer.called
        assert (sessions.recent("token") is not None) is remembered


def test_ending_all_sessions_but_one(world: AccountsWorld) -> None:
    kept = world.run(world.sessions.open(ALICE, "KEPT"))
    ended = world.run(world.sessions.open(ALICE, "ENDED"))
    world.run(world.sessions.end_all(ALICE, but=DeviceID("KEPT")))
    assert requester(world, kept.access_token).device_id == "KEPT"
    with pytest.raises(UnknownToken):
        requester(world, ended.access_token)
