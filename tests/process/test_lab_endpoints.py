"""`minihs serve --lab`: a real server whose clock can be turned and whose network can be broken, by HTTP."""

from __future__ import annotations

import json
import stat
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest

from minihs.processes import ServerProcess
from tests.process.test_starting import refused
from tests.support.peers import Cast, Peer
from tests.support.processes import Stage, until

pytestmark = pytest.mark.process

DAY_MS = 86_400_000
MESSAGE = "m.room.message"


class Lab:
    """The laboratory of a running server, as any HTTP client has it."""

    def __init__(self, server: ServerProcess) -> None:
        self.file = server.data_dir / "lab.json"
        self.url, self.secret = json.loads(self.file.read_text()).values()

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = "", url: str = "") -> Any:
        """Status and JSON; `token` is the secret unless another is given."""
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.secret}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request((url or self.url) + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, reply = self.ask(method, path, body)
        assert status == 200, reply
        return reply


def texts(who: Peer, room_id: str) -> list[str]:
    """The messages of the room, oldest first."""
    return [event["content"]["body"] for event in reversed(who.messages(room_id)) if event["type"] == MESSAGE]


@pytest.fixture
def server(stage: Stage) -> ServerProcess:
    server = stage.minihs("hs1", flags=["--lab"])
    server.start()
    return server


def test_a_day_passes_in_a_second_and_the_delayed_event_is_there(server: ServerProcess, cast: Cast) -> None:
    lab, alice = Lab(server), cast.user(server, "alice")
    room_id = alice.create("12")
    alice.sync()
    alice.schedule(room_id, "m.room.message", {"msgtype": "m.text", "body": "later"}, DAY_MS)
    before = lab.ok("GET", "/clock")
    assert 0 < before["next_due_in_ms"] <= 10_000
    assert lab.ok("POST", "/clock/advance", {"hours": 23})["stuck"] == []
    assert alice.sync() == []
    began = time.monotonic()
    after = lab.ok("POST", "/clock/advance", {"hours": 1})
    (event,) = alice.sync()
    assert time.monotonic() - began < 1
    assert event["content"]["body"] == "later"
    assert DAY_MS <= after["wall_ms"] - before["wall_ms"] < DAY_MS + 60_000
    assert DAY_MS <= after["monotonic_ms"] - before["monotonic_ms"] < DAY_MS + 60_000
    assert before["wall_ms"] + DAY_MS - 1_000 <= event["origin_server_ts"] <= after["wall_ms"]


def test_a_client_that_keeps_its_connection_does_not_lose_it_while_the_clock_is_turned(
    server: ServerProcess,
) -> None:
    lab = Lab(server)
    client = HTTPConnection("127.0.0.1", server.client_port, timeout=30)
    for _ in range(3):
        client.request("GET", "/_matrix/client/versions")
        answer = client.getresponse()
        assert answer.status == 200
        assert answer.read()
        connection = client.sock
        lab.ok("POST", "/clock/advance", {"hours": 24})
        assert client.sock is connection
    client.close()


def test_what_falls_due_on_the_way_happens_at_its_own_moment_and_in_order(
    server: ServerProcess, cast: Cast
) -> None:
    lab, alice = Lab(server), cast.user(server, "alice")
    room_id = alice.create("12")
    alice.sync()
    for minutes in (30, 10, 20):
        body = {"msgtype": "m.text", "body": str(minutes)}
        alice.schedule(room_id, "m.room.message", body, minutes * 60_000)
    lab.ok("POST", "/clock/advance", {"hours": 1})
    events = alice.sync()
    assert [event["content"]["body"] for event in events] == ["10", "20", "30"]
    first, second, third = (event["origin_server_ts"] for event in events)
    assert second - first == pytest.approx(600_000, abs=5_000)
    assert third - second == pytest.approx(600_000, abs=5_000)


def test_a_step_of_the_wall_clock_and_a_sleep_fire_nothing(server: ServerProcess, cast: Cast) -> None:
    lab, alice = Lab(server), cast.user(server, "alice")
    room_id = alice.create("12")
    alice.sync()
    alice.schedule(room_id, "m.room.message", {"msgtype": "m.text", "body": "later"}, 3_600_000)
    before = lab.ok("GET", "/clock")
    stepped = lab.ok("POST", "/clock/step", {"ms": -DAY_MS})
    assert stepped["wall_ms"] < before["wall_ms"]
    slept = lab.ok("POST", "/clock/sleep", {"days": 2})
    assert slept["wall_ms"] > before["wall_ms"] + DAY_MS - 60_000
    assert slept["monotonic_ms"] < before["monotonic_ms"] + 60_000
    assert alice.sync() == []
    lab.ok("POST", "/clock/advance", {"hours": 1})
    assert len(alice.sync()) == 1


def test_turned_time_goes_on_after_a_restart(server: ServerProcess, cast: Cast) -> None:
    lab = Lab(server)
    turned = lab.ok("POST", "/clock/advance", {"days": 3})
    server.kill()
    server.start()
    again = Lab(server)
    assert again.secret != lab.secret
    assert again.ok("GET", "/clock")["wall_ms"] >= turned["wall_ms"]


def test_nobody_without_the_secret_may_do_anything(server: ServerProcess) -> None:
    lab = Lab(server)
    assert stat.S_IMODE(lab.file.stat().st_mode) == 0o600
    for token, errcode in ((None, "M_MISSING_TOKEN"), (lab.secret[:-1] + ".", "M_UNKNOWN_TOKEN")):
        status, reply = lab.ask("GET", "/clock", token=token)
        assert (status, reply["errcode"]) == (401, errcode)
        status, reply = lab.ask("POST", "/clock/advance", {"days": 1}, token=token and "x" * 43)
        assert (status, reply["errcode"]) == (401, errcode)
    assert lab.ok("GET", "/clock")["ahead_ms"] < 60_000
    assert lab.secret not in server.log_file.read_text()


def test_clients_and_servers_find_no_laboratory_on_their_listeners(
    stage: Stage, server: ServerProcess
) -> None:
    plain = stage.minihs("plain")
    plain.start()
    assert not (plain.data_dir / "lab.json").exists()
    lab = Lab(server)
    for one in (plain, server):
        status, reply = lab.ask("GET", "/_minihs/lab/v1/clock", url=one.client_url)
        assert (status, reply["errcode"]) == (404, "M_UNRECOGNIZED")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errcode", "says"),
    [
        ("POST", "/clock/advance", {}, 400, "M_INVALID_PARAM", "Say how long"),
        ("POST", "/clock/advance", {"days": -1}, 400, "M_INVALID_PARAM", "`days`"),
        ("POST", "/clock/advance", {"day": 1}, 400, "M_BAD_JSON", "`day`"),
        ("POST", "/clock/advance", {"days": 1e9}, 400, "M_INVALID_PARAM", "ten years"),
        ("POST", "/clock/step", {"ms": "1"}, 400, "M_INVALID_PARAM", "`ms`"),
        ("PUT", "/faults/no server", {}, 400, "M_INVALID_PARAM", "neither a server name"),
        ("PUT", "/faults/hs2", {"outgoing": {"loss": 2}}, 400, "M_INVALID_PARAM", "loss"),
        ("PUT", "/faults/hs2", {"outgoing": {"cut": "loud"}}, 400, "M_INVALID_PARAM", "cut"),
        ("PUT", "/faults/hs2", {"incoming": {"duplicated": 1}}, 400, "M_INVALID_PARAM", "that sends"),
        ("DELETE", "/faults/hs2", None, 404, "M_NOT_FOUND", "Nothing is set"),
        ("PUT", "/store", {"commit_delay_ms": -1}, 400, "M_INVALID_PARAM", "commit_delay_ms"),
        ("GET", "/nowhere", None, 404, "M_UNRECOGNIZED", "no such endpoint"),
        ("PUT", "/clock", {}, 405, "M_UNRECOGNIZED", "GET"),
    ],
)
def test_bad_input_says_what_to_change(
    lab: Lab, method: str, path: str, body: Any, status: int, errcode: str, says: str
) -> None:
    found, reply = lab.ask(method, path.replace(" ", "%20"), body)
    assert (found, reply["errcode"]) == (status, errcode)
    assert says in reply["error"]
    assert lab.ok("GET", "/faults") == {"faults": {}}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    stage = Stage(tmp_path_factory.mktemp("lab"))
    try:
        server = stage.minihs("hs1", flags=["--lab"])
        server.start()
        yield Lab(server)
    finally:
        stage.close()


