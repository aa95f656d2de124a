"""What a client does when its server is back: it asks again, and later looks at what came of everything."""

from __future__ import annotations

from typing import Any

from tests.crash.hands import Hand
from tests.crash.ledger import Act
from tests.crash.promises import FINALISED, Evidence
from tests.crash.shapes import CLIENT, KNOWN_BY_ID, MANAGED_BY_OWNERS


def repeat_requests(hand: Hand, *, also_actions: bool) -> None:
    """Ask again for what was scheduled: whoever knows the reply gets the same one, the others get one.

    With `also_actions` the last request is repeated too when it was not answered, whatever it was.
    """
    ledger = hand.ledger
    open_requests = [request for request in ledger.requests if request.status is None]
    for plan in list(ledger.plans.values()):
        asked = [request for request in ledger.of(plan.mark) if request.act is Act.SCHEDULE]
        if not asked or (plan.dialect != "merged" and plan.state_key is not None):
            continue  # there is no transaction ID in the path of a state event
        known = ledger.reply_to_schedule(plan.mark)
        reply = hand.ask(Act.SCHEDULE, plan.mark)
        status = ledger.requests[-1].status
        # An action future that was never stored comes too late for a group that has ended meanwhile.
        too_late = known is None and plan.delay_ms is None and (status in FINALISED or _has_no_group(reply))
        assert status == 200 or too_late, f"the repeat was refused: {reply}"
        assert known in (None, reply), f"a transaction was answered {known}, and now {reply}"
    for request in open_requests if also_actions else ():
        if request.act not in (Act.SCHEDULE, Act.LOOK):
            hand.ask(request.act, request.mark)


def _has_no_group(reply: dict[str, Any]) -> bool:
    return str(reply.get("errcode")).startswith("M_UNKNOWN_FUTURE_")


def gather_evidence(hand: Hand) -> Evidence:
    """What the server shows now."""
    evidence = Evidence(hand.look())
    for mark, plan in hand.ledger.plans.items():
        known = hand.ledger.reply_to_schedule(mark)
        if known is None:
            continue
        if plan.dialect in KNOWN_BY_ID:
            path = f"{CLIENT}/v1/delayed_events/{known['delay_id']}"
            status, lookup = hand.line.call("GET", path, None, token=hand.token, number=0)
            assert status == 200, lookup
            evidence.lookups[mark] = lookup
        else:
            evidence.tokens[mark] = {}
            for act in (Act.SEND,) if plan.delay_ms is None else (Act.SEND, Act.RESTART):
                method, path, body = hand.request(act, mark)
                token = hand.token if plan.dialect in MANAGED_BY_OWNERS else ""
                status, _ = hand.line.call(method, path, body, token=token, number=0)
                evidence.tokens[mark][act.value] = status
    return evidence


def all_is_over(hand: Hand) -> bool:
    """Whether none of the hand's futures waits any more."""
    for mark, plan in hand.ledger.plans.items():
        known = hand.ledger.reply_to_schedule(mark)
        if known is not None and plan.dialect in KNOWN_BY_ID:
            path = f"{CLIENT}/v1/delayed_events/{known['delay_id']}"
            _, lookup = hand.line.call("GET", path, None, token=hand.token, number=0)
            if "finalised" not in lookup:
                return False
    status, waiting = hand.line.call("GET", f"{CLIENT}/v1/future", None, token=hand.token, number=0)
    assert status == 200, waiting
    return not waiting and _copies(hand) == sum(
        plan.dialect == "will-expire" and hand.ledger.reply_to_schedule(plan.mark) is not None
        for plan in hand.ledger.plans.values()
    )


def _copies(hand: Hand) -> int:
    """How many events have expired or were ended; no listing has those that have not."""
    _, path, _ = hand.request(Act.LOOK, hand.name)
    _, page = hand.line.call("GET", path, None, token=hand.token, number=0)
    return sum(event["content"].get("m.will_expire") in ("expired", "ended") for event in page["chunk"])
