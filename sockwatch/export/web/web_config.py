"""The web config file, in the format of the Prometheus exporter-toolkit (web/tls_config.go and web/handler.go there).

What is wrong there is wrong here. Stricter than there: what would be ignored is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from sockwatch.errors import ConfigError
from sockwatch.export.web.passwords import is_hash
from sockwatch.export.web.regular_file import read_regular
from sockwatch.export.web.tls import TlsSettings
from sockwatch.export.web.tls_table import read_tls
from sockwatch.export.web.yaml_lines import YamlLines
from sockwatch.writers import others_who_write

_MAX_BYTES = 1 << 18
_TABLES = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
"""The headers that may be set, and the values where there are only some."""
_PRINTABLE = re.compile(r"[ -~]*")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST_DURATION = 32
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """So many requests at once, then one in so many seconds."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What the file says."""

    tls: TlsSettings | None = None
    headers: tuple[tuple[str, str], ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it names, for whoever watches them."""
        pems = (self.tls.certificate, self.tls.key, self.tls.client_ca) if self.tls else ()
        return tuple(pem.file for pem in pems if pem is not None and pem.file is not None)


def read(path: Path) -> WebConfig:
    """The file's settings, with nothing of what it names opened.

    Raises ConfigError with all mistakes, each with its line, or where others may write it; UsageError where the file
    cannot be read.
    """
    file = read_regular(path)
    data = file.data
    if (others := others_who_write(path, file.status)) is not None:
        raise ConfigError(f"{path}: {others}; it says who is let in, so nobody else may write it")
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than 256 KiB: this is no web config file")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from None
    lines = YamlLines(path, text)
    tables = lines.table(lines.root, _TABLES)
    config = WebConfig(
        tls=read_tls(lines, path.parent, tables.get("tls_server_config")),
        headers=_headers(lines, tables.get("http_server_config")),
        users=_users(lines, tables.get("basic_auth_users")),
        rate_limit=_rate_limit(lines, tables.get("rate_limit")),
    )
    lines.check()
    return config


def _headers(lines: YamlLines, node: yaml.Node | None) -> tuple[tuple[str, str], ...]:
    table = lines.table(node, ("http2", "headers"), "http_server_config")
    lines.flag(table.get("http2"), default=True)  # only HTTP/1.1 is spoken; who may speak HTTP/2 can do without
    headers: list[tuple[str, str]] = []
    for name, value_node in lines.table(table.get("headers"), _HEADERS, "http_server_config.headers").items():
        value = lines.text(value_node)
        if _HEADERS[name] and value not in _HEADERS[name]:
            lines.mistake(value_node, f"{name} must be {' or '.join(_HEADERS[name])}")
        if not _PRINTABLE.fullmatch(value):
            lines.mistake(value_node, f"{name} must be printable ASCII on one line")
        headers.append((name, value))
    return tuple(headers)


def _users(lines: YamlLines, node: yaml.Node | None) -> dict[str, str]:
    users = {name: (lines.text(value), value) for name, value in lines.table(node, None, "basic_auth_users").items()}
    for name, (hashed, value) in users.items():
        if not is_hash(hashed):
            lines.mistake(value, f"basic_auth_users: what user {name} has is no bcrypt hash")
    return {name: hashed for name, (hashed, _) in users.items()}


def _rate_limit(lines: YamlLines, node: yaml.Node | None) -> RateLimit | None:
    table = lines.table(node, ("interval", "burst"), "rate_limit")
    interval, burst = table.get("interval"), lines.number(table.get("burst"), 0)
    seconds = _seconds(lines.text(interval, "0"))
    if seconds is None:
        lines.mistake(interval, "interval must be a duration, as 100ms or 1s")
    return RateLimit(interval=seconds, burst=burst) if seconds else None


def _seconds(text: str) -> float | None:
    """A duration as Go writes it; a number without a unit is in nanoseconds."""
    if len(text) > _LONGEST_DURATION:
        return None
    if text.isascii() and text.isdecimal():
        return int(text) * 1e-9
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
