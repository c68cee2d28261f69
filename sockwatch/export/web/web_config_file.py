"""The web config file as it is now: read again when it or a file that it names has changed."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

from sockwatch.clock import Clock
from sockwatch.errors import ConfigError, UsageError
from sockwatch.export.web.passwords import Passwords
from sockwatch.export.web.protection import Protection
from sockwatch.export.web.tls import context
from sockwatch.export.web.token_bucket import TokenBucket
from sockwatch.export.web.web_config import WebConfig, read

_RETRY_SECONDS = 10.0
"""What failed is tried again after this time, changed or not: the reason may lie outside of the files."""

_log = logging.getLogger(__name__)
_Fingerprint = tuple[int, int, int, int, int] | None


class WebConfigFile:
    """`current` belongs to the event loop's thread. Raises ConfigError or UsageError where the file is wrong at first.

    Later a wrong file changes nothing but the metric and a line in the log. Neither does one that would take TLS or
    all passwords away: a file that an editor is just writing is empty for a moment, and nobody else may use it.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._config = WebConfig()
        self._protection = Protection()
        self._seen: dict[Path, _Fingerprint] = {}
        self._complaint = ""
        self._retry_at = 0.0
        self._load()

    def current(self) -> Protection:
        """What protects the server from now on."""
        changed = any(_fingerprint(path) != seen for path, seen in self._seen.items())
        if changed or (self._complaint and self._clock.monotonic() >= self._retry_at):
            try:
                self._load()
            except UsageError as error:
                if str(error) != self._complaint:
                    _log.error("the web config file stays as it was: %s", error)
                self._complaint = str(error)
                self._retry_at = self._clock.monotonic() + _RETRY_SECONDS
        return self._protection

    def metrics(self) -> Iterator[Metric]:
        """Whether the last reading went well, and when the last good one was."""
        yield GaugeMetricFamily(
            "sockwatch_web_config_last_reload_successful",
            "Whether the web config file could be read the last time it changed.",
            value=float(not self._complaint),
        )
        yield GaugeMetricFamily(
            "sockwatch_web_config_last_reload_success_timestamp_seconds",
            "When the web config file was last read without a mistake.",
            value=self._loaded_at,
        )

    def _load(self) -> None:
        # What is there before reading: a change meanwhile is one that the next look sees.
        seen = {path: _fingerprint(path) for path in (self._path, *self._seen)}
        try:
            config = read(self._path)
            seen |= {file: _fingerprint(file) for file in config.files}
            self._refuse_less(config)
            self._protection = self._protect(config)
        finally:
            self._seen = seen
        self._seen = {path: seen[path] for path in (self._path, *config.files)}
        self._config = config
        self._loaded_at = self._clock.unixtime()
        self._complaint = ""

    def _refuse_less(self, config: WebConfig) -> None:
        if self._config.tls is not None and config.tls is None:
            raise ConfigError(f"{self._path}: to do without tls_server_config from now on, restart")
        if self._config.users and not config.users:
            raise ConfigError(f"{self._path}: to do without basic_auth_users from now on, restart")

    def _protect(self, config: WebConfig) -> Protection:
        tls = None if config.tls is None else context(config.tls)
        if config.users and tls is None:
            _log.warning("%s: without tls_server_config, passwords cross the network readable", self._path)
        passwords, bucket = self._protection.passwords, self._protection.bucket
        if config.users != self._config.users:
            passwords = Passwords(config.users, clock=self._clock) if config.users else None
        if config.rate_limit != self._config.rate_limit:
            bucket = None if config.rate_limit is None else TokenBucket(config.rate_limit, clock=self._clock)
        return Protection(
            tls=tls,
            client_sans=config.tls.client_sans if config.tls else frozenset(),
            passwords=passwords,
            bucket=bucket,
            headers=config.headers,
        )


def _fingerprint(path: Path) -> _Fingerprint:
    """What changes when a file does; None where it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - at each request: a third of what Path.stat takes
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
