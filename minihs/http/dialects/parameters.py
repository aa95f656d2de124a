"""Reading what dialects are asked with: query parameters under either spelling, each at most once.

Nothing is passed over in silence: a delay that is not understood must not become "now".
"""

from __future__ import annotations

import re

from minihs.http.dialects.spelling import PREFIX
from minihs.http.errors import MatrixError
from minihs.http.request import Query

TIMEOUT = "future_timeout"
GROUP = "future_group_id"
PARENT = "parent_future_id"
MAX_NAME_BYTES = 255

_DIGITS = re.compile(r"[0-9]+\Z", re.ASCII)
_MAX_DIGITS = 18
"""As many as certainly fit into the store; a longer number is above every limit anyway."""


def either(*names: str) -> frozenset[str]:
    """Parameters under their plain and their prefixed names."""
    return frozenset(names) | {PREFIX + name for name in names}


def given(query: Query, *spellings: str) -> str | None:
    """The one value that is given under any of the spellings; 400 `M_INVALID_PARAM` for several."""
    values = [value for spelling in spellings for value in query.many(spelling)]
    if len(values) > 1:
        raise invalid(f"The query parameter `{spellings[0]}` is given more than once.")
    return values[0] if values else None


def timeout_ms(text: str | None, parameter: str = TIMEOUT) -> int | None:
    """A positive number of milliseconds; whether it is too large is not judged here."""
    if text is None:
        return None
    digits = text.lstrip("0")
    if not digits or not _DIGITS.match(text):
        raise invalid(f"`{parameter}` must be a positive number of milliseconds.")
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def name(text: str | None, parameter: str) -> str | None:
    """A name that somebody chose."""
    if text is not None and not 0 < len(text.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES:
        raise invalid(f"`{parameter}` must have 1 to {MAX_NAME_BYTES} bytes.")
    return text


def invalid(sentence: str) -> MatrixError:
    """400 `M_INVALID_PARAM`."""
    return MatrixError(400, "M_INVALID_PARAM", sentence)
