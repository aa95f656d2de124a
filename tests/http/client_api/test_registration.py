"""Making accounts over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.accounts import GOOD_PASSWORD, AccountsWorld

DUMMY = {"type": "m.login.dummy"}


@pytest.fixture
def world() -> AccountsWorld:
    return AccountsWorld()


def test_an_account_takes_two_requests_and_gives_a_session(world: AccountsWorld) -> None:
    body = {
        "username": "alice",
        "password": GOOD_PASSWORD,
        "device_id": "D",
        "initial_device_display_name": "N",
    }
    challenge = world.request("POST", "/register", json=body)
    assert challenge.status == 401
    assert challenge.json["flows"] == [{"stages": ["m.login.dummy"]}]
    assert "errcode" not in challenge.json
    auth = {**DUMMY, "session": challenge.json["session"]}
    reply = world.request("POST", "/register", json={**body, "auth": auth}).json
    assert (reply["user_id"], reply["device_id"]) == ("@alice:hs.test", "D")
    assert world.request("GET", "/devices/D", token=reply["access_token"]).json["display_name"] == "N"


@pytest.mark.parametrize(
    ("auth", "errcode"),
    [
        ({}, None),
        ({"session": "nonsense", **DUMMY}, "M_UNKNOWN"),
        ({"session": 5, **DUMMY}, "M_UNKNOWN"),
        ({"type": "m.login.password"}, "M_UNRECOGNIZED"),
        ({"type": 5}, "M_UNRECOGNIZED"),
    ],
)
def test_authentication_that_does_not_fit_is_asked_for_again(
    world: AccountsWorld, auth: dict[str, Any], errcode: str | None
) -> None:
    response = world.request(
        "POST", "/register", json={"username": "a", "password": GOOD_PASSWORD, "auth": auth}
    )
    assert response.status == 401
    assert response.json["session"]
    assert response.errcode == errcode


def test_a_session_is_good_for_the_request_it_was_offered_for_alone(world: AccountsWorld) -> None:
    session = world.request("POST", "/register", json={"username": "alice"}).json["session"]
    body = {"username": "bob", "password": GOOD_PASSWORD, "auth": {**DUMMY, "session": session}}
    assert world.request("POST", "/register", json=body).errcode == "M_UNKNOWN"


def test_a_session_expires(world: AccountsWorld) -> None:
    session = world.request("POST", "/register", json={"username": "alice"}).json["session"]
    world.clock.advance(15 * 60)
    body = {"username": "alice", "password": GOOD_PASSWORD, "auth": {**DUMMY, "session": session}}
    assert world.request("POST", "/register", json=body).errcode == "M_UNKNOWN"


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"username": "Alice"}, "M_INVALID_USERNAME"),
        ({"username": ""}, "M_INVALID_USERNAME"),
        ({"username": "al ice"}, "M_INVALID_USERNAME"),
        ({"username": "älice"}, "M_INVALID_USERNAME"),
        ({"username": "@alice:hs.test"}, "M_INVALID_USERNAME"),
        ({"username": "a" * 247}, "M_INVALID_USERNAME"),
        ({"username": "taken"}, "M_USER_IN_USE"),
        ({"username": 5}, "M_INVALID_PARAM"),
        ({"password": 5}, "M_INVALID_PARAM"),
        ({"password": None}, "M_MISSING_PARAM"),
        ({"password": "short"}, "M_WEAK_PASSWORD"),
        ({"password": "é" * 513}, "M_WEAK_PASSWORD"),
        ({"auth": "dummy"}, "M_INVALID_PARAM"),
        ({"inhibit_login": "yes"}, "M_INVALID_PARAM"),
        ({"device_id": ""}, "M_INVALID_PARAM"),
        ({"device_id": ["D"]}, "M_INVALID_PARAM"),
    ],
)
def test_a_bad_registration_is_refused_and_leaves_nothing(
    world: AccountsWorld, change: dict[str, Any], errcode: str
) -> None:
    world.register("taken")
    body = {"username": "a" * 246, "password": GOOD_PASSWORD, "auth": DUMMY}
    response = world.request("POST", "/register", json={**body, **change})
    assert (response.status, response.errcode) == (400, errcode)
    assert len(world.run(world.users.all_users())) == 1
    assert world.request("POST", "/register", json=body).status == 200


def test_the_same_name_at_the_same_time_goes_to_one_of_them(world: AccountsWorld) -> None:
    body = {"username": "alice", "password": GOOD_PASSWORD, "auth": DUMMY}
    both = [world.driver.start("POST", "/_matrix/client/v3/register", json=body) for _ in range(2)]
    answers = sorted((response.status, response.errcode) for response in map(world.driver.finish, both))
    assert answers == [(200, None), (400, "M_USER_IN_USE")]


def test_login_may_be_left_for_later(world: AccountsWorld) -> None:
    reply = world.register("alice", inhibit_login=True)
    assert reply == {"user_id": "@alice:hs.test", "home_server": "hs.test"}
    assert world.login("alice").status == 200


def test_without_a_username_the_server_makes_one_up(world: AccountsWorld) -> None:
    reply = world.request("POST", "/register", json={"password": GOOD_PASSWORD, "auth": DUMMY}).json
    assert reply["user_id"].startswith("@")
    assert world.login(reply["user_id"]).status == 200


def test_a_guest_has_a_session_and_a_device_of_the_servers_choice(world: AccountsWorld) -> None:
    reply = world.request("POST", "/register?kind=guest", json={"device_id": "MINE"}).json
    assert reply["device_id"] != "MINE"
    assert world.request("GET", "/account/whoami", token=reply["access_token"]).json["is_guest"] is True
    refused = world.request(
        "POST", "/account/password", json={"new_password": "x"}, token=reply["access_token"]
    )
    assert (refused.status, refused.errcode) == (403, "M_GUEST_ACCESS_FORBIDDEN")


def test_registration_is_closed_unless_it_is_opened() -> None:
    world = AccountsWorld(open_to_all=False, guests=False)
    body = {"username": "alice", "password": GOOD_PASSWORD, "auth": DUMMY}
    for method, path, json in [
        ("POST", "/register", body),
        ("POST", "/register?kind=guest", {}),
        ("GET", "/register/available?username=alice", None),
    ]:
        response = world.request(method, path, json=json)
        assert (response.status, response.errcode) == (403, "M_FORBIDDEN")
    assert world.run(world.users.all_users()) == []


def test_an_unknown_kind_of_account_is_refused(world: AccountsWorld) -> None:
    assert world.request("POST", "/register?kind=robot", json={}).errcode == "M_INVALID_PARAM"


@pytest.mark.parametrize(
    ("query", "status", "errcode"),
    [
        ("?username=free", 200, None),
        ("?username=taken", 400, "M_USER_IN_USE"),
        ("?username=gone", 400, "M_USER_IN_USE"),
        ("?username=B%C3%B6b", 400, "M_INVALID_USERNAME"),
        ("", 400, "M_MISSING_PARAM"),
        ("?username=%ff", 400, "M_INVALID_PARAM"),
    ],
)
def test_availability_is_told(world: AccountsWorld, query: str, status: int, errcode: str | None) -> None:
    world.register("taken")
    world.run(world.users.deactivate(world.register("gone")["user_id"]))
    response = world.request("GET", f"/register/available{query}")
    assert (response.status, response.errcode) == (status, errcode)


def test_registration_is_limited_by_address() -> None:
    world = AccountsWorld(rate_limits=True)
    statuses = [world.request("POST", "/register", json={}).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
