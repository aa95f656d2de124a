"""What a handler is given and what it gives back: path and query arguments, the checked body, the reply.

How bytes become a checked value, and each way in which they may fail, stands here and nowhere else.
Source: client-server API, "API Standards".

JSON is read by msgspec: UTF-8 only, no NaN or infinities, integers of any size up to Python's limit of
digits, of duplicate keys the last one counts, unknown keys are ignored unless a type forbids them. Nesting is
bounded by MAX_JSON_DEPTH.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args
from urllib.parse import unquote_to_bytes

import msgspec

from minihs.events.ids import ServerName
from minihs.homeserver.accounts.sessions import Requester
from minihs.http.errors import MatrixError
from minihs.http.whole_request import RequestHeaders

MAX_JSON_DEPTH = 200
"""Well under the interpreter's recursion limit, so that whatever was read can be walked and written again."""

# Possessive, and content with a string that never ends: linear in any input.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
# So near the end msgspec takes a surrogate that stands alone for a body that was cut off.
_HALF_A_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*+\\u[dD][89abAB][0-9a-fA-F]{2}.{0,5}\Z", re.DOTALL)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z", re.ASCII)
_MISSING_FIELD = re.compile(r"Object missing required field `([^`]*)`(?: - at `\$(.*)`)?\Z")
_FAULT = re.compile(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?\Z", re.DOTALL)
_TYPE_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "null": "null",
    "array": "an array",
    "object": "an object",
}


class Reply(msgspec.Struct):
    """A response: `body` is JSON unless it is bytes, whose `Content-Type` the headers then say."""

    status: int = 200
    body: Any = msgspec.field(default_factory=dict)
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)


class Query:
    """The query of a request, parsed when first asked for; MatrixError 400 when it is no UTF-8."""

    __slots__ = ("_raw", "_values")

    def __init__(self, raw: bytes = b"") -> None:
        self._raw = raw
        self._values: dict[str, list[str]] | None = None

    def _all(self) -> dict[str, list[str]]:
        if self._values is None:
            self._values = _parse_query(self._raw) if self._raw else {}
        return self._values

    def names(self) -> tuple[str, ...]:
        """The names that are there, in their order."""
        return tuple(self._all())

    def many(self, name: str) -> list[str]:
        """Every value of `name`, in their order."""
        return list(self._all().get(name, ())) if self._raw else []

    def one(self, name: str) -> str | None:
        """The value of `name`; of several, the first one."""
        values = self._all().get(name) if self._raw else None
        return values[0] if values else None

    def required(self, name: str) -> str:
        """The value of `name`, or 400 `M_MISSING_PARAM`."""
        value = self.one(name)
        if value is None:
            raise MatrixError(400, "M_MISSING_PARAM", f"The query parameter `{name}` is missing.")
        return value

    def integer(
        self,
        name: str,
        default: int | None = None,
        minimum: int | None = None,
        maximum: int | None = None,
    ) -> int | None:
        """The value as an integer; below `minimum` is 400 `M_INVALID_PARAM`, above `maximum` counts as it."""
        text = self.one(name)
        if text is None:
            return default
        if not _INTEGER.match(text):
            raise MatrixError(400, "M_INVALID_PARAM", f"The query parameter `{name}` must be an integer.")
        value = int(text)
        if minimum is not None and value < minimum:
            raise MatrixError(
                400, "M_INVALID_PARAM", f"The query parameter `{name}` must be at least {minimum}."
            )
        return value if maximum is None else min(value, maximum)

    def boolean(self, name: str, default: bool = False) -> bool:
        """`true` or `false`; anything else is 400 `M_INVALID_PARAM`."""
        text = self.one(name)
        if text is None:
            return default
        if text not in {"true", "false"}:
            raise MatrixError(400, "M_INVALID_PARAM", f"The query parameter `{name}` must be true or false.")
        return text == "true"

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str | None:
        """One of `choices`; anything else is 400 `M_INVALID_PARAM`."""
        text = self.one(name)
        if text is None:
            return default
        if text not in choices:
            raise MatrixError(
                400, "M_INVALID_PARAM", f"The query parameter `{name}` must be one of: {', '.join(choices)}."
            )
        return text


