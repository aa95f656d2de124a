"""What other servers may read of our rooms."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from minihs.events.event import Event, parse_event
from minihs.events.ids import RoomID
from minihs.federation.client import RemoteRefusal
from minihs.homeserver.elsewhere import serving
from minihs.homeserver.elsewhere.serving import _Answer as Answer
from minihs.store.events import Standing
from tests.homeserver.elsewhere.test_inbound_transactions import ALICE, MALLORY, meeting
from tests.support.deferreds import finish, start
from tests.support.federated import FederatedServer
from tests.support.hostile_peer import V1, HostilePeer


def ids_of(peer: HostilePeer, pdus: list[dict[str, Any]]) -> list[str]:
    return [parse_event(pdu, peer.room.version).event_id for pdu in pdus]


def refused(
    server: FederatedServer, origin: str, method: str, path: str, args: Any = None, body: Any = None
) -> Any:
    with pytest.raises(RemoteRefusal) as refusal:
        server.ask(origin, method, f"{V1}/{path}", args, body)
    return refusal.value.status, refusal.value.errcode


def questions(room_id: RoomID, event: Event) -> list[tuple[str, str, Any, Any]]:
    """Every question about a room, as (method, path, query, body)."""
    event_id = event.event_id
    body = {"latest_events": [event_id], "earliest_events": []}
    return [
        ("GET", f"state/{room_id}", {"event_id": event_id}, None),
        ("GET", f"state_ids/{room_id}", {"event_id": event_id}, None),
        ("GET", f"event/{event_id}", None, None),
        ("GET", f"event_auth/{room_id}/{event_id}", None, None),
        ("GET", f"backfill/{room_id}", {"v": event_id, "limit": "10"}, None),
        ("POST", f"get_missing_events/{room_id}", None, body),
    ]


@pytest.mark.parametrize("number", range(6))
def test_only_servers_in_the_room_that_its_list_lets_in_are_answered(number: int) -> None:
    server, _, room_id = meeting()
    event = server.send(room_id, ALICE)
    method, path, args, body = questions(room_id, event)[number]
    assert refused(server, "hs9", method, path, args, body) == (403, "M_FORBIDDEN")
    acl = {"allow": ["*"], "deny": ["evil"]}
    server.ask("evil", method, f"{V1}/{path}", args, body)
    server.send(room_id, ALICE, "m.room.server_acl", state_key="", content=acl)
    assert refused(server, "evil", method, path, args, body) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5])
def test_rooms_that_are_not_known_are_said_not_to_be(number: int) -> None:
    server, _, room_id = meeting()
    event = server.send(room_id, ALICE)
    for room, answer in (("!unknown:hs1", (404, "M_NOT_FOUND")), ("nonsense", (400, "M_INVALID_PARAM"))):
        method, path, args, body = questions(RoomID(room), event)[number]
        assert refused(server, "evil", method, path, args, body) == answer


def test_events_that_are_not_known_or_of_another_room_are_not_found() -> None:
    server, _, room_id = meeting()
    elsewhere = server.create(ALICE)
    other = server.send(elsewhere, ALICE)
    missing = (404, "M_NOT_FOUND")
    assert refused(server, "evil", "GET", "event/$unknown") == missing
    assert refused(server, "evil", "GET", f"state/{room_id}", {"event_id": other.event_id}) == missing
    assert refused(server, "evil", "GET", f"state_ids/{room_id}", {"event_id": "$unknown"}) == missing
    assert refused(server, "evil", "GET", f"event_auth/{room_id}/{other.event_id}") == missing
    answer = server.ask("evil", "GET", f"{V1}/backfill/{room_id}", {"v": other.event_id, "limit": "5"})
    assert answer["pdus"] == []
    body = {"latest_events": [other.event_id], "earliest_events": []}
    assert server.ask("evil", "POST", f"{V1}/get_missing_events/{room_id}", body=body) == {"events": []}


def test_the_state_is_that_before_the_event_and_its_auth_chain_is_whole() -> None:
    server, peer, room_id = meeting("11")
    before = server.state(room_id)
    topic = server.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "tea"})
    ids = server.ask("evil", "GET", f"{V1}/state_ids/{room_id}", {"event_id": topic.event_id})
    assert sorted(ids["pdu_ids"]) == sorted(before.values())
    state = server.ask("evil", "GET", f"{V1}/state/{room_id}", {"event_id": topic.event_id})
    assert ids_of(peer, state["pdus"]) == ids["pdu_ids"]
    assert ids_of(peer, state["auth_chain"]) == ids["auth_chain_ids"]
    known = {*ids["pdu_ids"], *ids["auth_chain_ids"]}
    for pdu in [*state["pdus"], *state["auth_chain"]]:
        assert known.issuperset(pdu["auth_events"])


def test_an_auth_chain_comes_with_parents_first() -> None:
    server, peer, room_id = meeting("11")
    event = server.send(room_id, ALICE)
    answer = server.ask("evil", "GET", f"{V1}/event_auth/{room_id}/{event.event_id}")
    seen: set[str] = set()
    for event_id, pdu in zip(ids_of(peer, answer["auth_chain"]), answer["auth_chain"], strict=True):
        assert seen.issuperset(pdu["auth_events"])
        seen.add(event_id)
    assert seen.issuperset(event.auth_events)
    assert event.event_id not in seen


def test_backfill_goes_back_from_the_events_named_up_to_the_limit() -> None:
    server, peer, room_id = meeting()
    messages = [server.send(room_id, ALICE) for _ in range(5)]
    args = {"v": messages[3].event_id, "limit": "3"}
    answer = server.ask("evil", "GET", f"{V1}/backfill/{room_id}", args)
    assert ids_of(peer, answer["pdus"]) == [event.event_id for event in messages[3:0:-1]]
    assert answer["origin"] == "hs1"
    everything = server.ask("evil", "GET", f"{V1}/backfill/{room_id}", {**args, "limit": "100000"})
    assert ids_of(peer, everything["pdus"])[-1][1:] == room_id[1:]


def test_missing_events_lie_between_the_latest_and_the_earliest() -> None:
    server, peer, room_id = meeting()
    messages = [server.send(room_id, ALICE) for _ in range(6)]
    ids = [event.event_id for event in messages]

    def ask(**body: Any) -> list[str]:
        answer = server.ask("evil", "POST", f"{V1}/get_missing_events/{room_id}", body=body)
        return ids_of(peer, answer["events"])

    assert ask(latest_events=[ids[5]], earliest_events=[ids[1]]) == ids[2:5]
    assert ask(latest_events=[ids[5]], earliest_events=[ids[1]], limit=2) == ids[3:5]
    assert ask(latest_events=[ids[5]], earliest_events=[ids[1]], limit=0) == []
    assert ask(latest_events=[ids[5]], earliest_events=[], min_depth=messages[3].depth) == ids[3:5]
    assert ask(latest_events=[ids[1]], earliest_events=[ids[0]]) == []


@pytest.mark.parametrize("walked", [5, 100])
def test_a_question_does_not_lead_past_rejected_events_without_end(
    walked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAX_WALKED", walked)
    server, peer, room_id = meeting()
    before = peer.room.timeline[-1]
    for number in range(10):
        peer.room.state_event(MALLORY, "m.room.topic", "", {"topic": str(number)})
    rejected = peer.room.timeline[-10:]
    server.receive("evil", *rejected)
    latest = server.send(room_id, ALICE)
    follows = peer.message(MALLORY, prev_events=[latest, rejected[-1]])
    server.receive("evil", follows)
    body = {"latest_events": [follows.event_id], "earliest_events": [latest.event_id]}
    answer = server.ask("evil", "POST", f"{V1}/get_missing_events/{room_id}", body=body)
    assert (before.event_id in ids_of(peer, answer["events"])) is (walked == 100)


def test_history_that_a_server_may_not_see_it_gets_redacted() -> None:
    server, peer, _ = meeting()
    for visibility, seen in (
        ("joined", False),
        ("invited", False),
        ("shared", True),
        ("world_readable", True),
    ):
        room_id = server.create(
            ALICE,
            "12",
            extra=[
                {
                    "type": "m.room.history_visibility",
                    "state_key": "",
                    "content": {"history_visibility": visibility},
                }
            ],
        )
        early = server.send(room_id, ALICE)
        peer.enter(room_id, MALLORY)
        late = server.send(room_id, ALICE)
        answer = server.ask("evil", "GET", f"{V1}/backfill/{room_id}", {"v": late.event_id, "limit": "3"})
        contents = {parse_event(pdu, peer.room.version).event_id: pdu["content"] for pdu in answer["pdus"]}
        assert contents[late.event_id] == late.content
        assert contents[early.event_id] == (early.content if seen else {})
        single = server.ask("evil", "GET", f"{V1}/event/{early.event_id}")
        assert single["pdus"][0]["content"] == (early.content if seen else {})


def with_long_chain(length: int) -> tuple[FederatedServer, HostilePeer, RoomID, Event]:
    """A room whose power levels have changed often: each change is authorised by the one before."""
    server, peer, room_id = meeting("11")
    for number in range(length):
        content = {"users": {ALICE: 100}, "events": {"m.room.name": number}}
        server.send(room_id, ALICE, "m.room.power_levels", state_key="", content=content)
    return server, peer, room_id, server.send(room_id, ALICE)


def about(room_id: RoomID, event: Event, endpoint: str) -> tuple[str, dict[str, str]]:
    """The path and the query of a question whose answer is large."""
    if endpoint == "event_auth":
        return f"event_auth/{room_id}/{event.event_id}", {}
    return f"{endpoint}/{room_id}", {"event_id": event.event_id}


@pytest.mark.parametrize("endpoint", ["state", "state_ids", "event_auth"])
def test_a_long_auth_chain_is_read_in_portions_and_others_get_their_turn(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, room_id, event = with_long_chain(40)
    path, args = about(room_id, event, endpoint)
    pauses: list[int] = []
    pause = serving.sleep

    async def counted(clock: Any, ms: float) -> None:
        pauses.append(portion)
        await pause(clock, ms)

    monkeypatch.setattr(serving, "sleep", counted)
    answers: dict[int, Any] = {}
    for portion in (1_000, 5):
        monkeypatch.setattr(serving, "READ_AT_ONCE", portion)
        monkeypatch.setattr(serving, "ORDERED_AT_ONCE", portion)
        answers[portion] = server.ask("evil", "GET", f"{V1}/{path}", args)
    assert answers[5] == answers[1_000]
    # Forty power levels lead to one another; a pause comes after five, and again where they are ordered.
    assert pauses.count(1_000) == 0
    assert pauses.count(5) >= 8 + 8


@pytest.mark.parametrize("endpoint", ["backfill", "get_missing_events"])
def test_others_get_their_turn_while_history_is_read(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server, peer, room_id = meeting()
    said = [server.send(room_id, ALICE) for _ in range(40)]
    pauses: list[int] = []
    pause = serving.sleep

    async def counted(clock: Any, ms: float) -> None:
        pauses.append(portion)
        await pause(clock, ms)

    monkeypatch.setattr(serving, "sleep", counted)
    for portion in (1_000, 5):
        monkeypatch.setattr(serving, "READ_AT_ONCE", portion)
        if endpoint == "backfill":
            args = {"v": said[-1].event_id, "limit": "39"}
            answer = server.ask("evil", "GET", f"{V1}/backfill/{room_id}", args)["pdus"][::-1]
        else:
            body = {"latest_events": [said[-1].event_id], "earliest_events": [said[0].event_id], "limit": 38}
            answer = server.ask("evil", "POST", f"{V1}/get_missing_events/{room_id}", body=body)["events"]
        expected = said[1:] if endpoint == "backfill" else said[1:-1]
        assert ids_of(peer, answer) == [event.event_id for event in expected]
    assert pauses.count(1_000) == 0
    assert pauses.count(5) >= 6


@pytest.mark.parametrize("limit", ["events_left", "bytes_left"])
@pytest.mark.parametrize("endpoint", ["state", "state_ids", "event_auth"])
def test_an_answer_that_no_server_would_take_is_not_put_together(
    endpoint: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, room_id, event = with_long_chain(30)
    path, args = about(room_id, event, endpoint)
    whole = server.ask("evil", "GET", f"{V1}/{path}", args)
    events = sum(len(part) for part in whole.values())
    enough = events if limit == "events_left" else 1_000 * events
    for free in (enough, enough // 10):
        monkeypatch.setattr(serving, "_Answer", lambda room_id, free=free: Answer(room_id, **{limit: free}))
        if free == enough:
            assert server.ask("evil", "GET", f"{V1}/{path}", args) == whole
        else:
            assert refused(server, "evil", "GET", path, args) == (413, "M_TOO_LARGE")


def test_a_server_is_given_one_large_answer_at_a_time_and_others_do_not_wait_for_it() -> None:
    server, _, room_id, event = with_long_chain(3)
    other = HostilePeer("hs7", server)
    other.enter(room_id, "@zoe:hs7")
    path = f"{V1}/event_auth/{room_id}/{event.event_id}"
    gate: Deferred[None] = Deferred()
    pdus, held = server.rooms.pdus, []

    async def slowly(event_ids: Any) -> Any:
        if not held:
            held.append(event_ids)
            await gate
        return await pdus(event_ids)

    server.rooms.pdus = slowly  # type: ignore[method-assign]
    asked = [start(server.answer("GET", path, {"": "evil"}, None)) for _ in range(serving.LARGE_WAITING + 2)]
    server.clock.pump([0] * 100)
    assert [one.called for one in asked] == [False] * (len(asked) - 1) + [True]
    with pytest.raises(RemoteRefusal) as too_many:
        finish(server.clock, asked[-1])
    assert (too_many.value.status, too_many.value.errcode) == (429, "M_LIMIT_EXCEEDED")
    answer = server.ask("hs7", "GET", path)
    gate.callback(None)
    assert all(finish(server.clock, one) == answer for one in asked[:-1])


@pytest.mark.parametrize("redacted", [True, False])
def test_state_and_auth_chains_hold_redacted_events_in_their_redacted_form(redacted: bool) -> None:
    server, peer, room_id = meeting("11")
    content = {"users": {ALICE: 100}, "note": "secret"}
    levels = server.send(room_id, ALICE, "m.room.power_levels", state_key="", content=content)
    if redacted:
        server.send(room_id, ALICE, "m.room.redaction", content={}, redacts=levels.event_id)
    event = server.send(room_id, ALICE)
    chain = server.ask("evil", "GET", f"{V1}/event_auth/{room_id}/{event.event_id}")["auth_chain"]
    state = server.ask("evil", "GET", f"{V1}/state/{room_id}", {"event_id": event.event_id})["pdus"]
    for pdus in (chain, state):
        told = dict(zip(ids_of(peer, pdus), pdus, strict=True))[levels.event_id]
        assert ("note" not in told["content"]) == redacted


def test_history_asks_for_the_members_of_a_state_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server, peer, room_id = meeting()
    shown = {"history_visibility": "joined"}
    server.send(room_id, ALICE, "m.room.history_visibility", state_key="", content=shown)
    said = [server.send(room_id, ALICE) for _ in range(20)]
    asked = []
    state_before = server.rooms.state_before

    async def counted(event_id: Any) -> Any:
        asked.append(event_id)
        return await state_before(event_id)

    monkeypatch.setattr(server.rooms, "state_before", counted)
    answer = server.ask("evil", "GET", f"{V1}/backfill/{room_id}", {"v": said[-1].event_id, "limit": "20"})
    assert ids_of(peer, answer["pdus"]) == [event.event_id for event in reversed(said)]
    assert all(pdu["content"] for pdu in answer["pdus"])
    assert len(asked) == 1


@pytest.mark.parametrize("endpoint", ["backfill", "get_missing_events", "event_auth"])
@pytest.mark.parametrize("foreign", [True, False])
def test_events_of_a_room_never_lead_into_another_room(endpoint: str, foreign: bool) -> None:
    """Whoever knows the ID of an event elsewhere may name it as a previous or an auth event."""
    server, peer, room_id = meeting("11")
    private = server.create(ALICE, "11")
    secret = server.send(private if foreign else room_id, ALICE)
    power = server.run(server.rooms.state_event(private if foreign else room_id, "m.room.power_levels"))
    if endpoint == "event_auth":
        cited = [peer.room.state["m.room.create", ""], peer.room.state["m.room.member", MALLORY], power]
        named = peer.room.make(MALLORY, "m.room.message", {}, auth_events=cited)
        path, query, body = f"event_auth/{room_id}/{named.event_id}", None, None
    else:
        named = peer.room.make(MALLORY, "m.room.message", {}, prev_events=[secret])
        path, query, body = f"{endpoint}/{room_id}", {"v": named.event_id, "limit": "2"}, None
        if endpoint == "get_missing_events":
            query, body = None, {"latest_events": [named.event_id], "earliest_events": [], "limit": 1}
    if endpoint == "event_auth":
        server.receive("evil", named)  # rejected by rule v12 3.4, and kept
    else:
        # As if what it follows had been known to nobody here when it came.
        state = server.run(server.rooms.newest_state(room_id))
        server.run(server.rooms.receive(named, state_before=state, standing=Standing.ACCEPTED, refusal=None))
    assert server.run(server.rooms.row(named.event_id)) is not None
    answer = server.ask("evil", "POST" if body else "GET", f"{V1}/{path}", query, body)
    told = ids_of(peer, next(part for part in answer.values() if isinstance(part, list)))
    assert ((power if endpoint == "event_auth" else secret).event_id in told) is not foreign


@pytest.mark.parametrize("named", ["@gone:hs3", "nonsense", "@gone:not a server"])
def test_members_that_are_no_users_are_in_nobodys_way(named: str) -> None:
    """The auth rules (v12 5.6) ask nothing of what a ban names."""
    server, peer, room_id = meeting("11")
    levels = {"users": {ALICE: 100, MALLORY: 50}}
    shown = {"history_visibility": "joined"}
    for event_type, content in (("m.room.power_levels", levels), ("m.room.history_visibility", shown)):
        peer.room.add(server.send(room_id, ALICE, event_type, state_key="", content=content))
    ban = peer.room.add(peer.room.make(MALLORY, "m.room.member", {"membership": "ban"}, named))
    said = peer.message(MALLORY)
    assert server.receive("evil", ban, said) == {ban.event_id: {}, said.event_id: {}}
    answer = server.ask("evil", "GET", f"{V1}/backfill/{room_id}", {"v": said.event_id, "limit": "2"})
    assert ids_of(peer, answer["pdus"]) == [said.event_id, ban.event_id]
    pardon = server.send(room_id, ALICE, "m.room.member", state_key=named, content={"membership": "leave"})
    assert pardon.event_id in server.state(room_id).values()
    told = server.run(
        server.database.reader.all("SELECT DISTINCT server_name FROM destination_set_members ORDER BY 1")
    )
    assert [name for (name,) in told] == (["evil", "hs3"] if named == "@gone:hs3" else ["evil"])


def test_rejected_events_are_not_handed_out_and_soft_failed_ones_are() -> None:
    server, peer, room_id = meeting()
    rejected = peer.room.make(MALLORY, "m.room.topic", {"topic": "mine"}, "")
    peer.enter(room_id, "@second:evil")
    server.send(room_id, ALICE, "m.room.member", state_key=MALLORY, content={"membership": "ban"})
    evading = peer.room.make(MALLORY, "m.room.message", {"body": "still here"})
    server.receive("evil", rejected, evading)
    assert refused(server, "evil", "GET", f"event/{rejected.event_id}") == (404, "M_NOT_FOUND")
    assert server.ask("evil", "GET", f"{V1}/event/{evading.event_id}")["pdus"] == [evading.pdu]


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        ({"v": "$x"}, (400, "M_MISSING_PARAM")),
        ({"limit": "3"}, (400, "M_MISSING_PARAM")),
        ({"v": "nonsense", "limit": "3"}, (400, "M_INVALID_PARAM")),
        ({"v": "$x", "limit": "many"}, (400, "M_INVALID_PARAM")),
        ({"v": "$x", "limit": "-1"}, (400, "M_INVALID_PARAM")),
    ],
)
def test_backfill_says_what_is_wrong_with_a_question(args: dict[str, str], answer: tuple[int, str]) -> None:
    server, _, room_id = meeting()
    assert refused(server, "evil", "GET", f"backfill/{room_id}", args) == answer


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"latest_events": []},
        {"latest_events": 7, "earliest_events": []},
        {"latest_events": [7], "earliest_events": []},
        {"latest_events": ["nonsense"], "earliest_events": []},
        {"latest_events": [], "earliest_events": [], "limit": "many"},
    ],
)
def test_get_missing_events_says_what_is_wrong_with_a_question(body: Any) -> None:
    server, _, room_id = meeting()
    status, errcode = refused(server, "evil", "POST", f"get_missing_events/{room_id}", None, body)
    assert status == 400
    assert errcode in ("M_MISSING_PARAM", "M_INVALID_PARAM", "M_BAD_JSON")
