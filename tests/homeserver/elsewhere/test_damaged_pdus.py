"""Damaged PDUs get a verdict, never a traceback, and the next good event is taken."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import LogEvent, globalLogPublisher

from tests.homeserver.elsewhere.test_inbound_transactions import ALICE, MALLORY, meeting
from tests.support.events import resign

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([ALICE, MALLORY, "m.room.create", "m.room.member", "join", "$x", "!x:hs1", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "type",
    "state_key",
    "sender",
    "room_id",
    "content",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
    "hashes",
    "signatures",
    "redacts",
    "unsigned",
    "event_id",
)
MEMBER_CONTENT = st.fixed_dictionaries(
    {},
    optional={
        "membership": JSON,
        "third_party_invite": JSON,
        "join_authorised_via_users_server": JSON,
        "users": JSON,
        "events": JSON,
        "join_rule": JSON,
        "allow": JSON,
    },
)


@pytest.fixture(autouse=True)
def store() -> None:
    """One store is enough for these many examples."""


@contextmanager
def no_traceback() -> Iterator[None]:
    """Fail when anything logs a failure: that is what an error which nobody foresaw looks like."""
    failures: list[LogEvent] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not failures, failures[0]["log_failure"].getTraceback()


server, peer, room_id = meeting("12")
old_server, old_peer, _ = meeting("10")


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FIELDS), JSON, st.booleans())
def test_a_pdu_with_one_field_replaced(field: str, value: Any, old: bool) -> None:
    at, by = (old_server, old_peer) if old else (server, peer)
    good = by.message(MALLORY)
    damaged: dict[str, Any] = {**copy.deepcopy(dict(good.pdu)), field: value}
    with no_traceback():
        assert isinstance(at.receive("evil", damaged), dict)
        assert at.receive("evil", good) == {good.event_id: {}}


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(["m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.create", "m.x"]),
    st.sampled_from(["", MALLORY, ALICE, "@x:evil"]),
    MEMBER_CONTENT,
)
def test_well_signed_events_with_odd_content(
    event_type: str, state_key: str, content: dict[str, Any]
) -> None:
    good = peer.room.make(MALLORY, "m.room.message", {"body": "hello"})
    try:
        odd = resign(good, type=event_type, state_key=state_key, content=content)
    except ValueError:
        return  # no event at all: the other test has those
    with no_traceback():
        assert isinstance(server.receive("evil", odd), dict)
        assert server.receive("evil", good) == {good.event_id: {}}


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.lists(JSON, max_size=4), st.lists(JSON, max_size=4))
def test_a_transaction_of_anything_at_all(pdus: list[Any], edus: list[Any]) -> None:
    body = {"origin": "evil", "origin_server_ts": 1, "pdus": pdus, "edus": edus}
    with no_traceback():
        path = f"/_matrix/federation/v1/send/{len(server.keys.verified)}"
        reply = server.ask("evil", "PUT", path, body=body)
    assert isinstance(reply["pdus"], dict)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(JSON, st.sampled_from(["get_missing_events", "state_ids", "event", "event_auth"]))
def test_answers_that_make_no_sense_leave_a_gap(answer: Any, endpoint: str) -> None:
    peer.refuse("get_missing_events", "state_ids", "state", "event_auth", "event")
    peer.lies[endpoint] = lambda *_: answer if isinstance(answer, dict) else {"pdus": answer}
    unknown = peer.room.make(MALLORY, "m.room.message", {"body": "never sent"})
    event = peer.room.make(MALLORY, "m.room.message", {}, prev_events=[unknown])
    with no_traceback():
        assert "error" in server.receive("evil", event)[event.event_id]
    peer.lies.clear()
