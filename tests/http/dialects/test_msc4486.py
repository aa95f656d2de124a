"""The listing of MSC4486: filters, order, and pages that stay whole. Futures specification, 2.7."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minihs.futures.policies import DAY_MS, FutureLimits
from minihs.http.dialects import msc4486
from tests.support.future_server import ALL, C, FutureServer

STABLE = f"{C}/v1/delayed_events"
UNSTABLE = f"{C}/unstable/org.matrix.msc4486/delayed_events"
PREFIX = "org.matrix.msc4486."


@pytest.fixture
def server() -> FutureServer:
    return FutureServer(dialects=ALL, limits=FutureLimits(max_scheduled=1_000))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msc4486, "PAGE", 3)


def listed(server: FutureServer, query: str = "", path: str = STABLE, token: str = "alice") -> list[str]:
    response = server.get(f"{path}?{query}", token)
    assert response.status == 200, response.json
    return [item["delay_id"] for item in response.json["delayed_events"]]


def pages(server: FutureServer, query: str = "") -> Iterator[list[str]]:
    """The pages, each read when it is asked for."""
    token = ""
    while True:
        reply = server.get(f"{STABLE}?{query}&{token}").json
        yield [item["delay_id"] for item in reply["delayed_events"]]
        if "next_batch" not in reply:
            return
        token = f"from={reply['next_batch']}"


def joined(walk: Iterable[list[str]]) -> list[str]:
    return [delay_id for page in walk for delay_id in page]


def several(server: FutureServer, room_id: str, delays: list[int]) -> list[str]:
    return [server.schedule(room_id, delay, txn=f"t{n}") for n, delay in enumerate(delays)]


class TestItems:
    @pytest.mark.parametrize("path", [STABLE, UNSTABLE])
    def test_each_item_is_what_a_lookup_gives(self, server: FutureServer, path: str) -> None:
        room_id = server.create()
        one, two, three = several(server, room_id, [1_000, 5_000, 9_000])
        server.pass_ms(1_000)
        server.act(three, "cancel")
        reply = server.get(path).json
        assert reply == {"delayed_events": [server.lookup(delay_id) for delay_id in (one, two, three)]}

    def test_order_is_that_of_the_time_of_sending(self, server: FutureServer) -> None:
        room_id = server.create()
        late, soon, never = several(server, room_id, [9_000, 1_000, 5_000])
        server.act(never, "cancel")
        assert listed(server) == listed(server, "dir=f") == [soon, never, late]
        assert listed(server, "dir=b") == [late, never, soon]

    def test_equal_times_are_in_order_of_scheduling(self, server: FutureServer) -> None:
        delay_ids = several(server, server.create(), [1_000] * 5)
        assert listed(server) == delay_ids
        assert listed(server, "dir=b") == delay_ids[::-1]

    def test_futures_of_both_dialects_with_delay_ids_are_listed_and_no_others(
        self, server: FutureServer
    ) -> None:
        room_id = server.create()
        path = f"{C}/v3/rooms/{room_id}/send/m.room.message"
        by_query = server.put(f"{path}/a?delay=5000", {}).json["delay_id"]
        server.put(f"{path}/b?future_timeout=1000", {})
        server.put(f"{path}/c", {"m.will_expire": 5})
        merged = server.schedule(room_id)
        assert listed(server) == [by_query, merged]

    def test_only_the_callers_own_are_listed(self, server: FutureServer) -> None:
        server.schedule(server.create())
        assert listed(server, token="bob") == []
        assert server.get(STABLE, None).status == 401

    def test_what_is_kept_no_longer_is_not_listed(self) -> None:
        server = FutureServer(dialects=ALL, limits=FutureLimits(retention_ms=60_000))
        room_id = server.create()
        server.schedule(room_id, 1_000)
        waiting = server.schedule(room_id, DAY_MS, txn="t2")
        server.pass_ms(1_000)
        server.pass_ms(59_999)
        assert len(listed(server)) == 2
        server.pass_ms(1)
        assert listed(server) == [waiting]

    def test_a_restart_of_the_server_changes_nothing(self, server: FutureServer) -> None:
        room_id = server.create()
        several(server, room_id, [1_000, 5_000])
        server.pass_ms(1_000)
        before = server.get(STABLE).json
        server.restart()
        assert server.get(STABLE).json == before


class TestFilters:
    def world(self, server: FutureServer) -> dict[str, str]:
        """A future of each status in each of two rooms, of two types."""
        futures = {}
        for name in ("here", "there"):
            room_id = futures[name] = server.create()
            for status in ("sent", "cancelled", "failed", "scheduled"):
                delay = 60_000 if status == "scheduled" else 1_000
                body = (
                    {"type": "m.room.redaction", "content": {"redacts": "$none"}}
                    if status == "failed"
                    else {}
                )
                delay_id = server.schedule(room_id, delay, txn=f"{name} {status}", **body)
                futures[f"{name} {status}"] = delay_id
                if status == "cancelled":
                    server.act(delay_id, "cancel")
        server.pass_ms(1_000)
        return futures

    @pytest.mark.parametrize("prefix", ["", PREFIX])
    @pytest.mark.parametrize("path", [STABLE, UNSTABLE])
    @pytest.mark.parametrize("status", ["scheduled", "sent", "cancelled", "failed"])
    def test_status(self, server: FutureServer, prefix: str, path: str, status: str) -> None:
        futures = self.world(server)
        expected = [futures[f"here {status}"], futures[f"there {status}"]]
        assert listed(server, f"{prefix}status={status}", path) == expected

    def test_room(self, server: FutureServer) -> None:
        futures = self.world(server)
        found = listed(server, f"room_id={futures['there']}")
        assert sorted(found) == sorted(futures[name] for name in futures if name.startswith("there "))
        assert listed(server, "room_id=!elsewhere:hs1") == []

    def test_type(self, server: FutureServer) -> None:
        futures = self.world(server)
        assert listed(server, "type=m.room.redaction") == [futures["here failed"], futures["there failed"]]
        assert listed(server, "type=m.none") == listed(server, "type=") == []

    def test_filters_go_together(self, server: FutureServer) -> None:
        futures = self.world(server)
        query = f"room_id={futures['here']}&status=sent&type=m.room.message&dir=b"
        assert listed(server, query) == [futures["here sent"]]
        assert listed(server, query.replace("message", "redaction")) == []

    def test_times_are_inclusive(self, server: FutureServer) -> None:
        one, two, three = several(server, server.create(), [1_000, 2_000, 3_000])
        now = server.clock.wall_ms()
        assert listed(server, f"from_ts={now + 2_000}") == [two, three]
        assert listed(server, f"from_ts={now + 2_001}") == [three]
        assert listed(server, f"to_ts={now + 2_000}") == [one, two]
        assert listed(server, f"to_ts={now + 1_999}&dir=b") == [one]
        assert listed(server, f"from_ts={now + 2_000}&to_ts={now + 2_000}") == [two]
        assert listed(server, f"from_ts={now + 3_000}&to_ts={now}") == []
        assert listed(server, "from_ts=0&to_ts=9007199254740991") == [one, two, three]

    @pytest.mark.parametrize("path", [STABLE, UNSTABLE])
    @pytest.mark.parametrize("prefix", ["", PREFIX])
    @pytest.mark.parametrize(
        "query",
        [
            *(
                f"{name}={value}"
                for name in ("from_ts", "to_ts")
                for value in ("", "-1", "1.5", "soon", "%D9%A1", "9007199254740992", "1" * 40, "1e3", "%201")
            ),
            *(f"dir={value}" for value in ("", "F", "up", "ff")),
            *(f"status={value}" for value in ("", "finalised", "error", "Sent", "sent,failed")),
            *(f"room_id={value}" for value in ("", "room", "%23alias:hs1", "!" + "x" * 300, "%F0%9F%8D%8C")),
            *(
                f"from={value}"
                for value in ("", "1", "abc", "%00", "%C3%A9", "_" * 9, "A" * 10_000, "A" * 13_000)
            ),
        ],
    )
    def test_bad_values(self, server: FutureServer, path: str, prefix: str, query: str) -> None:
        refused = server.get(f"{path}?{prefix}{query}")
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")

    @pytest.mark.parametrize("name", ["from_ts", "to_ts", "dir", "status", "type", "room_id", "from"])
    def test_a_parameter_is_given_once(self, server: FutureServer, name: str) -> None:
        for query in (f"{name}=f&{name}=f", f"{name}=f&{PREFIX}{name}=f"):
            refused = server.get(f"{STABLE}?{query}")
            assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
            assert "more than once" in refused.json["error"]

    def test_what_is_no_utf_8_is_refused(self, server: FutureServer) -> None:
        refused = server.get(f"{STABLE}?type=%FF")
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")


class TestPages:
    def test_a_page_holds_a_hundred(self, server: FutureServer) -> None:
        delay_ids = several(server, server.create(), [1_000 + n // 3 for n in range(250)])
        found = list(pages(server))
        assert [len(page) for page in found] == [100, 100, 50]
        assert joined(found) == delay_ids
        assert joined(pages(server, "dir=b")) == delay_ids[::-1]

    def test_a_full_last_page_has_no_successor(self, server: FutureServer) -> None:
        several(server, server.create(), [1_000] * 100)
        assert [len(page) for page in pages(server)] == [100]

    def test_the_unstable_path_has_both_names_of_the_token(self, server: FutureServer) -> None:
        several(server, server.create(), [1_000] * 101)
        reply = server.get(UNSTABLE).json
        assert reply["next_batch"] == reply[f"{PREFIX}next_batch"]
        assert f"{PREFIX}next_batch" not in server.get(STABLE).json
        assert len(listed(server, f"{PREFIX}from={reply['next_batch']}", UNSTABLE)) == 1

    def test_a_token_goes_on_in_its_own_direction(self, server: FutureServer) -> None:
        several(server, server.create(), [1_000] * 101)
        token = server.get(STABLE).json["next_batch"]
        refused = server.get(f"{STABLE}?dir=b&from={token}")
        assert (refused.status, refused.errcode) == (400, "M_INVALID_PARAM")
        assert "direction" in refused.json["error"]
        for wrong in (token[:-1], token[1:], token + "A", token.swapcase()):
            assert server.get(f"{STABLE}?from={wrong}").status in (200, 400)

    @pytest.mark.parametrize("direction", ["f", "b"])
    @pytest.mark.usefixtures("small_pages")
    def test_a_page_is_good_after_a_restart_of_the_server(self, server: FutureServer, direction: str) -> None:
        delay_ids = several(server, server.create(), [1_000 * n for n in range(1, 11)])
        found: list[str] = []
        for page in pages(server, f"dir={direction}"):
            found += page
            server.restart()
        assert found == (delay_ids if direction == "f" else delay_ids[::-1])

    @pytest.mark.parametrize("direction", ["f", "b"])
    @pytest.mark.usefixtures("small_pages")
    def test_a_heartbeat_on_everything_between_the_pages_hides_and_doubles_nothing(
        self, server: FutureServer, direction: str
    ) -> None:
        delay_ids = several(server, server.create(), [60_000 + n for n in range(20)])
        found: list[str] = []
        for page in pages(server, f"dir={direction}"):
            found += page
            server.pass_ms(7_000)
            for delay_id in delay_ids:
                assert server.act(delay_id, "restart").status == 200
        assert sorted(found) == sorted(delay_ids)

    @pytest.mark.usefixtures("small_pages")
    def test_a_restart_that_was_on_its_way_to_the_disk_hides_nothing(self, server: FutureServer) -> None:
        """The first page was read while the restart was not yet there to be seen."""
        delay_ids = several(server, server.create(), [60_000 + n for n in range(8)])
        server.pass_ms(1_000)
        server.hold_writer()
        path = f"{STABLE}/{delay_ids[0]}/restart"
        restarting = server.http.start("POST", path, json={}, token="alice")
        server.pass_ms(1_000)
        walk = pages(server, "dir=b")
        found = next(walk)
        server.release_writer()
        assert server.http.finish(restarting).status == 200
        assert sorted(found + joined(walk)) == sorted(delay_ids)

    @pytest.mark.usefixtures("small_pages")
    def test_of_one_status_those_that_keep_it_are_all_there(self, server: FutureServer) -> None:
        room_id = server.create()
        delay_ids = several(server, room_id, [60_000 + n for n in range(12)])
        found: list[str] = []
        for number, page in enumerate(pages(server, "status=scheduled")):
            found += page
            server.act(delay_ids[number], "cancel")
            server.act(delay_ids[-1 - number], "send")
        left = listed(server, "status=scheduled")
        assert set(left) <= set(found)
        assert len(found) == len(set(found))

    @given(st.data())
    @settings(max_examples=40, deadline=None)
    def test_pages_hold_each_future_once_whatever_happens_between_them(self, data: st.DataObject) -> None:
        server = FutureServer(dialects=("merged", "msc4486"))
        room_id = server.create()
        delays = data.draw(st.lists(st.integers(1, 20).map(lambda n: n * 1_000), min_size=4, max_size=14))
        delay_ids = several(server, room_id, delays)
        direction = data.draw(st.sampled_from("fb"))
        actions = st.tuples(
            st.sampled_from(["restart", "send", "cancel", "pass"]), st.integers(0, len(delay_ids) - 1)
        )
        found: list[str] = []
        page_size, msc4486.PAGE = msc4486.PAGE, 3
        try:
            for page in pages(server, f"dir={direction}"):
                found += page
                for action, number in data.draw(st.lists(actions, max_size=6)):
                    if action == "pass":
                        server.pass_ms(number * 700)
                    else:
                        server.act(delay_ids[number], action)
        finally:
            msc4486.PAGE = page_size
        assert sorted(found) == sorted(delay_ids)

    @pytest.mark.parametrize("direction", ["f", "b"])
    @pytest.mark.usefixtures("small_pages")
    def test_beyond_what_a_token_remembers_nothing_is_hidden(
        self, server: FutureServer, monkeypatch: pytest.MonkeyPatch, direction: str
    ) -> None:
        monkeypatch.setattr(msc4486, "MAX_SHOWN", 4)
        delay_ids = several(server, server.create(), [60_000 + n for n in range(20)])
        found: list[str] = []
        for page in pages(server, f"dir={direction}"):
            found += page
            server.pass_ms(6_000)
            for delay_id in delay_ids:
                server.act(delay_id, "restart")
            assert len(found) < 200, "the listing must come to its end"
        assert set(found) == set(delay_ids)

    @pytest.mark.usefixtures("small_pages")
    def test_beyond_what_a_token_remembers_nothing_is_doubled_that_stays_where_it_is(
        self, server: FutureServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(msc4486, "MAX_SHOWN", 4)
        delay_ids = several(server, server.create(), [60_000 + n for n in range(20)])
        server.pass_ms(10_000)
        assert joined(pages(server)) == delay_ids
        assert joined(pages(server, "dir=b")) == delay_ids[::-1]


def test_versions_tells_of_it() -> None:
    assert FutureServer(dialects=("msc4486",)).dialects.unstable_features() == {"org.matrix.msc4486": True}
    assert FutureServer(dialects=("msc4486",)).dialects.capabilities() == {}
