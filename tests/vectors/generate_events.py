"""Makes `events.json`: hashes, IDs and signatures of events by the specification's algorithms.

Written plainly, from the pages of the room versions alone, and importing nothing of minihs, so that the two
can disagree.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from canonicaljson import encode_canonical_json
from signedjson.key import read_signing_keys
from signedjson.sign import sign_json

HERE = Path(__file__).parent

KEPT_SINCE_V11 = (
    "event_id type room_id sender state_key content hashes signatures depth prev_events auth_events "
    "origin_server_ts"
)
KEPT_UNTIL_V10 = KEPT_SINCE_V11 + " prev_state origin membership"
POWER_LEVELS_UNTIL_V10 = "ban events events_default kick redact state_default users users_default"

CONTENT_KEPT = {
    "m.room.member": {
        "3 4 5 6 7 8": "membership",
        "9 10 11 12": "membership join_authorised_via_users_server",
    },
    "m.room.create": {"3 4 5 6 7 8 9 10": "creator", "11 12": "*"},
    "m.room.join_rules": {"3 4 5 6 7": "join_rule", "8 9 10 11 12": "join_rule allow"},
    "m.room.power_levels": {
        "3 4 5 6 7 8 9 10": POWER_LEVELS_UNTIL_V10,
        "11 12": POWER_LEVELS_UNTIL_V10 + " invite",
    },
    "m.room.aliases": {"3 4 5": "aliases"},
    "m.room.history_visibility": {"3 4 5 6 7 8 9 10 11 12": "history_visibility"},
    "m.room.redaction": {"11 12": "redacts"},
}

CONTENTS: dict[str, dict[str, Any]] = {
    "m.room.message": {"body": "Grüße, 日本", "msgtype": "m.text"},
    "m.room.topic": {"topic": "redaction"},
    "m.room.member": {
        "membership": "join",
        "displayname": "Alice",
        "join_authorised_via_users_server": "@bob:domain",
        "third_party_invite": {"display_name": "A", "signed": {"mxid": "@a:domain", "token": "t"}},
    },
    "m.room.create": {"creator": "@a:domain", "room_version": "x", "m.federate": True, "type": "m.space"},
    "m.room.join_rules": {"join_rule": "restricted", "allow": [{"type": "x"}], "note": 1},
    "m.room.power_levels": {
        **dict.fromkeys(("ban", "events_default", "invite", "kick", "redact", "state_default"), 50),
        "events": {"m.room.name": 100},
        "users": {"@a:domain": 100},
        "users_default": -1,
        "notifications": {"room": 20},
    },
    "m.room.aliases": {"aliases": ["#a:domain"], "note": 1},
    "m.room.history_visibility": {"history_visibility": "shared", "note": 1},
    "m.room.redaction": {"redacts": "$inside", "reason": "spam"},
}


def essential(event: dict[str, Any], version: str) -> dict[str, Any]:
    keys = KEPT_UNTIL_V10 if int(version) <= 10 else KEPT_SINCE_V11
    kept = {key: value for key, value in event.items() if key in keys.split()}
    names = ""
    for versions, listed in CONTENT_KEPT.get(event["type"], {}).items():
        if version in versions.split():
            names = listed
    content = event["content"]
    kept["content"] = {
        name: value for name, value in content.items() if names == "*" or name in names.split()
    }
    if event["type"] == "m.room.member" and int(version) >= 11:
        kept["content"]["third_party_invite"] = {"signed": content["third_party_invite"]["signed"]}
    return kept


def make(version: str, number: int, event_type: str, content: dict[str, Any]) -> dict[str, Any]:
    event: dict[str, Any] = {
        "type": event_type,
        "sender": "@a:domain",
        "content": content,
        "origin_server_ts": 1_000_000 + number,
        "depth": number + 1,
        "prev_events": ["$prev"],
        "auth_events": ["$auth"],
        "origin": "domain",
        "membership": "join",
        "prev_state": [],
        "redacts": "$outside",
        "org.example.unknown": {"z": [1, None, "\u007f\u0001"], "a": False},
    }
    if not (version == "12" and event_type == "m.room.create"):
        event["room_id"] = "!" + "r" * 43 if version == "12" else "!r:domain"
    if event_type not in ("m.room.message", "m.room.redaction"):
        event["state_key"] = "@a:domain" if event_type == "m.room.member" else ""

    digest = hashlib.sha256(encode_canonical_json(event)).digest()
    event["hashes"] = {"sha256": base64.b64encode(digest).decode().rstrip("=")}
    redacted = essential(event, version)
    digest = hashlib.sha256(encode_canonical_json(redacted)).digest()
    encoded = base64.b64encode(digest) if version == "3" else base64.urlsafe_b64encode(digest)
    [key] = read_signing_keys((HERE.parents[1] / "keys" / "spec_test_key.txt").read_text().splitlines())
    event["signatures"] = sign_json(redacted, "domain", key)["signatures"]
    return {"version": version, "event_id": "$" + encoded.decode().rstrip("="), "pdu": event}


def main() -> None:
    events = [
        make(str(version), number, event_type, content)
        for version in range(3, 13)
        for number, (event_type, content) in enumerate(CONTENTS.items())
    ]
    lines = ",\n".join(json.dumps(event, ensure_ascii=True) for event in events)
    (HERE / "events.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
