"""Settings: what overrides what, and a sentence with the setting's name for everything that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from minihs.config import Config, InvalidSettings, load_config, parse_listen, parse_setting, setting_names

NAMED = {"server.name": "hs.test"}

FIXED_NAMES = {
    "futures.max_delay_ms",
    "futures.max_scheduled",
    "futures.dialects",
    "futures.retention_ms",
    "futures.retention_count",
    "futures.unauthenticated_management",
    "futures.unstable_conflict",
    "federation.retry_initial_ms",
    "federation.retry_max_ms",
    "rate_limits.enabled",
    "rooms.default_version",
    "http.trusted_proxies",
}
"""Other tools rely on these (design, "Command line")."""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "minihs.toml"
    file.write_text(text)
    return file


def refusal(file: Path | None = None, **overrides: Any) -> str:
    with pytest.raises(InvalidSettings) as refused:
        load_config(file, {**NAMED, **{name.replace("__", "."): value for name, value in overrides.items()}})
    return str(refused.value)


def test_the_names_that_other_tools_rely_on_are_there() -> None:
    assert set(setting_names()) >= FIXED_NAMES


def test_what_is_not_said_has_safe_defaults() -> None:
    config = load_config(None, NAMED)
    assert not config.registration.enabled
    assert not config.registration.guests
    assert not config.federation.allow_private_addresses
    assert config.rate_limits.enabled
    assert config.http.trusted_proxies == ()
    assert config.database.synchronous == "FULL"
    assert config.metrics.listen is None
    assert config.server.client_listen.startswith("127.0.0.1:")


def test_flags_override_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, '[server]\nname = "file.test"\n[futures]\nmax_scheduled = 5\n')
    assert load_config(file, {}).server_name == "file.test"
    config = load_config(file, NAMED)
    assert (config.server_name, config.futures.max_scheduled) == ("hs.test", 5)


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("futures.max_delay_ms=1000", ("futures.max_delay_ms", 1000)),
        ("futures.max_delay_ms=null", ("futures.max_delay_ms", None)),
        ('futures.dialects=["merged"]', ("futures.dialects", ["merged"])),
        ("rate_limits.enabled=false", ("rate_limits.enabled", False)),
        ("server.name=hs.test:8448", ("server.name", "hs.test:8448")),
        ("rooms.default_version='10'", ("rooms.default_version", "10")),
        ("rooms.default_version=10", ("rooms.default_version", "10")),
        ("server.public_base_url=null", ("server.public_base_url", None)),
        ("futures.max_scheduled=10", ("futures.max_scheduled", 10)),
        ("futures.dialects=merged, tokens", ("futures.dialects", ["merged", "tokens"])),
        ("http.trusted_proxies=10.0.0.0/8", ("http.trusted_proxies", ["10.0.0.0/8"])),
        ("http.trusted_proxies=", ("http.trusted_proxies", [])),
        ("logging.file=", ("logging.file", "")),
    ],
)
def test_a_setting_on_the_command_line_is_toml_or_plain_text(text: str, setting: tuple[str, Any]) -> None:
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["futures.max_delay_ms", "=5", ""])
def test_a_setting_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="is not KEY=VALUE"):
        parse_setting(text)


def test_a_file_says_null_in_quotes(tmp_path: Path) -> None:
    file = written(tmp_path, '[futures]\nmax_delay_ms = "null"\n')
    assert load_config(file, NAMED).futures.max_delay_ms is None


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"futures__max_delay_ms": "soon"}, "futures.max_delay_ms: expected `int | null`, got `str`."),
        ({"futures__max_scheduled": -1}, "futures.max_scheduled: expected `int` >= 0."),
        (
            {"futures__unstable_conflict": 400},
            "futures.unstable_conflict: invalid enum value 400; it takes 404, 409.",
        ),
        (
            {"futures__dialects": ["merged", "next"]},
            "futures.dialects[1]: invalid enum value 'next'; it takes will-expire, batch,",
        ),
        (
            {"logging__levels": {"minihs": "loud"}},
            "logging.levels[...]: invalid enum value 'loud'; it takes debug, ",
        ),
        ({"federation__retry_initial_ms": 0}, "federation.retry_initial_ms: expected `int` >= 1."),
        (
            {"futures__max_delay": 5},
            "futures.max_delay: there is no such setting. Did you mean futures.max_delay_ms?",
        ),
        ({"zzz__zzz": 5}, "zzz: there is no such setting."),
        ({"futures": 5}, "futures: expected `object`, got `int`."),
        ({"rooms__default_version": "99"}, "rooms.default_version: one of "),
        (
            {"futures__dialects": ["tokens-on-send", "future-id"]},
            "futures.dialects: tokens-on-send and future-id use the same parameters; name one of them.",
        ),
        (
            {"server__tls_certificate": "c.pem"},
            "server.tls_certificate and server.tls_private_key go together.",
        ),
        (
            {"server__client_listen": "8008"},
            "server.client_listen: '8008' is not HOST:PORT, such as 127.0.0.1:8008.",
        ),
        (
            {"metrics__listen": "127.0.0.1:99999"},
            "metrics.listen: '127.0.0.1:99999' is not HOST:PORT, such as 127.0.0.1:8008.",
        ),
        ({"server__name": ""}, "server.name: say what stands behind the colon in user IDs (--server-name)"),
        ({"server__name": "not a name"}, "server.name: 'not a name' is not a server name"),
    ],
)
def test_what_is_wrong_is_named(overrides: dict[str, Any], sentence: str) -> None:
    assert refusal(**overrides).startswith(sentence)


def test_a_setting_below_a_setting_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"futures.max_delay_ms.x: max_delay_ms is not a table"):
        load_config(None, {"futures.max_delay_ms": 5, "futures.max_delay_ms.x": 1})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert (
        refusal(tmp_path / "none.toml") == f"{tmp_path}/none.toml cannot be read: No such file or directory."
    )


def test_a_file_that_is_no_toml_is_named_with_the_place(tmp_path: Path) -> None:
    file = written(tmp_path, "[server\n")
    assert refusal(file).startswith(f"{file} is not valid TOML: ")
    assert "line 1" in refusal(file)


def test_a_server_that_is_there_already_need_not_be_named() -> None:
    asked: list[str] = []

    def known(data_dir: str) -> str | None:
        asked.append(data_dir)
        return "stored.test"

    overrides = {"server.data_dir": "/somewhere"}
    assert load_config(None, overrides, known_name=known).server_name == "stored.test"
    assert asked == ["/somewhere"]
    assert load_config(None, NAMED, known_name=known).server_name == "hs.test"
    with pytest.raises(InvalidSettings, match=r"server.name: say what"):
        load_config(None, overrides, known_name=lambda _: None)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:8008", ("127.0.0.1", 8008)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_addresses_to_listen_at(address: str, parts: tuple[str, int]) -> None:
    assert parse_listen(address) == parts


@pytest.mark.parametrize("address", ["", ":", ":80", "host:", "host", "host:65536", "host:-1", "host:８"])
def test_what_is_no_address_to_listen_at(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_listen(address)


def test_settings_cannot_be_changed_afterwards() -> None:
    config = load_config(None, NAMED)
    with pytest.raises(AttributeError):
        config.futures.max_scheduled = 5  # type: ignore[misc]
    assert isinstance(msgspec.convert({}, Config), Config)
