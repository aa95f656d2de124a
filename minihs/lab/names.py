"""Names of a world's people, servers and rooms: what is not known is answered with the nearest that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


class UnknownName(LookupError):
    """There is nothing of that name; the message names the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = list(known)
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        if near:
            hint = f"Did you mean {near[0]!r}?"
        elif names:
            hint = f"There is: {', '.join(names)}."
        else:
            hint = "There is none yet."
        super().__init__(f"There is no {kind} called {name!r}. {hint}")


def named(kind: str, name: str, things: Mapping[str, T]) -> T:
    """The thing of that name; UnknownName when there is none."""
    try:
        return things[name]
    except KeyError:
        raise UnknownName(kind, name, things) from None
