"""Every combination of dialects that share a path, a parameter or a body: who answers, what is refused."""

from __future__ import annotations

from itertools import chain, combinations, product
from typing import Any

import pytest

from minihs.http.dialects.spelling import PREFIX
from minihs.http.dialects.table import NAMES
from minihs.http.routing import Match, Router
from tests.support.future_server import C, FutureServer, U

Names = tuple[str, ...]


def subsets(*choices: Names) -> list[Names]:
    """Every combination with one or none of each choice."""
    options = [((), *((name,) for name in choice)) for choice in choices]
    return [tuple(chain.from_iterable(picked)) for picked in product(*options)]


def ids(names: Names) -> str:
    return "+".join(names) or "none"


EVERY = [
    names
    for size in range(len(NAMES) + 1)
    for names in combinations(NAMES, size)
    if not {"tokens-on-send", "future-id"} <= set(names)
]

SERVER = FutureServer(dialects=())
TEXT = {"type": "m.room.message", "content": {"body": "x"}}
BATCH = {"timeout": 5, "send_on_timeout": TEXT}


def test_every_combination_has_one_answer_for_each_path_and_says_what_is_on() -> None:
    assert len(EVERY) == 384
    for names in EVERY:
        dialects = SERVER.dialects_of(names)
        routes = [(route.method, route.path) for route in dialects.routes()]
        assert len(routes) == len(set(routes)), names
        features = dialects.unstable_features()
        assert ("org.matrix.msc4140" in features) == ("delay-query" in names), names
        assert ("org.matrix.msc4140.stable" in features) == ("merged" in names), names
        assert ("org.matrix.msc4486" in features) == ("msc4486" in names), names
        assert ("org.matrix.msc4309" in features) == ("msc4309" in names), names
        told = {"m.delayed_events", "org.matrix.msc4140.delayed_events"} & dialects.capabilities().keys()
        assert len(told) == (2 if {"merged", "delay-query"} & set(names) else 0), names


def test_both_owners_of_the_same_parameters_are_never_on_together() -> None:
    with pytest.raises(ValueError, match="only one can be on"):
        SERVER.dialects_of(("tokens-on-send", "future-id"))


PATHS: list[tuple[str, str, set[str]]] = [
    ("PUT", f"{C}/v3/rooms/!r/delayed_event/m.x/t", {"merged"}),
    ("PUT", f"{U}/rooms/!r/delayed_event/m.x/t", {"merged"}),
    ("GET", f"{C}/v1/delayed_events/x", {"merged"}),
    ("POST", f"{C}/v1/delayed_events/x/send", {"merged"}),
    ("POST", f"{U}/delayed_events/x/send", {"merged", "delay-query"}),
    ("POST", f"{U}/delayed_events/x", {"delay-query"}),
    ("GET", f"{U}/delayed_events", {"delay-query"}),
    ("GET", f"{U}/delayed_events/x", {"merged"}),
    ("GET", f"{C}/v1/delayed_events", {"msc4486"}),
    ("GET", f"{C}/unstable/org.matrix.msc4486/delayed_events", {"msc4486"}),
    ("PUT", f"{C}/v1/rooms/!r/send_future/m.x/t", {"tokens"}),
    ("PUT", f"{C}/v3/rooms/!r/state_future/m.x/k", {"tokens"}),
    ("PUT", f"{U}/rooms/!r/state_future/m.x", {"tokens"}),
    ("PUT", f"{C}/unstable/io.element.msc3140/rooms/!r/send_future/m.x/t", {"tokens"}),
    ("POST", f"{C}/v1/future/x", {"tokens", "tokens-on-send", "batch"}),
    ("POST", f"{C}/v3/futures/x", {"tokens", "tokens-on-send", "batch"}),
    ("PUT", f"{C}/v3/futures/x", {"tokens", "tokens-on-send", "batch"}),
    ("POST", f"{U}/future/x", {"tokens", "tokens-on-send", "batch"}),
    ("GET", f"{C}/v1/future", {"tokens", "tokens-on-send", "future-id", "batch"}),
    ("GET", f"{C}/v3/futures", {"tokens", "tokens-on-send", "batch"}),
    ("GET", f"{U}/future", {"tokens", "tokens-on-send"}),
    ("POST", f"{C}/v1/update_future", {"future-id"}),
    ("POST", f"{U}/update_future", {"future-id"}),
    ("POST", f"{C}/v3/futures/action/x", {"batch"}),
    ("PUT", f"{C}/v3/futures/action/x", {"batch"}),
    ("PUT", f"{C}/v1/rooms/!r/send/future/t", {"batch"}),
    ("PUT", f"{U}/rooms/!r/send/future/t", {"batch"}),
    ("PUT", f"{C}/v3/expiration/refresh", {"will-expire"}),
    ("PUT", f"{C}/v3/expiration/end", {"will-expire"}),
]
"""A path of each kind, and the dialects of which any one is enough for it to be there."""


