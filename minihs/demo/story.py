"""The story: two servers, a room between them, and what becomes of futures. What has a tick was checked.

Alice and Carol are users of hs1, Bob is a user of hs2. Futures are scheduled on hs1 and watched from hs2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minihs.demo.client import Client, RequestFailed, quote
from minihs.demo.evidence import Evidence
from minihs.demo.narration import Narrator
from minihs.processes import ServerProcess

NOTE = "org.example.note"
"""A state event type of the story; sending it takes power level 50."""

PASSWORD = "correct horse battery staple"  # noqa: S105 - of throwaway accounts on loopback


@dataclass
class Story:
    """The cast and the stage. `tell` plays all acts in order."""

    narrator: Narrator
    hs1: ServerProcess
    hs2: ServerProcess
    evidence: Evidence
    alice: Client = field(init=False)
    bob: Client = field(init=False)
    carol: Client = field(init=False)
    room_id: str = field(init=False)

    def tell(self) -> None:
        """Play the story; raises PromiseBroken (or the error that stood in the way)."""
        self.two_servers()
        self.one_room()
        self.messages_both_ways()
        self.a_future_nobody_knows_of()
        self.power_lost()
        self.power_gained()
        self.one_cancelled()
        self.another_draft()
        self.killed_and_started_again()

    def two_servers(self) -> None:
        narrator = self.narrator
        narrator.act("Two homeservers, each a process of its own")
        for server in (self.hs1, self.hs2):
            seconds = server.start()
            narrator.say(
                f"{server.label} is {server.server_name}: clients at {server.client_url}, "
                f"other servers over TLS at port {server.federation_port}; ready after {seconds:.2f} s"
            )
        self.alice = self._account(self.hs1, "alice")
        self.carol = self._account(self.hs1, "carol")
        self.bob = self._account(self.hs2, "bob")
        for user in (self.alice, self.carol, self.bob):
            who = user.request("GET", "/_matrix/client/v3/account/whoami")
            narrator.check(who["user_id"] == user.user_id, f"{user.user_id} has an account and is logged in")

    def one_room(self) -> None:
        narrator = self.narrator
        narrator.act("A room on hs1 that hs2 joins over federation")
        reply = self.alice.request(
            "POST",
            "/_matrix/client/v3/createRoom",
            {
                "preset": "public_chat",
                "name": "Futures",
                "power_level_content_override": {"events": {NOTE: 50}},
            },
        )
        self.room_id = reply["room_id"]
        narrator.say(f"Alice makes the room {self.room_id}")
        for user in (self.carol, self.bob):
            started = time.monotonic()
            user.request(
                "POST",
                f"/_matrix/client/v3/join/{self._quoted_room()}",
                {},
                via=self.hs1.server_name,
            )
            narrator.say(f"{user.user_id} joined in {_ms(time.monotonic() - started)}")
        on_hs1 = set(self.alice.room(self.room_id, "GET", "joined_members")["joined"])
        on_hs2 = set(self.bob.room(self.room_id, "GET", "joined_members")["joined"])
        members = {self.alice.user_id, self.carol.user_id, self.bob.user_id}
        narrator.check(on_hs1 == on_hs2 == members, "both servers name the same three members")
        self.alice.set_power(self.room_id, self.bob.user_id, 90)
        self._bob_sees(
            lambda event: event["type"] == "m.room.power_levels" and self.bob.user_id in str(event)
        )
        narrator.say("Alice makes Bob a moderator (power level 90)")

    def messages_both_ways(self) -> None:
        narrator = self.narrator
        narrator.act("Messages both ways")
        for sender, reader in ((self.alice, self.bob), (self.bob, self.alice)):
            reader.sync()
            started = time.monotonic()
            event_id = sender.send(self.room_id, f"hello from {sender.user_id}")
            event = reader.wait_for(_has_id(event_id), "a message")
            narrator.check(
                event["content"]["body"] == f"hello from {sender.user_id}",
                f"{reader.user_id} reads {event_id} of {sender.user_id} after "
                f"{_ms(time.monotonic() - started)}",
            )

    def a_future_nobody_knows_of(self) -> None:
        narrator = self.narrator
        narrator.act("A future on hs1: nobody knows of it until it is sent")
        ordinary = self.alice.send(self.room_id, "an ordinary message, to compare with")
        self.bob.wait_for(_has_id(ordinary), "the ordinary message")
        before_hs2 = [event["event_id"] for event in self.bob.messages(self.room_id)]
        before_hs1 = [event["event_id"] for event in self.alice.messages(self.room_id)]
        edges_before = self.evidence.extremities(self.hs2, self.room_id)

        delay_ms = 1_000
        last_start = time.time()
        delay_id = self.alice.schedule(
            self.room_id, "m.room.message", {"msgtype": "m.text", "body": "from the past"}, delay_ms
        )
        narrator.say(f"Alice schedules a message in {delay_ms} ms, delay ID {delay_id[:6]}…")
        narrator.check(
            self.alice.future(delay_id)["content"]["body"] == "from the past"
            and not self._known_to_bob(delay_id),
            "hs1 knows it by that ID; to Bob's server the ID means nothing",
        )
        for beat in range(1, 4):
            time.sleep(0.6)
            last_start = time.time()
            self.alice.manage(delay_id, "restart")
            narrator.say(f"heartbeat {beat}: restarted")
        narrator.check(
            "finalised" not in self.alice.future(delay_id),
            f"after 1.8 s it still waits, {delay_ms} ms or not: the heartbeats hold it",
        )
        self.bob.sync()
        narrator.check(
            [event["event_id"] for event in self.bob.messages(self.room_id)] == before_hs2
            and self.evidence.extremities(self.hs2, self.room_id) == edges_before,
            "hs2's room is as it was: no event, no edge, nothing in /sync",
        )
        narrator.check(
            [event["event_id"] for event in self.alice.messages(self.room_id)] == before_hs1,
            "hs1's room is as it was, too",
        )
        event = self.bob.wait_for(_has_body("from the past"), "the future's event")
        outcome = self.alice.outcome(delay_id)
        late_ms = event["origin_server_ts"] - (last_start * 1000 + delay_ms)
        narrator.check(
            outcome["event_id"] == event["event_id"],
            f"the heartbeats stop and hs1 sends it as {event['event_id']}; Bob has it",
        )
        narrator.check(
            event["origin_server_ts"] >= int(last_start * 1000) + delay_ms,
            f"not before its time ({late_ms:.0f} ms after it)",
        )
        future_pdu, plain_pdu = (
            self.evidence.pdu(self.hs2, event_id) for event_id in (event["event_id"], ordinary)
        )
        self.evidence.verify(self.hs1, future_pdu)
        narrator.check(True, "on hs2 its hash is right and its signature verifies with hs1's published key")
        narrator.check(
            set(future_pdu) == set(plain_pdu),
            f"it has the keys of any message and no other: {', '.join(sorted(plain_pdu))}",
        )
        own = self.alice.wait_for(_has_id(event["event_id"]), "her own message")
        narrator.check(
            own["unsigned"].get("delay_id") == delay_id and "delay_id" not in event.get("unsigned", {}),
            "only Alice is told, in `unsigned`, which future it was",
        )

    def power_lost(self) -> None:
        narrator = self.narrator
        narrator.act("Authorised when it is sent: power lost over federation")
        self._set_carols_power(self.alice, 50)
        delay_id = self.carol.schedule(
            self.room_id, NOTE, {"text": "Carol was here"}, 1_500, state_key="lost"
        )
        narrator.say("Carol (power level 50, as the note needs) schedules a note in 1.5 s")
        event_id = self._set_carols_power(self.bob, 0)
        narrator.say(f"Bob, on hs2, takes her power away ({event_id}); hs1 has it")
        outcome = self.carol.outcome(delay_id)
        narrator.check(
            outcome.get("error", {}).get("errcode") == "M_FORBIDDEN",
            f"when it is due, hs1 refuses it: {outcome.get('error', {}).get('error')}",
        )
        narrator.check(not self._note_on_hs2("lost"), "hs2 never hears of it")

    def power_gained(self) -> None:
        narrator = self.narrator
        narrator.act("Authorised when it is sent: power gained over federation")
        delay_id = self.carol.schedule(self.room_id, NOTE, {"text": "Carol may"}, 1_500, "gained")
        refused = None
        try:
            self.carol.room(self.room_id, "PUT", f"state/{NOTE}/now", {"text": "now"})
        except RequestFailed as error:
            refused = error.errcode
        narrator.check(refused == "M_FORBIDDEN", "Carol may not send a note now, but she may schedule one")
        self._set_carols_power(self.bob, 50)
        narrator.say("Bob, on hs2, gives her the power")
        outcome = self.carol.outcome(delay_id)
        narrator.check("event_id" in outcome, f"when it is due, hs1 sends it: {outcome.get('event_id')}")
        self._bob_sees(_has_id(outcome["event_id"]))
        narrator.check(self._note_on_hs2("gained"), "hs2's room has the note in its state")

    def one_cancelled(self) -> None:
        narrator = self.narrator
        narrator.act("Cancelled")
        delay_id = self.alice.schedule(
            self.room_id, "m.room.message", {"body": "never", "msgtype": "m.text"}, 500
        )
        self.alice.manage(delay_id, "cancel")
        narrator.check("finalised" in self.alice.future(delay_id), "Alice cancels a future before its time")
        time.sleep(0.7)
        narrator.check(not self._bodies_on_hs2("never"), "its time passes and nothing is sent")

    def another_draft(self) -> None:
        """hs2 is pinned to `tokens` and `merged` (`command.HS2_DIALECTS`)."""
        narrator = self.narrator
        narrator.act("Another draft: hs2 speaks that of June 2024, with tokens")
        told = self.bob.request("GET", "/_matrix/client/versions")["unstable_features"]
        narrator.check(
            "org.matrix.msc4140.stable" in told and "org.matrix.msc4140" not in told,
            "hs2's /versions says what it is pinned to, and not the draft that shipped clients speak",
        )
        refused: str | None = None
        try:
            self.bob.room(self.room_id, "PUT", "send/m.room.message/q?delay=1000", {"body": "at once?"})
        except RequestFailed as error:
            refused = error.errcode
        narrator.check(
            refused == "M_INVALID_PARAM", "so it refuses that draft's `?delay=`, instead of sending at once"
        )
        path = f"/_matrix/client/v1/rooms/{self._quoted_room()}/send_future/m.room.message/t"
        started = time.monotonic()
        tokens = self.bob.request("PUT", path, {"body": "connection lost"}, future_timeout=800)
        time.sleep(0.5)
        nobody = Client("127.0.0.1", self.hs2.client_port)
        nobody.request("POST", f"/_matrix/client/v1/future/{quote(tokens['refresh_token'])}", {})
        narrator.say("Bob schedules with a timeout of 0.8 s; whoever has its refresh token sends a heartbeat")
        self.alice.wait_for(_has_body("connection lost"), "the token's event")
        waited_s = time.monotonic() - started
        nobody.close()
        narrator.check(
            waited_s >= 1.3, f"on hs1 it is an event like any other, {_ms(waited_s)} after the beginning"
        )

    def killed_and_started_again(self) -> None:
        narrator = self.narrator
        narrator.act("kill -9 over several due times")
        started_ms = {}
        count = 10
        for number in range(count):
            body = f"survivor {number}"
            started_ms[body] = (int(time.time() * 1000), 300 * (number + 1))
            self.alice.schedule(
                self.room_id, "m.room.message", {"msgtype": "m.text", "body": body}, 300 * (number + 1)
            )
        narrator.say(f"Alice schedules {count} futures, due every 300 ms")
        time.sleep(0.95)
        self.hs1.kill()
        sent = len(self._bodies_on_hs2("survivor"))
        narrator.say(f"hs1 is killed (kill -9); {sent} of them had reached hs2")
        time.sleep(1.2)
        narrator.check(
            len(self._bodies_on_hs2("survivor")) == sent,
            "while hs1 is dead, due times pass and nothing comes",
        )
        seconds = self.hs1.start()
        narrator.say(f"hs1 is started again on the same data; ready after {seconds:.2f} s")
        for body in started_ms:
            self.bob.wait_for(_has_body(body), f"{body!r}")
        time.sleep(0.3)
        for label, found in (
            ("hs2", self._bodies_on_hs2("survivor")),
            ("hs1", _bodies(self.alice.messages(self.room_id), "survivor")),
        ):
            narrator.check(
                sorted(found) == sorted(started_ms), f"each of the {count} is on {label} exactly once"
            )
        times = {
            event["content"]["body"]: event["origin_server_ts"]
            for event in self.bob.messages(self.room_id)
            if event.get("content", {}).get("body") in started_ms
        }
        narrator.check(
            all(times[body] >= start_ms + delay_ms for body, (start_ms, delay_ms) in started_ms.items()),
            "and none was sent before its time",
        )

    def _account(self, server: ServerProcess, username: str) -> Client:
        client = Client("127.0.0.1", server.client_port)
        client.register(username, PASSWORD)
        return client

    def _quoted_room(self) -> str:
        return self.room_id.replace("!", "%21").replace(":", "%3A")

    def _bob_sees(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return self.bob.wait_for(wanted, "an event")

    def _known_to_bob(self, delay_id: str) -> bool:
        try:
            self.bob.future(delay_id)
        except RequestFailed as error:
            return error.status != 404
        return True

    def _set_carols_power(self, by: Client, level: int) -> str:
        """Change Carol's power and wait until both servers have it."""
        event_id = by.set_power(self.room_id, self.carol.user_id, level)
        ends = time.monotonic() + 10
        while any(
            client.power_of(self.room_id, self.carol.user_id) != level for client in (self.carol, self.bob)
        ):
            if time.monotonic() > ends:
                self.narrator.check(False, "the power levels reach both servers")
            time.sleep(0.01)
        return event_id

    def _note_on_hs2(self, state_key: str) -> bool:
        try:
            self.bob.room(self.room_id, "GET", f"state/{NOTE}/{state_key}")
        except RequestFailed as error:
            if error.status != 404:
                raise
            return False
        return True

    def _bodies_on_hs2(self, prefix: str) -> list[str]:
        return _bodies(self.bob.messages(self.room_id), prefix)


def _has_id(event_id: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: bool(event.get("event_id") == event_id)


def _has_body(body: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: bool(event.get("content", {}).get("body") == body)


def _bodies(events: list[dict[str, Any]], prefix: str) -> list[str]:
    bodies = [str(event.get("content", {}).get("body", "")) for event in events]
    return [body for body in bodies if body.startswith(prefix)]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
