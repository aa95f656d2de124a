"""Events at the edges of their format: both servers must hash, sign and redact the same bytes."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from tests.interop.conftest import Pair, either_side, every_version
from tests.support.peers import Json, Peer, quote, refusal
from tests.support.processes import until

pytestmark = [pytest.mark.process, pytest.mark.full]

ODD = "org.example.odd"
LARGEST = 2**53 - 1

ODD_CONTENTS: dict[str, Json] = {
    "nothing": {},
    "integers at the limits": {"n": [LARGEST, -LARGEST, 0, -1]},
    "keys in an odd order": {"b": 1, "a": 2, "ä": 3, "€": 4, "😀": 5, "": 6, "A": 7, "aa": 8, "\uffff": 9},
    "text that needs escapes": {"t": '"\\/\b\f\n\r\t\x00\x1f\x7f\u2028\u2029</script>'},
    "text beyond the basic plane": {"t": "🏳️‍🌈 𝕳𝖊𝖑𝖑𝖔 \u202eolleh e\u0301 é"},
    "names that mean something elsewhere": {
        "__proto__": {"constructor": 1},
        "a.b": {"a\\.b": None},
        "$": "$",
    },
    "deep nesting": {"deep": reduce(lambda inner, _: [inner], range(40), list[Any]())},
    "what belongs outside": {"event_id": "$x", "unsigned": {"age": 1}, "signatures": {}, "hashes": 1},
}

LOOSE_CONTENTS: dict[str, Json] = {
    "fractions": {"n": [0.5, 1.0, -2.25, 1e-7, 1e21, 123456789.125]},
    "integers beyond the limits": {"n": [2**53, -(2**62)]},
}
"""What room versions up to 5 let pass. Ours takes it of Synapse, but not of its own users."""


def put(sender: Peer, room_id: str, content: Json, txn_id: str) -> str:
    reply: Json = sender.room(room_id, "PUT", f"send/{ODD}/{quote(txn_id)}", content)
    return str(reply["event_id"])


def content_of(reader: Peer, room_id: str, event_id: str) -> Any:
    return reader.room(room_id, "GET", f"event/{quote(event_id)}")["content"]


@pytest.mark.parametrize("version", ["3", "5", "12"])
@either_side
def test_odd_contents_arrive_as_they_were_sent(pair: Pair, side: str, version: str) -> None:
    host, guest, room_id = pair.room(side, version)
    for sender, reader in ((host, guest), (guest, host)):
        loose = version != "12" and sender.server_name == pair.synapse.server_name
        contents = ODD_CONTENTS | LOOSE_CONTENTS if loose else ODD_CONTENTS
        sent = {what: put(sender, room_id, content, what) for what, content in contents.items()}
        reader.sees(sender.send(room_id, "that was all"))
        assert {what: content_of(reader, room_id, event_id) for what, event_id in sent.items()} == contents


@either_side
def test_numbers_that_are_not_canonical_are_refused_where_the_version_says_so(pair: Pair, side: str) -> None:
    host, _, room_id = pair.room(side, "6")
    for what, content in LOOSE_CONTENTS.items():
        assert refusal(lambda what=what, content=content: put(host, room_id, content, what)) == "M_BAD_JSON"


@either_side
def test_the_largest_events_pass_and_larger_ones_are_refused(pair: Pair, side: str) -> None:
    host, guest, room_id = pair.room(side)
    for sender, reader in ((host, guest), (guest, host)):
        large = {"body": "é" * 31_000, "msgtype": "m.text"}
        event_id = put(sender, room_id, large, "large")
        reader.sees(event_id)
        assert content_of(reader, room_id, event_id) == large
        assert refusal(lambda sender=sender: put(sender, room_id, {"body": "x" * 66_000}, "larger")) == (
            "M_TOO_LARGE"
        )
    key = "é" * 127 + "x"  # 255 bytes
    host.put_state(room_id, ODD, {"by": host.user_id}, key)
    until(lambda: (ODD, key) in guest.state(room_id), "the state with the longest key")
    assert refusal(lambda: host.put_state(room_id, ODD, {}, key + "x")) in ("M_TOO_LARGE", "M_INVALID_PARAM")


@every_version
@either_side
def test_redacted_state_keeps_the_same_on_both_sides(pair: Pair, side: str, version: str) -> None:
    """What is left of each kind of state is the version's; it is equal on both, as after every scenario."""
    host, guest, room_id = pair.room(side, version)
    guest.sees(host.set_power(room_id, guest.user_id, 50))
    of_host = {
        "m.room.topic": {"topic": "to be redacted"},
        "m.room.join_rules": {"join_rule": "public", "allow": [], "extra": 1},
        "m.room.history_visibility": {"history_visibility": "shared", "extra": 1},
    }
    of_guest = {"m.room.name": {"name": "to be redacted"}, ODD: {"to be": "redacted"}}
    redacted = [(host, guest, host.put_state(room_id, *state)) for state in of_host.items()]
    redacted += [(guest, host, guest.put_state(room_id, *state)) for state in of_guest.items()]
    redacted.append((guest, host, host.state(room_id)["m.room.member", guest.user_id][0]))
    for _, redactor, event_id in redacted:
        until(lambda: event_id in [one for one, _ in redactor.state(room_id).values()], "what is redacted")  # noqa: B023
    for sender, redactor, event_id in redacted:
        sender.sees(redactor.redact(room_id, event_id))
    left = host.state(room_id)
    assert left["m.room.name", ""][1] == left[ODD, ""][1] == left["m.room.topic", ""][1] == {}
    assert left["m.room.history_visibility", ""][1] == {"history_visibility": "shared"}
    assert left["m.room.member", guest.user_id][1] == {"membership": "join"}
    host.sees(guest.send(room_id, "still here"))
