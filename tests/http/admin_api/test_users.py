"""The administrator's commands about users, over the routes of the socket in the data directory."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.http.admin_api.users import USERS
from minihs.http.limits import RateLimiter
from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.server import admin_routes
from tests.support.http import HttpDriver, Response
from tests.support.world import Client, World

PASSWORD = "a long password"


class Administrator:
    """Speaks to one server of a world as `minihs users` does."""

    def __init__(self) -> None:
        self.world = World("hs1")
        parts = self.world["hs1"].server.parts
        self.site = ApiFactory(
            Router(admin_routes(parts)), clock=parts.clock, limiter=parts.limiter, local=True
        )
        self.driver = HttpDriver(self.site, self.world.clock)

    def request(self, method: str, path: str = "", json: Any = None) -> Response:
        return self.driver.request(method, USERS + path, json=json)

    def ok(self, method: str, path: str = "", json: Any = None) -> Any:
        response = self.request(method, path, json)
        assert response.status == 200, response.body
        return response.json

    def refused(self, method: str, path: str, json: Any = None) -> tuple[int, str]:
        response = self.request(method, path, json)
        return response.status, str(response.errcode)

    def login(self, user: str, password: str = PASSWORD) -> Response:
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
        }
        return self.world["hs1"].driver.request("POST", "/_matrix/client/v3/login", json=body)


@pytest.fixture
def admin() -> Administrator:
    return Administrator()


def whoami(user: Client) -> tuple[int, str | None]:
    response = user.request("GET", "/account/whoami")
    return response.status, response.errcode


def test_an_account_that_was_made_can_log_in(admin: Administrator) -> None:
    made = admin.ok("POST", json={"username": "alice", "password": PASSWORD})
    assert made == {
        "user_id": "@alice:hs1",
        "admin": False,
        "guest": False,
        "locked": False,
        "suspended": False,
        "deactivated": False,
        "created_ms": admin.world.clock.wall_ms(),
    }
    assert admin.login("alice").status == 200
    assert admin.login("alice", "another password").status == 403


def test_a_whole_user_id_names_an_account_too(admin: Administrator) -> None:
    body = {"username": "@alice:hs1", "password": PASSWORD, "admin": True}
    assert admin.ok("POST", json=body)["admin"]
    assert admin.ok("GET", "/%40alice%3Ahs1") == admin.ok("GET", "/alice")


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"username": "@alice:elsewhere", "password": PASSWORD}, 400, "M_INVALID_PARAM"),
        ({"username": "Alice", "password": PASSWORD}, 400, "M_INVALID_USERNAME"),
        ({"username": "taken", "password": PASSWORD}, 400, "M_USER_IN_USE"),
        ({"username": "alice", "password": "short"}, 400, "M_WEAK_PASSWORD"),
        ({"username": "alice"}, 400, "M_MISSING_PARAM"),
        ({"username": "alice", "password": PASSWORD, "amdin": True}, 400, "M_BAD_JSON"),
    ],
)
def test_what_cannot_become_an_account(
    admin: Administrator, body: dict[str, Any], status: int, errcode: str
) -> None:
    admin.ok("POST", json={"username": "taken", "password": PASSWORD})
    assert admin.refused("POST", "", body) == (status, errcode)
    assert [user["user_id"] for user in admin.ok("GET")["users"]] == ["@taken:hs1"]


def test_accounts_are_listed_in_pages(admin: Administrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minihs.http.admin_api.users.PAGE", 2)
    for name in ("carol", "alice", "bob"):
        admin.ok("POST", json={"username": name, "password": PASSWORD})
    first = admin.ok("GET")
    assert [user["user_id"] for user in first["users"]] == ["@alice:hs1", "@bob:hs1"]
    second = admin.ok("GET", "?after=%40bob%3Ahs1")
    assert first["next"] == "@bob:hs1"
    assert [user["user_id"] for user in second["users"]] == ["@carol:hs1"]
    assert "next" not in second


def test_another_password_logs_the_user_out_unless_asked_not_to(admin: Administrator) -> None:
    alice = admin.world["hs1"].user("alice")
    admin.ok("PUT", "/alice/password", {"password": "password number 2", "logout_devices": False})
    assert whoami(alice) == (200, None)
    admin.ok("PUT", "/alice/password", {"password": "password number 3"})
    assert whoami(alice) == (401, "M_UNKNOWN_TOKEN")
    assert admin.login("alice", "password number 3").status == 200


def test_locking_works_at_once_though_sessions_are_remembered(admin: Administrator) -> None:
    alice = admin.world["hs1"].user("alice")
    assert whoami(alice) == (200, None)
    assert admin.ok("PUT", "/alice/standing", {"locked": True})["locked"]
    assert whoami(alice) == (401, "M_USER_LOCKED")
    assert not admin.ok("PUT", "/alice/standing", {"locked": False})["locked"]
    assert whoami(alice) == (200, None)


def test_a_suspended_user_can_read_and_not_make_rooms(admin: Administrator) -> None:
    alice = admin.world["hs1"].user("alice")
    admin.ok("PUT", "/alice/standing", {"suspended": True})
    assert whoami(alice) == (200, None)
    assert alice.request("POST", "/createRoom", json={}).errcode == "M_USER_SUSPENDED"
    admin.ok("PUT", "/alice/standing", {"suspended": False})
    assert alice.request("POST", "/createRoom", json={}).status == 200


def test_administrators_are_made_and_unmade(admin: Administrator) -> None:
    alice = admin.world["hs1"].user("alice")
    admin.world["hs1"].user("bob")
    look = "/_matrix/client/v1/admin/lock/@bob:hs1"
    assert alice.request("GET", look).errcode == "M_FORBIDDEN"
    admin.ok("PUT", "/alice/standing", {"admin": True})
    assert alice.request("GET", look).status == 200
    admin.ok("PUT", "/alice/standing", {"admin": False})
    assert alice.request("GET", look).errcode == "M_FORBIDDEN"


def test_a_deactivated_user_leaves_rooms_and_futures_behind(admin: Administrator) -> None:
    alice, bob = admin.world["hs1"].user("alice"), admin.world["hs1"].user("bob")
    room_id = alice.create_room()
    bob.join(room_id)
    content = {"msgtype": "m.text", "body": "later"}
    bob.put(f"/rooms/{room_id}/delayed_event/m.room.message/t", {"delay_ms": 5_000, "content": content})
    assert admin.ok("POST", "/bob/deactivate")["deactivated"]
    assert whoami(bob) == (401, "M_UNKNOWN_TOKEN")
    assert list(alice.get(f"/rooms/{room_id}/joined_members")["joined"]) == ["@alice:hs1"]
    admin.world.advance(6_000)
    assert alice.bodies(room_id) == []
    assert admin.ok("POST", "/bob/deactivate")["deactivated"]  # once more does no harm
    assert admin.ok("GET", "/bob")["deactivated"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PUT", "/password", {"password": PASSWORD}),
        ("PUT", "/standing", {"locked": True}),
        ("POST", "/deactivate", {}),
    ],
)
def test_nobody_is_not_found(admin: Administrator, method: str, path: str, body: Any) -> None:
    for name in ("nobody", "%40alice%3Aelsewhere", "%20"):
        assert admin.refused(method, f"/{name}{path}", body) == (404, "M_NOT_FOUND")


def test_who_was_deactivated_or_is_a_guest_is_not_changed(admin: Administrator) -> None:
    admin.world["hs1"].user("alice")
    admin.ok("POST", "/alice/deactivate")
    guest = admin.world["hs1"].driver.request("POST", "/_matrix/client/v3/register?kind=guest", json={})
    name = guest.json["user_id"][1:].partition(":")[0]
    for path, body in (("password", {"password": PASSWORD}), ("standing", {"admin": True})):
        assert admin.refused("PUT", f"/alice/{path}", body) == (404, "M_NOT_FOUND")
        assert admin.refused("PUT", f"/{name}/{path}", body) == (400, "M_INVALID_PARAM")


def test_these_routes_cannot_stand_on_a_listener_that_others_reach(admin: Administrator) -> None:
    parts = admin.world["hs1"].server.parts
    with pytest.raises(ValueError, match="is on the wrong listener"):
        ApiFactory(Router(admin_routes(parts)), clock=parts.clock, limiter=RateLimiter(parts.clock))
    assert admin.world["hs1"].driver.request("GET", USERS).errcode == "M_UNRECOGNIZED"
