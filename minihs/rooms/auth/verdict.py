"""The two answers of the auth rules, each with the number of the rule that gave it.

Rules are numbered as in the newest room version that has them: "v12 5.3.2" is rule 5.3.2 of the page
"Room Version 12" as published, also when the room is older; a rule that is gone carries its last version.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowed:
    """The event passes; `rule` is the one that said so."""

    rule: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The event breaks a rule; `reason` is a sentence for people."""

    rule: str
    reason: str
