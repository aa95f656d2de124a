"""One small driver for each dialect: the same future, asked for and managed as that generation does it.

`schedule` gives back the reply; `send` and `restart` take it. Delays are whole seconds: all can say those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from minihs.futures.model import Cancelled, Failed, Outcome, Sent
from minihs.http.dialects.table import NAMES
from minihs.store.futures_overview import START
from tests.futures_life.owners import C, U
from tests.support.http import Response
from tests.support.world import Client, World


class Way:
    """How one dialect is spoken, and in what it differs from `merged`."""

    name: str
    cancelled_by = "nobody"
    """Whose newer state ends a future: nobody's, others', anybody's."""
    needs_session = False
    """Whether managing needs an access token."""
    unknown = 410
    """The status for what is over."""

    def schedule(
        self,
        user: Client,
        room_id: str,
        delay_ms: int,
        content: Any,
        *,
        type: str = "m.room.message",  # noqa: A002
        state_key: str | None = None,
        query: dict[str, Any] | None = None,
    ) -> Any:
        """The reply to a request that was taken."""
        room = f"/rooms/{quote(room_id)}"
        if state_key is None:
            path = f"{room}/send/{quote(type)}/{user.txn()}"
        else:
            path = f"{room}/state/{quote(type)}/{quote(state_key)}"
        return self.ask(user, path, delay_ms, content, query or {})

    def ask(self, user: Client, path: str, delay_ms: int, content: Any, query: dict[str, Any]) -> Any:
        raise NotImplementedError

    def send(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        """Send it now."""
        raise NotImplementedError

    def restart(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        """A heartbeat."""
        raise NotImplementedError


class WillExpire(Way):
    """Sends an event at once and a copy of it later."""

    name = "will-expire"
    cancelled_by = "anybody"

    def ask(self, user: Client, path: str, delay_ms: int, content: Any, query: dict[str, Any]) -> Any:
        return user.put(path, {**content, "m.will_expire": delay_ms // 1000}, query=query)

    def send(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "end", as_nobody)

    def restart(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "refresh", as_nobody)

    def _act(self, user: Client, reply: Any, action: str, as_nobody: bool) -> Response:
        token = {"expire_refresh_token": reply["expire_refresh_token"]}
        return user.request("PUT", f"/expiration/{action}", json=token, as_nobody=as_nobody)


class Batch(Way):
    """One later event alone in a batch."""

    name = "batch"
    cancelled_by = "anybody"

    def schedule(
        self,
        user: Client,
        room_id: str,
        delay_ms: int,
        content: Any,
        *,
        type: str = "m.room.message",  # noqa: A002
        state_key: str | None = None,
        query: dict[str, Any] | None = None,
    ) -> Any:
        part = {"type": type, "content": content}
        if state_key is not None:
            part["state_key"] = state_key
        body = {"timeout": delay_ms // 1000, "send_on_timeout": part}
        return user.put(f"/rooms/{quote(room_id)}/send/future/{user.txn()}", body, query=query or {})

    def send(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return redeem(user, reply["send_on_timeout"]["send_token"], as_nobody)

    def restart(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        token = {"future_token": reply["future_token"]}
        return user.request("POST", "/futures/refresh", json=token, as_nobody=as_nobody)


class Tokens(Way):
    """`send_future` and `state_future`."""

    name = "tokens"
    cancelled_by = "anybody"

    def ask(self, user: Client, path: str, delay_ms: int, content: Any, query: dict[str, Any]) -> Any:
        path = path.replace("/send/", "/send_future/").replace("/state/", "/state_future/")
        return user.put(f"{C}/v1{path}", content, query={"future_timeout": delay_ms, **query})

    def send(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return redeem(user, reply["send_token"], as_nobody)

    def restart(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return redeem(user, reply["refresh_token"], as_nobody)


class TokensOnSend(Tokens):
    """The same through the ordinary endpoints."""

    name = "tokens-on-send"

    def ask(self, user: Client, path: str, delay_ms: int, content: Any, query: dict[str, Any]) -> Any:
        return user.put(path, content, query={"future_timeout": delay_ms, **query})


class FutureId(Way):
    """One ID, for its owner."""

    name = "future-id"
    cancelled_by = "anybody"
    needs_session = True

    def ask(self, user: Client, path: str, delay_ms: int, content: Any, query: dict[str, Any]) -> Any:
        return user.put(path, content, query={"future_timeout": delay_ms, **query})

    def send(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "send", as_nobody)

    def restart(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "refresh", as_nobody)

    def _act(self, user: Client, reply: Any, action: str, as_nobody: bool) -> Response:
        body = {"future_id": reply["future_id"], "action": action}
        return user.request("POST", f"{C}/v1/update_future", json=body, as_nobody=as_nobody)


class DelayQuery(Way):
    """The delay in the query, the ID as authority."""

    name = "delay-query"
    cancelled_by = "others"
    unknown = 404

    def ask(self, user: Client, path: str, delay_ms: int, content: Any, query: dict[str, Any]) -> Any:
        return user.put(path, content, query={"org.matrix.msc4140.delay": delay_ms, **query})

    def send(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "send", as_nobody)

    def restart(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "restart", as_nobody)

    def _act(self, user: Client, reply: Any, action: str, as_nobody: bool) -> Response:
        path = f"{U}/delayed_events/{reply['delay_id']}"
        return user.request("POST", path, json={"action": action}, as_nobody=as_nobody)


class Merged(Way):
    """The accepted text."""

    name = "merged"
    needs_session = True
    unknown = 409

    def schedule(
        self,
        user: Client,
        room_id: str,
        delay_ms: int,
        content: Any,
        *,
        type: str = "m.room.message",  # noqa: A002
        state_key: str | None = None,
        query: dict[str, Any] | None = None,
    ) -> Any:
        body = {"delay_ms": delay_ms, "content": content}
        if state_key is not None:
            body["state_key"] = state_key
        path = f"/rooms/{quote(room_id)}/delayed_event/{quote(type)}/{user.txn()}"
        return user.put(path, body, query=query or {})

    def send(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "send", as_nobody)

    def restart(self, user: Client, reply: Any, *, as_nobody: bool = False) -> Response:
        return self._act(user, reply, "restart", as_nobody)

    def _act(self, user: Client, reply: Any, action: str, as_nobody: bool) -> Response:
        path = f"{C}/v1/delayed_events/{reply['delay_id']}/{action}"
        return user.request("POST", path, json={}, as_nobody=as_nobody)


WAYS: tuple[Way, ...] = (
    Merged(),
    DelayQuery(),
    FutureId(),
    TokensOnSend(),
    Tokens(),
    Batch(),
    WillExpire(),
)
assert {way.name for way in WAYS} | {"msc4486", "msc4309"} == set(NAMES)

each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


class Scene(NamedTuple):
    """hs1 with alice's room and bob in it, who uses futures; hs2 with nobody yet."""

    world: World
    alice: Client
    bob: Client
    room_id: str

    def late(self, viewer: Client | None = None, room_id: str | None = None) -> list[str]:
        """The texts of the messages that futures became, oldest first."""
        events = reversed((viewer or self.alice).messages(room_id or self.room_id))
        return [
            event["content"]["body"]
            for event in events
            if event["type"] == "m.room.message"
            and "body" in event["content"]
            and event["content"].get("m.will_expire") != "running"
        ]

    def state_of(self, event_type: str, state_key: str) -> Any:
        """A state event's content, without what `will-expire` adds to it."""
        content = self.alice.state(self.room_id)[event_type, state_key]["content"]
        return {key: value for key, value in content.items() if key not in ("m.will_expire", "m.relates_to")}

    def outcomes(self, owner: Client | None = None) -> list[Outcome]:
        """What became of a user's futures that did not end with their group, in order of scheduling."""
        owner_id = (owner or self.bob).user_id
        administration = self.world["hs1"].parts.futures_administration
        page = self.world.run(administration.page(START, 1000, owner=owner_id, finalised=True))
        found = sorted((row.future.id, row.future.outcome) for row in page.rows)
        return [outcome for _, outcome in found if outcome is not None and outcome.cause.value != "group"]

    def told(self, owner: Client | None = None) -> list[str]:
        """The same in a word each: sent, cancelled, or the errcode."""
        words = []
        for outcome in self.outcomes(owner):
            match outcome:
                case Sent():
                    words.append("sent")
                case Cancelled():
                    words.append("cancelled")
                case Failed():
                    words.append(outcome.error.errcode)
        return words


def scene_of(way: Way, **settings: Any) -> Scene:
    """Servers that speak one dialect alone and log each request, with these settings of futures."""
    named = {f"futures__{name}": value for name, value in settings.items()} | {"logging__level": "debug"}
    world = World("hs1", "hs2", futures__dialects=[way.name], **named)
    alice, bob = world["hs1"].user("alice"), world["hs1"].user("bob")
    power = {"events": {"m.call": 0, "m.room.member": 0}, "redact": 0}
    room_id = alice.create_room(power_level_content_override=power)
    bob.join(room_id)
    return Scene(world, alice, bob, room_id)


@pytest.fixture
def scene(way: Way) -> Iterator[Scene]:
    """A scene whose servers have no other setting."""
    scene = scene_of(way)
    yield scene
    scene.world.stop()


def redeem(user: Client, token: str, as_nobody: bool) -> Response:
    """Use a token for what it is for."""
    return user.request("POST", f"{C}/v1/future/{token}", json={}, as_nobody=as_nobody)
