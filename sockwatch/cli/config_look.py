"""What is wrong with the config that only a look at this machine and its clock shows."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sockwatch.errors import ConfigError, UsageError
from sockwatch.model.remark import Remark

if TYPE_CHECKING:
    from sockwatch.clock import Clock
    from sockwatch.model.settings import AlertSettings, DaemonSettings, Sink


def look_at_all(settings: "DaemonSettings", clock: "Clock") -> Iterator[Remark]:
    """As look() below, and at the web config file, which a start reads by itself."""
    yield from look(settings, clock)
    file = getattr(settings.web, "config_file", None)  # the table is None where it is wrong
    if file:
        yield from _web_config_file(Path(file), clock)


def look(settings: "DaemonSettings", clock: "Clock") -> Iterator[Remark]:
    """Programs, files and names of hosts that sinks need, and silences. Of wrong settings (None) nothing is said."""
    sinks = {name: sink for name, sink in (settings.sinks or {}).items() if _is_right(sink)}
    if sinks:
        yield from _sinks(sinks)
    if _is_right(settings.alerts) and settings.alerts.silences:
        yield from _silences(settings.alerts, clock)


def _is_right(table: Any) -> bool:
    """Whether no key of a table was refused; the loader puts None in its place."""
    values = [] if table is None else [getattr(table, field.name) for field in fields(table)]
    return bool(values) and not any(value is None or (isinstance(value, tuple) and None in value) for value in values)


def _sinks(sinks: "dict[str, Sink]") -> Iterator[Remark]:
    from sockwatch.export.sinks.mistakes import remarks

    return remarks(sinks)


def _silences(alerts: "AlertSettings", clock: "Clock") -> Iterator[Remark]:
    from sockwatch.export.alerts.silence import remarks

    return remarks(alerts.silences, clock.unixtime())


def _web_config_file(file: Path, clock: "Clock") -> Iterator[Remark]:
    from sockwatch.export.web.web_config_file import WebConfigFile

    try:
        WebConfigFile(file, clock=clock)
    except UsageError as error:
        for mistake in error.mistakes if isinstance(error, ConfigError) else (str(error),):
            yield Remark(at=("web", "config_file"), text=f"web.config_file: {mistake}")
