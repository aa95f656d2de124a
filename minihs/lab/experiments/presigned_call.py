"""A call whose leave Alice signs in advance, and Bob of another server holds. Used by `presigned`."""

from __future__ import annotations

from typing import Any

import msgspec

from minihs.events.ids import RoomID, UserID
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.lab.http_client import in_path
from minihs.lab.people import V3, Client
from minihs.lab.proposals.msc4080 import ClientKey, ClientSignedEvents
from minihs.lab.proposals.switch import Switch
from minihs.lab.views import RoomView, view_of
from minihs.lab.world import World
from minihs.rooms.auth import Allowed

CALL = "org.example.call.member"
V4 = V3.replace("v3", "v4")
BY_TOKEN = "/_matrix/client/unstable/org.matrix.msc4080/future"  # noqa: S105 - a path
JOINED: dict[str, Any] = {"call": "on"}


class Signed(msgspec.Struct, frozen=True):
    """An event that Alice has signed."""

    event_id: str
    pdu: dict[str, Any]


class PresignedCall:
    """Alice of hs1, whose key is her own, in a call in Bob's room; Bob of hs2 holds what she signs. With
    `kept_ms` servers take only what they have made themselves so short a while ago (MSC4080's remedy)."""

    def __init__(self, seed: str, kept_ms: int | None = None) -> None:
        self.world = World(seed=seed, settings={"federation.retry_max_ms": 10_000})
        switch = Switch(self.world, lambda: ClientSignedEvents(kept_ms))
        for name in ("hs1", "hs2"):
            self.world.add_server(name, policies=switch.policies(name))
        self.key = ClientKey(seed, "hs1")
        self.alice = self.world.user(self.key.localpart, on="hs1")
        self.bob = self.world.user("bob", on="hs2")

    def open_room(self) -> str:
        """A room of Bob's in which Alice has joined the call."""
        room_id = self.bob.create_room(power_level_content_override={"events": {CALL: 0}})
        self.alice.join(room_id, "hs2")
        self.say(room_id, JOINED)
        return room_id

    def sign(self, room_id: str, content: dict[str, Any]) -> Signed:
        """Alice's membership of the call, made by her server on the room as it is, and signed by her."""
        path = f"{V4}/rooms/{in_path(room_id)}/state/{CALL}/{in_path(self.alice.user_id)}"
        made = self.alice.put(path, content)
        version = self._view("hs1", room_id).events[0].event.version
        return Signed(made["event_id"], self.key.sign(made["pdu"], version))

    def say(self, room_id: str, content: dict[str, Any]) -> None:
        """Alice's membership of the call, now."""
        self.hand_over(self.alice, self.sign(room_id, content))

    def hand_over(self, holder: Client, signed: Signed, **details: Any) -> dict[str, Any]:
        """`/send_pdus` by whoever holds the event: an event ID, or tokens with a `future_timeout`."""
        info = {"room_version": "12", "pdu": signed.pdu, **details}
        reply = holder.post(f"/_matrix/client/v1/send_pdus/{holder.txn()}", {"pdus": [info]})
        return dict(reply["pdus"][0])

    def act(self, holder: Client, token: str) -> int:
        """What the token is for; the status of the answer."""
        return holder.request("POST", f"{BY_TOKEN}/{token}", json={}, as_nobody=True).status

    def of_alice(self, server: str, room_id: str) -> str | None:
        """Which event is Alice's membership of the call there."""
        state = self._view(server, room_id).state
        return next((state[key] for key in state if key == (CALL, self.alice.user_id)), None)

    def what_a_future_would_do(self, room_id: str) -> str:
        """Whether a leave that is made now would be allowed: what a future is asked when it is due."""
        draft = EventDraft(
            room_id=RoomID(room_id),
            sender=UserID(self.alice.user_id),
            type=CALL,
            content={},
            state_key=self.alice.user_id,
        )
        rooms = self.world["hs1"].parts.room_service.rooms
        verdict = self.world.run(rooms.judged(draft), "the question").verdict
        return "sent" if isinstance(verdict, Allowed) else f"refused ({verdict.rule})"

    def view(self, server: str, room_id: str) -> RoomView:
        """What the server believes of the room."""
        return self._view(server, room_id)

    def _view(self, server: str, room_id: str) -> RoomView:
        view = view_of(self.world[server], room_id)
        if view is None:
            raise RuntimeError(f"{server} does not know the room")
        return view
