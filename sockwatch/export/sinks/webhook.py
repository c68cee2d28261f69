"""The sink that posts what Alertmanager posts to its webhooks: version "4" of that message."""

import json
from collections.abc import Sequence
from typing import Any

from sockwatch.clock import Clock
from sockwatch.export.sinks.labels import annotations, fingerprint, labels
from sockwatch.export.sinks.notice import Notice, instant
from sockwatch.export.sinks.outcome import Outcome
from sockwatch.export.sinks.post import Poster, target
from sockwatch.model.settings import WebhookSink

MOST_ALERTS = 100
"""In one message."""
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
        self._poster = Poster(
            target(
                settings.url,
                timeout=settings.timeout,
                headers=settings.headers,
                bearer_token_file=settings.bearer_token_file,
                ca_file=settings.ca_file,
            ),
            clock,
        )

    def deliver(self, notices: Sequence[Notice]) -> Outcome:
        """One POST."""
        return self._poster.post(json.dumps(message(self._name, notices, self._host)).encode())

    def abort(self) -> None:
        """Cut off what is under way, and send no more."""
        self._poster.abort()


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
