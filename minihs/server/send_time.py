"""What holds for an account, and what a refusal is called, at the moment its future is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from minihs.events.ids import DeviceID, UserID
from minihs.futures.model import MatrixError as FutureError
from minihs.homeserver.accounts.sessions import Requester
from minihs.homeserver.errors import Forbidden
from minihs.homeserver.futures.sending import Standing
from minihs.http.auth import check_standing
from minihs.http.errors import MatrixError, to_matrix_error
from minihs.http.request import ApiRequest
from minihs.http.routing import Access, Route
from minihs.store.users import UserStore


def standing_at_send_time(users: UserStore) -> Callable[[UserID], Awaitable[Standing]]:
    """What an account may do when its future is sent: what `PUT /send` would let it do at that moment."""
    sending = Route(method="PUT", path="/send", access=Access.USER, handler=_never_called)

    async def standing_of(user_id: UserID) -> Standing:
        user = await users.maybe_user(user_id)
        if user is None or user.is_deactivated:
            refusal: Exception | None = Forbidden("The account was deactivated.")
            return Standing(refusal=refusal)
        try:
            check_standing(
                Requester(
                    user_id=user_id,
                    device_id=DeviceID(""),
                    is_guest=user.is_guest,
                    is_locked=user.is_locked,
                    is_suspended=user.is_suspended,
                ),
                sending,
            )
        except MatrixError as error:
            return Standing(is_guest=user.is_guest, refusal=error)
        return Standing(is_guest=user.is_guest)

    return standing_of


async def _never_called(_request: ApiRequest) -> dict[str, Any]:
    raise NotImplementedError("only the route's access is looked at")


def as_outcome(error: Exception) -> FutureError | None:
    """A refusal as it is kept with a future: all that `/send` would have told."""
    matrix_error = to_matrix_error(error)
    if matrix_error is None:
        return None
    return FutureError(
        matrix_error.status, matrix_error.errcode, matrix_error.error, matrix_error.extra or None
    )
