"""Settings: a TOML file, flags that override it, and what they may say. Each part is handed only its section.

`docs/settings.md` is made from this file. Names that other tools rely on are fixed by the design.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
import msgspec.structs
from msgspec import Meta, Struct, field

from minihs.events.ids import InvalidIdentifier, ServerName, parse_server_name
from minihs.events.versions import SUPPORTED

PositiveInt = Annotated[int, Meta(ge=1)]
NonNegativeInt = Annotated[int, Meta(ge=0)]
LogLevel = Literal["debug", "info", "warn", "error", "critical"]
DialectName = Literal[
    "will-expire",
    "batch",
    "tokens",
    "tokens-on-send",
    "future-id",
    "delay-query",
    "merged",
    "msc4486",
    "msc4309",
]
"""The generations of futures, in order of their texts; a module for each in `http.dialects`."""


class InvalidSettings(Exception):
    """The settings cannot be used; the message names the setting and says what it takes."""


class Section(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A table of the settings file."""


class ServerSection(Section, frozen=True):
    """Who this server is and where it listens."""

    name: str = ""
    """The server name: what stands behind the colon in its users' IDs."""
    data_dir: str = "minihs-data"
    """Holds the database and the signing key; one process at a time."""
    client_listen: str = "127.0.0.1:8008"
    """HOST:PORT of the client API, plain HTTP: a proxy adds TLS."""
    federation_listen: str = "127.0.0.1:8448"
    """HOST:PORT of the server-server API, TLS."""
    tls_certificate: str | None = None
    """PEM file with the certificate chain of the federation listener."""
    tls_private_key: str | None = None
    """PEM file with its key."""
    public_base_url: str | None = None
    """What `/.well-known/matrix/client` tells clients; nothing is served there when unset."""
    delegated_server: str | None = None
    """What `/.well-known/matrix/server` tells other servers; nothing is served there when unset."""


class RegistrationSection(Section, frozen=True):
    """Who may make an account over the client API."""

    enabled: bool = False
    """Open registration. Safe only where nobody else can reach the server."""
    guests: bool = False
    """Whether guests may register; needs `enabled`."""
    min_password_length: PositiveInt = 8
    """Fewest characters of a new password, however it is set."""


class FuturesSection(Section, frozen=True):
    """Delayed events."""

    max_delay_ms: NonNegativeInt | None = 86_400_000
    """Longest delay; `null` (in a file: `"null"`) is no limit of our own."""
    max_scheduled: NonNegativeInt | None = 100
    """Most futures a user may have scheduled; 0 refuses all, `null` (in a file: `"null"`) is no limit."""
    dialects: Sequence[DialectName] = (
        "will-expire",
        "batch",
        "tokens",
        "tokens-on-send",
        "delay-query",
        "merged",
        "msc4486",
        "msc4309",
    )
    """The generations of the proposal that are served."""
    retention_ms: NonNegativeInt = 7 * 86_400_000
    """How long an outcome is kept."""
    retention_count: NonNegativeInt = 1_000
    """How many outcomes are kept for each user."""
    unauthenticated_management: bool = True
    """Whether the delay ID alone is enough on the unstable action paths."""
    unstable_conflict: Literal[404, 409] = 404
    """What an action that contradicts the outcome answers on unstable paths."""
    authorisation: Literal["send", "schedule", "both"] = "send"
    """Experiment: when the room's auth rules are asked. With `schedule` a future is sent without asking them
    again, and other servers refuse what its sender has lost the right to."""
    cancel_rule: Literal["dialect", "never", "other-sender", "any"] = "dialect"
    """Experiment: which newer state events end a future: those that its dialect says, none, those of other
    users, any. Counts for what is scheduled from now on."""
    management: Literal["owner", "capability"] = "owner"
    """Experiment: who may send, cancel and restart on the stable paths: its owner, or whoever knows the
    delay ID. On the unstable paths `unauthenticated_management` decides; with `capability` also other users'
    access tokens are welcome there."""
    overdue: Literal["send", "fail"] = "send"
    """Experiment: what becomes of futures whose time came while the server was away."""


