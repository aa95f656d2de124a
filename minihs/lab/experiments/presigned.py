"""Experiment: events that a client signed in advance and others send later, in a room that has moved on.

As in the origin's discussion: `/send_pdus` (MSC4080) with a time-out and actions on each PDU. Whoever holds
the PDU can send it without the client and its server, but its place in the graph is that of its signing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from minihs.lab.evidence import Watch
from minihs.lab.experiments import Size
from minihs.lab.experiments.presigned_call import CALL, JOINED, PresignedCall
from minihs.lab.experiments.presigned_life import Spoilt, costs, lives
from minihs.lab.experiments.presigned_remedy import judge_remedy, remedy
from minihs.lab.http_client import in_path
from minihs.lab.proposals.msc4080 import ClientKey
from minihs.lab.report import Report
from minihs.lab.views import differences

QUESTION = (
    "A leave is signed in advance by the client's own key, and sent later by somebody who cannot sign it "
    "anew. What breaks when the room has moved on meanwhile, how often, and what would signing it again cost?"
)
METHOD = (
    "Alice's user ID holds the public key of her client; servers that know MSC4080 verify her events with it "
    "and ask no server for keys. Her server makes the leave on the room as it is, she signs it, and hands it "
    "to Bob of hs2, who gives it to his server by /send_pdus with a time-out of ten minutes. Then the room "
    "moves on, hs1 is killed, and hs2 sends the leave at its time. Beside it, what an ordinary future would "
    "meet, which is made when it is sent. In the end all servers are up again."
)

TIMEOUT_MS = 600_000
WHEN_DUE = "due in ten minutes"
HAND_RAISED = {"call": "on", "hand": "raised"}


class Case(msgspec.Struct, frozen=True):
    """What happens in the room between signing and sending."""

    name: str
    act: Callable[[PresignedCall, str], None]


def _nothing(_call: PresignedCall, _room: str) -> None:
    """The room rests."""


def _messages(count: int) -> Callable[[PresignedCall, str], None]:
    def act(call: PresignedCall, room: str) -> None:
        for number in range(count):
            call.bob.send(room, str(number))

    return act


def _own_change(call: PresignedCall, room: str) -> None:
    call.say(room, HAND_RAISED)


def _power(call: PresignedCall, room: str) -> None:
    call.bob.set_power(room, events={CALL: 50}, users={call.alice.user_id: 50})


def _raised(call: PresignedCall, room: str) -> None:
    call.bob.set_power(room, events={CALL: 50})


def _rejoined(call: PresignedCall, room: str) -> None:
    call.alice.leave(room)
    call.world.settle()
    call.alice.join(room, "hs2")


def _banned(call: PresignedCall, room: str) -> None:
    call.bob.post(f"/rooms/{in_path(room)}/ban", {"user_id": call.alice.user_id})


CASES = (
    Case("nothing", _nothing),
    Case("10 messages", _messages(10)),
    Case("100 messages", _messages(100)),
    Case("Alice changes that state herself", _own_change),
    Case("power levels change, her right stays", _power),
    Case("the power for it is raised above hers", _raised),
    Case("Alice leaves and comes back", _rejoined),
    Case("Alice is banned", _banned),
)


class Found(msgspec.Struct, frozen=True):
    """What became of one signed leave."""

    behind: int
    stale_auth: int
    """Of the events that it cites as its authority, how many are no longer the current ones."""
    depth_gap: int
    standing: str
    in_force: bool
    refusal: str
    tips: int
    differences: tuple[str, ...]
    future: str


def run(seed: int, size: Size) -> Report:
    """Every case, who can hold it, what is refused, how often, and the costs of signing again."""
    report = Report(name="presigned", question=QUESTION, method=METHOD, seed=seed)
    found = {case.name: _play(report, seed, case) for case in CASES}
    _tell(report, found)
    held = _holders(report, seed)
    forged = _forgeries(report, seed)
    taken = remedy(report, seed)
    spoilt = lives(report, seed, rooms=20 if size == "full" else 6)
    paid = costs(report, seed, minutes=60 if size == "full" else 11)
    _judge(report, found, held, forged)
    judge_remedy(report, taken)
    recent, old = (Spoilt(*map(sum, zip(*rows, strict=True))) for rows in (spoilt[:2], spoilt[2:]))
    report.check(
        "the further the room has moved on, the more of the leaves that a future would have sent end "
        f"nothing: {recent.nothing} of {recent.sent} after up to 10 things, {old.nothing} of {old.sent} "
        "after 30 and more",
        recent.nothing * old.sent < old.nothing * recent.sent,
    )
    report.check(
        "signed again at each change of her own state, or more often, it ends her membership in the end; "
        "never signed again, it does not",
        paid == {"at every event": True, "every minute": True, "at own changes": True, "never": False},
    )
    return report


def _play(report: Report, seed: int, case: Case) -> Found:
    call = PresignedCall(f"{seed} {case.name}")
    world = call.world
    room_id = call.open_room()
    world.settle()
    watch = Watch(world, room_id)
    watch.say(f"alice signs her leave, made on the room as it is; bob gives it to hs2, {WHEN_DUE}")
    signed = call.sign(room_id, {})
    call.hand_over(call.bob, signed, future_timeout=TIMEOUT_MS)
    before = len(call.view("hs2", room_id).events)
    watch.say(f"meanwhile: {case.name}")
    case.act(call, room_id)
    world.settle()
    moved_on = call.view("hs2", room_id)
    newest = max(row.event.depth for row in moved_on.events)
    stale = sum(event_id not in moved_on.state.values() for event_id in signed.pdu["auth_events"])
    future = call.what_a_future_would_do(room_id)
    world["hs1"].crash()
    world.advance(ms=TIMEOUT_MS)
    view = call.view("hs2", room_id)
    row = view.row(signed.event_id)
    in_force = call.of_alice("hs2", room_id) == signed.event_id
    world["hs1"].start()
    watch.say("hs1 is started again")
    call.bob.send(room_id, "so that everybody hears of it")
    world.advance(minutes=3)
    views = [call.view(name, room_id) for name in ("hs1", "hs2")]
    if case.act is _own_change:
        report.show_room("Alice has raised her hand since she signed her leave: the graph in the end", views)
    found = Found(
        behind=len(moved_on.events) - before,
        stale_auth=stale,
        depth_gap=newest + 1 - signed.pdu["depth"],
        standing=view.standing(signed.event_id),
        in_force=in_force,
        refusal="" if row is None or row.refusal is None else row.refusal,
        tips=len(view.extremities),
        differences=tuple(differences(views)),
        future=future,
    )
    told = f"{found.standing}, {'in force' if in_force else 'not in force'}; the future instead: {future}"
    report.show_case(watch.ends("Signed in advance, held by hs2, sent while hs1 is dead", case.name, told))
    world.stop()
    return found


def _tell(report: Report, found: dict[str, Found]) -> None:
    table = report.table(
        "A leave signed in advance and held by hs2, sent while hs1 is dead",
        "meanwhile",
        "events behind",
        "depth too low by",
        "auth events that are old",
        "standing on hs2",
        "in force",
        "because",
        "tips of the room on hs2",
        "servers agree in the end",
        "the future instead",
    )
    for name, one in found.items():
        table.add(
            name,
            one.behind,
            one.depth_gap,
            one.stale_auth,
            one.standing,
            "yes" if one.in_force else "no",
            one.refusal,
            one.tips,
            "no" if one.differences else "yes",
            one.future,
        )


def _holders(report: Report, seed: int) -> dict[str, bool]:
    """Whether the membership ends at its time although hs1 is dead, by who holds the leave."""
    table = report.table(
        "hs1 dies before the time", "who holds the leave", "Alice's membership ends at its time on hs2"
    )
    ended = {}
    for holder in ("hs2, signed", "hs1, signed"):
        call = PresignedCall(f"{seed} holder {holder}")
        room_id = call.open_room()
        call.world.settle()
        watch = Watch(call.world, room_id)
        watch.say(f"alice signs her leave; its holder gives it to a server, {WHEN_DUE}")
        signed = call.sign(room_id, {})
        who = call.bob if holder.startswith("hs2") else call.alice
        call.hand_over(who, signed, future_timeout=TIMEOUT_MS)
        call.world["hs1"].crash()
        call.world.advance(ms=TIMEOUT_MS + 5_000)
        ended[holder] = call.of_alice("hs2", room_id) == signed.event_id
        table.add(holder, "yes" if ended[holder] else "no")
        told = f"her membership {'has ended' if ended[holder] else 'goes on'}"
        report.show_case(watch.ends("hs1 dies before the time", f"held by {holder}", told))
        call.world.stop()
    return ended


def _forgeries(report: Report, seed: int) -> dict[str, tuple[int, Any]]:
    """What /send_pdus of hs2 says to events that Alice has not signed as they are, and what comes of it."""
    call = PresignedCall(f"{seed} forgeries")
    somebody = ClientKey("somebody else", "hs1")
    table = report.table(
        "What the holder can do with it",
        "the event has",
        "answer of /send_pdus",
        "the room then has",
        note="Alice has signed a leave with a reason in it.",
    )
    answers = {}
    for name in (*FORGERIES, AS_SIGNED):
        room_id = call.open_room()
        call.world.settle()
        watch = Watch(call.world, room_id, alone=False)
        pdu = call.sign(room_id, LEFT).pdu
        if name in ("nobody's signature", "the signature of another key"):
            version = call.view("hs1", room_id).events[0].event.version
            unsigned = {key: value for key, value in pdu.items() if key != "signatures"}
            theirs = somebody.sign(unsigned, version)["signatures"][somebody.user_id]
            signed = {call.alice.user_id: theirs} if "another" in name else {}
            pdu = {**unsigned, "signatures": signed}
        elif name == "prev_events brought up to date":
            pdu = {**pdu, "prev_events": [call.bob.send(room_id, "later")]}
        elif name == REWORDED:
            pdu = {**pdu, "content": {**LEFT, "reason": "something else"}}
        watch.say(f"bob gives alice's leave to hs2, with {name}")
        body = {"pdus": [{"room_version": "12", "pdu": pdu}]}
        answer = call.bob.request("POST", f"/_matrix/client/v1/send_pdus/{call.bob.txn()}", json=body)
        content = call.bob.state(room_id)[CALL, call.alice.user_id]["content"]
        answers[name] = (answer.status, content)
        what = "still her joining" if content == JOINED else "her leave" if content == LEFT else str(content)
        said = f"{answer.status} {answer.errcode or ''}".strip()
        table.add(name, said, what)
        watch.say(f"hs2 answers {said}: {answer.json.get('error', 'it is taken')}")
        call.world.settle()
        report.show_case(watch.ends("What its holder can do with it", name, f"{said}; then {what}"))
    call.world.stop()
    return answers


LEFT = {"reason": "vanished"}
REWORDED = "other content"
FORGERIES = ("nobody's signature", "the signature of another key", "prev_events brought up to date", REWORDED)
AS_SIGNED = "all as she signed it"


def _judge(
    report: Report,
    found: dict[str, Found],
    held: dict[str, bool],
    forged: dict[str, tuple[int, Any]],
) -> None:
    quiet = [found[name] for name in ("nothing", "10 messages", "100 messages")]
    report.check(
        "messages alone do not break a signed state event: it is accepted and in force, however far behind",
        all(one.standing == "accepted" and one.in_force for one in quiet),
    )
    report.check(
        "but it forks the graph: it has its place beside everything that was said since",
        found["100 messages"].tips == 2 and found["nothing"].tips == 1,
    )
    own = found["Alice changes that state herself"]
    report.check(
        "if Alice has changed that state since, her signed leave is accepted and loses: she stays a ghost, "
        "where the future would have ended her membership",
        (own.standing, own.in_force, own.future) == ("accepted", False, "sent"),
    )
    report.check(
        "after a ban or a loss of power it is soft-failed, as the future would have been refused",
        all(
            found[name].standing == "soft-failed" and found[name].future.startswith("refused")
            for name in ("the power for it is raised above hers", "Alice is banned")
        ),
    )
    report.check(
        "the servers agree in the end in every case",
        not any(one.differences for one in found.values()),
    )
    report.check(
        "held by another server, it is sent while its sender's is dead; held by its sender's, it is not",
        held == {"hs2, signed": True, "hs1, signed": False},
    )
    report.check(
        "whoever holds it cannot bring it up to date, nor put words into it: other content is redacted",
        all(forged[name] == (400, JOINED) for name in FORGERIES if name != REWORDED)
        and forged[REWORDED] == (200, {})
        and forged[AS_SIGNED] == (200, LEFT),
    )
