"""What an identity server contributes to third-party invites: a key, a token, a signature."""

from __future__ import annotations

from typing import Any

from signedjson.key import encode_verify_key_base64, get_verify_key
from signedjson.sign import sign_json

from minihs.lab.people import Client
from tests.support.events import signer_of


class IdentityServer:
    """An identity server of this name, whose key follows from it."""

    def __init__(self, name: str = "identity") -> None:
        self._signer = signer_of(name)

    @property
    def public_key(self) -> str:
        """Its key, as `m.room.third_party_invite` holds it."""
        return str(encode_verify_key_base64(get_verify_key(self._signer.key)))

    def content(self, **more: Any) -> dict[str, Any]:
        """The content of an offer."""
        return {
            "display_name": "s...y",
            "public_key": self.public_key,
            "key_validity_url": "https://identity/valid",
            **more,
        }

    def offer(self, user: Client, room_id: str, *, token: str = "token") -> str:
        """Put an offer of this user into the room; returns its token."""
        user.set_state(room_id, "m.room.third_party_invite", self.content(), token)
        return token

    def signed(self, user_id: str, token: str = "token", **more: Any) -> dict[str, Any]:
        """The word that this user is who was meant."""
        return dict(
            sign_json({"mxid": user_id, "token": token, **more}, self._signer.server_name, self._signer.key)
        )