def test_a_cut_delays_what_is_said_until_it_is_mended(stage: Stage, cast: Cast) -> None:
    one, two = (stage.minihs(label, flags=["--lab"]) for label in ("hs1", "hs2"))
    one.start()
    two.start()
    lab = Lab(one)
    alice, bob = cast.user(one, "alice"), cast.user(two, "bob")
    room_id = alice.create("12")
    bob.join(room_id, one.server_name)
    cut = {"outgoing": {"cut": "silent"}}
    assert lab.ok("PUT", f"/faults/{two.server_name}", cut) == {"faults": {two.server_name: cut}}
    alice.send(room_id, "into the dark")
    bob.send(room_id, "from the other side")
    until(lambda: "from the other side" in texts(alice, room_id), "what still comes in")
    lab.ok("POST", "/clock/advance", {"minutes": 5})
    assert "into the dark" not in texts(bob, room_id)
    assert lab.ok("DELETE", f"/faults/{two.server_name}") == {"faults": {}}
    lab.ok("POST", "/clock/advance", {"minutes": 5})
    assert "into the dark" in texts(bob, room_id)
    links = {(link["from"], link["to"]): link for link in lab.ok("GET", "/traffic")["links"]}
    assert links[one.server_name, two.server_name]["pdus"] >= 1
    assert links[two.server_name, one.server_name]["pdus"] >= 1
    decisions = lab.ok("GET", "/decisions")
    assert decisions["next"] == len(decisions["decisions"])
    assert {each["question"] for each in decisions["decisions"]} >= {"own", "cited", "before"}


