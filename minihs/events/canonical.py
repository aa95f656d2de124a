"""Canonical JSON: the one encoding that is hashed and signed, and the check that a value may have it.

No events here. Answers to "Canonical JSON" in the specification's appendices and in the room versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias

from canonicaljson import encode_canonical_json
from msgspec.json import Encoder

JSONValue: TypeAlias = "bool | int | float | str | Sequence[JSONValue] | Mapping[str, JSONValue] | None"

MAX_INTEGER = 2**53 - 1
"""Integers a double holds exactly; appendices, "Canonical JSON"."""

MAX_DEPTH = 128
"""Levels of nesting. The specification sets none; serde_json, in other servers, stops at this one."""

_MAX_STEP = 40
"""Characters of each key that an error shows."""

_MAX_LOOSE_BITS = 1024
"""Where integers are not limited (versions before 6): what a double can reach, so that printing is cheap."""


class NotCanonical(ValueError):
    """A value that canonical JSON has no place for; the message says where it stands."""

    def __init__(self, fault: str, path: str = "") -> None:
        super().__init__(f"{path.lstrip('.') or 'the value'} {fault}")
        self._fault = fault
        self._path = path

    def within(self, step: str) -> NotCanonical:
        return NotCanonical(self._fault, step + self._path)


_encode_sorted = Encoder(order="sorted").encode


def encode(value: object, *, strict: bool = False) -> bytes:
    """The canonical encoding of a value that `check` has passed, `strict` if it did so with strict integers.

    Without floats and huge integers a faster encoder gives the same bytes, a tenth as long; events are
    encoded four times on their way.
    """
    return _encode_sorted(value) if strict else encode_canonical_json(value)


def check(value: object, *, strict_integers: bool = True) -> None:
    """Refuse what canonical JSON cannot hold.

    Only what a JSON decoder makes is accepted: `dict` with `str` keys, `list`, `str`, `int`, `bool`, `None`,
    and, unless `strict_integers`, finite floats and integers of any reasonable size (room versions before 6).

    Raises `NotCanonical` with the path to the fault. Appendices, "Canonical JSON".
    """
    _check(value, MAX_DEPTH, strict_integers)


def _check(value: Any, depth: int, strict: bool) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value)
    elif kind is dict:
        if depth <= 0:
            raise NotCanonical(f"is nested deeper than {MAX_DEPTH} levels")
        for key, member in value.items():
            if type(key) is not str:
                raise NotCanonical("has a key that is not a string")
            if not key.isascii():
                _check_text(key)
            if type(member) is str and member.isascii():
                continue
            try:
                _check(member, depth - 1, strict)
            except NotCanonical as refused:
                raise refused.within(f".{key[:_MAX_STEP]}") from None
    elif kind is list:
        if depth <= 0:
            raise NotCanonical(f"is nested deeper than {MAX_DEPTH} levels")
        for index, member in enumerate(value):
            if type(member) is str and member.isascii():
                continue
            try:
                _check(member, depth - 1, strict)
            except NotCanonical as refused:
                raise refused.within(f"[{index}]") from None
    elif kind is int:
        _check_integer(value, strict)
    elif kind is float:
        if strict:
            raise NotCanonical("is a number with a fraction or an exponent; only integers are allowed")
        if not math.isfinite(value):
            raise NotCanonical("is not a finite number")
    elif kind not in (bool, NoneType):
        raise NotCanonical(f"is a {kind.__name__}, which JSON has no word for")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotCanonical("has half of a surrogate pair") from None


def _check_integer(value: int, strict: bool) -> None:
    if strict:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonical("is outside the range of integers, ±(2^53 - 1)")
    elif value.bit_length() > _MAX_LOOSE_BITS:
        raise NotCanonical("is too large a number")
