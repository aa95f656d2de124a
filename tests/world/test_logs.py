"""Nothing that opens a door, and nothing that somebody wrote, stands in the logs, whatever fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from twisted.logger import eventAsText, globalLogPublisher

from minihs.lab.memory_network import Link
from minihs.store.reader import Reader
from tests.support.http import Response
from tests.support.world import World

C = "/_matrix/client"
PASSWORD = "pa55word-of-alice"
NEXT_PASSWORD = "pa55word-of-alice-2"
WRONG_PASSWORD = "pa55word-guessed"
BODY = "a-body-that-is-nobody-elses-business"
IDENTIFIER = {"type": "m.id.user", "user": "alice"}


class Ears:
    """All that is logged while they listen: the text with its traceback, and every value handed over."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, event: Any) -> None:
        values = [
            repr(value) for name, value in sorted(event.items()) if name not in {"log_logger", "log_time"}
        ]
        self.heard.append("\n".join([eventAsText(event), *values]))


@pytest.fixture
def ears() -> Iterator[Ears]:
    ears = Ears()
    globalLogPublisher.addObserver(ears)
    yield ears
    globalLogPublisher.removeObserver(ears)


class Scene:
    """Two servers, alice on one and bob on the other, and every secret that has come up."""

    def __init__(self) -> None:
        self.world = World("hs1", "hs2", **{"futures.dialects": ["tokens", "delay-query", "merged"]})
        self.hs1 = self.world["hs1"]
        self.alice, self.bob = self.hs1.user("alice"), self.world["hs2"].user("bob")
        self.secrets = {PASSWORD, NEXT_PASSWORD, WRONG_PASSWORD, BODY, self.alice.token, self.bob.token}
        self.room_id = self.alice.create_room()
        self.bob.join(self.room_id, "hs1")
        self.failed: list[tuple[int, str | None]] = []

    def call(self, method: str, path: str, json: Any = None, token: str | None = "alice") -> Response:
        """A request that may fail."""
        response = self.hs1.driver.request(
            method, path, json=json, token=self.alice.token if token == "alice" else token
        )
        if response.status >= 400:
            self.failed.append((response.status, response.errcode))
        return response

    def secret(self, *values: str) -> None:
        self.secrets |= set(values)

    def come_and_go(self) -> None:
        """Passwords and access tokens, good and bad ones."""
        for password in (WRONG_PASSWORD, "a long password"):
            body = {"type": "m.login.password", "identifier": IDENTIFIER, "password": password}
            reply = self.call("POST", f"{C}/v3/login", body, token=None)
        token = str(reply.json["access_token"])
        self.secret(token)
        for secret in (PASSWORD, NEXT_PASSWORD):
            body = {"new_password": secret, "logout_devices": False}
            session = self.call("POST", f"{C}/v3/account/password", body, token=token).json["session"]
            auth = {"type": "m.login.password", "identifier": IDENTIFIER, "session": session}
            for password in (WRONG_PASSWORD, "a long password" if secret == PASSWORD else PASSWORD):
                self.call(
                    "POST",
                    f"{C}/v3/account/password",
                    {**body, "auth": {**auth, "password": password}},
                    token,
                )
        self.call("POST", f"{C}/v3/logout", {}, token)
        self.call("GET", f"{C}/v3/account/whoami", token=token)
        self.call("GET", f"{C}/v3/account/whoami?access_token={token}", token=None)
        self.call("PUT", f"{C}/v3/profile/{self.alice.user_id}/displayname", {"displayname": 5, "x": BODY})

    def plan(self) -> None:
        """Futures of all dialects, managed rightly and wrongly, sent, refused and overdue."""
        content = {"msgtype": "m.text", "body": BODY}
        room = f"rooms/{quote(self.room_id)}"
        unstable = f"{C}/unstable/org.matrix.msc4140/delayed_events"
        for txn, delay_ms in (("merged", 500), ("failing", 700), ("waiting", 60_000)):
            path = f"{C}/v3/{room}/delayed_event/m.room.message/{txn}"
            delay_id = str(
                self.call("PUT", path, {"delay_ms": delay_ms, "content": content}).json["delay_id"]
            )
            self.secret(delay_id)
            for action in ("restart", "nonsense"):
                self.call("POST", f"{C}/v1/delayed_events/{delay_id}/{action}", {})
                self.call("POST", f"{unstable}/{delay_id}", {"action": action}, token=None)
        query = "org.matrix.msc4140.delay=600"
        reply = self.call("PUT", f"{C}/v3/{room}/send/m.room.message/query?{query}", content)
        self.secret(str(reply.json["delay_id"]))
        reply = self.call(
            "PUT", f"{C}/v1/{room}/send_future/m.room.message/tokens?future_timeout=800", content
        )
        tokens = [str(reply.json[name]) for name in ("send_token", "cancel_token", "refresh_token")]
        self.secret(*tokens)
        for token in (tokens[2], tokens[1], tokens[1], tokens[0]):
            self.call("POST", f"{C}/v1/future/{token}", {}, token=None)
        self.call("POST", f"{C}/v1/delayed_events/{delay_id}/cancel", {}, token="not-a-token")

    def talk(self) -> None:
        """Messages while the other server is away and when it is back, and events that are refused."""
        self.alice.send(self.room_id, BODY)
        self.link(Link.REFUSING)
        self.alice.send(self.room_id, BODY + "-1")
        self.world.advance(5_000)
        self.link(Link.UP)
        self.world.advance(20_000)
        levels = self.alice.state(self.room_id)["m.room.power_levels", ""]["content"]
        self.alice.set_state(
            self.room_id, "m.room.power_levels", {**levels, "events": {"m.room.message": 100}}
        )
        path = f"{C}/v3/rooms/{quote(self.room_id)}/send/m.room.message/refused"
        self.world["hs2"].driver.request("PUT", path, json={"body": BODY}, token=self.bob.token)
        self.call("PUT", path, {"body": [0.5, BODY]})

    def link(self, state: Link) -> None:
        self.world.network.set_link(self.hs1.host.address, self.world["hs2"].host.address, state)