class ApiRequest(msgspec.Struct, kw_only=True):
    """A request that has passed its route's checks."""

    method: str
    path: str
    """The path as it stood in the request line, still percent-encoded. It may hold secrets: never log it."""
    args: dict[str, str]
    query: Query
    raw_body: bytes = b""
    body: Any = None
    """The body as the route's type, when it has one."""
    requester: Requester | None = None
    origin: ServerName | None = None
    client_address: str = ""
    headers: RequestHeaders | None = None

    @property
    def user(self) -> Requester:
        """The requester of a route that has one (Access.USER, MEMBER, ADMIN)."""
        if self.requester is None:
            raise RuntimeError("only routes that demand a token may ask for their user")
        return self.requester

    @property
    def server(self) -> ServerName:
        """The server of a route with Access.SERVER."""
        if self.origin is None:
            raise RuntimeError("only routes that demand a signature may ask for their server")
        return self.origin

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; 400 `M_NOT_JSON` or `M_BAD_JSON` when it is none."""
        return decode_object(self.raw_body)

    def header(self, name: str) -> str | None:
        """The last value of a header, None when it is absent or not readable."""
        values = None if self.headers is None else self.headers.getRawHeaders(name.encode("ascii"))
        return values[-1].decode("utf-8", "replace") if values else None


class BodyReader:
    """Decodes the body of one route into its type."""

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._kind = kind
        try:
            # A body that needs no field may be left out, as several clients do; a free-form object may not.
            self._when_empty = self._decoder.decode(b"{}") if _is_struct(kind) else None
        except msgspec.ValidationError:
            self._when_empty = None

    def read(self, raw: bytes) -> Any:
        """The value, or 400 `M_NOT_JSON`, `M_BAD_JSON`, `M_MISSING_PARAM` or `M_INVALID_PARAM`."""
        if not raw and self._when_empty is not None:
            return self._when_empty
        return _decode(raw, self._decoder)

    def convert(self, value: dict[str, Any]) -> Any:
        """The same for a body that has been decoded already."""
        try:
            return msgspec.convert(value, self._kind)
        except msgspec.ValidationError as fault:
            raise _translate(fault, self._kind) from None


def decode_object(raw: bytes) -> dict[str, Any]:
    """A JSON object from the bytes of a body; MatrixError 400 `M_NOT_JSON` or `M_BAD_JSON`."""
    decoded: dict[str, Any] = _decode(raw, _OBJECT)
    return decoded


def _decode(raw: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    if raw.count(b"[") + raw.count(b"{") > MAX_JSON_DEPTH:
        _check_depth(raw)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as fault:
        raise _translate(fault, decoder.type) from None
    except ValueError as fault:
        if not raw:
            raise MatrixError(400, "M_NOT_JSON", "The request needs a JSON object as its body.") from None
        reason = str(fault)
        if isinstance(fault, UnicodeDecodeError):
            reason = "it is not UTF-8"
        elif _HALF_A_PAIR.search(raw):
            reason = "near its end is half of a surrogate pair"
        raise MatrixError(400, "M_NOT_JSON", f"The body cannot be read as JSON: {reason}.") from None


def _check_depth(raw: bytes) -> None:
    depth = 0
    for byte in _STRING.sub(b"", raw):
        if byte in b"[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise MatrixError(
                    400,
                    "M_BAD_JSON",
                    f"The JSON of the body is nested more than {MAX_JSON_DEPTH} levels deep.",
                )
        elif byte in b"]}":
            depth -= 1


def _translate(fault: msgspec.ValidationError, kind: Any) -> MatrixError:
    """msgspec's complaint in the specification's terms, with a sentence that names the field."""
    text = str(fault)
    missing = _MISSING_FIELD.match(text)
    if missing is not None:
        name = _dotted(missing.group(2), missing.group(1))
        return MatrixError(400, "M_MISSING_PARAM", f"The body lacks `{name}`.")
    match = _FAULT.match(text)
    complaint, where = match.groups() if match is not None else (text, None)
    complaint = re.sub(r"`([^`]*)`", lambda found: _in_words(found.group(1)), complaint)
    complaint = complaint[:1].lower() + complaint[1:]
    if complaint.startswith(("invalid enum value", "object contains unknown field")):
        complaint += _choices(kind, _dotted(where))
    if where:
        name = _dotted(where)
        return MatrixError(400, "M_INVALID_PARAM", f"The body's `{name}` is wrong: {complaint}.")
    return MatrixError(400, "M_BAD_JSON", f"The body is wrong: {complaint}.")


def _choices(kind: Any, name: str) -> str:
    """What is taken at a place in the body: one of a few words, or these fields."""
    for step in name.split(".") if name else ():
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(_struct_of(kind))}
        kind = fields.get(step)
    if _struct_of(kind) is not _Nothing:
        taken = [field.encode_name for field in msgspec.structs.fields(_struct_of(kind))]
    else:
        words = {word for part in (kind, *get_args(kind)) for word in get_args(part)}
        taken = sorted(word for word in words if isinstance(word, str))
    return f"; it takes {', '.join(taken)}" if taken else ""


class _Nothing(msgspec.Struct):
    """What no body has."""


def _struct_of(kind: Any) -> type[msgspec.Struct]:
    """The struct that a type is, or may be; one without fields when there is none."""
    return next((part for part in (kind, *get_args(kind)) if _is_struct(part)), _Nothing)


def _in_words(kinds: str) -> str:
    return " or ".join(_TYPE_NAMES.get(kind, f"`{kind}`") for kind in kinds.split(" | "))


def _dotted(where: str | None, last: str | None = None) -> str:
    steps = [step for step in (where or "").strip(".").split(".") if step]
    return ".".join([*steps, last] if last is not None else steps)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _parse_query(raw: bytes) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    try:
        for pair in raw.split(b"&"):
            if pair:
                name, _, value = pair.partition(b"=")
                values.setdefault(_unquote(name), []).append(_unquote(value))
    except UnicodeDecodeError:
        raise MatrixError(400, "M_INVALID_PARAM", "The query is not percent-encoded UTF-8.") from None
    return values


def _unquote(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    return raw.decode("utf-8")
