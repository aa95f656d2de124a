"""Sessions: access tokens, who is behind one, and logging out. Every authenticated request asks here.

Source: client-server API, "Client Authentication", "Relationship between access tokens and devices".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from twisted.python.failure import Failure

from minihs.events.ids import DeviceID, UserID
from minihs.homeserver.errors import HomeserverError, InvalidParam
from minihs.platform.clock import Clock
from minihs.platform.entropy import Entropy, token_letters, token_urlsafe
from minihs.platform.logs import Logger
from minihs.store.access_tokens import AccessTokenStore
from minihs.store.devices import DeviceStore
from minihs.store.writer import Batch, Writer

log = Logger()

MAX_REMEMBERED = 10_000
REMEMBER_MS = 10 * 60 * 1000
"""How long an answer is used without asking the store again; so fine is `last_seen_ts` of devices, too."""
MAX_DEVICE_ID_BYTES = 255
MAX_DISPLAY_NAME_LENGTH = 256
_TOKEN_BYTES = 32
_DEVICE_ID_LETTERS = 10


class UnknownToken(HomeserverError):
    """The access token is not (or no longer) good (401 `M_UNKNOWN_TOKEN`)."""

    def __init__(self, message: str = "The access token is not known.", *, soft_logout: bool = False) -> None:
        super().__init__(message)
        self.soft_logout = soft_logout


class Requester(msgspec.Struct, frozen=True, kw_only=True):
    """The account and the device that a request comes from."""

    user_id: UserID
    device_id: DeviceID
    is_guest: bool = False
    is_admin: bool = False
    is_locked: bool = False
    is_suspended: bool = False


class Session(msgspec.Struct, frozen=True):
    """What a login gives to the client."""

    user_id: UserID
    device_id: DeviceID
    access_token: str


class Sessions:
    """Opens and ends sessions, and remembers who is behind recently used tokens."""

    def __init__(
        self,
        tokens: AccessTokenStore,
        devices: DeviceStore,
        writer: Writer,
        *,
        clock: Clock,
        entropy: Entropy,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self._tokens = tokens
        self._devices = devices
        self._writer = writer
        self._clock = clock
        self._entropy = entropy
        self._max_remembered = max_remembered
        self._remembered: dict[bytes, tuple[Requester, float]] = {}
        self._forgotten = 0

    def recent(self, token: str) -> Requester | None:
        """Who is behind a token that was used lately; None says nothing about it. HOT PATH."""
        digest = _digest(token)
        known = self._remembered.get(digest)
        if known is None:
            return None
        if known[1] < self._clock.monotonic_ms():
            del self._remembered[digest]
            return None
        return known[0]

    async def requester(self, token: str, client_address: str, user_agent: str) -> Requester:
        """Who is behind a token; raises UnknownToken. Notes that the device was used."""
        digest = _digest(token)
        forgotten_before = self._forgotten
        row = await self._tokens.maybe_token(digest)
        if row is None:
            raise UnknownToken
        requester = Requester(
            user_id=row.user_id,
            device_id=row.device_id,
            is_guest=row.is_guest,
            is_admin=row.is_admin,
            is_locked=row.is_locked,
            is_suspended=row.is_suspended,
        )
        # Somebody may have logged out while the store was asked; what it said is then not worth remembering.
        if forgotten_before == self._forgotten:
            self._remember(digest, requester)
        self._touch(requester, client_address, user_agent)
        return requester

    def add(
        self,
        batch: Batch,
        user_id: UserID,
        device_id: str | None = None,
        display_name: str | None = None,
        *,
        address: str = "",
    ) -> Session:
        """Put a new session into `batch`: the device, when it is new, and a token, which replaces its others.

        `address` is where the client is. Call `opened` once the batch is durable. InvalidParam for an
        impossible device.
        """
        if display_name is not None:
            check_display_name(display_name)
        device = DeviceID(token_letters(self._entropy, _DEVICE_ID_LETTERS))
        if device_id is not None:
            if not device_id or len(device_id.encode("utf-8")) > MAX_DEVICE_ID_BYTES or "\0" in device_id:
                raise InvalidParam(f"A device ID has 1 to {MAX_DEVICE_ID_BYTES} bytes.")
            device = DeviceID(device_id)
        token = token_urlsafe(self._entropy, _TOKEN_BYTES)
        now_ms = self._clock.wall_ms()
        self._devices.put_device(batch, user_id, device, display_name, address=address, now_ms=now_ms)
        self._tokens.remove_of_devices(batch, user_id, [device])
        self._tokens.add_token(batch, _digest(token), user_id, device, now_ms)
        return Session(user_id, device, token)

    def opened(self, session: Session) -> None:
        """The batch of `session` is durable: tokens that its device had before are no longer good."""
        self._forget(session.user_id, {session.device_id})

    async def open(
        self,
        user_id: UserID,
        device_id: str | None = None,
        display_name: str | None = None,
        *,
        address: str = "",
    ) -> Session:
        """A new session of a user who has proven who they are."""
        batch = Batch()
        session = self.add(batch, user_id, device_id, display_name, address=address)
        await self._writer.submit(batch)
        self.opened(session)
        return session

    async def end(self, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        """Log devices out and remove them; those that are not there are passed over."""
        batch = Batch()
        self._tokens.remove_of_devices(batch, user_id, device_ids)
        self._devices.remove(batch, user_id, device_ids)
        await self._writer.submit(batch)
        self.ended(user_id, device_ids)

    async def end_all(self, user_id: UserID, *, but: DeviceID | None = None) -> None:
        """Log the user out everywhere, or everywhere but on one device."""
        devices = await self._devices.all_devices(user_id)
        await self.end(user_id, [device.device_id for device in devices if device.device_id != but])

    def add_end_all(self, batch: Batch, user_id: UserID) -> None:
        """Put the end of all sessions into `batch`; call `ended` once it is durable."""
        self._tokens.remove_all(batch, user_id)
        self._devices.remove_all(batch, user_id)

    def ended(self, user_id: UserID, device_ids: Sequence[DeviceID]) -> None:
        """The tokens of these devices are no longer stored."""
        self._forget(user_id, set(device_ids))

    def forget_user(self, user_id: UserID) -> None:
        """The account's standing changed: ask the store again."""
        self._forget(user_id, None)

    def _forget(self, user_id: UserID, device_ids: set[DeviceID] | None) -> None:
        self._forgotten += 1
        gone = [
            digest
            for digest, (requester, _) in self._remembered.items()
            if requester.user_id == user_id and (device_ids is None or requester.device_id in device_ids)
        ]
        for digest in gone:
            del self._remembered[digest]

    def _remember(self, digest: bytes, requester: Requester) -> None:
        if len(self._remembered) >= self._max_remembered:
            # Entries stand in the order in which they were asked for: the oldest quarter goes.
            for old in list(self._remembered)[: max(1, self._max_remembered // 4)]:
                del self._remembered[old]
        self._remembered[digest] = (requester, self._clock.monotonic_ms() + REMEMBER_MS)

    def _touch(self, requester: Requester, address: str, user_agent: str) -> None:
        batch = Batch()
        self._devices.touch(
            batch,
            requester.user_id,
            requester.device_id,
            address=address,
            user_agent=user_agent[:512],
            now_ms=self._clock.wall_ms(),
        )
        self._writer.submit(batch).addErrback(_touch_failed)


def check_display_name(name: str) -> None:
    """InvalidParam unless a device may be called so."""
    if len(name) > MAX_DISPLAY_NAME_LENGTH:
        raise InvalidParam(f"The name of a device has at most {MAX_DISPLAY_NAME_LENGTH} characters.")


def _digest(token: str) -> bytes:
    # The token has 256 bits of entropy: a plain hash tells a thief of the database nothing.
    return hashlib.sha256(token.encode("utf-8")).digest()


def _touch_failed(failure: Failure) -> None:
    log.warn("could not note when a device was last seen: {reason}", reason=failure.getErrorMessage())
