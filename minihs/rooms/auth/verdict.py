"""The two answers of the auth rules, each with the number of the rule that gave it.

Rules are numbered as in the newest room version that has them: "v12 5.3.2" is rule 5.3.2 of the page
"Room Version 12" as published, also when the room is older; a rule that is gone carries its last version.
"""

from __future__ import annotations

import msgspec


class Allowed(msgspec.Struct, frozen=True):
    """The event passes; `rule` is the one that said so."""

    rule: str


class Refused(msgspec.Struct, frozen=True):
    """The event breaks a rule; `reason` is a sentence for people."""

    rule: str
    reason: str
