"""Who is behind an access token. The hot half: every authenticated request asks here.

Source: client-server API, "Client Authentication".
"""

from __future__ import annotations

from dataclasses import dataclass

from minihs.events.ids import DeviceID, UserID
from minihs.homeserver.errors import HomeserverError


class UnknownToken(HomeserverError):
    """The access token is not (or no longer) good (401 `M_UNKNOWN_TOKEN`)."""

    def __init__(self, message: str = "The access token is not known.", *, soft_logout: bool = False) -> None:
        super().__init__(message)
        self.soft_logout = soft_logout


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """The account and the device that a request comes from."""

    user_id: UserID
    device_id: DeviceID
    is_guest: bool = False
    is_admin: bool = False
    is_locked: bool = False
    is_suspended: bool = False