def test_a_path_is_there_when_one_of_its_dialects_is_on() -> None:
    for names in EVERY:
        router = Router(SERVER.dialects_of(names).routes())
        for method, path, owners in PATHS:
            found = isinstance(router.resolve(method.encode(), path.encode()), Match)
            assert found == bool(owners & set(names)), (names, method, path)


SENDERS = subsets(("will-expire",), ("batch",), ("tokens-on-send", "future-id"), ("delay-query",))
OWN = {
    "tokens-on-send": {"send_token", "cancel_token", "refresh_token", "future_group_id"},
    "future-id": {"future_id"},
    "delay-query": {"delay_id"},
    "will-expire": {"event_id", "eventId", "expire_refresh_token"},
    "batch": {"future_token", "send_on_timeout"},
    "": {"event_id"},
}
"""The keys of each dialect's reply, and of the reply to an ordinary event."""

MESSAGE, STATE, FUTURE = "send/m.room.message/t", "state/m.test/key", "send/future/t"
X, EXPIRES = {"body": "x"}, {"m.will_expire": 5}
DELAY, TIMEOUT, GROUP = "delay=1000", "future_timeout=1000", "future_timeout=1000&future_group_id=g"
ORDINARY = {""}
ON_SEND = {"tokens-on-send", "future-id"}

REQUESTS: list[tuple[str, str, dict[str, Any], set[str]]] = [
    *((endpoint, DELAY, X, {"delay-query"}) for endpoint in (MESSAGE, STATE, FUTURE)),
    *((endpoint, TIMEOUT, X, ON_SEND) for endpoint in (MESSAGE, STATE, FUTURE)),
    *((endpoint, GROUP, X, {"tokens-on-send"}) for endpoint in (MESSAGE, STATE, FUTURE)),
    *((endpoint, f"{DELAY}&{TIMEOUT}", X, set()) for endpoint in (MESSAGE, STATE, FUTURE)),
    *((endpoint, "", EXPIRES, {"will-expire"}) for endpoint in (MESSAGE, STATE, FUTURE)),
    *((endpoint, DELAY, EXPIRES, set()) for endpoint in (MESSAGE, STATE)),
    *((endpoint, TIMEOUT, EXPIRES, set()) for endpoint in (MESSAGE, STATE)),
    (FUTURE, "", BATCH, {"batch"}),
    (FUTURE, "", {**BATCH, **EXPIRES}, set()),
    (FUTURE, DELAY, BATCH, set()),
    (FUTURE, TIMEOUT, BATCH, set()),
    *((endpoint, "colour=blue", X, ORDINARY) for endpoint in (MESSAGE, STATE, FUTURE)),
    (MESSAGE, "", BATCH, ORDINARY),
    ("state/future/key", "", BATCH, ORDINARY),
    (MESSAGE, "", {"m.will_expire": "running"}, ORDINARY),
]
"""An ordinary send, and those of which the one that is on answers it; when none is, it is refused."""


