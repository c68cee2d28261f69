"""The sink that posts what Alertmanager posts to its webhooks: version "4" of that message."""

import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sockwatch.clock import Clock
from sockwatch.export.sinks.labels import annotations, fingerprint, labels
from sockwatch.export.sinks.notice import Notice, instant
from sockwatch.export.sinks.outcome import Outcome, Reason, failed
from sockwatch.export.sinks.post import Poster, target
from sockwatch.model.settings import WebhookSink

MOST_ALERTS = 100
"""In one message."""
_MOST_URL = 8192
_NOT_OVER = "0001-01-01T00:00:00Z"
"""Go's zero time: what Alertmanager writes as the end of what has none."""


class Webhook:
    """Tells alerts of one code and state together. Raises ValueError where the URL is wrong."""

    most = MOST_ALERTS
    attempts: int | None = None
    first_pause = 0.5
    own_pauses = False

    def __init__(self, name: str, settings: WebhookSink, *, host: str, clock: Clock) -> None:
        self.send_resolved = settings.send_resolved
        self._name = name
        self._host = host
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._aborted = False
        self._url = settings.url
        self._poster = self._to(settings.url) if settings.url else None

    def deliver(self, notices: Sequence[Notice]) -> Outcome:
        """One POST."""
        try:
            poster = self._current()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return failed(Reason.TOKEN, f"{self._settings.url_file}: {why}")
        return poster.post(json.dumps(message(self._name, notices, self._host)).encode())

    def abort(self) -> None:
        """Cut off what is under way, and send no more."""
        with self._lock:
            self._aborted = True
            if self._poster is not None:
                self._poster.abort()

    def _current(self) -> Poster:
        """Raises OSError and ValueError where the URL's file has none."""
        url = _url_in(self._settings.url_file) if self._settings.url_file else self._settings.url
        with self._lock:
            if self._poster is None or url != self._url:
                self._url, self._poster = url, self._to(url)
                if self._aborted:
                    self._poster.abort()
            return self._poster

    def _to(self, url: str) -> Poster:
        settings = self._settings
        where = target(
            url,
            timeout=settings.timeout,
            headers=settings.headers,
            bearer_token_file=settings.bearer_token_file,
            ca_file=settings.ca_file,
        )
        return Poster(where, self._clock)


def _url_in(file_name: str) -> str:
    with Path(file_name).open("rb") as file:
        url = file.read(_MOST_URL).strip()
    if not re.fullmatch(rb"https?://[\x21-\x7e]+", url):
        raise ValueError("no URL: it must be one line, http or https")
    return url.decode("ascii")


def message(receiver: str, notices: Sequence[Notice], host: str) -> dict[str, Any]:
    """The message about alerts of one code; all fields of Alertmanager's (its documentation, "webhook_config")."""
    alerts = [_alert(notice, host) for notice in notices]
    group = {"alertname": notices[0].identity.code}
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alertname="{group["alertname"]}"}}',
        "truncatedAlerts": 0,
        "status": "firing" if any(notice.firing for notice in notices) else "resolved",
        "receiver": receiver,
        "groupLabels": group,
        "commonLabels": _common([alert["labels"] for alert in alerts]),
        "commonAnnotations": _common([alert["annotations"] for alert in alerts]),
        "externalURL": "",
        "alerts": alerts,
    }


def _alert(notice: Notice, host: str) -> dict[str, Any]:
    own = labels(notice, host)
    return {
        "status": notice.state.value,
        "labels": own,
        "annotations": annotations(notice),
        "startsAt": instant(notice.fired),
        "endsAt": _NOT_OVER if notice.resolved is None else instant(notice.resolved),
        "generatorURL": "",
        "fingerprint": fingerprint(own),
    }


def _common(each: Sequence[dict[str, str]]) -> dict[str, str]:
    return {name: value for name, value in each[0].items() if all(other.get(name) == value for other in each)}
