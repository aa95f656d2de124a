"""Accounts of this server: making them, proving who one is, their standing, and their end.

Used by the HTTP API and by the command line. Source: client-server API, "Account registration",
"Login", "Account deactivation", "Account locking", "Account suspension".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from minihs.events.ids import MAX_ID_BYTES, ServerName, UserID, is_new_localpart, server_name_of
from minihs.homeserver.accounts.account_data import AccountData
from minihs.homeserver.accounts.passwords import Passwords
from minihs.homeserver.accounts.push_rules import PUSH_RULES, default_push_rules
from minihs.homeserver.accounts.sessions import Sessions
from minihs.homeserver.errors import Forbidden, HomeserverError, NotFound
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, token_letters
from minihs.store.devices import DeviceStore
from minihs.store.profiles import ProfileStore
from minihs.store.users import UserRow, UserStore
from minihs.store.writer import Batch, BatchFailed, Writer

_GUEST_LETTERS = 16
_NAME_LETTERS = 12
_LOWER = "abcdefghijklmnopqrstuvwxyz"

OnDeactivation = Callable[[UserID], Awaitable[None]]


class InvalidUsername(HomeserverError):
    """Nobody can be called so here (400 `M_INVALID_USERNAME`)."""


class UserDeactivated(HomeserverError):
    """The account has ended (403 `M_USER_DEACTIVATED`)."""


class UserInUse(HomeserverError):
    """The name is taken, if only by an account that was deactivated (400 `M_USER_IN_USE`)."""


class Users:
    """The accounts of this server.

    `before_deactivation` is awaited before an account ends (leaving its rooms), `after_deactivation` when it
    has (cancelling its futures); each may be called again for the same user and must then have nothing to do.
    """

    def __init__(
        self,
        store: UserStore,
        devices: DeviceStore,
        profiles: ProfileStore,
        writer: Writer,
        *,
        server_name: ServerName,
        clock: Clock,
        entropy: Entropy,
        passwords: Passwords,
        sessions: Sessions,
        account_data: AccountData,
    ) -> None:
        self._store = store
        self._devices = devices
        self._profiles = profiles
        self._writer = writer
        self._server_name = server_name
        self._clock = clock
        self._entropy = entropy
        self._passwords = passwords
        self._sessions = sessions
        self._account_data = account_data
        self._before_deactivation: list[OnDeactivation] = []
        self._after_deactivation: list[OnDeactivation] = []

    def before_deactivation(self, call: OnDeactivation) -> None:
        """Await `call(user_id)` while the account can still act: leaving rooms."""
        self._before_deactivation.append(call)

    def after_deactivation(self, call: OnDeactivation) -> None:
        """Await `call(user_id)` once the account has ended: cancelling its futures."""
        self._after_deactivation.append(call)

    def user_id_of(self, user: str) -> UserID | None:
        """The local user ID that a person means by `user` (localpart or whole ID); None when it is none."""
        localpart = user
        if user.startswith("@"):
            localpart, _, server_name = user[1:].partition(":")
            if server_name != self._server_name:
                return None
        # Every account's name is in lower case, so this is what they mean.
        localpart = localpart.lower()
        return self._user_id(localpart) if is_new_localpart(localpart) else None

    def is_local(self, user_id: UserID) -> bool:
        """Whether the ID is one of this server's, if anybody's."""
        return server_name_of(user_id) == self._server_name

    async def maybe_user(self, user_id: UserID) -> UserRow | None:
        """The account, deactivated or not; None when there never was one."""
        return await self._store.maybe_user(user_id)

    async def named(self, user: str) -> UserRow:
        """The account that a person means by `user`, deactivated or not; NotFound when there was none."""
        user_id = self.user_id_of(user)
        row = None if user_id is None else await self._store.maybe_user(user_id)
        if row is None:
            raise NotFound(f"There is no user {user} on this server.")
        return row

    async def user(self, user_id: UserID) -> UserRow:
        """The account; NotFound when there is none, or none any more."""
        row = await self._store.maybe_user(user_id)
        if row is None or row.is_deactivated:
            raise NotFound("There is no such user.")
        return row

    async def has_account(self, user_id: UserID) -> bool:
        """Whether there is the account, and it has not ended."""
        row = await self._store.maybe_user(user_id)
        return row is not None and not row.is_deactivated

    async def is_guest(self, user_id: UserID) -> bool:
        """Whether it is a guest's account."""
        row = await self._store.maybe_user(user_id)
        return row is not None and row.is_guest

    async def all_users(self, after: str = "", limit: int = 1000) -> Sequence[UserRow]:
        """Up to `limit` accounts after the user ID `after`, by user ID; deactivated ones too."""
        return await self._store.all_users(after, limit)

    async def check_available(self, localpart: str) -> UserID:
        """The ID that a new account of this name would have; raises InvalidUsername or UserInUse."""
        if not is_new_localpart(localpart):
            raise InvalidUsername("A username is made of a-z, 0-9, and the characters . _ = - / +")
        user_id = self._user_id(localpart)
        if len(user_id.encode("utf-8")) > MAX_ID_BYTES:
            raise InvalidUsername(f"The username is too long: a user ID has at most {MAX_ID_BYTES} bytes.")
        if await self._store.maybe_user(user_id) is not None:
            raise UserInUse("This username is taken.")
        return user_id

    async def create(
        self,
        localpart: str | None,
        password: str | None,
        *,
        is_admin: bool = False,
        also: Callable[[Batch, UserID], None] | None = None,
    ) -> UserID:
        """Make an account; without a name it is given one, without a password nobody can log in by one.

        `also` may add to its batch. Raises InvalidUsername, UserInUse, WeakPassword.
        """
        user_id = await self.check_available(localpart or token_letters(self._entropy, _NAME_LETTERS, _LOWER))
        password_hash = None
        if password is not None:
            self._passwords.check_new(password)
            password_hash = await self._passwords.hash(password)
        await self._add(user_id, password_hash, is_guest=False, is_admin=is_admin, also=also)
        return user_id

    async def create_guest(self, *, also: Callable[[Batch, UserID], None] | None = None) -> UserID:
        """Make a guest's account, which lasts as long as its session."""
        user_id = self._user_id("guest-" + token_letters(self._entropy, _GUEST_LETTERS, _LOWER))
        await self._add(user_id, None, is_guest=True, is_admin=False, also=also)
        return user_id

    async def authenticate(self, user: str, password: str) -> UserRow:
        """The active account of that name and password.

        UserDeactivated when there was one of that name. Forbidden says only that the two do not belong
        together, and takes as long, whether there is such a user or not.
        """
        user_id = self.user_id_of(user)
        row = None if user_id is None else await self._store.maybe_user(user_id)
        password_hash = None if row is None else row.password_hash
        matches = await self._passwords.verify(password, password_hash)
        if row is not None and row.is_deactivated:
            raise UserDeactivated("This account was deactivated.")
        if row is None or not matches:
            raise Forbidden("The username or the password is wrong.")
        if password_hash is not None and self._passwords.is_outdated(password_hash):
            await self._store_password(row.user_id, await self._passwords.hash(password))
        return row

    async def set_password(self, user_id: UserID, password: str) -> None:
        """Set a new password. Sessions stay as they are. NotFound, WeakPassword."""
        await self.user(user_id)
        self._passwords.check_new(password)
        await self._store_password(user_id, await self._passwords.hash(password))

    async def set_admin(self, user_id: UserID, is_admin: bool) -> None:
        """Make the user an administrator, or an ordinary user again. NotFound."""
        await self._change(user_id, lambda batch: self._store.set_admin(batch, user_id, is_admin))

    async def set_locked(self, user_id: UserID, is_locked: bool) -> None:
        """Lock the account: its sessions stay, and are refused until it is unlocked. NotFound."""
        await self._change(user_id, lambda batch: self._store.set_locked(batch, user_id, is_locked))

    async def set_suspended(self, user_id: UserID, is_suspended: bool) -> None:
        """Suspend the account: it can read, leave and little else. NotFound."""
        await self._change(user_id, lambda batch: self._store.set_suspended(batch, user_id, is_suspended))

    async def deactivate(self, user_id: UserID) -> None:
        """End the account for good: out of its rooms, logged out everywhere, its name never free again.

        It can be asked for again when it failed in between: nothing is acknowledged before all is done.
        NotFound when there never was such an account.
        """
        if await self._store.maybe_user(user_id) is None:
            raise NotFound("There is no such user.")
        for call in self._before_deactivation:
            await call(user_id)
        devices = [device.device_id for device in await self._devices.all_devices(user_id)]
        batch = Batch()
        self._store.deactivate(batch, user_id, self._clock.wall_ms())
        self._profiles.remove_all(batch, user_id)
        self._sessions.add_end_all(batch, user_id)
        await self._writer.submit(batch)
        self._sessions.ended(user_id, devices)
        self._sessions.forget_user(user_id)
        for call in self._after_deactivation:
            await call(user_id)

    def _user_id(self, localpart: str) -> UserID:
        return UserID(f"@{localpart}:{self._server_name}")

    async def _add(
        self,
        user_id: UserID,
        password_hash: str | None,
        *,
        is_guest: bool,
        is_admin: bool,
        also: Callable[[Batch, UserID], None] | None,
    ) -> None:
        batch = Batch()
        now_ms = self._clock.wall_ms()
        self._store.add_user(
            batch, user_id, password_hash, is_guest=is_guest, is_admin=is_admin, now_ms=now_ms
        )
        position = self._account_data.put(batch, user_id, None, PUSH_RULES, default_push_rules(user_id))
        if also is not None:
            also(batch, user_id)
        try:
            await self._writer.submit(batch)
        except BatchFailed:
            # Somebody was quicker. Whatever else may be wrong with the batch, ask again to find out.
            if await self._store.maybe_user(user_id) is not None:
                raise UserInUse("This username is taken.") from None
            raise
        self._account_data.committed(user_id, position)

    async def _store_password(self, user_id: UserID, password_hash: str) -> None:
        batch = Batch()
        self._store.set_password(batch, user_id, password_hash)
        await self._writer.submit(batch)

    async def _change(self, user_id: UserID, change: Callable[[Batch], None]) -> None:
        await self.user(user_id)
        batch = Batch()
        change(batch)
        await self._writer.submit(batch)
        self._sessions.forget_user(user_id)


def check_is_self(requester_id: UserID, user_id: str, what: str) -> None:
    """Forbidden unless the two are one: for what belongs to one user alone."""
    if requester_id != user_id:
        raise Forbidden(f"You cannot see or change the {what} of another user.")
