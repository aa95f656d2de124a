"""The pure packages import only what is named here; the layer contracts forbid the worst by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import minihs

PURE = ("events", "futures", "rooms")
ALLOWED = {
    *("__future__", "binascii", "collections", "contextlib", "dataclasses", "enum", "functools", "hashlib"),
    *("heapq", "ipaddress", "itertools", "math", "operator", "re", "types", "typing"),
    *("canonicaljson", "immutables", "msgspec", "nacl", "signedjson", "unpaddedbase64"),
}
"""Arithmetic, data and cryptography: nothing that reads, waits, writes or asks what time it is."""


def imported(source: str) -> Iterator[str]:
    """What a module imports: other packages by their first name, those of minihs by two."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module or ""]
        for name in names:
            first, _, rest = name.partition(".")
            yield f"{first}.{rest.partition('.')[0]}" if first == "minihs" else first


def test_the_pure_core_imports_nothing_but_arithmetic_and_itself() -> None:
    allowed = ALLOWED | {f"minihs.{package}" for package in PURE}
    files = [
        path for package in PURE for path in sorted(Path(minihs.__file__).parent.glob(f"{package}/**/*.py"))
    ]
    found = {(path.name, name) for path in files for name in imported(path.read_text())}
    assert sorted(entry for entry in found if entry[1] not in allowed) == []
    assert {name for _, name in found} >= {"msgspec", "minihs.events", "minihs.rooms"}


def test_an_import_of_io_would_be_found() -> None:
    source = "import os.path\ndef later():\n    from minihs.platform.clock import Clock\n"
    assert list(imported(source)) == ["os", "minihs.platform"]
