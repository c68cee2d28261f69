"""What a sink is told of an alert: a value that outlives the finding, the daemon and its restarts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sockwatch.export.json_report import kept_finding_object
from sockwatch.export.layout import duration
from sockwatch.export.metrics.labels import label
from sockwatch.model.alert import Alert, AlertIdentity, AlertState
from sockwatch.model.finding import Severity
from sockwatch.model.printable import printable

SCHEMA = "sockwatch.alert/1"
_MOST_TEXT = 1000
_MOST_REMEDIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An alert in the state that sinks are to hear of; all its texts are printable and of bounded length.

    Times are seconds since 1970. `pid` is that of the oldest holder when the alert was last seen.
    """

    identity: AlertIdentity
    state: AlertState
    severity: Severity
    summary: str
    cause: str
    remedies: tuple[str, ...]
    count: int
    began: float
    fired: float
    resolved: float | None
    pid: int | None = None
    finding: dict[str, Any] | None = None
    """As in sockwatch.report/1; None where the alert is no finding or no look has seen it since a restart."""

    @property
    def firing(self) -> bool:
        """Whether it is not over."""
        return self.state is AlertState.FIRING


def notice_of(alert: Alert, *, whole: bool = True) -> Notice:
    """The alert as sinks are told of it; without its finding if not `whole`."""
    process = alert.finding.subject.process if alert.finding else None
    identity = AlertIdentity(**{f.name: label(getattr(alert.identity, f.name)) for f in fields(AlertIdentity)})
    return Notice(
        identity=identity,
        state=alert.state,
        severity=alert.severity,
        summary=_short(_summary(alert)),
        cause=_short(alert.cause),
        remedies=tuple(_short(remedy) for remedy in alert.remedies[:_MOST_REMEDIES]),
        count=alert.count,
        began=alert.began,
        fired=alert.began if alert.fired is None else alert.fired,
        resolved=alert.resolved,
        pid=process.pid if process else None,
        finding=kept_finding_object(alert.finding) if whole and alert.finding else None,
    )


def notice_object(notice: Notice, host: str) -> dict[str, Any]:
    """The notice as a program gets it on its standard input."""
    identity = notice.identity
    return {
        "schema": SCHEMA,
        "status": notice.state.value,
        "host": printable(host),
        "code": identity.code,
        "variant": identity.variant or None,
        "severity": notice.severity.value,
        "subject": {
            "netns": identity.netns or None,
            "local": identity.local or None,
            "remote": identity.remote or None,
            "process": _process(notice),
        },
        "count": notice.count,
        "since": instant(notice.began),
        "fired": instant(notice.fired),
        "resolved": None if notice.resolved is None else instant(notice.resolved),
        "summary": notice.summary,
        "cause": notice.cause,
        "remedies": list(notice.remedies),
        "finding": notice.finding,
    }


def variables(notice: Notice, host: str) -> Mapping[str, str]:
    """The notice as a program gets it in its environment; what is unknown or not applicable is empty."""
    identity = notice.identity
    values = {
        "STATUS": notice.state.value,
        "CODE": identity.code,
        "VARIANT": identity.variant,
        "SEVERITY": notice.severity.value,
        "SUMMARY": notice.summary,
        "NETNS": identity.netns,
        "LOCAL": identity.local,
        "REMOTE": identity.remote,
        "PROCESS": identity.process,
        "PID": "" if notice.pid is None else str(notice.pid),
        "UNIT": identity.unit,
        "CONTAINER": identity.container,
        "COUNT": str(notice.count),
        "SINCE": instant(notice.began),
        "RESOLVED": "" if notice.resolved is None else instant(notice.resolved),
        "HOST": printable(host),
    }
    return {f"SOCKWATCH_{name}": value for name, value in values.items()}


def instant(time: float) -> str:
    """Seconds since 1970 as RFC 3339."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _process(notice: Notice) -> dict[str, Any] | None:
    identity = notice.identity
    if not identity.process:
        return None
    return {
        "pid": notice.pid,
        "name": identity.process,
        "unit": identity.unit or None,
        "container": identity.container or None,
    }


def _summary(alert: Alert) -> str:
    """Of what is over its end first: what the alert last said is true no more."""
    if alert.state is not AlertState.RESOLVED or alert.resolved is None:
        return alert.summary
    return f"over after {duration(max(alert.resolved - alert.began, 0.0))}: {alert.summary}"


def _short(text: str) -> str:
    safe = printable(text)
    return safe if len(safe) <= _MOST_TEXT else safe[: _MOST_TEXT - 3] + "..."
