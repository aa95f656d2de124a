"""How often a signed leave breaks in rooms where things happen by chance, and what keeping it fresh costs.

A part of `presigned`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from minihs.lab.evidence import Watch
from minihs.lab.experiments.presigned_call import CALL, JOINED, PresignedCall
from minihs.lab.http_client import in_path
from minihs.lab.report import Report, per
from minihs.lab.wire import Traffic
from minihs.platform.entropy import SeededEntropy, fraction

ACTIONS = (3, 10, 30, 100)
TIMEOUT_MS = 7_200_000
MIX = (
    ("a message", 930),
    ("Alice changes her own membership of the call", 40),
    ("power levels change, her right stays", 20),
    ("the power for it is raised above hers", 5),
    ("Alice leaves and comes back", 3),
    ("Alice is banned", 2),
)
"""What happens in a room, of 1,000 times."""
_UPTO = tuple(zip((name for name, _ in MIX), accumulate(share for _, share in MIX), strict=True))


class Spoilt(NamedTuple):
    """Of the leaves that a future would have `sent`, how many ended `nothing`, being signed in advance."""

    nothing: int
    sent: int


def lives(report: Report, seed: int, rooms: int) -> list[Spoilt]:
    """Rooms that move on by chance, by how much."""
    table = report.table(
        f"How often: {rooms} rooms for each row, things happen by chance",
        "things that happened since the signing",
        "accepted and in force",
        "accepted, but overruled",
        "soft-failed",
        "forked the graph",
        "a future would have been sent",
        "of those, the signed leave ended nothing",
        note="Of 1,000 things, " + ", ".join(f"{share}: {name}" for name, share in MIX) + ".",
    )
    spoilt = []
    for actions in ACTIONS:
        call = PresignedCall(f"{seed} lives {actions}")
        dice = SeededEntropy(f"{seed} lives {actions}")
        in_force = overruled = soft_failed = forked = sent = failed = 0
        for number in range(rooms):
            room_id = call.open_room()
            call.world.settle()
            watch = Watch(call.world, room_id, alone=False) if number == 0 else None
            signed = call.sign(room_id, {})
            for _ in range(actions):
                _happens(call, room_id, fraction(dice) * 1_000)
            call.world.settle()
            future = call.what_a_future_would_do(room_id) == "sent"
            call.bob.request("POST", f"/_matrix/client/v1/send_pdus/{call.bob.txn()}", json=_body(signed.pdu))
            view = call.view("hs2", room_id)
            worked = call.of_alice("hs2", room_id) == signed.event_id
            standing = view.standing(signed.event_id)
            in_force += worked
            overruled += standing == "accepted" and not worked
            soft_failed += standing == "soft-failed"
            forked += len(view.extremities) > 1
            sent += future
            failed += future and not worked
            if watch is not None:
                told = f"{standing}, {'in force' if worked else 'not in force'}"
                report.show_case(watch.ends("The first room of each row", f"{actions} things", told))
        table.add(actions, in_force, overruled, soft_failed, forked, sent, failed)
        spoilt.append(Spoilt(failed, sent))
        call.world.stop()
    return spoilt


def _body(pdu: object) -> dict[str, object]:
    return {"pdus": [{"room_version": "12", "pdu": pdu}]}


def _happens(call: PresignedCall, room_id: str, draw: float) -> None:
    """One thing of `MIX`; what is not allowed any more does not happen."""
    alice, bob, base = call.alice, call.bob, f"/rooms/{in_path(room_id)}"
    name = next(name for name, upto in _UPTO if draw < upto)
    if name == "a message":
        bob.send(room_id, "meanwhile")
    elif name.startswith("power levels"):
        bob.set_power(room_id, users={alice.user_id: 50})
        call.world.settle()
    elif name.startswith("the power"):
        bob.set_power(room_id, events={CALL: 75})
        call.world.settle()
    elif name == "Alice is banned":
        bob.request("POST", f"{base}/ban", json={"user_id": alice.user_id})
        call.world.settle()
    elif name.startswith("Alice leaves"):
        alice.request("POST", f"{base}/leave", json={})
        call.world.settle()
        alice.request("POST", f"/join/{in_path(room_id)}", json={}, query={"via": "hs2"})
    elif call.what_a_future_would_do(room_id) == "sent":
        call.say(room_id, {**JOINED, "at": str(draw)})


class _Kept:
    """A signed leave that Bob holds, and what keeping it has cost so far."""

    def __init__(self, seed: str) -> None:
        self.call = PresignedCall(seed)
        self.room_id = self.call.open_room()
        self.call.world.settle()
        self.signatures = 0
        self.behind = 0
        self.paid = Traffic()
        self._reply: dict[str, str] = {}
        self.renew()

    def renew(self) -> None:
        """Sign it on the room as it is, give up the one before, hand the new one over."""
        call, before = self.call, self._traffic()
        self._signed = call.sign(self.room_id, {})
        if self._reply:
            call.act(call.bob, self._reply["cancel_token"])
        self._reply = call.hand_over(call.bob, self._signed, future_timeout=TIMEOUT_MS)
        self.paid += self._traffic() - before
        self.signatures, self.behind = self.signatures + 1, 0

    def send(self) -> bool:
        """Bob sends it while Alice's server is dead; whether it ended the membership."""
        self.call.world["hs1"].crash()
        self.call.act(self.call.bob, self._reply["send_token"])
        return self.call.of_alice("hs2", self.room_id) == self._signed.event_id

    def _traffic(self) -> Traffic:
        world = self.call.world
        return world.traffic([self.call.alice.name], ["hs1"]) + world.traffic(["bob"], ["hs2"])


WHEN = (("at every event", 1), ("every minute", 12), ("at own changes", 0), ("never", -1))
"""Every so many messages; 0: when Alice changes that state."""


def costs(report: Report, seed: int, minutes: int) -> dict[str, bool]:
    """What it takes to keep the leave fresh; whether it ended the membership when it was sent at last."""
    table = report.table(
        f"Keeping it fresh for {minutes} minutes",
        "signed again",
        "signatures",
        "requests",
        "KB",
        "events behind, on average",
        "ends her membership at last",
        "tips then",
        note="A message every 5 seconds, a change of Alice's own every 10 minutes. Requests and bytes of "
        "Alice and of Bob, who holds it: making it, handing it over, giving up the one before. A future is "
        "scheduled once.",
    )
    ended = {}
    for name, every in WHEN:
        kept = _Kept(f"{seed} costs")
        call, behind_sum = kept.call, 0
        for number in range(1, minutes * 12 + 1):
            call.world.advance(ms=5_000)
            call.bob.send(kept.room_id, str(number))
            kept.behind += 1
            if number % 120 == 60:
                call.say(kept.room_id, {**JOINED, "hand": str(number)})
                kept.behind += 1
                if every == 0:
                    kept.renew()
            if every > 0 and number % every == 0:
                kept.renew()
            behind_sum += kept.behind
        watch = Watch(call.world, kept.room_id)
        watch.say("bob sends the leave while hs1 is dead")
        ended[name] = kept.send()
        told = f"her membership {'has ended' if ended[name] else 'goes on'}"
        report.show_case(watch.ends("Kept fresh, and sent at last", f"signed again: {name}", told))
        table.add(
            name,
            kept.signatures,
            kept.paid.requests,
            f"{kept.paid.bytes / 1000:.0f}",
            per(behind_sum, minutes * 12),
            "yes" if ended[name] else "no",
            len(call.view("hs2", kept.room_id).extremities),
        )
        call.world.stop()
    return ended
