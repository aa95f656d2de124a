"""Password change, deactivation, whoami, devices: what needs the password again, and what it does."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import UserID
from tests.support.accounts import GOOD_PASSWORD, AccountsWorld

ALICE = UserID("@alice:hs.test")
NEW = "battery staple"


@pytest.fixture
def world() -> AccountsWorld:
    return AccountsWorld()


@pytest.fixture
def token(world: AccountsWorld) -> str:
    return str(world.register("alice", device_id="PHONE")["access_token"])


def test_a_new_password_replaces_the_old_and_logs_other_devices_out(world: AccountsWorld, token: str) -> None:
    other = world.login("alice").json["access_token"]
    body = {"new_password": NEW, "auth": world.password_auth("alice")}
    assert world.request("POST", "/account/password", json=body, token=token).json == {}
    assert world.login("alice").errcode == "M_FORBIDDEN"
    assert world.login("alice", NEW).status == 200
    assert world.request("GET", "/account/whoami", token=token).status == 200
    assert world.request("GET", "/account/whoami", token=other).errcode == "M_UNKNOWN_TOKEN"


def test_other_devices_may_stay(world: AccountsWorld, token: str) -> None:
    other = world.login("alice").json["access_token"]
    body = {"new_password": NEW, "logout_devices": False, "auth": world.password_auth("alice")}
    assert world.request("POST", "/account/password", json=body, token=token).status == 200
    assert world.request("GET", "/account/whoami", token=other).status == 200


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_MISSING_PARAM"),
        ({"new_password": 5}, 400, "M_INVALID_PARAM"),
        ({"new_password": "short", "auth": "good"}, 400, "M_WEAK_PASSWORD"),
        ({"new_password": NEW, "logout_devices": "no"}, 400, "M_INVALID_PARAM"),
    ],
)
def test_a_bad_password_change_is_refused(
    world: AccountsWorld, token: str, body: dict[str, Any], status: int, errcode: str
) -> None:
    if body.get("auth") == "good":
        body = {**body, "auth": world.password_auth("alice")}
    response = world.request("POST", "/account/password", json=body, token=token)
    assert (response.status, response.errcode) == (status, errcode)
    assert world.login("alice").status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/account/password", {"new_password": NEW}),
        ("POST", "/account/deactivate", {}),
        ("DELETE", "/devices/PHONE", {}),
        ("POST", "/delete_devices", {"devices": ["PHONE"]}),
    ],
)
def test_each_grave_act_needs_the_password_of_its_user(
    world: AccountsWorld, token: str, method: str, path: str, body: dict[str, Any]
) -> None:
    world.register("bob", NEW)
    challenge = world.request(method, path, json=body, token=token)
    assert challenge.status == 401
    assert challenge.json["flows"] == [{"stages": ["m.login.password"]}]
    session = challenge.json["session"]
    wrong = [
        (world.password_auth("alice", "wrong", session=session), "M_FORBIDDEN"),
        (world.password_auth("bob", NEW, session=session), "M_FORBIDDEN"),
        (world.password_auth("nobody", NEW, session=session), "M_FORBIDDEN"),
        ({"type": "m.login.dummy", "session": session}, "M_UNRECOGNIZED"),
    ]
    for auth, errcode in wrong:
        response = world.request(method, path, json={**body, "auth": auth}, token=token)
        assert (response.status, response.errcode) == (401, errcode)
        assert response.json["session"] == session
    malformed = world.request(
        method, path, json={**body, "auth": {"type": "m.login.password", "user": "alice"}}, token=token
    )
    assert malformed.errcode == "M_MISSING_PARAM"
    good = world.password_auth("alice", session=session)
    assert world.request(method, path, json={**body, "auth": good}, token=token).status == 200
    used = world.request(method, path, json={**body, "auth": good}, token=token)
    assert used.status == 401


def test_deactivation_ends_everything_and_keeps_the_name(world: AccountsWorld, token: str) -> None:
    story: list[str] = []

    async def leave(user_id: UserID) -> None:
        whoami = world.request("GET", "/account/whoami", token=token)
        story.append(f"leaves rooms, answered {whoami.status}, {user_id}")

    async def cancel(user_id: UserID) -> None:
        whoami = world.request("GET", "/account/whoami", token=token)
        story.append(f"cancels futures, answered {whoami.status}, {user_id}")

    world.users.before_deactivation(leave)
    world.users.after_deactivation(cancel)
    world.request("PUT", f"/profile/{ALICE}/displayname", json={"displayname": "A"}, token=token)
    body = {"erase": True, "auth": world.password_auth("alice")}
    reply = world.request("POST", "/account/deactivate", json=body, token=token)
    assert reply.json == {"id_server_unbind_result": "success"}
    assert story == [
        f"leaves rooms, answered 200, {ALICE}",
        f"cancels futures, answered 401, {ALICE}",
    ]
    assert world.login("alice").errcode == "M_USER_DEACTIVATED"
    assert world.request("GET", f"/profile/{ALICE}").errcode == "M_NOT_FOUND"
    assert world.run(world.devices.all_devices(ALICE)) == []
    world.run(world.users.deactivate(ALICE))
    body = {"username": "alice", "password": GOOD_PASSWORD, "auth": {"type": "m.login.dummy"}}
    assert world.request("POST", "/register", json=body).errcode == "M_USER_IN_USE"


def test_a_deactivation_that_fails_on_the_way_can_be_asked_for_again(
    world: AccountsWorld, token: str, logged_failures: list[Any]
) -> None:
    attempts: list[UserID] = []

    async def leave(user_id: UserID) -> None:
        attempts.append(user_id)
        if len(attempts) == 1:
            raise ZeroDivisionError

    world.users.before_deactivation(leave)
    body = {"auth": world.password_auth("alice")}
    assert world.request("POST", "/account/deactivate", json=body, token=token).status == 500
    assert world.request("POST", "/account/deactivate", json=body, token=token).status == 200
    assert len(logged_failures) == 1


def test_devices_are_listed_with_when_and_from_where_they_were_seen(world: AccountsWorld, token: str) -> None:
    world.clock.advance(60)
    world.login("alice", device_id="LAPTOP", initial_device_display_name="Work")
    world.clock.advance(60)
    world.request("GET", "/devices", token=token, host="10.1.2.3")
    world.clock.advance(0)
    assert world.request("GET", "/devices", token=token).json["devices"] == [
        {
            "device_id": "LAPTOP",
            "display_name": "Work",
            "last_seen_ts": 1_700_000_060_000,
            "last_seen_ip": "127.0.0.1",
        },
        {
            "device_id": "PHONE",
            "display_name": "",
            "last_seen_ts": 1_700_000_120_000,
            "last_seen_ip": "10.1.2.3",
        },
    ]


def test_a_device_can_be_renamed_by_its_owner_alone(world: AccountsWorld, token: str) -> None:
    bob = world.register("bob")["access_token"]
    assert world.request("PUT", "/devices/PHONE", json={"display_name": "é"}, token=token).json == {}
    assert world.request("GET", "/devices/PHONE", token=token).json["display_name"] == "é"
    assert world.request("PUT", "/devices/PHONE", json={}, token=token).status == 200
    assert (
        world.request("PUT", "/devices/PHONE", json={"display_name": "x"}, token=bob).errcode == "M_NOT_FOUND"
    )
    for bad in (5, "n" * 257):
        response = world.request("PUT", "/devices/PHONE", json={"display_name": bad}, token=token)
        assert response.errcode == "M_INVALID_PARAM"
    assert world.request("GET", "/devices/PHONE", token=token).json["display_name"] == "é"


def test_deleting_devices_ends_their_tokens_and_passes_over_unknown_ones(
    world: AccountsWorld, token: str
) -> None:
    laptop = world.login("alice", device_id="LAPTOP").json["access_token"]
    body = {"devices": ["LAPTOP", "NONE"], "auth": world.password_auth("alice")}
    assert world.request("POST", "/delete_devices", json=body, token=token).json == {}
    assert world.request("GET", "/account/whoami", token=laptop).errcode == "M_UNKNOWN_TOKEN"
    assert world.request("GET", "/account/whoami", token=token).status == 200


@pytest.mark.parametrize("devices", [None, "PHONE", [1], ["D"] * 1001])
def test_a_bad_list_of_devices_is_refused(world: AccountsWorld, token: str, devices: Any) -> None:
    body = {"devices": devices, "auth": world.password_auth("alice")}
    response = world.request("POST", "/delete_devices", json=body, token=token)
    assert (response.status, response.errcode) == (400, "M_INVALID_PARAM")


def test_a_suspended_account_may_deactivate_itself_but_not_change_its_profile(
    world: AccountsWorld, token: str
) -> None:
    world.run(world.users.set_suspended(ALICE, True))
    profile = f"/profile/{ALICE}/displayname"
    refused = world.request("PUT", profile, json={"displayname": "A"}, token=token)
    assert (refused.status, refused.errcode) == (403, "M_USER_SUSPENDED")
    body = {"auth": world.password_auth("alice")}
    assert world.request("POST", "/account/deactivate", json=body, token=token).status == 200


def test_administrators_lock_and_suspend_others(world: AccountsWorld, token: str) -> None:
    world.run(world.users.create("root", GOOD_PASSWORD, is_admin=True))
    world.run(world.users.create("second", GOOD_PASSWORD, is_admin=True))
    root = world.login("root").json["access_token"]
    admin = "/_matrix/client/v1/admin"
    for act, flag in (("lock", "locked"), ("suspend", "suspended")):
        path = f"{admin}/{act}/{ALICE}"
        assert world.request("GET", path, token=root).json == {flag: False}
        assert world.request("PUT", path, json={flag: True}, token=root).json == {flag: True}
        assert world.request("GET", path, token=root).json == {flag: True}
        assert world.request("PUT", path, json={flag: "x"}, token=root).errcode == "M_INVALID_PARAM"
        assert world.request("PUT", path, json={}, token=root).errcode == "M_MISSING_PARAM"
        world.request("PUT", path, json={flag: False}, token=root)
        for target, status, errcode in [
            ("@nobody:hs.test", 404, "M_NOT_FOUND"),
            ("@alice:elsewhere", 400, "M_INVALID_PARAM"),
            ("alice", 400, "M_INVALID_PARAM"),
            ("@second:hs.test", 403, "M_FORBIDDEN"),
        ]:
            response = world.request("PUT", f"{admin}/{act}/{target}", json={flag: True}, token=root)
            assert (response.status, response.errcode) == (status, errcode)
        refused = world.request("GET", f"{admin}/{act}/@nobody:hs.test", token=token)
        assert (refused.status, refused.errcode) == (403, "M_FORBIDDEN")


def test_sessions_are_told_to_their_user_and_to_administrators(world: AccountsWorld, token: str) -> None:
    bob = world.register("bob")["access_token"]
    assert world.request("GET", f"/admin/whois/{ALICE}", token=bob).errcode == "M_FORBIDDEN"
    world.request("GET", "/account/whoami", token=token)
    world.clock.advance(0)
    reply = world.request("GET", f"/admin/whois/{ALICE}", token=token).json
    assert reply["user_id"] == ALICE
    connection = {"ip": "127.0.0.1", "last_seen": 1_700_000_000_000}
    assert reply["devices"] == {"PHONE": {"sessions": [{"connections": [connection]}]}}