def test_slow_lossy_and_repeating_ways_lose_and_double_nothing(stage: Stage, cast: Cast) -> None:
    one, two = (stage.minihs(label, flags=["--lab"]) for label in ("hs1", "hs2"))
    one.start()
    two.start()
    lab = Lab(one)
    alice, bob = cast.user(one, "alice"), cast.user(two, "bob")
    room_id = alice.create("12")
    bob.join(room_id, one.server_name)
    bad = {"latency_ms": 400, "jitter_ms": 100, "loss": 0.1, "bytes_per_s": 100_000}
    lab.ok("PUT", "/faults/*", {"outgoing": {**bad, "duplicated": 1}, "incoming": bad})
    for number in range(5):
        alice.send(room_id, f"slow {number}")
    assert not [text for text in texts(bob, room_id) if text.startswith("slow")]
    lab.ok("POST", "/clock/advance", {"minutes": 5})
    assert [text for text in texts(bob, room_id) if text.startswith("slow")] == [
        f"slow {number}" for number in range(5)
    ]
    lab.ok("PUT", f"/faults/{two.server_name}", {"outgoing": {"cut": "refusing"}})
    alice.send(room_id, "refused")
    lab.ok("POST", "/clock/advance", {"seconds": 30})
    assert "refused" not in texts(bob, room_id)


def test_a_process_dies_around_a_commit_and_nothing_is_lost_or_doubled(
    server: ServerProcess, cast: Cast
) -> None:
    lab, alice = Lab(server), cast.user(server, "alice")
    room_id = alice.create("12")
    alice.schedule(room_id, "m.room.message", {"msgtype": "m.text", "body": "once"}, 60_000)
    lab.ok("POST", "/kill", {"at_commit": 3, "after": True})
    said: list[str] = []
    with suppress(OSError, HTTPException):
        for number in range(5):
            said.append(f"text {number}")
            alice.send(room_id, said[-1])
    until(lambda: server.process is not None and server.process.poll() is not None, "the end")
    alice.close()
    server.start()
    Lab(server).ok("POST", "/clock/advance", {"minutes": 2})
    # It died after a commit and before the answer: the last that was said is there.
    assert 1 <= len(said) <= 3
    assert texts(alice, room_id) == [*said, "once"]


def test_a_slow_disk_delays_the_answer_and_not_for_ever(server: ServerProcess, cast: Cast) -> None:
    lab, alice = Lab(server), cast.user(server, "alice")
    room_id = alice.create("12")
    assert lab.ok("PUT", "/store", {"commit_delay_ms": 200}) == {"commit_delay_ms": 200}
    began = time.monotonic()
    alice.send(room_id, "patience")
    assert time.monotonic() - began >= 0.2
    assert lab.ok("PUT", "/store", {"commit_delay_ms": 0}) == lab.ok("GET", "/store")


@pytest.mark.parametrize(
    ("option", "flags"),
    [
        ("--lab-listen", ["--lab-listen", "0.0.0.0:0"]),
        ("--client-listen", ["--client-listen", "0.0.0.0:0"]),
        ("--federation-listen", ["--federation-listen", "0.0.0.0:0"]),
        ("metrics.listen", ["--set", "metrics.listen=0.0.0.0:0"]),
    ],
)
def test_a_laboratory_refuses_to_listen_beyond_loopback(stage: Stage, option: str, flags: list[str]) -> None:
    server = stage.minihs("hs1", flags=["--lab", *flags])
    assert refused(server.command()) == (
        f"minihs: With --lab every listener must be on loopback (127.0.0.1 or ::1), and {option} is "
        "0.0.0.0:0: nobody elsewhere may be told a time that is not theirs."
    )


def test_the_log_warns_that_others_do_not_share_the_time(server: ServerProcess) -> None:
    assert "Other servers, and clients, do not share its time." in server.log_file.read_text()
