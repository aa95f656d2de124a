"""Logging in and out over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.accounts import GOOD_PASSWORD, AccountsWorld


@pytest.fixture
def world() -> AccountsWorld:
    world = AccountsWorld()
    world.register("alice", inhibit_login=True)
    return world


def test_the_flow_is_the_password(world: AccountsWorld) -> None:
    assert world.request("GET", "/login").json == {"flows": [{"type": "m.login.password"}]}


@pytest.mark.parametrize(
    "identity",
    [
        {"identifier": {"type": "m.id.user", "user": "alice"}},
        {"identifier": {"type": "m.id.user", "user": "@alice:hs.test"}},
        {"identifier": {"type": "m.id.user", "user": "ALICE"}},
        {"user": "alice"},
        {"user": "@alice:hs.test"},
    ],
)
def test_each_way_to_name_oneself_works(world: AccountsWorld, identity: dict[str, Any]) -> None:
    body = {"type": "m.login.password", "password": GOOD_PASSWORD, **identity}
    reply = world.request("POST", "/login", json=body).json
    whoami = world.request("GET", "/account/whoami", token=reply["access_token"]).json
    assert whoami == {"user_id": "@alice:hs.test", "device_id": reply["device_id"], "is_guest": False}


@pytest.mark.parametrize(
    ("change", "status", "errcode"),
    [
        ({"password": "wrong"}, 403, "M_FORBIDDEN"),
        ({"password": "x" * 2000}, 403, "M_FORBIDDEN"),
        ({"password": None}, 400, "M_MISSING_PARAM"),
        ({"password": 5}, 400, "M_INVALID_PARAM"),
        ({"type": None}, 400, "M_INVALID_PARAM"),
        ({"type": "m.login.token"}, 400, "M_UNKNOWN"),
        ({"identifier": {"type": "m.id.user", "user": "nobody"}}, 403, "M_FORBIDDEN"),
        ({"identifier": {"type": "m.id.user", "user": "@alice:elsewhere"}}, 403, "M_FORBIDDEN"),
        ({"identifier": {"type": "m.id.user", "user": "@alice"}}, 403, "M_FORBIDDEN"),
        ({"identifier": {"type": "m.id.user", "user": "älice ☃"}}, 403, "M_FORBIDDEN"),
        ({"identifier": {"type": "m.id.user", "user": "a" * 5000}}, 403, "M_FORBIDDEN"),
        ({"identifier": {"type": "m.id.user", "user": 5}}, 400, "M_INVALID_PARAM"),
        ({"identifier": {"type": "m.id.user"}}, 400, "M_MISSING_PARAM"),
        ({"identifier": {"user": "alice"}}, 400, "M_MISSING_PARAM"),
        ({"identifier": {"type": "m.id.other"}}, 400, "M_UNKNOWN"),
        (
            {"identifier": {"type": "m.id.thirdparty", "medium": "email", "address": "a@b"}},
            403,
            "M_FORBIDDEN",
        ),
        ({"identifier": "alice"}, 400, "M_INVALID_PARAM"),
        ({"identifier": None}, 400, "M_MISSING_PARAM"),
        ({"device_id": ""}, 400, "M_INVALID_PARAM"),
        ({"device_id": "d" * 256}, 400, "M_INVALID_PARAM"),
        ({"initial_device_display_name": "n" * 257}, 400, "M_INVALID_PARAM"),
    ],
)
def test_a_bad_login_is_refused(
    world: AccountsWorld, change: dict[str, Any], status: int, errcode: str
) -> None:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": GOOD_PASSWORD,
    }
    assert world.request("POST", "/login", json=body).status == 200
    response = world.request("POST", "/login", json={**body, **change})
    assert (response.status, response.errcode) == (status, errcode)


def test_a_wrong_user_and_a_wrong_password_look_the_same(world: AccountsWorld) -> None:
    assert world.login("nobody", "wrong password").body == world.login("alice", "wrong password").body


def test_the_client_may_choose_and_name_its_device(world: AccountsWorld) -> None:
    reply = world.login("alice", device_id="PHONE", initial_device_display_name="My phone").json
    assert reply["device_id"] == "PHONE"
    device = world.request("GET", "/devices/PHONE", token=reply["access_token"]).json
    assert device["display_name"] == "My phone"


def test_logging_in_on_a_device_again_ends_its_older_token_and_no_other(world: AccountsWorld) -> None:
    old = world.login("alice", device_id="PHONE", initial_device_display_name="First").json["access_token"]
    other = world.login("alice", device_id="LAPTOP").json["access_token"]
    for token in (old, other):
        assert world.request("GET", "/account/whoami", token=token).status == 200
    new = world.login("alice", device_id="PHONE", initial_device_display_name="Second").json["access_token"]
    assert world.request("GET", "/account/whoami", token=old).errcode == "M_UNKNOWN_TOKEN"
    assert world.request("GET", "/account/whoami", token=other).status == 200
    assert world.request("GET", "/devices/PHONE", token=new).json["display_name"] == "First"


def test_logging_out_ends_the_token_and_the_device_at_once(world: AccountsWorld) -> None:
    token = world.login("alice", device_id="PHONE").json["access_token"]
    other = world.login("alice", device_id="LAPTOP").json["access_token"]
    assert world.request("POST", "/logout", token=token).json == {}
    assert world.request("GET", "/account/whoami", token=token).errcode == "M_UNKNOWN_TOKEN"
    assert world.request("GET", "/devices/PHONE", token=other).errcode == "M_NOT_FOUND"
    assert world.request("GET", "/devices/LAPTOP", token=other).status == 200


def test_logging_out_everywhere_ends_every_token_of_this_user_alone(world: AccountsWorld) -> None:
    tokens = [world.login("alice").json["access_token"] for _ in range(3)]
    bob = world.register("bob")["access_token"]
    assert world.request("POST", "/logout/all", token=tokens[0]).status == 200
    for token in tokens:
        assert world.request("GET", "/account/whoami", token=token).errcode == "M_UNKNOWN_TOKEN"
    assert world.request("GET", "/account/whoami", token=bob).status == 200


def test_a_locked_account_cannot_log_in_and_keeps_its_sessions(world: AccountsWorld) -> None:
    reply = world.login("alice").json
    token, user_id = reply["access_token"], reply["user_id"]
    world.run(world.users.set_locked(user_id, True))
    refused = world.login("alice")
    assert (refused.status, refused.errcode, refused.json["soft_logout"]) == (401, "M_USER_LOCKED", True)
    assert world.request("GET", "/account/whoami", token=token).errcode == "M_USER_LOCKED"
    world.run(world.users.set_locked(user_id, False))
    assert world.request("GET", "/account/whoami", token=token).status == 200


def test_guessing_passwords_of_one_account_is_limited_wherever_it_comes_from() -> None:
    world = AccountsWorld(rate_limits=True)
    world.register("alice", inhibit_login=True)
    statuses = [
        world.request(
            "POST",
            "/login",
            json={"type": "m.login.password", "user": user, "password": "guess"},
            host=f"10.0.0.{number}",
        ).status
        for number, user in enumerate(["alice", "@alice:hs.test", "ALICE"] * 4)
    ]
    assert statuses == [403] * 10 + [429] * 2
    assert world.login("alice").status == 429
    world.clock.advance(10)
    assert world.login("alice").status == 200


def test_logins_from_one_address_are_limited() -> None:
    world = AccountsWorld(rate_limits=True)
    world.register("alice", inhibit_login=True)
    statuses = [world.login("alice").status for _ in range(21)]
    assert statuses == [200] * 20 + [429]


def test_a_login_tells_where_the_server_is_when_it_is_told() -> None:
    world = AccountsWorld(client_base_url="https://matrix.hs.test")
    world.register("alice", inhibit_login=True)
    discovery = {"m.homeserver": {"base_url": "https://matrix.hs.test"}}
    assert world.login("alice").json["well_known"] == discovery
    assert world.request("GET", "/.well-known/matrix/client").json == discovery


def test_there_are_no_refresh_tokens(world: AccountsWorld) -> None:
    response = world.request("POST", "/refresh", json={"refresh_token": "x"})
    assert (response.status, response.errcode) == (401, "M_UNKNOWN_TOKEN")
    assert "refresh_token" not in world.login("alice", refresh_token=True).json