@pytest.mark.parametrize("names", SENDERS, ids=ids)
def test_who_answers_an_ordinary_send(names: Names) -> None:
    server = FutureServer(dialects=names)
    for endpoint, query, body, owners in REQUESTS:
        for prefix in ("", PREFIX) if query[:1] in "df" and query else ("",):
            room_id = server.create()
            before = server.stored()
            prefixed = "&".join(prefix + part for part in query.split("&"))
            response = server.put(f"{C}/v3/rooms/{room_id}/{endpoint}?{prefixed}", body)
            asked = (endpoint, prefixed, body)
            answerers = owners & {*names, ""}
            if answerers:
                assert (response.status, response.json.keys()) == (200, OWN[answerers.pop()]), asked
            else:
                assert (response.status, response.errcode) == (400, "M_INVALID_PARAM"), asked
                assert server.stored() == before, asked


LISTERS = [names for names in subsets(("tokens",), ("tokens-on-send", "future-id"), ("batch",)) if names]
SINGLE = {"url", "body", "response"}
SHAPES = {
    "tokens": SINGLE,
    "tokens-on-send": SINGLE,
    "future-id": SINGLE,
    "batch": {"room_id", "timeout", "future_token", "send_on_timeout"},
}
SHOWN = {
    f"{C}/v1/future": {"tokens", "tokens-on-send", "future-id", "batch"},
    f"{C}/v3/futures": {"tokens", "tokens-on-send", "batch"},
    f"{U}/future": {"tokens", "tokens-on-send"},
}


def with_one_of_each(names: Names) -> tuple[FutureServer, dict[str, Any]]:
    """A server with a future of each dialect and one that none of them made, and the replies."""
    server = FutureServer(dialects=(*names, "merged"))
    room_id = server.create()
    requests = {
        "tokens": (f"{C}/v1/rooms/{room_id}/send_future/m.x/t?future_timeout=1000", {}),
        "tokens-on-send": (f"{C}/v3/rooms/{room_id}/send/m.x/t?future_timeout=2000", {}),
        "future-id": (f"{C}/v3/rooms/{room_id}/send/m.x/t?future_timeout=2000", {}),
        "batch": (f"{C}/v3/rooms/{room_id}/send/future/t", BATCH),
    }
    replies = {name: server.put(*requests[name]) for name in names}
    assert [reply.status for reply in replies.values()] == [200] * len(names)
    server.schedule(room_id)
    return server, {name: reply.json for name, reply in replies.items()}


@pytest.mark.parametrize("names", LISTERS, ids=ids)
def test_a_path_lists_the_futures_of_the_dialects_that_have_it(names: Names) -> None:
    server, _ = with_one_of_each(names)
    for path, lists in SHOWN.items():
        response = server.get(path)
        if lists & set(names):
            expected = [SHAPES[name] for name in SHAPES if name in lists & set(names)]
            assert [item.keys() for item in response.json] == expected, path
        else:
            assert response.errcode == "M_UNRECOGNIZED", path


@pytest.mark.parametrize("names", LISTERS, ids=ids)
def test_tokens_of_each_are_taken_on_the_shared_paths(names: Names) -> None:
    server, replies = with_one_of_each(names)
    tokens = [replies[name]["refresh_token"] for name in ("tokens", "tokens-on-send") if name in names]
    if "batch" in names:
        tokens.append(replies["batch"]["send_on_timeout"]["refresh_token"])
        body = {"future_token": replies["batch"]["future_token"]}
        assert server.post(f"{C}/v3/futures/refresh", body, None).json == {}
    for token in tokens:
        for path in (f"{C}/v1/future", f"{C}/v3/futures", f"{U}/future"):
            assert server.post(f"{path}/{token}", token=None).json == {}


@pytest.mark.parametrize("names", LISTERS, ids=ids)
def test_what_was_scheduled_is_sent_whatever_is_on_by_then(names: Names) -> None:
    server, _ = with_one_of_each(names)
    server.names = ("merged",)
    server.restart()
    server.pass_ms(10_000)
    sent = [committed.event.type for committed in server.observer.committed]
    assert sent.count("m.x") == len(set(names) - {"batch"})
    assert sent.count("m.room.message") == (2 if "batch" in names else 1)
    assert server.post(f"{C}/v1/future/x", token=None).errcode == "M_UNRECOGNIZED"
