"""How many examples random tests draw: MINIHS_EXAMPLES times as many when somebody has the time."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("MINIHS_EXAMPLES", "1"))


def examples(everyday: int) -> int:
    """So many, or a multiple."""
    return everyday * TIMES
