"""Which servers a room's `m.room.server_acl` lets take part.

Pure matching; where it is applied is the concern of the inbound federation paths.
Source: Client-Server API, "Server Access Control Lists (ACLs) for rooms"; globs: Appendices.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from minihs.events.ids import InvalidIdentifier, ServerName, split_server_name

_MATCHES_NOTHING = re.compile(r"(?!)")


class ServerACL(msgspec.Struct, frozen=True):
    """One room's list, compiled; `ServerACL.of` makes it from the event's content."""

    allow_ip_literals: bool
    allowed: re.Pattern[str]
    denied: re.Pattern[str]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ServerACL:
        """The list that `content` describes; what is not a list of strings counts as absent."""
        return cls(
            allow_ip_literals=content.get("allow_ip_literals") is not False,
            allowed=_compile(content.get("allow")),
            denied=_compile(content.get("deny")),
        )

    def allows(self, server_name: ServerName) -> bool:
        """Whether the server may take part. Its port never matters. The steps are the event's own."""
        try:
            host, _ = split_server_name(server_name)
        except InvalidIdentifier:
            return False
        if not self.allow_ip_literals and _is_ip_literal(host):
            return False
        if self.denied.fullmatch(host):
            return False
        return self.allowed.fullmatch(host) is not None


def _compile(patterns: object) -> re.Pattern[str]:
    if not isinstance(patterns, list | tuple):
        return _MATCHES_NOTHING
    globs = [_as_regex(pattern) for pattern in patterns if isinstance(pattern, str)]
    return re.compile("|".join(globs), re.IGNORECASE | re.DOTALL) if globs else _MATCHES_NOTHING


def _as_regex(glob: str) -> str:
    # Runs of stars are one star, and each is possessive up to its next literal part, so that a hostile list
    # ("*a*a*a*…") costs no more than a walk along the name.
    parts = [_literal(part) for part in re.split(r"\*+", glob)]
    if len(parts) == 1:
        return f"(?:{parts[0]})"
    first, *middle, last = parts
    return f"(?:{first}{''.join(f'(?>.*?{part})' for part in middle)}.*{last})"


def _literal(part: str) -> str:
    return "".join("." if character == "?" else re.escape(character) for character in part)


def _is_ip_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
