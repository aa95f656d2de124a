"""Profiles over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.accounts import AccountsWorld

ALICE = "/profile/@alice:hs.test"


@pytest.fixture
def world() -> AccountsWorld:
    return AccountsWorld()


@pytest.fixture
def token(world: AccountsWorld) -> str:
    return str(world.register("alice")["access_token"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("displayname", "Älice ☃ 👩"),
        ("avatar_url", "mxc://hs.test/abc"),
        ("m.tz", "Europe/Berlin"),
        ("org.example.field", {"deep": [1, None, {"x": "y"}]}),
        ("org.example.zero", 0),
        ("displayname", "n" * 256),
    ],
)
def test_a_field_that_is_set_is_read_by_anybody(
    world: AccountsWorld, token: str, field: str, value: Any
) -> None:
    assert world.request("GET", f"{ALICE}/{field}").errcode == "M_NOT_FOUND"
    assert world.request("PUT", f"{ALICE}/{field}", json={field: value}, token=token).json == {}
    assert world.request("GET", f"{ALICE}/{field}").json == {field: value}
    assert world.request("GET", ALICE).json == {field: value}
    assert world.request("DELETE", f"{ALICE}/{field}", token=token).json == {}
    assert world.request("GET", ALICE).json == {}


def test_only_what_member_events_repeat_goes_into_rooms(world: AccountsWorld, token: str) -> None:
    for field in ("displayname", "m.tz", "avatar_url", "org.example.x"):
        world.request("PUT", f"{ALICE}/{field}", json={field: "x"}, token=token)
    assert world.propagated == ["@alice:hs.test"] * 2
    user_id = world.propagated[0]
    assert world.run(world.profiles.in_member_events(user_id)) == {"avatar_url": "x", "displayname": "x"}


def test_an_empty_name_is_none(world: AccountsWorld, token: str) -> None:
    for name in ("A", ""):
        world.request("PUT", f"{ALICE}/displayname", json={"displayname": name}, token=token)
    assert world.request("GET", ALICE).json == {}


@pytest.mark.parametrize(
    ("field", "body", "errcode"),
    [
        ("displayname", {"displayname": 5}, "M_INVALID_PARAM"),
        ("displayname", {"displayname": None}, "M_INVALID_PARAM"),
        ("displayname", {"displayname": "n" * 257}, "M_INVALID_PARAM"),
        ("displayname", {"displayname": "a\0b"}, "M_INVALID_PARAM"),
        ("displayname", {}, "M_MISSING_PARAM"),
        ("displayname", {"avatar_url": "x"}, "M_MISSING_PARAM"),
        ("displayname", [], "M_BAD_JSON"),
        ("avatar_url", {"avatar_url": ["x"]}, "M_INVALID_PARAM"),
        ("org.example.x", {"org.example.x": None}, "M_BAD_JSON"),
        ("org.example.x", {"org.example.x": "x" * 65_536}, "M_PROFILE_TOO_LARGE"),
        ("org." + "x" * 252, {"org." + "x" * 252: 1}, "M_KEY_TOO_LARGE"),
        ("nodots", {"nodots": 1}, "M_INVALID_PARAM"),
        ("Org.Example", {"Org.Example": 1}, "M_INVALID_PARAM"),
        ("org.%C3%A9", {"org.é": 1}, "M_INVALID_PARAM"),
    ],
)
def test_a_bad_field_is_refused_and_nothing_changes(
    world: AccountsWorld, token: str, field: str, body: Any, errcode: str
) -> None:
    response = world.request("PUT", f"{ALICE}/{field}", json=body, token=token)
    assert (response.status, response.errcode) == (400, errcode)
    assert world.request("GET", ALICE).json == {}
    assert world.propagated == []


def test_nobody_changes_the_profile_of_another(world: AccountsWorld, token: str) -> None:
    bob = world.register("bob")["access_token"]
    for method in ("PUT", "DELETE"):
        response = world.request(method, f"{ALICE}/displayname", json={"displayname": "B"}, token=bob)
        assert (response.status, response.errcode) == (403, "M_FORBIDDEN")


def test_unknown_users_have_no_profile(world: AccountsWorld) -> None:
    assert world.request("GET", "/profile/@nobody:hs.test").errcode == "M_NOT_FOUND"
    assert world.request("GET", "/profile/nobody").errcode == "M_INVALID_PARAM"
    assert world.request("GET", "/profile/@a%00b:hs.test").errcode == "M_INVALID_PARAM"


def test_profiles_of_other_servers_are_asked_for(world: AccountsWorld) -> None:
    world.remote_profiles.profiles["@bob:remote.test"] = {"displayname": "Bob"}
    assert world.request("GET", "/profile/@bob:remote.test").json == {"displayname": "Bob"}
    assert world.request("GET", "/profile/@bob:remote.test/displayname").json == {"displayname": "Bob"}
    assert world.request("GET", "/profile/@bob:remote.test/avatar_url").errcode == "M_NOT_FOUND"
    assert world.request("GET", "/profile/@eve:remote.test").errcode == "M_NOT_FOUND"