class FederationSection(Section, frozen=True):
    """Other servers."""

    ca_file: str | None = None
    """PEM file with certificate authorities to trust besides the system's."""
    allow_private_addresses: bool = False
    """Whether private, loopback and other special addresses may be connected to."""
    retry_initial_ms: PositiveInt = 2_000
    """First pause after a failure; it doubles from there."""
    retry_max_ms: PositiveInt = 3_600_000
    """Longest pause."""
    request_timeout_ms: PositiveInt = 60_000
    """Longest wait for another server's answer."""
    notaries: Sequence[str] = ()
    """Servers to ask for keys that cannot be had directly."""


class RateLimitsSection(Section, frozen=True):
    """How many requests of a kind are put up with; `docs/settings.md` ends with the table of numbers."""

    enabled: bool = True
    """Whether there are limits at all."""
    buckets: Mapping[str, tuple[float, PositiveInt]] = {}
    """Other numbers for single rows of the table: name = [per second, burst]."""


class RoomsSection(Section, frozen=True):
    """Rooms."""

    default_version: str = "12"
    """The version of new rooms whose creator names none."""
    purge_after_ms: NonNegativeInt | None = 86_400_000
    """How long after the last user of this server has left and forgotten a room what is stored of it is
    removed; `null` (in a file: `"null"`) keeps it for ever."""


class HttpSection(Section, frozen=True):
    """Listeners."""

    trusted_proxies: Sequence[str] = ()
    """Addresses or networks whose `X-Forwarded-For` is believed."""
    max_request_bytes: PositiveInt = 1_048_576
    """Largest body of a client's request."""


class DatabaseSection(Section, frozen=True):
    """Storage."""

    synchronous: Literal["OFF", "NORMAL", "FULL", "EXTRA"] = "FULL"
    """SQLite's pragma; anything less than FULL can lose acknowledged events in a power cut."""


class MetricsSection(Section, frozen=True):
    """Prometheus metrics."""

    listen: str | None = None
    """HOST:PORT of a listener of their own, plain HTTP; off when unset."""


class LoggingSection(Section, frozen=True):
    """Logs."""

    file: str | None = None
    """Where to; the terminal when unset. A file gets JSON lines."""
    level: LogLevel = "info"
    """What is logged: this, and what is worse."""
    levels: Mapping[str, LogLevel] = {}
    """Levels of single parts, by module name, such as `minihs.federation`."""


