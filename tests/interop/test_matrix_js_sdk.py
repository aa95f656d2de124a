"""matrix-js-sdk under Node.js against a real process of ours: each story is a script that says what it saw.

The scripts are in `js/`; they print one line of JSON for each step, and what they saw is judged here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from minihs.processes import ServerProcess
from tests.support.peers import PASSWORD

pytestmark = pytest.mark.process

HERE = Path(__file__).parent
SDK = HERE / "js" / "node_modules" / "matrix-js-sdk"
OWN_NODE = HERE.parents[1] / ".venvs" / "node" / "bin"
PATIENCE_S = 60
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Seen = dict[str, list[Any]]


@cache
def node() -> str:
    """The Node.js that `scripts/interop-environment js` found or installed."""
    found = shutil.which("node", path=f"{OWN_NODE}{os.pathsep}{os.environ['PATH']}")
    if found is None or not SDK.exists():
        pytest.skip("matrix-js-sdk is not installed: scripts/interop-environment js")
    return found


def told(server: ServerProcess, story: str) -> Seen:
    """Run a story; what its steps saw, by name of the step."""
    command = [node(), HERE / "js" / f"{story}.mjs", server.client_url, story, PASSWORD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3_000:]
    seen: Seen = {}
    for line in done.stdout.splitlines():
        step = json.loads(line)
        seen.setdefault(step["step"], []).append(step["saw"])
    return seen


@pytest.fixture(scope="module")
def talking(interop_server: ServerProcess) -> Seen:
    return told(interop_server, "talking")


@pytest.fixture(scope="module")
def futures(interop_server: ServerProcess) -> Seen:
    return told(interop_server, "futures")


@pytest.fixture(scope="module")
def calls(interop_server: ServerProcess) -> Seen:
    return told(interop_server, "calls")


@pytest.fixture(scope="module")
def alice(interop_server: ServerProcess) -> str:
    return f"@alice-talking:{interop_server.server_name}"


@pytest.fixture(scope="module")
def bob(interop_server: ServerProcess) -> str:
    return f"@bob-talking:{interop_server.server_name}"


def test_two_users_log_in_and_meet_by_invitation(talking: Seen, alice: str, bob: str) -> None:
    assert talking["logged in"] == [{"alice": alice, "bob": bob}]
    (joined,) = talking["joined"]
    assert (joined["name"], joined["members"]) == ("A room", [alice, bob])


def test_each_reads_what_the_other_sends(talking: Seen, alice: str, bob: str) -> None:
    read = [(message["sender"], message["body"]) for message in talking["message"]]
    assert read == [(alice, f"hello from {alice}"), (bob, f"hello from {bob}")]


def test_typing_and_receipts_are_seen(talking: Seen) -> None:
    assert talking["typing"] == [{"begun": True, "ended": True}]
    assert [step["eventId"] for step in talking["receipt"]] == [
        step["eventId"] for step in talking["redaction"]
    ]


def test_state_and_profile_are_seen_and_power_is_needed(talking: Seen) -> None:
    assert talking["state"] == [{"topic": "interoperation", "refused": "M_FORBIDDEN"}]
    assert talking["profile"] == [{"displayname": "Alice A."}]


def test_a_redacted_message_is_empty(talking: Seen) -> None:
    assert [step["content"] for step in talking["redaction"]] == [{}]


def test_who_scrolls_back_gets_all_messages_in_order(talking: Seen) -> None:
    (scrolled,) = talking["scrollback"]
    assert scrolled["before"] < 40
    assert scrolled["oldest"] == "m.room.create"
    assert scrolled["numbered"] == [f"message {number}" for number in range(40)]


def test_who_has_left_or_logged_out_is_refused(talking: Seen) -> None:
    assert talking["left"] == [{"refused": "M_FORBIDDEN"}]
    assert talking["logged out"] == [{"refused": "M_UNKNOWN_TOKEN"}]


def test_the_sdk_finds_that_futures_are_served(futures: Seen) -> None:
    assert futures["support"] == [
        {"feature": True, "capability": {"max_delay_ms": DAY_MS, "max_scheduled": 100}}
    ]


def test_a_delayed_message_comes_when_it_is_due(futures: Seen) -> None:
    (sent,) = futures["sent when due"]
    assert sent["eventId"].startswith("$")
    assert "org.matrix.msc4140.delay_id" not in sent["unsigned"]


def test_scheduled_futures_are_listed_in_order_of_due_time(futures: Seen) -> None:
    (scheduled,) = futures["scheduled"]
    assert [item["delay_id"] for item in scheduled["listed"]] == scheduled["ids"]
    assert [(item["type"], item.get("state_key"), item["delay"]) for item in scheduled["listed"]] == [
        ("m.room.message", None, HOUR_MS),
        ("org.example.note", "key", HOUR_MS),
        ("m.room.message", None, HOUR_MS),
    ]
    assert [item["content"].get("body") for item in scheduled["listed"]] == ["told to", None, "never"]


def test_a_restart_starts_the_timer_again(futures: Seen) -> None:
    (restarted,) = futures["restarted"]
    assert restarted["reply"] == restarted["oldReply"] == {}
    assert restarted["after"] > restarted["before"]


def test_futures_are_sent_and_cancelled_when_the_sdk_says_so(futures: Seen) -> None:
    assert futures["sent and cancelled"] == [{"note": {"text": "later"}, "listed": []}]
    (outcomes,) = futures["outcomes"]
    assert outcomes["sent"]["finalised"]["event_id"].startswith("$")
    assert outcomes["cancelled"]["finalised"].keys() == {"finalised_ts"}
    assert outcomes["never"] is False


def test_lists_are_narrowed_by_status_and_by_id(futures: Seen) -> None:
    (listed,) = futures["listed"]
    (known,) = futures["scheduled"]
    ids = {
        what: [item["delay_id"] for item in listed[what]["scheduled"]]
        for what in ("scheduled", "one", "both")
    }
    assert ids == {"scheduled": listed["ids"], "one": listed["ids"][:1], "both": listed["ids"]}
    assert "finalised" not in listed["scheduled"]
    told, key, never = known["ids"]
    ends = {item["delayed_event"]["delay_id"]: item for item in listed["finalised"]["finalised"]}
    assert [(ends[one]["outcome"], ends[one]["reason"]) for one in (told, key, never)] == [
        ("send", "action"),
        ("send", "action"),
        ("cancel", "action"),
    ]
    assert ends[told]["event_id"].startswith("$")
    assert listed["told"]["finalised"] == [ends[told]]


def test_the_sender_alone_knows_its_message_by_the_delay_id(futures: Seen) -> None:
    (own,) = futures["own"]
    assert own["delayId"] == own["wanted"]
    assert "org.matrix.msc4140.delay_id" not in futures["sent when due"][0]["unsigned"]


def test_a_delayed_message_belongs_to_the_thread_it_was_written_in(futures: Seen) -> None:
    (step,) = futures["in a thread"]
    assert (step["relation"]["rel_type"], step["relation"]["event_id"]) == ("m.thread", step["root"])


def test_who_has_lost_the_power_is_told_at_once_or_finds_the_failure(futures: Seen) -> None:
    (lost,) = futures["without power"]
    assert (lost["atOnce"]["status"], lost["atOnce"]["errcode"]) == (403, "M_FORBIDDEN")
    failed = lost["failed"]
    assert (failed["outcome"], failed["reason"], failed["error"]["errcode"]) == (
        "cancel",
        "error",
        "M_FORBIDDEN",
    )
    assert failed["delayed_event"]["delay_id"] == lost["id"]


@pytest.mark.parametrize(
    ("what", "status", "errcode"),
    [
        ("restartSent", 404, "M_NOT_FOUND"),
        ("unknown", 404, "M_NOT_FOUND"),
        ("somebodyElses", 404, "M_NOT_FOUND"),
        ("tooLong", 400, "M_UNKNOWN"),
        ("zero", 400, "M_INVALID_PARAM"),
        ("ofAnother", 400, "M_INVALID_PARAM"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_way_the_sdk_understands(
    futures: Seen, what: str, status: int, errcode: str
) -> None:
    (refused,) = futures["refused"]
    assert (refused[what]["status"], refused[what]["errcode"]) == (status, errcode)


def test_a_call_whose_delay_is_too_long_makes_do_with_what_is_allowed(futures: Seen) -> None:
    """The SDK reads the maximum from the refusal, schedules its leave with it, and restarts it."""
    refused = futures["refused"][0]["tooLong"]["data"]
    assert refused["org.matrix.msc4140.errcode"] == "M_MAX_DELAY_EXCEEDED"
    assert refused["org.matrix.msc4140.max_delay"] == DAY_MS
    (call,) = futures["in a call"]
    assert (call["leave"]["delay"], call["leave"]["content"], call["others"]) == (DAY_MS, {}, [])
    assert call["restarted"]["delay_id"] == call["leave"]["delay_id"]
    assert call["restarted"]["running_since"] > call["leave"]["running_since"]


def test_hanging_up_sends_the_leave_that_was_scheduled(futures: Seen) -> None:
    (call,), (end,) = futures["in a call"], futures["hung up"]
    assert end["listed"] == []
    assert end["leave"]["delay_id"] == call["leave"]["delay_id"]
    assert end["leave"]["finalised"]["event_id"].startswith("$")


def test_who_hangs_up_is_gone_from_the_call_at_once_and_leaves_nothing_scheduled(calls: Seen) -> None:
    (hung_up,) = calls["hung up"]
    assert [name.partition("-")[0] for name in hung_up["left"]] == ["@bob"]
    assert hung_up["scheduled"] == []


def test_who_vanishes_is_held_in_the_call_by_heartbeats_and_gone_soon_after_the_last(calls: Seen) -> None:
    (held,), (vanished,) = calls["held by heartbeats"], calls["vanished"]
    assert [name.partition("-")[0] for name in held["members"]] == ["@alice", "@bob"]
    assert [name.partition("-")[0] for name in vanished["members"]] == ["@bob"]
    assert vanished["afterMs"] >= 1_000  # the delay of two seconds, less the time since the last heartbeat
    assert vanished["scheduled"] == []