def test_no_secret_is_logged_whatever_happens(ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    scene.come_and_go()
    scene.plan()
    scene.talk()
    expected = {"M_FORBIDDEN", "M_UNKNOWN_TOKEN", "M_NOT_FOUND", "M_BAD_JSON", None}
    assert expected <= {errcode for _, errcode in scene.failed}
    assert any("sending to hs2 failed" in text for text in ears.heard)

    # The store fails under every request: each is a 500 with a traceback in the log.
    def broken(*_: Any) -> Any:
        raise sqlite3.OperationalError("no such table: events")

    for name in ("one", "maybe", "all"):
        monkeypatch.setattr(Reader, name, broken)
    scene.failed.clear()
    body = {"type": "m.login.password", "identifier": IDENTIFIER, "password": PASSWORD}
    scene.call("POST", f"{C}/v3/login", body, token=None)
    scene.call("GET", f"{C}/v3/account/whoami", token="a-token-nobody-has")
    scene.secret("a-token-nobody-has")
    for secret in sorted(scene.secrets - {BODY}):
        scene.call("POST", f"{C}/v1/delayed_events/{secret}/restart", {})
        scene.call("POST", f"{C}/v1/future/{secret}", {}, token=None)
    content = {"msgtype": "m.text", "body": BODY}
    scene.call("PUT", f"{C}/v3/rooms/!other/send/m.room.message/txn", content)
    assert (500, "M_UNKNOWN") in scene.failed
    assert any("Traceback" in text and "no such table" in text for text in ears.heard)

    said = [(secret, text) for secret in sorted(scene.secrets) for text in ears.heard if secret in text]
    assert said == []


def test_the_ears_hear(ears: Ears) -> None:
    """A leak would be found: in the sentence, in a value that it does not show, in a traceback."""
    from twisted.logger import Logger

    log = Logger()
    log.info("{token}", token="in-the-sentence")
    log.debug("nothing", token="in-a-value")
    with log.failuresHandled("failed"):
        raise ValueError("in-a-traceback")
    for leaked in ("in-the-sentence", "in-a-value", "in-a-traceback"):
        assert any(leaked in text for text in ears.heard)


@pytest.mark.parametrize("settings", [{}, {"logging.levels": {"minihs.http.request_log": "debug"}}])
def test_requests_are_logged_when_that_is_asked_for(ears: Ears, settings: dict[str, Any]) -> None:
    world = World("hs1", **settings)
    world["hs1"].driver.request("GET", f"{C}/v3/rooms/!secret:hs1/state/m.room.name/", token="nobody")
    lines = [text for text in ears.heard if "/rooms/{room_id}/state/" in text]
    assert any(": 401 in " in text for text in lines) is bool(settings)
    assert not any("!secret" in text for text in ears.heard)
