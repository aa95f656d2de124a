"""Experiment: events that a client signed in advance and others send later, in a room that has moved on.

As in the origin's discussion: `/send_pdus` (MSC4080) with a time-out on each PDU. Whoever holds the PDU can
send it without the client and without its server, but its place in the graph is that of the signing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from minihs.events.event import Event
from minihs.events.ids import RoomID, ServerName, UserID
from minihs.homeserver.rooms.drafts import EventDraft
from minihs.lab.experiments import Size
from minihs.lab.people import Client
from minihs.lab.report import Report, per
from minihs.lab.views import RoomView, differences, view_of
from minihs.lab.world import World
from minihs.rooms.auth import Allowed

QUESTION = (
    "A leave is signed in advance and sent later by somebody who cannot sign it anew. What breaks when the "
    "room has moved on meanwhile, how often, and what would signing it again cost?"
)
METHOD = (
    "The leave of Alice (hs1) is built and signed on the state of the room, and kept. Then the room moves "
    "on, in the ways below. After that hs1 is killed, and the PDU is handed to hs2 as if hs1 had sent it; "
    "its signatures are all that hs2 can check. Beside it, what an ordinary future would meet, which is "
    "signed when it is sent. In the end all servers are up again."
)

CALL = "org.example.call.member"


class Case(msgspec.Struct, frozen=True):
    """What happens in the room between signing and sending."""

    name: str
    act: Callable[[World, str, Client, Client], None]


def _nothing(_world: World, _room: str, _alice: Client, _bob: Client) -> None:
    """The room rests."""


def _messages(count: int) -> Callable[[World, str, Client, Client], None]:
    def act(_world: World, room: str, _alice: Client, bob: Client) -> None:
        for number in range(count):
            bob.send(room, str(number))

    return act


def _own_change(_world: World, room: str, alice: Client, _bob: Client) -> None:
    alice.set_state(room, CALL, {"call": "on", "hand": "raised"}, alice.user_id)


def _power(_world: World, room: str, alice: Client, bob: Client) -> None:
    bob.set_power(room, events={CALL: 50}, users={alice.user_id: 50})


def _demoted(_world: World, room: str, _alice: Client, bob: Client) -> None:
    bob.set_power(room, events={CALL: 50})


def _rejoined(world: World, room: str, alice: Client, _bob: Client) -> None:
    alice.leave(room)
    world.settle()
    alice.join(room, "hs2")


def _banned(_world: World, room: str, alice: Client, bob: Client) -> None:
    bob.post(f"/rooms/{room}/ban", {"user_id": alice.user_id})


CASES = (
    Case("nothing", _nothing),
    Case("10 messages", _messages(10)),
    Case("100 messages", _messages(100)),
    Case("Alice changes that state herself", _own_change),
    Case("power levels change, her right stays", _power),
    Case("the power for it is raised above hers", _demoted),
    Case("Alice leaves and comes back", _rejoined),
    Case("Alice is banned", _banned),
)


def run(seed: int, size: Size) -> Report:
    """Every case, then the costs of signing again."""
    report = Report(name="presigned", question=QUESTION, method=METHOD, seed=seed)
    table = report.table(
        "A leave signed in advance, given to hs2 while hs1 is dead",
        "meanwhile",
        "events behind",
        "standing on hs2",
        "in force",
        "because",
        "tips of the room on hs2",
        "servers agree in the end",
        "the future instead",
    )
    found: dict[str, dict[str, Any]] = {}
    for case in CASES:
        result = found[case.name] = _play(report, seed, case)
        table.add(case.name, *result.values())
    _costs(report, seed, 60 if size == "full" else 12)
    _judge(report, found)
    return report


def _play(report: Report, seed: int, case: Case) -> dict[str, Any]:
    world, alice, bob, room_id = _scene(f"{seed} {case.name}")
    hs1 = world["hs1"]
    event = _signed_leave(world, alice, room_id)
    before = len(_view(world, "hs2", room_id).events)
    case.act(world, room_id, alice, bob)
    world.settle()
    behind = len(_view(world, "hs2", room_id).events) - before
    future = _what_a_future_would_do(world, alice, room_id)
    hs1.crash()
    _deliver(world, event)
    world.settle()
    view = _view(world, "hs2", room_id)
    row = view.row(event.event_id)
    in_force = view.state.get((CALL, UserID(alice.user_id))) == event.event_id
    hs1.start()
    bob.send(room_id, "so that everybody hears of it")
    world.advance(minutes=3)
    views = [_view(world, name, room_id) for name in ("hs1", "hs2")]
    report.transcript += world.transcript.entries
    result = {
        "behind": behind,
        "standing": view.standing(event.event_id),
        "in force": "yes" if in_force else "no",
        "because": "" if row is None or row.refusal is None else row.refusal,
        "tips": len(view.extremities),
        "agree": "yes" if not differences(views) else "; ".join(differences(views)),
        "future": future,
    }
    world.stop()
    return result


def _scene(seed: str) -> tuple[World, Client, Client, str]:
    world = World(["hs1", "hs2"], seed=seed, settings={"federation.retry_max_ms": 10_000})
    world.transcript.mute("request")
    alice, bob = world.user("alice", "hs1"), world.user("bob", "hs2")
    room_id = bob.create_room(power_level_content_override={"events": {CALL: 0}})
    alice.join(room_id, "hs2")
    alice.set_state(room_id, CALL, {"call": "on"}, alice.user_id)
    world.settle()
    return world, alice, bob, room_id


def _leave(alice: Client, room_id: str) -> EventDraft:
    return EventDraft(
        room_id=RoomID(room_id),
        sender=UserID(alice.user_id),
        type=CALL,
        content={},
        state_key=alice.user_id,
    )


def _signed_leave(world: World, alice: Client, room_id: str) -> Event:
    """The leave, built on the room as it is now, and signed; nobody has it yet."""
    draft = _leave(alice, room_id)
    rooms = world["hs1"].parts.room_service.rooms
    return world.run(rooms.build(draft), "the signing of the leave")


def _what_a_future_would_do(world: World, alice: Client, room_id: str) -> str:
    """Whether an event built now would be allowed: what a future is asked when it is sent."""
    draft = _leave(alice, room_id)
    rooms = world["hs1"].parts.room_service.rooms
    verdict = world.run(rooms.judged(draft), "the question").verdict
    return "sent" if isinstance(verdict, Allowed) else f"refused ({verdict.rule})"


def _deliver(world: World, event: Event) -> None:
    """Hand the PDU to hs2, as in a transaction of hs1: its signatures are all that hs2 can check."""
    inbound = world["hs2"].parts.inbound.transactions
    txn_id = f"presigned{event.event_id[1:12]}"
    world.run(inbound.receive(ServerName("hs1"), txn_id, [dict(event.pdu)], []), "the delivery")


def _view(world: World, server: str, room_id: str) -> RoomView:
    view = view_of(world[server], room_id)
    if view is None:
        raise RuntimeError(f"{server} does not know the room")
    return view


def _costs(report: Report, seed: int, minutes: int) -> None:
    """What it takes to keep the signed leave no more than so many events behind, for one participant."""
    table = report.table(
        f"Keeping it fresh for {minutes} minutes, in a room with a message every 5 seconds",
        "signed again",
        "signatures",
        "bytes handed over",
        "events behind, on average",
        note="Computed from the size of the PDU, which must be handed anew to whoever is to send it. A "
        "future is handed over once, and signed once.",
    )
    world, alice, _, room_id = _scene(f"{seed} costs")
    pdu_bytes = len(msgspec.json.encode(_signed_leave(world, alice, room_id).pdu))
    messages = minutes * 12
    for name, every in (("at every event", 1), ("every 12 events", 12), ("never", messages)):
        signatures = max(1, messages // every)
        behind = sum(number % every for number in range(messages))
        table.add(name, signatures, signatures * pdu_bytes, per(behind, messages))
    table.add("future", 1, 0, "0.0")
    world.stop()


def _judge(report: Report, found: dict[str, dict[str, Any]]) -> None:
    quiet = ("nothing", "10 messages", "100 messages")
    report.check(
        "messages alone do not break a signed state event: it is accepted and in force, however far behind",
        all(found[name]["standing"] == "accepted" and found[name]["in force"] == "yes" for name in quiet),
    )
    report.check(
        "but it forks the graph: it has its place beside everything that was said since",
        found["100 messages"]["tips"] == 2 and found["nothing"]["tips"] == 1,
    )
    own = found["Alice changes that state herself"]
    report.check(
        "if Alice has changed that state since, her signed leave is accepted and loses: she stays a ghost, "
        "where the future would have ended her membership",
        (own["standing"], own["in force"], own["future"]) == ("accepted", "no", "sent"),
    )
    report.check(
        "after a ban or a loss of power it is soft-failed, as the future would have been refused",
        all(
            found[name]["standing"] == "soft-failed" and found[name]["future"].startswith("refused")
            for name in ("the power for it is raised above hers", "Alice is banned")
        ),
    )
