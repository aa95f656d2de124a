"""What owners of futures do on whole servers: schedule in each dialect, manage, and look what became of it.

The same futures, asked for as each generation of the proposal asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests.support.http import Response
from tests.support.world import Client, World

C = "/_matrix/client"
U = f"{C}/unstable/org.matrix.msc4140"
ENDED_BY_STATE = "M_CANCELLED_BY_STATE_UPDATE"

Scheduled = Callable[..., str]


def text(body: str = "late") -> dict[str, Any]:
    """The content of a message."""
    return {"msgtype": "m.text", "body": body}


def merged(
    user: Client,
    room_id: str,
    delay_ms: int,
    content: Any = None,
    *,
    type: str = "m.room.message",  # noqa: A002
    state_key: str | None = None,
) -> str:
    """Schedule in the dialect `merged`; the delay ID."""
    response = asking(user, room_id, delay_ms, content, type=type, state_key=state_key)
    assert response.status == 200, response.json
    return str(response.json["delay_id"])


def asking(
    user: Client,
    room_id: str,
    delay_ms: int,
    content: Any = None,
    *,
    type: str = "m.room.message",  # noqa: A002
    state_key: str | None = None,
) -> Response:
    """The reply to scheduling in the dialect `merged`."""
    body = {"delay_ms": delay_ms, "content": text("later") if content is None else content}
    if state_key is not None:
        body["state_key"] = state_key
    path = f"/rooms/{quote(room_id)}/delayed_event/{quote(type)}/{user.txn()}"
    return user.request("PUT", path, json=body)


def query(
    user: Client,
    room_id: str,
    delay_ms: int,
    content: Any = None,
    *,
    type: str = "m.room.message",  # noqa: A002
    state_key: str | None = None,
) -> str:
    """Schedule in the dialect `delay-query`; the delay ID."""
    content = text("later") if content is None else content
    if state_key is None:
        path = f"/rooms/{quote(room_id)}/send/{quote(type)}/{user.txn()}"
    else:
        path = f"/rooms/{quote(room_id)}/state/{quote(type)}/{quote(state_key)}"
    return str(user.put(path, content, query={"org.matrix.msc4140.delay": delay_ms})["delay_id"])


def tokens(
    user: Client,
    room_id: str,
    delay_ms: int,
    content: Any = None,
    *,
    type: str = "m.room.message",  # noqa: A002
    state_key: str | None = None,
    group: str | None = None,
) -> dict[str, str]:
    """Schedule in the dialect `tokens`; its tokens."""
    content = text("later") if content is None else content
    room = f"{C}/v1/rooms/{quote(room_id)}"
    if state_key is None:
        path = f"{room}/send_future/{quote(type)}/{user.txn()}"
    else:
        path = f"{room}/state_future/{quote(type)}/{quote(state_key)}"
    asked = {"future_timeout": delay_ms} | ({} if group is None else {"future_group_id": group})
    return dict(user.put(path, content, query=asked))


def act(user: Client, delay_id: str, action: str) -> Response:
    """An action on the stable path."""
    return user.request("POST", f"{C}/v1/delayed_events/{delay_id}/{action}", json={})


def act_unstable(world: World, name: str, delay_id: str, action: str, token: str | None = None) -> Response:
    """An action on the unstable path, without an access token unless one is given."""
    driver = world[name].driver
    return driver.request("POST", f"{U}/delayed_events/{delay_id}/{action}", json={}, token=token)


def finalised(user: Client, delay_id: str) -> dict[str, Any] | None:
    """What became of a future that has a delay ID; None while it is scheduled."""
    found = user.get(f"{C}/v1/delayed_events/{delay_id}")
    return None if "finalised" not in found else dict(found["finalised"])


def error_of(user: Client, delay_id: str) -> str:
    """The errcode with which a future failed."""
    outcome = finalised(user, delay_id)
    assert outcome is not None, "it is still scheduled"
    return str(outcome["error"]["errcode"])


def running(user: Client) -> list[Any]:
    """The dialect `tokens`' listing of what is scheduled."""
    listing: list[Any] = user.get(f"{C}/v1/future")
    return listing


def guest(world: World) -> Client:
    """A guest of hs1."""
    made = world["hs1"].driver.request("POST", "/_matrix/client/v3/register?kind=guest", json={})
    somebody = world.person("guest", "hs1")
    somebody.user_id, somebody.token = made.json["user_id"], made.json["access_token"]
    return somebody  # type: ignore[return-value]


def deactivate(user: Client) -> None:
    """End the account, with the password that `world` gives everybody."""
    refused = user.request("POST", "/account/deactivate", json={})
    auth = {"type": "m.login.password", "user": user.user_id, "password": "a long password"}
    user.post("/account/deactivate", {"auth": {**auth, "session": refused.json["session"]}})
