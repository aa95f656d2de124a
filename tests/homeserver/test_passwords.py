"""Passwords: hashing, verifying, and taking as long for nobody as for somebody."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.homeserver.accounts.passwords import PasswordCost, Passwords, WeakPassword
from minihs.platform.entropy import SeededEntropy
from minihs.platform.workers import InlineWorkers
from tests.support.accounts import CHEAP, GOOD_PASSWORD


class CountingWorkers(InlineWorkers):
    """Counts the work that was handed to it."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.runs += 1
        return super().run(work, *args, **kwargs)


def run(work: Any) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(work).addCallback(results.append)
    return results[0]


@pytest.fixture
def workers() -> CountingWorkers:
    return CountingWorkers()


@pytest.fixture
def passwords(workers: CountingWorkers) -> Passwords:
    return Passwords(workers, SeededEntropy(1), CHEAP)


@pytest.mark.parametrize("password", [GOOD_PASSWORD, "pässwörd ☃", "x" * 1024, "nul\0inside"])
def test_the_password_fits_its_hash_and_no_other_does(passwords: Passwords, password: str) -> None:
    password_hash = run(passwords.hash(password))
    assert password not in password_hash
    assert run(passwords.verify(password, password_hash)) is True
    assert run(passwords.verify(password + "x", password_hash)) is False


def test_the_same_password_never_has_the_same_hash(passwords: Passwords) -> None:
    assert run(passwords.hash(GOOD_PASSWORD)) != run(passwords.hash(GOOD_PASSWORD))


def test_the_same_seed_makes_the_same_hash() -> None:
    hashes = {run(Passwords(InlineWorkers(), SeededEntropy(5), CHEAP).hash(GOOD_PASSWORD)) for _ in range(2)}
    assert len(hashes) == 1


def test_nobody_takes_as_much_work_as_somebody(passwords: Passwords, workers: CountingWorkers) -> None:
    password_hash = run(passwords.hash(GOOD_PASSWORD))
    for stored in (password_hash, None):
        workers.runs = 0
        assert run(passwords.verify("wrong", stored)) is False
        assert workers.runs == 1


def test_a_damaged_hash_fits_nothing(passwords: Passwords) -> None:
    assert run(passwords.verify(GOOD_PASSWORD, "damaged")) is False


@pytest.mark.parametrize(
    ("password", "good"), [("1234567", False), ("12345678", True), ("é" * 512, True), ("é" * 513, False)]
)
def test_a_new_password_is_neither_too_short_nor_too_long(
    passwords: Passwords, password: str, good: bool
) -> None:
    if good:
        passwords.check_new(password)
    else:
        with pytest.raises(WeakPassword):
            passwords.check_new(password)


@pytest.mark.parametrize(("password", "good"), [("123", False), ("1234", True)])
def test_how_long_a_new_password_must_be_is_a_setting(password: str, good: bool) -> None:
    passwords = Passwords(InlineWorkers(), SeededEntropy(1), CHEAP, min_length=4)
    if good:
        passwords.check_new(password)
    else:
        with pytest.raises(WeakPassword, match="at least 4 characters"):
            passwords.check_new(password)


def test_a_hash_made_at_another_cost_is_outdated(passwords: Passwords) -> None:
    dearer = Passwords(InlineWorkers(), SeededEntropy(2), PasswordCost(passes=2, memory_kib=8))
    password_hash = run(passwords.hash(GOOD_PASSWORD))
    assert not passwords.is_outdated(password_hash)
    assert dearer.is_outdated(password_hash)
    assert run(dearer.verify(GOOD_PASSWORD, password_hash)) is True
