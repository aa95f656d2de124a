"""Versions, well-known documents, capabilities, and what is answered as none."""

from __future__ import annotations

import pytest

from minihs.http.client_api.none import EMPTY, NO_THREEPIDS, NOT_FOUND
from tests.support.accounts import AccountsWorld


@pytest.fixture
def world() -> AccountsWorld:
    return AccountsWorld()


@pytest.fixture
def token(world: AccountsWorld) -> str:
    return str(world.register("alice")["access_token"])


def test_versions_name_releases_and_drafts(world: AccountsWorld) -> None:
    reply = world.request("GET", "/_matrix/client/versions").json
    assert reply["versions"][0] == "v1.1"
    assert reply["versions"][-1] == "v1.16"
    assert reply["unstable_features"] == {"org.example.draft": True}


@pytest.mark.parametrize("name", ["client", "server", "support"])
def test_a_well_known_document_that_is_not_configured_is_not_there(world: AccountsWorld, name: str) -> None:
    response = world.request("GET", f"/.well-known/matrix/{name}")
    assert (response.status, response.errcode) == (404, "M_NOT_FOUND")
    assert response.headers["access-control-allow-origin"] == "*"


def test_configured_well_known_documents_are_told() -> None:
    contacts = {"contacts": [{"role": "m.role.admin", "email_address": "root@hs.test"}]}
    world = AccountsWorld(
        support=contacts, delegated_server="fed.hs.test:443", client_base_url="https://hs.test"
    )
    known = {
        name: world.request("GET", f"/.well-known/matrix/{name}").json
        for name in ("client", "server", "support")
    }
    assert known == {
        "client": {"m.homeserver": {"base_url": "https://hs.test"}},
        "server": {"m.server": "fed.hs.test:443"},
        "support": contacts,
    }


def test_capabilities_hold_room_versions_and_what_others_add(world: AccountsWorld, token: str) -> None:
    capabilities = world.request("GET", "/capabilities", token=token).json["capabilities"]
    assert capabilities["m.room_versions"] == {
        "default": "12",
        "available": {str(number): "stable" for number in range(3, 13)},
    }
    assert capabilities["m.change_password"] == {"enabled": True}
    assert capabilities["org.example.extra"] == {"limit": 3}
    assert "m.account_moderation" not in capabilities
    world.run(world.users.set_admin("@alice:hs.test", True))  # type: ignore[arg-type]
    capabilities = world.request("GET", "/capabilities", token=token).json["capabilities"]
    assert capabilities["m.account_moderation"] == {"suspend": True, "lock": True}


@pytest.mark.parametrize(("method", "path", "reply"), EMPTY)
def test_what_there_is_none_of_is_empty(
    world: AccountsWorld, token: str, method: str, path: str, reply: dict[str, object]
) -> None:
    assert world.request(method, path, token=token).json == reply
    assert world.request(method, path).errcode == "M_MISSING_TOKEN"


@pytest.mark.parametrize(("method", "path", "sentence"), NOT_FOUND)
def test_what_is_named_and_is_not_there_is_not_found(
    world: AccountsWorld, token: str, method: str, path: str, sentence: str
) -> None:
    response = world.request(method, path, token=token)
    assert (response.status, response.json) == (404, {"errcode": "M_NOT_FOUND", "error": sentence})


@pytest.mark.parametrize("path", NO_THREEPIDS)
def test_no_account_has_an_address_elsewhere(world: AccountsWorld, path: str) -> None:
    response = world.request("POST", path, json={})
    assert (response.status, response.errcode) == (403, "M_THREEPID_DENIED")


def test_presence_is_accepted_and_shown_to_nobody(world: AccountsWorld, token: str) -> None:
    path = "/presence/@alice:hs.test/status"
    assert world.request("PUT", path, json={"presence": "online"}, token=token).json == {}
    assert world.request("GET", path, token=token).json == {"presence": "offline"}
    for body, errcode in [
        ({"presence": "sleepy"}, "M_INVALID_PARAM"),
        ({"presence": 5}, "M_INVALID_PARAM"),
        ({}, "M_MISSING_PARAM"),
    ]:
        response = world.request("PUT", path, json=body, token=token)
        assert (response.status, response.errcode) == (400, errcode)
    other = world.request("PUT", "/presence/@bob:hs.test/status", json={"presence": "online"}, token=token)
    assert other.errcode == "M_FORBIDDEN"


def test_a_pusher_can_be_removed_but_not_set(world: AccountsWorld, token: str) -> None:
    pusher = {"pushkey": "k", "app_id": "a", "kind": None}
    assert world.request("POST", "/pushers/set", json=pusher, token=token).json == {}
    refused = world.request("POST", "/pushers/set", json={**pusher, "kind": "http"}, token=token)
    assert (refused.status, refused.errcode) == (400, "M_UNKNOWN")
    assert world.request("POST", "/pushers/set", json={}, token=token).errcode == "M_MISSING_PARAM"
