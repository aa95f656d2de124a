"""Every numbered rule has an accepted and a refused event, and every number in the code is a rule."""

from __future__ import annotations

import re
from pathlib import Path

import minihs.rooms.auth
import tests.rooms.test_auth_create
import tests.rooms.test_auth_member
import tests.rooms.test_auth_power_levels
import tests.rooms.test_auth_walk  # noqa: F401 - importing them notes their pairs
from tests.support.auth_rules import COVERED

RULES = {
    "v12": """
        1.1 1.2 1.3 1.4 1.5
        2
        3 3.1 3.2 3.3 3.4
        4
        5.1
        5.2.1
        5.3.1 5.3.2 5.3.3 5.3.4 5.3.5.1 5.3.5.2 5.3.5.3 5.3.6 5.3.7
        5.4.1.1 5.4.1.2 5.4.1.3 5.4.1.4 5.4.1.5 5.4.1.6 5.4.1.7 5.4.1.8
        5.4.2 5.4.3 5.4.4 5.4.5
        5.5.1 5.5.2 5.5.3 5.5.4 5.5.5
        5.6.1 5.6.2 5.6.3
        5.7.1 5.7.2 5.7.3 5.7.4
        5.8
        6
        7.1
        8
        9
        10.1 10.2 10.3 10.4 10.5 10.6.1 10.6.2 10.7.1 10.8.1 10.9.1 10.10.1 10.11
        11
    """,
    "v11": "1.2 2.4",  # gone since v12
    "v10": "1.4",  # gone since v11
    "v5": "4.1 4.2 4.3",  # gone since v6
}
"""The leaves of the published lists; "3" is passing all of rule 3."""

ALL_RULES = {f"{version} {number}" for version, numbers in RULES.items() for number in numbers.split()}


def test_every_rule_has_an_accepting_and_a_refusing_case() -> None:
    assert COVERED == ALL_RULES


def test_every_rule_is_named_in_the_code_and_nothing_else_is() -> None:
    folder = Path(minihs.rooms.auth.__file__).parent
    named = {
        number
        for file in folder.glob("*.py")
        for number in re.findall(r'(?:Allowed|Refused)\(\s*"(v\d+ [\d.]+)"', file.read_text())
    }
    assert named == ALL_RULES


def test_every_rule_stands_in_a_comment_beside_its_check() -> None:
    folder = Path(minihs.rooms.auth.__file__).parent
    sources = "\n".join(file.read_text() for file in folder.glob("*.py"))
    for rule in sorted(ALL_RULES - {"v12 1.5", "v12 3", "v5 4.3"}):
        assert re.search(rf"# {re.escape(rule)}(?![\d.]*\d)", sources), rule
