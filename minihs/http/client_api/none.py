"""What clients poll without needing it, answered as the specification answers "none".

Nothing here has state. `docs/conformance.md` lists each of these as "answered as none".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.homeserver.accounts.users import check_is_self
from minihs.http.errors import MatrixError
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Handler, Route

CLIENT = "/_matrix/client/v3"

EMPTY: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    # method, path, reply: there is nothing of the kind
    ("GET", f"{CLIENT}/voip/turnServer", {}),
    ("GET", f"{CLIENT}/thirdparty/protocols", {}),
    ("GET", f"{CLIENT}/pushers", {"pushers": []}),
    ("GET", f"{CLIENT}/notifications", {"notifications": []}),
    ("GET", f"{CLIENT}/account/3pid", {"threepids": []}),
    ("POST", f"{CLIENT}/user_directory/search", {"results": [], "limited": False}),
    ("GET", "/_matrix/client/v1/media/config", {"m.upload.size": 0}),
    ("GET", "/_matrix/media/v3/config", {"m.upload.size": 0}),
)
NOT_FOUND: tuple[tuple[str, str, str], ...] = (
    # method, path, sentence: what was asked for by name does not exist
    ("GET", f"{CLIENT}/room_keys/version", "There is no key backup."),
    ("GET", f"{CLIENT}/room_keys/version/{{version}}", "There is no such key backup."),
    ("GET", f"{CLIENT}/room_keys/keys", "There is no key backup."),
    ("GET", f"{CLIENT}/room_keys/keys/{{room_id}}", "There is no key backup."),
    ("GET", f"{CLIENT}/room_keys/keys/{{room_id}}/{{session_id}}", "There is no key backup."),
    ("GET", f"{CLIENT}/thirdparty/protocol/{{protocol}}", "There is no bridge for this protocol."),
    ("GET", f"{CLIENT}/thirdparty/location", "There is no such third-party location."),
    ("GET", f"{CLIENT}/thirdparty/location/{{protocol}}", "There is no such third-party location."),
    ("GET", f"{CLIENT}/thirdparty/user", "There is no such third-party user."),
    ("GET", f"{CLIENT}/thirdparty/user/{{protocol}}", "There is no such third-party user."),
)
NO_THREEPIDS = (
    # no account here has an e-mail address or a telephone number
    f"{CLIENT}/register/email/requestToken",
    f"{CLIENT}/register/msisdn/requestToken",
    f"{CLIENT}/account/password/email/requestToken",
    f"{CLIENT}/account/password/msisdn/requestToken",
    f"{CLIENT}/account/3pid/email/requestToken",
    f"{CLIENT}/account/3pid/msisdn/requestToken",
)


class RefreshBody(msgspec.Struct):
    """The body of `POST /refresh`."""

    refresh_token: str


class PusherBody(msgspec.Struct):
    """The body of `POST /pushers/set`, as far as it is read."""

    pushkey: str
    app_id: str
    kind: str | None


class PresenceBody(msgspec.Struct):
    """The body of `PUT /presence/{userId}/status`."""

    presence: str
    status_msg: str | None = None


class AnsweredAsNone:
    """TURN, third-party networks, push, presence, key backup, refresh tokens."""

    def routes(self) -> list[Route]:
        presence = f"{CLIENT}/presence/{{user_id}}/status"
        return [
            *(
                Route(method=method, path=path, access=Access.USER, handler=_reply(reply))
                for method, path, reply in EMPTY
            ),
            *(
                Route(method=method, path=path, access=Access.USER, handler=_not_found(sentence))
                for method, path, sentence in NOT_FOUND
            ),
            *(
                Route(method="POST", path=path, access=Access.OPEN, handler=self.no_threepids)
                for path in NO_THREEPIDS
            ),
            Route(
                method="POST",
                path=f"{CLIENT}/refresh",
                access=Access.OPEN,
                handler=self.refresh,
                body=RefreshBody,
                limit="login",
            ),
            Route(method="GET", path=presence, access=Access.USER, handler=self.presence),
            Route(
                method="PUT", path=presence, access=Access.USER, handler=self.set_presence, body=PresenceBody
            ),
            Route(
                method="POST",
                path=f"{CLIENT}/pushers/set",
                access=Access.MEMBER,
                handler=self.set_pusher,
                body=PusherBody,
            ),
        ]

    async def no_threepids(self, _request: ApiRequest) -> dict[str, Any]:
        """POST …/requestToken"""
        raise MatrixError(
            403, "M_THREEPID_DENIED", "This server knows no e-mail addresses or telephone numbers."
        )

    async def refresh(self, _request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/refresh: tokens do not expire here, so nobody has a refresh token."""
        raise MatrixError(401, "M_UNKNOWN_TOKEN", "The refresh token is not known.")

    async def presence(self, _request: ApiRequest) -> dict[str, Any]:
        """GET /_matrix/client/v3/presence/{userId}/status"""
        return {"presence": "offline"}

    async def set_presence(self, request: ApiRequest) -> dict[str, Any]:
        """PUT /_matrix/client/v3/presence/{userId}/status: accepted, and shown to nobody."""
        check_is_self(request.user.user_id, request.args["user_id"], "presence")
        if request.body.presence not in {"online", "offline", "unavailable"}:
            raise MatrixError(400, "M_INVALID_PARAM", "`presence` is online, offline or unavailable.")
        return {}

    async def set_pusher(self, request: ApiRequest) -> dict[str, Any]:
        """POST /_matrix/client/v3/pushers/set: removing one is done already; adding one is refused."""
        if request.body.kind is not None:
            raise MatrixError(400, "M_UNKNOWN", "This server sends no push notifications.")
        return {}


def _reply(body: Mapping[str, Any]) -> Handler:
    async def handler(_request: ApiRequest) -> dict[str, Any]:
        return dict(body)

    return handler


def _not_found(sentence: str) -> Handler:
    async def handler(_request: ApiRequest) -> dict[str, Any]:
        raise MatrixError(404, "M_NOT_FOUND", sentence)

    return handler
