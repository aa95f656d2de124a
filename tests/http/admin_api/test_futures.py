"""An administrator's view of everybody's futures, over the client listener and over the socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from minihs.http.admin_api.futures import FUTURES
from minihs.http.routing import Router
from minihs.http.site import ApiFactory
from minihs.server import admin_routes
from tests.futures_life.owners import act, finalised, merged, query, text, tokens
from tests.support.http import HttpDriver, Response
from tests.support.world import Client, World

CHECKS = ["outcome", "budget", "account", "room", "content", "auth rules"]


class Scene:
    """A server with users and an administrator, who asks with `ask` and `ok`."""

    def __init__(self, **settings: Any) -> None:
        self.world = World("hs1", **settings)
        self.server = self.world["hs1"]
        self.alice, self.bob = self.server.user("alice"), self.server.user("bob")
        self.boss = self.server.user("boss")
        parts = self.server.parts
        self.world.run(parts.accounts.users.set_admin(self.boss.user_id, True))
        self.local = HttpDriver(
            ApiFactory(Router(admin_routes(parts)), clock=parts.clock, limiter=parts.limiter, local=True),
            self.world.clock,
        )
        self.room_id = self.alice.create_room()
        self.bob.join(self.room_id)

    def ask(self, method: str, path: str = "", user: Client | None = None) -> Response:
        json = {} if method == "POST" else None
        token = (user or self.boss).token
        return self.server.driver.request(method, FUTURES + path, json=json, token=token)

    def ok(self, method: str, path: str = "") -> Any:
        response = self.ask(method, path)
        assert response.status == 200, response.json
        return response.json

    def numbers(self, path: str = "") -> list[int]:
        return [future["id"] for future in self.ok("GET", path)["futures"]]

    def explain(self, name: object) -> dict[str, Any]:
        return dict(self.ok("GET", f"/{name}/explain"))


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.world.stop()


def failing(explanation: dict[str, Any]) -> list[str]:
    return [check["check"] for check in explanation["checks"] if not check["passes"]]


class TestWhoMayAsk:
    @pytest.mark.parametrize(
        ("method", "path"), [("GET", ""), ("GET", "/1"), ("POST", "/1/cancel"), ("GET", "/1/explain")]
    )
    def test_on_the_client_listener_administrators_only(self, scene: Scene, method: str, path: str) -> None:
        merged(scene.alice, scene.room_id, 60_000)
        refused = scene.ask(method, path, user=scene.alice)
        assert (refused.status, refused.json["errcode"]) == (403, "M_FORBIDDEN")
        nobody = scene.server.driver.request(method, FUTURES + path, json=None if method == "GET" else {})
        assert (nobody.status, nobody.errcode) == (401, "M_MISSING_TOKEN")
        assert scene.ask(method, path).status == 200

    def test_on_the_socket_whoever_can_open_it(self, scene: Scene) -> None:
        merged(scene.alice, scene.room_id, 60_000)
        assert [each["id"] for each in scene.local.request("GET", FUTURES).json["futures"]] == [1]
        assert scene.local.request("POST", f"{FUTURES}/1/cancel", json={}).json["status"] == "cancelled"


class TestListing:
    def test_everybodys_by_user_and_in_order_of_scheduling(self, scene: Scene) -> None:
        for user, delay_ms in ((scene.bob, 9_000), (scene.alice, 8_000), (scene.bob, 7_000)):
            merged(user, scene.room_id, delay_ms)
        assert scene.numbers() == [2, 1, 3]
        assert scene.numbers("?user=bob") == scene.numbers(f"?user={scene.bob.user_id}") == [1, 3]
        assert scene.numbers("?user=Boss") == []

    def test_pages_are_whole(self, scene: Scene) -> None:
        for number in range(7):
            merged((scene.alice, scene.bob)[number % 2], scene.room_id, 60_000)
        whole, found, after = scene.numbers(), [], ""
        while True:
            page = scene.ok("GET", f"?limit=2{after}")
            found += [each["id"] for each in page["futures"]]
            if "next" not in page:
                break
            after = f"&after={page['next']}"
        assert found == whole == [1, 3, 5, 7, 2, 4, 6]

    def test_what_is_over_in_order_of_its_end(self, scene: Scene) -> None:
        sent, cancelled = (merged(scene.alice, scene.room_id, ms) for ms in (2_000, 60_000))
        failed = merged(scene.bob, scene.room_id, 1_000)
        act(scene.alice, cancelled, "cancel")
        scene.alice.set_power(scene.room_id, events_default=50)
        scene.world.advance(3_000)
        assert scene.numbers() == []
        futures = scene.ok("GET", "?status=finalised&limit=2")
        more = scene.ok("GET", f"?status=finalised&after={futures['next']}")
        found = {each["delay_id"]: each for each in futures["futures"] + more["futures"]}
        assert list(found) == [cancelled, sent, failed]
        assert [each["status"] for each in found.values()] == ["cancelled", "sent", "failed"]
        assert [each["finalised"]["cause"] for each in found.values()] == ["action", "delay", "delay"]
        assert found[sent]["finalised"]["event_id"].startswith("$")
        assert found[failed]["finalised"]["error"]["errcode"] == "M_FORBIDDEN"

    @pytest.mark.parametrize(
        ("asked", "status"),
        [
            ("status=both", 400),
            ("limit=0", 400),
            ("limit=x", 400),
            ("after=x", 400),
            ("after=1_x_@a:hs1", 400),
            ("after=1234567890123456789_0_", 400),
            ("user=@alice:elsewhere", 404),
            ("user=nobody", 404),
            ("user=@nobody:hs1", 404),
        ],
    )
    def test_bad_values_are_refused(self, scene: Scene, asked: str, status: int) -> None:
        assert scene.ask("GET", f"?{asked}").status == status


class TestOneFuture:
    def test_it_is_found_by_its_number_and_by_its_delay_id(self, scene: Scene) -> None:
        delay_id = merged(scene.alice, scene.room_id, 60_000, text("secret plans"), type="a.b", state_key="k")
        found = scene.ok("GET", "/1")
        assert found == scene.ok("GET", f"/{delay_id}")
        assert found["content"] == text("secret plans")
        expected = {
            "id": 1,
            "delay_id": delay_id,
            "user_id": scene.alice.user_id,
            "room_id": scene.room_id,
            "type": "a.b",
            "state_key": "k",
            "dialect": "merged",
            "cancel_rule": "never",
            "delay_ms": 60_000,
            "status": "scheduled",
        }
        assert expected.items() <= found.items()
        scene.world.advance(20_000)
        assert scene.ok("GET", "/1")["due_in_ms"] == pytest.approx(40_000, abs=100)

    @pytest.mark.parametrize("name", ["2", "0", "x", "-1", "1" * 40, "1" * 5000, "%D9%A1", "%00"])
    def test_a_name_that_is_nobodys(self, scene: Scene, name: str) -> None:
        merged(scene.alice, scene.room_id, 60_000)
        response = scene.ask("GET", f"/{name}")
        assert (response.status, response.json["errcode"]) == (404, "M_NOT_FOUND")

    def test_no_token_is_ever_shown_and_no_id_that_its_owner_does_not_know(self, scene: Scene) -> None:
        made = tokens(scene.alice, scene.room_id, 60_000, group="call")
        secret = [value for name, value in made.items() if name.endswith("_token")]
        assert len(secret) == 3
        told = [scene.ask("GET", path).body.decode() for path in ("", "/1", "/1/explain")]
        for answer in told:
            assert not any(token in answer for token in secret)
            assert "delay_id" not in answer
        assert scene.ok("GET", "/1")["group"] == {"id": 1, "name": "call"}


class TestCancelling:
    def test_an_administrator_gives_a_future_up(self, scene: Scene) -> None:
        delay_id = merged(scene.alice, scene.room_id, 1_000)
        answer = scene.ok("POST", "/1/cancel")
        assert answer["status"] == "cancelled"
        assert answer["finalised"]["cause"] == "administrator"
        scene.world.advance(2_000)
        assert scene.alice.bodies(scene.room_id) == []
        outcome = finalised(scene.alice, delay_id)
        assert outcome is not None
        assert set(outcome) == {"finalised_ts"}
        assert scene.ok("POST", f"/{delay_id}/cancel") == answer

    def test_what_was_sent_stays_sent(self, scene: Scene) -> None:
        delay_id = merged(scene.alice, scene.room_id, 60_000)
        act(scene.alice, delay_id, "send")
        refused = scene.ask("POST", "/1/cancel")
        assert (refused.status, refused.json["errcode"]) == (409, "M_UNKNOWN")

    def test_the_last_timeout_future_takes_its_group_along(self, scene: Scene) -> None:
        tokens(scene.alice, scene.room_id, 60_000, group="call")
        path = f"/_matrix/client/v1/rooms/{scene.room_id}/send_future/m.room.message/x"
        scene.alice.put(path, text("action"), query={"future_group_id": "call"})
        assert scene.ok("POST", "/1/cancel")["finalised"]["cause"] == "administrator"
        assert scene.ok("GET", "/2")["finalised"]["cause"] == "group"


class TestExplaining:
    def test_one_that_would_be_sent(self, scene: Scene) -> None:
        merged(scene.bob, scene.room_id, 60_000)
        told = scene.explain(1)
        assert (told["would_be_sent"], told["decided_by"], told["rule"]) == (True, "auth rules", "v12 11")
        assert [check["check"] for check in told["checks"]] == CHECKS
        assert failing(told) == []
        state = scene.alice.state(scene.room_id)
        assert [(event["type"], event["state_key"]) for event in told["events"]] == [
            ("m.room.create", ""),
            ("m.room.member", scene.bob.user_id),
            ("m.room.power_levels", ""),
        ]
        for event in told["events"]:
            stands = state[event["type"], event["state_key"]]
            assert (event["event_id"], event["sender"]) == (stands["event_id"], stands["sender"])
        summaries = [event["summary"] for event in told["events"]]
        assert summaries == [
            f"a room of version 12, created by {scene.alice.user_id}",
            f"{scene.bob.user_id} is `join`",
            f"{scene.bob.user_id} has 0; m.room.message needs 0",
        ]

    def test_nothing_happens(self, scene: Scene) -> None:
        delay_id = merged(scene.bob, scene.room_id, 60_000)
        before = [event["event_id"] for event in scene.alice.messages(scene.room_id)]
        scene.explain(1)
        scene.world.advance(1_000)
        assert [event["event_id"] for event in scene.alice.messages(scene.room_id)] == before
        assert finalised(scene.bob, delay_id) is None

    def test_power_that_was_lost(self, scene: Scene) -> None:
        delay_id = merged(scene.bob, scene.room_id, 60_000)
        scene.alice.set_power(scene.room_id, events_default=50)
        told = scene.explain(1)
        assert (told["would_be_sent"], told["decided_by"], told["rule"]) == (False, "auth rules", "v12 8")
        assert failing(told) == ["auth rules"]
        assert told["events"][2]["summary"] == f"{scene.bob.user_id} has 0; m.room.message needs 50"
        # It is as it says.
        promised = told["checks"][-1]["error"]
        assert act(scene.bob, delay_id, "send").json == promised
        scene.world.advance(61_000)
        outcome = finalised(scene.bob, delay_id)
        assert outcome is not None
        assert outcome["error"] == promised

    def test_a_sender_who_left(self, scene: Scene) -> None:
        merged(scene.bob, scene.room_id, 60_000)
        scene.bob.leave(scene.room_id)
        told = scene.explain(1)
        assert (told["decided_by"], told["rule"]) == ("auth rules", "v12 6")
        assert "membership is `leave`" in told["checks"][CHECKS.index("room")]["says"]

    def test_a_kick_by_somebody_without_the_power(self, scene: Scene) -> None:
        carol = scene.server.user("carol")
        carol.join(scene.room_id)
        kick = {"type": "m.room.member", "state_key": carol.user_id}
        merged(scene.bob, scene.room_id, 60_000, {"membership": "leave"}, **kick)
        told = scene.explain(1)
        assert (told["would_be_sent"], told["rule"]) == (False, "v12 5.5.5")
        power = told["events"][-1]["summary"]
        assert power == f"{scene.bob.user_id} has 0, {carol.user_id} 0; invite 50, kick 50, ban 50"

    def test_an_account_that_is_locked(self, scene: Scene) -> None:
        delay_id = merged(scene.bob, scene.room_id, 60_000)
        scene.world.run(scene.server.parts.accounts.users.set_locked(scene.bob.user_id, True))
        told = scene.explain(delay_id)
        assert (told["would_be_sent"], told["decided_by"]) == (False, "account")
        assert told["checks"][CHECKS.index("account")]["error"]["errcode"] == "M_USER_LOCKED"
        assert told["rule"] == "v12 11", "what else holds is told all the same"

    def test_a_budget_that_is_used_up(self) -> None:
        limits = {"rate_limits__enabled": True, "rate_limits__buckets": {"futures_due": [0.001, 1]}}
        scene = Scene(**limits, futures__max_scheduled=1)
        used, _ = merged(scene.bob, scene.room_id, 60_000), scene.alice
        act(scene.bob, used, "send")
        merged(scene.bob, scene.room_id, 60_000)
        told = scene.explain(2)
        assert (told["would_be_sent"], told["decided_by"]) == (False, "budget")
        assert told["checks"][1]["error"]["errcode"] == "M_LIMIT_EXCEEDED"
        scene.world.stop()

    def test_an_alias_that_does_not_exist(self, scene: Scene) -> None:
        alias = {"alias": "#nowhere:hs1"}
        merged(scene.alice, scene.room_id, 60_000, alias, type="m.room.canonical_alias", state_key="")
        told = scene.explain(1)
        assert (told["would_be_sent"], told["decided_by"], told["rule"]) == (False, "content", None)
        assert told["checks"][-1]["error"]["errcode"] == "M_BAD_ALIAS"
        assert told["events"] == []

    def test_a_redaction_of_somebody_elses_event(self, scene: Scene) -> None:
        redaction = {"redacts": scene.alice.send(scene.room_id, "stays")}
        merged(scene.bob, scene.room_id, 60_000, redaction, type="m.room.redaction")
        told = scene.explain(1)
        assert (told["would_be_sent"], told["decided_by"]) == (False, "content")

    def test_one_that_is_over(self, scene: Scene) -> None:
        delay_id = merged(scene.bob, scene.room_id, 60_000)
        act(scene.bob, delay_id, "cancel")
        told = scene.explain(1)
        assert (told["would_be_sent"], told["decided_by"]) == (False, "outcome")
        assert [check["says"] for check in told["checks"]] == ["It was cancelled (action)."]

    def test_an_invite_is_judged_here_and_a_join_elsewhere_is_not(self) -> None:
        world = World("hs1", "hs2")
        alice, carol = world["hs1"].user("alice"), world["hs2"].user("carol")
        room_id = alice.create_room()
        elsewhere = carol.create_room()
        alice.join(elsewhere, "hs2")
        target = {"type": "m.room.member", "state_key": carol.user_id}
        merged(alice, room_id, 60_000, {"membership": "invite"}, **target)
        target["state_key"] = alice.user_id
        merged(alice, elsewhere, 60_000, {"membership": "join"}, **target)
        alice.leave(elsewhere)
        world.advance(1_000)
        administration = world["hs1"].parts.futures_administration
        _, invite = world.run(administration.explain("1"))
        assert (invite.would_be_sent, invite.rule) == (True, "v12 5.4.4")
        _, join = world.run(administration.explain("2"))
        assert (join.would_be_sent, join.decided_by) == (None, "another server")
        assert carol.messages(elsewhere)[0]["content"]["membership"] == "leave"
        world.stop()

    def test_rules_that_are_not_asked_any_more(self) -> None:
        scene = Scene(futures__authorisation="schedule")
        merged(scene.bob, scene.room_id, 60_000)
        scene.alice.set_power(scene.room_id, events_default=50)
        told = scene.explain(1)
        assert (told["would_be_sent"], told["rule"]) == (True, "none")
        scene.world.stop()

    @pytest.mark.parametrize("user", ["alice", "bob"])
    def test_a_power_level_change(self, scene: Scene, user: str) -> None:
        levels = scene.alice.get(f"/rooms/{scene.room_id}/state/m.room.power_levels/")
        levels["users"] = {scene.bob.user_id: 100}
        owner = scene.alice if user == "alice" else scene.bob
        merged(owner, scene.room_id, 60_000, levels, type="m.room.power_levels", state_key="")
        told = scene.explain(1)
        assert (told["would_be_sent"], told["rule"]) == (
            (True, "v12 10.11") if user == "alice" else (False, "v12 8")
        )

    def test_query_dialect_futures_too(self, scene: Scene) -> None:
        delay_id = query(scene.alice, scene.room_id, 60_000)
        assert scene.explain(delay_id)["would_be_sent"] is True
