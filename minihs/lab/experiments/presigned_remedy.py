"""MSC4080's remedy against clients that change what they sign: who can still hold a signed leave. A part of
`presigned`.

With it a server takes an event only if it has made that very event itself, and not long ago.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from minihs.events.hashes import content_hash, event_id_of
from minihs.lab.evidence import Watch
from minihs.lab.experiments.presigned_call import PresignedCall, Signed
from minihs.lab.people import Client
from minihs.lab.report import Report

KEPT_MS = 60_000
"""How long servers remember what they have made."""
TIMEOUT_MS = 600_000
AT_ONCE = "hs1, which made it, at once"
LATER = "hs1, ten minutes later"
ELSEWHERE = "hs2, at once"
CHANGED = "hs1, at once, with prev_events of Alice's choice"
HANDED = (AT_ONCE, LATER, ELSEWHERE, CHANGED)


class Taken(NamedTuple):
    """What `/send_pdus` answered, and whether Alice's membership ended on hs2 though hs1 died afterwards."""

    status: int
    ended: bool


def remedy(report: Report, seed: int) -> dict[tuple[str, bool], Taken]:
    """By whom it is handed to, without the remedy and with it."""
    found = {(to, on): _play(report, seed, to, on) for to in HANDED for on in (False, True)}
    table = report.table(
        "With MSC4080's remedy",
        "the signed leave is handed to",
        "answer without the remedy",
        "ends her membership though hs1 dies",
        "answer with it",
        "ends her membership though hs1 dies, with it",
        note="Servers remember for a minute what they have made.",
    )
    for to in HANDED:
        cells = [found[to, on] for on in (False, True)]
        told = ((one.status, "yes" if one.ended else "no") for one in cells)
        table.add(to, *(cell for pair in told for cell in pair))
    return found


def _play(report: Report, seed: int, to: str, on: bool) -> Taken:
    call = PresignedCall(f"{seed} remedy {to} {on}", KEPT_MS if on else None)
    world = call.world
    room_id = call.open_room()
    world.settle()
    watch = Watch(world, room_id)
    signed = call.sign(room_id, {})
    details: dict[str, Any] = {"future_timeout": TIMEOUT_MS}
    if to == LATER:
        world.advance(ms=TIMEOUT_MS)
        details = {}
    elif to == CHANGED:
        call.bob.send(room_id, "later")
        world.settle()
        signed = _with_old_prev_events(call, room_id, signed)
    holder: Client = call.bob if to == ELSEWHERE else call.alice
    body = {"pdus": [{"room_version": "12", "pdu": signed.pdu, **details}]}
    answer = holder.request("POST", f"/_matrix/client/v1/send_pdus/{holder.txn()}", json=body)
    world.settle()
    world["hs1"].crash()
    world.advance(ms=TIMEOUT_MS + 5_000)
    ended = call.of_alice("hs2", room_id) == signed.event_id
    told = f"{answer.status}: {answer.json.get('error', 'it is taken')}"
    title = f"handed to {to}; the remedy is {'on' if on else 'off'}"
    report.show_case(watch.ends("MSC4080's remedy", title, told, on_page=False))
    world.stop()
    return Taken(answer.status, ended)


def _with_old_prev_events(call: PresignedCall, room_id: str, signed: Signed) -> Signed:
    """The same, as a client makes it that wants it to stand elsewhere in the graph."""
    create = call.view("hs1", room_id).events[0].event
    pdu = {key: value for key, value in signed.pdu.items() if key not in ("signatures", "hashes")}
    pdu["prev_events"] = [create.event_id]
    pdu["hashes"] = {"sha256": content_hash(pdu)}
    return Signed(event_id_of(pdu, create.version), call.key.sign(pdu, create.version))


def judge_remedy(report: Report, found: dict[tuple[str, bool], Taken]) -> None:
    report.check(
        "without MSC4080's remedy a server takes what a client has moved in the graph before signing it; "
        "with it, only what it has made itself a short while ago",
        {to: found[to, False].status for to in HANDED} == dict.fromkeys(HANDED, 200)
        and {to: found[to, True].status for to in HANDED}
        == {AT_ONCE: 200, LATER: 400, ELSEWHERE: 400, CHANGED: 400},
    )
    report.check(
        "so nobody but the sender's own server can hold a signed leave, and nothing is sent when that is "
        "dead: the remedy and signing in advance exclude one another",
        found[ELSEWHERE, False].ended and not any(found[to, True].ended for to in HANDED),
    )
