"""Who answers what: dialects that are on, off, mixed, and one that lives only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import pytest

from minihs.events.ids import UserID
from minihs.http.dialects.base import Dialect, Endpoint, OrdinarySend, QuietDialect
from minihs.http.dialects.mixing import PARAMETERS
from minihs.http.dialects.spelling import PREFIX
from minihs.http.dialects.table import NAMES, SHARED, Dialects
from minihs.http.request import ApiRequest
from minihs.http.routing import Access
from tests.support.future_server import C, FutureServer, U

BUILT = ("tokens", "delay-query", "merged")


class Shouting(QuietDialect):
    """Claims a query parameter, a content, a path, a part of /sync, a flag and a capability."""

    name = "shouting"
    parameters = frozenset({"loud"})
    marks = frozenset({"test.shout"})

    def endpoints(self) -> Sequence[Endpoint]:
        return (Endpoint(method="GET", paths=("/shouts/{name}",), access=Access.OPEN, handler=self.shout),)

    def claims(self, send: OrdinarySend) -> bool:
        return super().claims(send) or send.content.get("test.shout") is True

    async def answer(self, send: OrdinarySend) -> dict[str, Any]:
        return {"shouted": send.content, "state_key": send.state_key, "txn_id": send.txn_id}

    async def shout(self, request: ApiRequest) -> dict[str, Any]:
        return {"name": request.args["name"].upper()}

    def unstable_features(self) -> Mapping[str, bool]:
        return {"test.shouting": True}

    def capabilities(self) -> Mapping[str, Any]:
        return {"test.shouting": {"volume": 11}}

    async def sync_part(
        self, user_id: UserID, after: int | None, upto: int, filter_keys: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        return {"test.shouts": [user_id, after, upto]}


class TestADialectOfSomebodysOwn:
    @pytest.fixture
    def server(self) -> FutureServer:
        dialect: Dialect = Shouting()
        return FutureServer(more_dialects=(dialect,))

    def test_it_may_claim_a_query_parameter(self, server: FutureServer) -> None:
        path = f"{C}/v3/rooms/{server.create()}/send/m.room.message/t"
        assert server.put(f"{path}?loud=1", {"a": 1}).json == {
            "shouted": {"a": 1},
            "state_key": None,
            "txn_id": "t",
        }
        assert "event_id" in server.put(path, {"a": 1}).json

    def test_it_may_claim_a_content_of_messages_and_state(self, server: FutureServer) -> None:
        path = f"{C}/v3/rooms/{server.create()}/state/m.test/key"
        assert server.put(path, {"test.shout": True}).json["state_key"] == "key"
        assert "event_id" in server.put(path, {"test.shout": False}).json

    def test_it_may_have_paths(self, server: FutureServer) -> None:
        assert server.get("/shouts/hello", None).json == {"name": "HELLO"}

    def test_it_may_tell_of_itself(self, server: FutureServer) -> None:
        assert server.dialects.unstable_features()["test.shouting"] is True
        assert server.dialects.capabilities()["test.shouting"] == {"volume": 11}

    def test_it_may_have_a_part_of_sync(self, server: FutureServer) -> None:
        part = server.run(server.dialects.sync_part(UserID("@alice:hs1"), 1, 2, {}))
        assert part == {"test.shouts": ["@alice:hs1", 1, 2]}

    def test_its_parameter_does_not_go_with_another_dialects(self, server: FutureServer) -> None:
        path = f"{C}/v3/rooms/{server.create()}/send/m.room.message/t"
        refused = server.put(f"{path}?loud=1&delay=5", {})
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert "delay-query" in refused.json["error"]
        assert "shouting" in refused.json["error"]

    def test_a_path_that_the_table_does_not_know_has_one_owner(self) -> None:
        class Echo(Shouting):
            name = "echo"

        with pytest.raises(ValueError, match="echo and shouting offer"):
            Dialects([Shouting(), Echo()]).routes()


class TestDialectsThatAreOff:
    @pytest.mark.parametrize("prefix", ["", PREFIX])
    @pytest.mark.parametrize("parameter", sorted(PARAMETERS))
    @pytest.mark.parametrize("endpoint", ["send/m.room.message/t", "state/m.test/key"])
    def test_their_parameters_are_refused_never_ignored(
        self, prefix: str, parameter: str, endpoint: str
    ) -> None:
        server = FutureServer(dialects=())
        path = f"{C}/v3/rooms/{server.create()}/{endpoint}"
        refused = server.put(f"{path}?{prefix}{parameter}=1000", {})
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert PARAMETERS[parameter][0] in refused.json["error"]
        assert server.put(path, {}).status == 200

    def test_any_other_parameter_with_the_prefix_is_refused_too(self) -> None:
        server = FutureServer()
        path = f"{C}/v3/rooms/{server.create()}/send/m.room.message/t"
        refused = server.put(f"{path}?{PREFIX}dleay=1000", {})
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")

    def test_parameters_that_are_nobodys_are_ignored(self) -> None:
        server = FutureServer()
        path = f"{C}/v3/rooms/{server.create()}/send/m.room.message/t"
        assert server.put(f"{path}?colour=blue", {}).status == 200

    @pytest.mark.parametrize(("value", "status"), [(10, 400), ("running", 200), (True, 200), (1, 400)])
    def test_an_integer_that_will_expire_is_refused(self, value: Any, status: int) -> None:
        server = FutureServer()
        path = f"{C}/v3/rooms/{server.create()}/send/m.room.message/t"
        response = server.put(path, {"m.will_expire": value})
        assert response.status == status
        assert status == 200 or "will-expire" in response.json["error"]

    def test_an_off_dialects_parameter_is_refused_beside_one_that_is_on(self) -> None:
        server = FutureServer()
        path = f"{C}/v3/rooms/{server.create()}/send/m.room.message/t"
        refused = server.put(f"{path}?delay=1000&future_timeout=1000", {})
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")

    @pytest.mark.parametrize("name", BUILT)
    def test_their_paths_are_unknown(self, name: str) -> None:
        on = {(route.method, route.path) for route in FutureServer(dialects=BUILT).dialects.routes()}
        # With `merged` on, `scheduled` and `finalised` of text 7 are IDs that could be looked up.
        others = ("tokens",) if name == "delay-query" else tuple(one for one in BUILT if one != name)
        left = {(route.method, route.path) for route in FutureServer(dialects=others).dialects.routes()}
        assert left < on
        server = FutureServer(dialects=others)
        for method, path in sorted(on - left):
            response = server.http.request(method, path.replace("{", "").replace("}", ""), token="alice")
            assert response.errcode == "M_UNRECOGNIZED"

    def test_no_flag_and_no_capability_is_told_of_them(self) -> None:
        dialects = FutureServer(dialects=("tokens",)).dialects
        assert dialects.unstable_features() == {}
        assert dialects.capabilities() == {}


class TestTheTable:
    @pytest.mark.parametrize(
        "names", [names for size in range(4) for names in combinations(BUILT, size)], ids=", ".join
    )
    def test_every_combination_has_one_answer_for_each_path(self, names: tuple[str, ...]) -> None:
        routes = FutureServer(dialects=names).dialects.routes()
        spelled = [(route.method, route.path) for route in routes]
        assert len(spelled) == len(set(spelled))

    @pytest.mark.parametrize("names", [("merged",), ("delay-query",), ("merged", "delay-query")])
    def test_unstable_actions_are_there_when_either_is_on(self, names: tuple[str, ...]) -> None:
        server = FutureServer(dialects=names)
        response = server.post(f"{U}/delayed_events/unknown/restart", token=None)
        assert (response.status, response.errcode) == (404, "M_NOT_FOUND")

    def test_it_names_only_dialects_that_exist(self) -> None:
        named = {name for owners in (*SHARED.values(), *PARAMETERS.values()) for name in owners}
        assert named <= set(NAMES)

    def test_two_dialects_that_share_their_parameters_cannot_both_be_on(self) -> None:
        class OnSend(QuietDialect):
            name = "tokens-on-send"

        class ById(QuietDialect):
            name = "future-id"

        Dialects([OnSend()])
        with pytest.raises(ValueError, match="only one"):
            Dialects([OnSend(), ById()])

    def test_a_dialect_that_is_not_served_cannot_be_named(self) -> None:
        with pytest.raises(ValueError, match="will-be-invented"):
            FutureServer(dialects=("will-be-invented",))
