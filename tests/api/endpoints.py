"""The table of every endpoint of the specification (made by scripts/endpoints-table), as typed rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "vectors" / "endpoints.json"

Shape = Mapping[str, Any]
"""What is left of a JSON schema: `type`, `enum`, `properties`, `required`, `items`, `values`."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One method on one path, as the specification has it."""

    api: str
    chapter: str
    method: str
    path: str
    access: str
    deprecated: bool = False
    query: Mapping[str, Shape] = field(default_factory=dict)
    body: Shape | None = None
    raw_body: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        """The names in the path, in order."""
        return re.findall(r"\{(\w+)\}", self.path)

    def filled(self, arguments: Mapping[str, str]) -> str:
        """The path with arguments that are already percent-encoded."""
        return re.sub(r"\{(\w+)\}", lambda match: arguments[match[1]], self.path)


ENDPOINTS: tuple[Endpoint, ...] = tuple(Endpoint(**row) for row in json.loads(TABLE.read_text()))
