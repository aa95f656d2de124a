"""Accounts without HTTP: what the command line does with them."""

from __future__ import annotations

import pytest

from minihs.events.ids import UserID
from minihs.homeserver.accounts.passwords import PasswordCost, Passwords, WeakPassword
from minihs.homeserver.accounts.users import InvalidUsername, UserDeactivated, UserInUse
from minihs.homeserver.errors import Forbidden, NotFound
from minihs.platform.workers import InlineWorkers
from tests.support.accounts import GOOD_PASSWORD, AccountsWorld

ALICE = UserID("@alice:hs.test")


@pytest.fixture
def world() -> AccountsWorld:
    world = AccountsWorld()
    world.run(world.users.create("alice", GOOD_PASSWORD, is_admin=True))
    return world


def test_an_account_is_made_with_its_rights(world: AccountsWorld) -> None:
    row = world.run(world.users.user(ALICE))
    assert (row.is_admin, row.is_guest, row.is_locked, row.is_suspended) == (True, False, False, False)
    assert row.created_ms == 1_700_000_000_000
    assert not row.is_deactivated
    assert GOOD_PASSWORD not in row.password_hash


def test_accounts_are_listed_in_pages_by_id(world: AccountsWorld) -> None:
    for name in ("dora", "bob", "carol"):
        world.run(world.users.create(name, None))
    first = [row.user_id for row in world.run(world.users.all_users(limit=2))]
    second = [row.user_id for row in world.run(world.users.all_users(after=first[-1], limit=2))]
    assert first + second == [f"@{name}:hs.test" for name in ("alice", "bob", "carol", "dora")]


def test_bad_names_and_passwords_are_refused(world: AccountsWorld) -> None:
    for name, password, refusal in [
        ("alice", GOOD_PASSWORD, UserInUse),
        ("Alice", GOOD_PASSWORD, InvalidUsername),
        ("bob", "short", WeakPassword),
    ]:
        with pytest.raises(refusal):
            world.run(world.users.create(name, password))
    assert len(world.run(world.users.all_users())) == 1


def test_a_password_is_reset(world: AccountsWorld) -> None:
    world.run(world.users.set_password(ALICE, "battery staple"))
    assert world.run(world.users.authenticate("alice", "battery staple")).user_id == ALICE
    with pytest.raises(Forbidden):
        world.run(world.users.authenticate("alice", GOOD_PASSWORD))


def test_an_account_without_a_password_cannot_log_in_by_one(world: AccountsWorld) -> None:
    world.run(world.users.create("bot", None))
    with pytest.raises(Forbidden):
        world.run(world.users.authenticate("bot", ""))


def test_a_login_renews_a_hash_of_another_cost(world: AccountsWorld) -> None:
    before = world.run(world.users.user(ALICE)).password_hash
    world.users._passwords = Passwords(InlineWorkers(), world.entropy, PasswordCost(passes=2, memory_kib=8))
    for _ in range(2):
        assert world.run(world.users.authenticate("alice", GOOD_PASSWORD)).user_id == ALICE
    after = world.run(world.users.user(ALICE)).password_hash
    assert after != before
    assert ",t=2," in after


def test_what_is_done_to_nobody_is_not_found(world: AccountsWorld) -> None:
    nobody = UserID("@nobody:hs.test")
    for work in (
        world.users.user(nobody),
        world.users.set_password(nobody, GOOD_PASSWORD),
        world.users.set_admin(nobody, True),
        world.users.set_locked(nobody, True),
        world.users.set_suspended(nobody, True),
        world.users.deactivate(nobody),
    ):
        with pytest.raises(NotFound):
            world.run(work)


def test_a_deactivated_account_can_only_be_deactivated_again(world: AccountsWorld) -> None:
    world.run(world.users.deactivate(ALICE))
    for work in (world.users.user(ALICE), world.users.set_password(ALICE, GOOD_PASSWORD)):
        with pytest.raises(NotFound):
            world.run(work)
    row = world.run(world.users.maybe_user(ALICE))
    assert (row.is_deactivated, row.password_hash, row.is_admin) == (True, None, False)
    with pytest.raises(UserDeactivated):
        world.run(world.users.authenticate("alice", GOOD_PASSWORD))
    world.run(world.users.deactivate(ALICE))


@pytest.mark.parametrize(
    ("text", "user_id"),
    [
        ("alice", ALICE),
        ("@alice:hs.test", ALICE),
        ("Alice", ALICE),
        ("@alice:elsewhere", None),
        ("@alice", None),
        ("", None),
        ("al ice", None),
    ],
)
def test_people_are_found_by_what_they_write(world: AccountsWorld, text: str, user_id: str | None) -> None:
    assert world.users.user_id_of(text) == user_id


def test_two_worlds_of_one_seed_are_the_same() -> None:
    def story() -> list[object]:
        world = AccountsWorld()
        alice = world.register("alice")
        guest = world.request("POST", "/register?kind=guest", json={}).json
        return [alice, guest, list(world.database.writing.iterdump())]

    assert story() == story()