class Config(Section, frozen=True):
    """All settings."""

    server: ServerSection = field(default_factory=ServerSection)
    registration: RegistrationSection = field(default_factory=RegistrationSection)
    futures: FuturesSection = field(default_factory=FuturesSection)
    federation: FederationSection = field(default_factory=FederationSection)
    rate_limits: RateLimitsSection = field(default_factory=RateLimitsSection)
    rooms: RoomsSection = field(default_factory=RoomsSection)
    http: HttpSection = field(default_factory=HttpSection)
    database: DatabaseSection = field(default_factory=DatabaseSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    logging: LoggingSection = field(default_factory=LoggingSection)

    @property
    def server_name(self) -> ServerName:
        """The server name, checked."""
        return ServerName(self.server.name)


def load_config(
    file: Path | None,
    overrides: Mapping[str, Any],
    *,
    known_name: Callable[[str], str | None] = lambda _data_dir: None,
) -> Config:
    """The settings of `file` with `overrides` (dotted name to value) over them.

    Where no server name is given, `known_name(data_dir)` may know that of the server that is there already.
    Raises InvalidSettings.
    """
    settings: dict[str, Any] = {}
    if file is not None:
        try:
            settings = _without_null(tomllib.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise InvalidSettings(f"{file} cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSettings(f"{file} is not valid TOML: {error}.") from error
    for name, value in overrides.items():
        _put(settings, name, value)
    config = _converted(settings)
    if not config.server.name:
        known = known_name(config.server.data_dir)
        if known is not None:
            _put(settings, "server.name", known)
            config = _converted(settings)
    _check(config)
    return config


def parse_setting(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` of the command line: a dotted name, and a value in TOML or, failing that, plain text.

    Where a setting takes text, what looks like a number is text too (`rooms.default_version=11`); where it
    takes a list, commas do for brackets and quotes (`futures.dialects=merged,tokens`).
    """
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name:
        raise InvalidSettings(f"{text!r} is not KEY=VALUE, such as futures.max_delay_ms=60000.")
    try:
        said = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        said = None if value == "null" else value
    takes = _what_it_takes(name)
    if takes in (str, str | None) and not isinstance(said, str | None):
        return name, value
    if get_origin(takes) is Sequence and isinstance(said, str):
        return name, [part.strip() for part in said.split(",") if part.strip()]
    return name, said


def _without_null(settings: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null; where a setting takes one, a file says "null"."""
    return {
        name: _without_null(value) if isinstance(value, dict) else None if value == "null" else value
        for name, value in settings.items()
    }


def _converted(settings: dict[str, Any]) -> Config:
    try:
        return msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise InvalidSettings(_sentence(str(error))) from error


def _put(settings: dict[str, Any], name: str, value: Any) -> None:
    table = settings
    *sections, last = name.split(".")
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InvalidSettings(f"{name}: {section} is not a table of settings.")
        table = inner
    table[last] = value


def _check(config: Config) -> None:
    if not config.server.name:
        raise InvalidSettings(
            "server.name: say what stands behind the colon in user IDs (--server-name); it can never change."
        )
    try:
        parse_server_name(config.server.name)
    except InvalidIdentifier as error:
        raise InvalidSettings(f"server.name: {error}.") from error
    if config.rooms.default_version not in SUPPORTED:
        raise InvalidSettings(f"rooms.default_version: one of {', '.join(SUPPORTED)}.")
    if {"tokens-on-send", "future-id"} <= set(config.futures.dialects):
        raise InvalidSettings(
            "futures.dialects: tokens-on-send and future-id use the same parameters; name one of them."
        )
    if config.futures.management == "capability" and not config.futures.unauthenticated_management:
        raise InvalidSettings(
            "futures.management: with capability the delay ID is enough, which contradicts"
            " futures.unauthenticated_management = false."
        )
    if (config.server.tls_certificate is None) != (config.server.tls_private_key is None):
        raise InvalidSettings("server.tls_certificate and server.tls_private_key go together.")
    for name, address in (
        ("server.client_listen", config.server.client_listen),
        ("server.federation_listen", config.server.federation_listen),
        ("metrics.listen", config.metrics.listen),
    ):
        if address is not None:
            try:
                parse_listen(address)
            except ValueError as error:
                raise InvalidSettings(f"{name}: {error}") from error


def parse_listen(address: str) -> tuple[str, int]:
    """`HOST:PORT` (IPv6 in brackets); port 0 takes any free one. ValueError with a sentence."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT, such as 127.0.0.1:8008.")
    return host.removeprefix("[").removesuffix("]"), int(port)


_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z", re.DOTALL)


def _sentence(message: str) -> str:
    """msgspec's message with the setting's name in front, as it is written on the command line."""
    what, separator, where = message.rpartition(" - at `$.")
    if not separator:
        what, where = message, ""
    where = where.removesuffix("`")
    unknown = _UNKNOWN.match(what)
    if unknown:
        name = f"{where}.{unknown[1]}" if where else unknown[1]
        return f"{name}: there is no such setting.{_suggestion(name)}"
    if what.startswith("Invalid enum value"):
        what = what.removesuffix(".") + f"; it takes {_choices(where)}"
    return f"{where}: {what[0].lower()}{what[1:]}." if where else f"{what}."


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, setting_names(), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _choices(name: str) -> str:
    takes = _what_it_takes(name.partition("[")[0])
    [literal] = (part for part in (takes, *get_args(takes)) if get_origin(part) is Literal)
    return ", ".join(str(choice) for choice in get_args(literal))


def _what_it_takes(name: str) -> Any:
    """The type of the setting with a dotted name; None when there is no such setting."""
    section_name, _, setting_name = name.partition(".")
    for section in msgspec.structs.fields(Config):
        if section.name == section_name:
            for setting in msgspec.structs.fields(section.type):
                if setting.name == setting_name:
                    return setting.type
    return None


def setting_names() -> list[str]:
    """Every setting's dotted name."""
    return [
        f"{section.name}.{setting.name}"
        for section in msgspec.structs.fields(Config)
        for setting in msgspec.structs.fields(section.type)
    ]
