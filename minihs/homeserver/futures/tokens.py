"""Tokens of futures: derived by a keyed hash, so that they are never stored and can always be told again."""

from __future__ import annotations

import base64
import hmac

from minihs.platform.entropy import Entropy
from minihs.store.futures import FutureStore
from minihs.store.writer import Batch, Writer

_SECRET = "future-tokens"  # noqa: S105 - the name under which the key is kept
_KEY_BYTES = 32
_TOKEN_BYTES = 24


class FutureTokens:
    """Derives and recognises tokens. `load` before use."""

    def __init__(self, store: FutureStore) -> None:
        self._store = store
        self._key = b""

    async def load(self, entropy: Entropy, writer: Writer) -> None:
        """Read the key; the first start makes it."""
        key = await self._store.maybe_secret(_SECRET)
        if key is None:
            key = entropy.token_bytes(_KEY_BYTES)
            batch = Batch()
            self._store.set_secret(batch, _SECRET, key)
            await writer.submit(batch)
        self._key = key

    def derive(self, delay_id: str, purpose: str) -> str:
        """The token for one purpose of one future: 192 bits, and alike for every purpose."""
        digest = hmac.digest(self._key, f"{purpose}\0{delay_id}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:_TOKEN_BYTES]).decode("ascii")

    def matches(self, token: str, delay_id: str, purpose: str) -> bool:
        """Whether `token` is that one, in a time that does not tell how nearly."""
        derived = self.derive(delay_id, purpose).encode()
        return hmac.compare_digest(derived, token.encode("utf-8", "surrogatepass"))
