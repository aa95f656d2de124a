"""Account data, tags, filters and push rules over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from minihs.events.ids import RoomID, UserID
from minihs.http.limits import DEFAULT_LIMITS
from tests.support.accounts import AccountsWorld

ALICE = UserID("@alice:hs.test")
USER = "/user/@alice:hs.test"
ROOM = f"{USER}/rooms/!room:hs.test"
RULES = "/pushrules/global"


@pytest.fixture
def world() -> AccountsWorld:
    return AccountsWorld()


@pytest.fixture
def token(world: AccountsWorld) -> str:
    return str(world.register("alice")["access_token"])


@pytest.mark.parametrize("where", [USER, ROOM])
def test_account_data_is_kept_and_each_change_has_a_position(
    world: AccountsWorld, token: str, where: str
) -> None:
    heard: list[Any] = []
    world.account_data.observe(lambda user_id, position: heard.append((user_id, position)))
    path = f"{where}/account_data/org.example.x"
    assert world.request("GET", path, token=token).errcode == "M_NOT_FOUND"
    for content in ({"a": 1}, {"b": [None, "é"]}, {}):
        assert world.request("PUT", path, json=content, token=token).json == {}
        assert world.request("GET", path, token=token).json == content
    assert heard == [(ALICE, 2), (ALICE, 3), (ALICE, 4)]
    rows = world.run(world.account_data_store.all_since(ALICE, 1))
    room_id = None if where == USER else "!room:hs.test"
    assert [(row.room_id, row.type, row.content, row.position) for row in rows] == [
        (room_id, "org.example.x", b"{}", 4)
    ]
    assert world.run(world.account_data_store.max_position()) == 4


@pytest.mark.parametrize(
    ("path", "body", "status", "errcode"),
    [
        (f"{USER}/account_data/x", b"[]", 400, "M_BAD_JSON"),
        (f"{USER}/account_data/x", b"{", 400, "M_NOT_JSON"),
        (f"{USER}/account_data/x", b"", 400, "M_NOT_JSON"),
        (f"{USER}/account_data/x", b'{"a":"' + b"x" * (1 << 20) + b'"}', 413, "M_TOO_LARGE"),
        (f"{USER}/account_data/x", b'{"a":' * 300 + b"1" + b"}" * 300, 400, "M_BAD_JSON"),
        (f"{USER}/account_data/{'x' * 256}", b"{}", 400, "M_INVALID_PARAM"),
        (f"{USER}/account_data/", b"{}", 400, "M_INVALID_PARAM"),
        (f"{USER}/account_data/m.push_rules", b"{}", 405, "M_BAD_JSON"),
        (f"{ROOM}/account_data/m.fully_read", b"{}", 405, "M_BAD_JSON"),
        ("/user/@bob:hs.test/account_data/x", b"{}", 403, "M_FORBIDDEN"),
        ("/user/@bob:hs.test/rooms/!r:hs.test/account_data/x", b"{}", 403, "M_FORBIDDEN"),
        (f"{USER}/rooms/nonsense/account_data/x", b"{}", 400, "M_INVALID_PARAM"),
    ],
)
def test_bad_account_data_is_refused(
    world: AccountsWorld, token: str, path: str, body: bytes, status: int, errcode: str
) -> None:
    response = world.request("PUT", path, body=body, token=token)
    assert (response.status, response.errcode) == (status, errcode)
    assert [row.type for row in world.run(world.account_data_store.all_since(ALICE))] == ["m.push_rules"]


def test_the_account_data_of_another_is_hidden(world: AccountsWorld, token: str) -> None:
    bob = world.register("bob")["access_token"]
    response = world.request("GET", f"{USER}/account_data/m.push_rules", token=bob)
    assert (response.status, response.errcode) == (403, "M_FORBIDDEN")
    assert world.request("GET", f"{USER}/account_data/m.push_rules", token=token).status == 200


def test_tags_are_added_and_removed_one_by_one(world: AccountsWorld, token: str) -> None:
    assert world.request("GET", f"{ROOM}/tags", token=token).json == {"tags": {}}
    world.request("PUT", f"{ROOM}/tags/m.favourite", json={"order": 0.25}, token=token)
    world.request("PUT", f"{ROOM}/tags/u.%C3%A9", json={}, token=token)
    tags = {"m.favourite": {"order": 0.25}, "u.é": {}}
    assert world.request("GET", f"{ROOM}/tags", token=token).json == {"tags": tags}
    assert world.request("GET", f"{ROOM}/account_data/m.tag", token=token).json == {"tags": tags}
    for _ in range(2):
        assert world.request("DELETE", f"{ROOM}/tags/m.favourite", token=token).json == {}
    assert world.request("GET", f"{ROOM}/tags", token=token).json == {"tags": {"u.é": {}}}


def test_tags_added_at_the_same_time_are_all_there(world: AccountsWorld, token: str) -> None:
    pending = [
        world.driver.start("PUT", f"/_matrix/client/v3{ROOM}/tags/u.{number}", json={}, token=token)
        for number in range(5)
    ]
    assert [world.driver.finish(each).status for each in pending] == [200] * 5
    tags = world.request("GET", f"{ROOM}/tags", token=token).json["tags"]
    assert sorted(tags) == [f"u.{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("tag", "body", "errcode"),
    [
        ("u.x", {"order": "first"}, "M_INVALID_PARAM"),
        ("u.x", {"order": True}, "M_INVALID_PARAM"),
        ("u.x", [], "M_BAD_JSON"),
        ("", {}, "M_INVALID_PARAM"),
        ("t" * 256, {}, "M_INVALID_PARAM"),
    ],
)
def test_a_bad_tag_is_refused(world: AccountsWorld, token: str, tag: str, body: Any, errcode: str) -> None:
    response = world.request("PUT", f"{ROOM}/tags/{tag}", json=body, token=token)
    assert (response.status, response.errcode) == (400, errcode)


def test_tags_survive_nonsense_in_their_account_data(world: AccountsWorld, token: str) -> None:
    world.request("PUT", f"{ROOM}/account_data/m.tag", json={"tags": "none"}, token=token)
    assert world.request("GET", f"{ROOM}/tags", token=token).json == {"tags": {}}
    assert world.request("PUT", f"{ROOM}/tags/u.x", json={}, token=token).status == 200


def test_a_filter_reads_back_as_it_came_and_repeats_its_id(world: AccountsWorld, token: str) -> None:
    definition = {"room": {"timeline": {"limit": 5}}, "org.example": [1]}
    first = world.request("POST", f"{USER}/filter", json=definition, token=token).json["filter_id"]
    again = world.request("POST", f"{USER}/filter", json=definition, token=token).json["filter_id"]
    other = world.request("POST", f"{USER}/filter", json={}, token=token).json["filter_id"]
    assert first == again != other
    assert not first.startswith("{")
    assert world.request("GET", f"{USER}/filter/{first}", token=token).json == definition
    assert world.request("GET", f"{USER}/filter/none", token=token).errcode == "M_NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "body", "status", "errcode"),
    [
        (f"{USER}/filter", b"[]", 400, "M_BAD_JSON"),
        (f"{USER}/filter", b"nonsense", 400, "M_NOT_JSON"),
        (f"{USER}/filter", b"", 400, "M_NOT_JSON"),
        (f"{USER}/filter", b'{"room": 5}', 400, "M_INVALID_PARAM"),
        (f"{USER}/filter", b'{"event_format": "x"}', 400, "M_INVALID_PARAM"),
        (f"{USER}/filter", b'{"room": {"timeline": {"limit": -1}}}', 400, "M_INVALID_PARAM"),
        (f"{USER}/filter", b'{"a":"' + b"x" * 65_536 + b'"}', 413, "M_TOO_LARGE"),
        ("/user/@bob:hs.test/filter", b"{}", 403, "M_FORBIDDEN"),
    ],
)
def test_a_bad_filter_is_refused(
    world: AccountsWorld, token: str, path: str, body: bytes, status: int, errcode: str
) -> None:
    response = world.request("POST", path, body=body, token=token)
    assert (response.status, response.errcode) == (status, errcode)


def test_the_default_rules_are_those_of_the_specification(world: AccountsWorld, token: str) -> None:
    rules = world.request("GET", "/pushrules/", token=token).json["global"]
    assert world.request("GET", RULES + "/", token=token).json == rules
    assert [rule["rule_id"] for rule in rules["override"]] == [
        ".m.rule.master",
        ".m.rule.suppress_notices",
        ".m.rule.invite_for_me",
        ".m.rule.member_event",
        ".m.rule.is_user_mention",
        ".m.rule.is_room_mention",
        ".m.rule.tombstone",
        ".m.rule.reaction",
        ".m.rule.room.server_acl",
        ".m.rule.suppress_edits",
    ]
    assert [rule["rule_id"] for rule in rules["underride"]] == [
        ".m.rule.call",
        ".m.rule.encrypted_room_one_to_one",
        ".m.rule.room_one_to_one",
        ".m.rule.message",
        ".m.rule.encrypted",
    ]
    assert (rules["content"], rules["room"], rules["sender"]) == ([], [], [])
    assert [rule["rule_id"] for rule in rules["override"] if not rule["enabled"]] == [".m.rule.master"]
    assert rules["override"][4]["conditions"][0]["value"] == ALICE


def test_a_rule_is_turned_off_and_given_other_actions(world: AccountsWorld, token: str) -> None:
    rule = f"{RULES}/underride/.m.rule.message"
    assert world.request("PUT", f"{rule}/enabled", json={"enabled": False}, token=token).json == {}
    assert world.request("GET", f"{rule}/enabled", token=token).json == {"enabled": False}
    actions = ["notify", {"set_tweak": "sound", "value": "default"}]
    assert world.request("PUT", f"{rule}/actions", json={"actions": actions}, token=token).json == {}
    assert world.request("GET", f"{rule}/actions", token=token).json == {"actions": actions}
    assert world.request("GET", rule, token=token).json["enabled"] is False
    stored = world.request("GET", f"{USER}/account_data/m.push_rules", token=token).json
    assert stored == world.request("GET", "/pushrules/", token=token).json


def rule_ids(world: AccountsWorld, token: str, kind: str) -> list[str]:
    rules = world.request("GET", f"{RULES}/", token=token).json[kind]
    return [
        rule["rule_id"] for rule in rules if not rule["rule_id"].startswith(".m.rule.") or rule is rules[0]
    ]


def test_rules_of_ones_own_come_first_but_for_the_master(world: AccountsWorld, token: str) -> None:
    body = {"actions": ["notify"], "conditions": []}
    for name, where in [
        ("a", ""),
        ("b", ""),
        ("c", "?after=a"),
        ("d", "?before=b"),
        ("e", "?before=a&after=b"),
    ]:
        assert world.request("PUT", f"{RULES}/override/{name}{where}", json=body, token=token).status == 200
    assert rule_ids(world, token, "override") == [".m.rule.master", "d", "b", "e", "a", "c"]
    world.request("PUT", f"{RULES}/override/b/enabled", json={"enabled": False}, token=token)
    world.request("PUT", f"{RULES}/override/b", json={"actions": []}, token=token)
    assert world.request("GET", f"{RULES}/override/b", token=token).json == {
        "rule_id": "b",
        "default": False,
        "enabled": False,
        "conditions": [],
        "actions": [],
    }
    assert rule_ids(world, token, "override") == [".m.rule.master", "d", "b", "e", "a", "c"]
    assert world.request("DELETE", f"{RULES}/override/b", token=token).json == {}
    assert world.request("DELETE", f"{RULES}/override/b", token=token).errcode == "M_NOT_FOUND"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errcode"),
    [
        ("PUT", f"{RULES}/override/.m.rule.mine", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/a%2Fb", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/a%5Cb", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/{'r' * 256}", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/", {"actions": []}, 404, "M_NOT_FOUND"),
        ("PUT", f"{RULES}/nonsense/x", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/x", {}, 400, "M_MISSING_PARAM"),
        ("PUT", f"{RULES}/override/x", {"actions": "notify"}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/x", {"actions": [5]}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/x", {"actions": [{}]}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/x", {"actions": [], "conditions": [{}]}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/x", {"actions": [], "conditions": [5]}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/content/x", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/x?before=none", {"actions": []}, 400, "M_UNKNOWN"),
        ("PUT", f"{RULES}/override/x?after=.m.rule.master", {"actions": []}, 400, "M_UNKNOWN"),
        ("PUT", f"{RULES}/override/x?after=", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/none/enabled", {"enabled": True}, 404, "M_NOT_FOUND"),
        ("PUT", f"{RULES}/override/.m.rule.master/enabled", {"enabled": 1}, 400, "M_INVALID_PARAM"),
        ("PUT", f"{RULES}/override/.m.rule.master/enabled", {}, 400, "M_MISSING_PARAM"),
        ("PUT", f"{RULES}/override/.m.rule.master/actions", {"actions": [1]}, 400, "M_INVALID_PARAM"),
        ("DELETE", f"{RULES}/override/.m.rule.master", None, 400, "M_INVALID_PARAM"),
        ("GET", f"{RULES}/override/none", None, 404, "M_NOT_FOUND"),
        ("GET", f"{RULES}/nonsense/none", None, 400, "M_INVALID_PARAM"),
    ],
)
def test_bad_push_rules_are_refused_and_nothing_changes(
    world: AccountsWorld, token: str, method: str, path: str, body: Any, status: int, errcode: str
) -> None:
    before = world.request("GET", "/pushrules/", token=token).json
    response = world.request(method, path, json=body, token=token)
    assert (response.status, response.errcode) == (status, errcode)
    assert world.request("GET", "/pushrules/", token=token).json == before


def test_writing_account_data_is_limited_by_user() -> None:
    world = AccountsWorld(rate_limits=True)
    token = world.register("alice")["access_token"]
    other = world.register("bob")["access_token"]
    path = f"{USER}/account_data/x"
    burst = DEFAULT_LIMITS["account_data"].burst
    statuses = [world.request("PUT", path, json={}, token=token).status for _ in range(burst + 1)]
    assert statuses == [200] * burst + [429]
    assert world.request("PUT", "/user/@bob:hs.test/account_data/x", json={}, token=other).status == 200


def test_entries_of_a_room_and_of_none_are_apart(world: AccountsWorld, token: str) -> None:
    world.request("PUT", f"{USER}/account_data/x", json={"where": "global"}, token=token)
    world.request("PUT", f"{ROOM}/account_data/x", json={"where": "room"}, token=token)
    assert world.run(world.account_data.get(ALICE, None, "x")) == {"where": "global"}
    assert world.run(world.account_data.get(ALICE, RoomID("!room:hs.test"), "x")) == {"where": "room"}
