"""Whether a user takes invites. Source: Client-Server API, "Invite permission"."""

from __future__ import annotations

import msgspec

from minihs.events.ids import UserID
from minihs.homeserver.errors import InviteBlocked
from minihs.store.account_data import AccountDataStore

INVITE_PERMISSION = "m.invite_permission_config"


class InvitePermission:
    """Reads the setting of users of this server, which is account data of theirs."""

    def __init__(self, store: AccountDataStore) -> None:
        self._store = store

    async def blocks(self, user_id: UserID) -> bool:
        """Whether the user wants no invites at all."""
        content = await self._store.maybe_content(user_id, None, INVITE_PERMISSION)
        decoded = None if content is None else msgspec.json.decode(content)
        return isinstance(decoded, dict) and decoded.get("default_action") == "block"

    async def check(self, user_id: UserID) -> None:
        """Raise InviteBlocked when the user wants no invites."""
        if await self.blocks(user_id):
            raise InviteBlocked(f"{user_id} takes no invites.")
