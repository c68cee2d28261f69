"""An alert in the language of Prometheus: labels, annotations and the fingerprint that Alertmanager knows it by."""

from collections.abc import Mapping

from sockwatch.export.metrics.labels import label
from sockwatch.export.sinks.notice import Notice

OWN_LABELS = frozenset(
    {"alertname", "code", "variant", "severity", "netns", "local", "remote", "process", "unit", "container", "host"}
)
"""Labels that the config cannot set."""
_FNV_OFFSET, _FNV_PRIME = 14695981039346656037, 1099511628211
_SEPARATOR = 255


def labels(notice: Notice, host: str, further: Mapping[str, str] | None = None) -> dict[str, str]:
    """What it is known by, sorted; an empty label is none, as in Prometheus."""
    identity = notice.identity
    own = {
        "alertname": identity.code,
        "code": identity.code,
        "variant": identity.variant,
        "severity": notice.severity.value,
        "netns": identity.netns,
        "local": identity.local,
        "remote": identity.remote,
        "process": identity.process,
        "unit": identity.unit,
        "container": identity.container,
        "host": label(host),
    }
    return {name: value for name, value in sorted({**(further or {}), **own}.items()) if value}


def annotations(notice: Notice) -> dict[str, str]:
    """What people read."""
    texts = {
        "summary": notice.summary,
        "description": notice.cause,
        "remedy": "\n".join(notice.remedies),
        "runbook": f"sockwatch explain {notice.identity.code}",
    }
    return {name: text for name, text in texts.items() if text}


def fingerprint(own: Mapping[str, str]) -> str:
    """Alertmanager's: FNV-1a over the sorted labels (prometheus/common, model/fnv.go and signature.go)."""
    digest = _FNV_OFFSET
    for name, value in sorted(own.items()):
        for byte in (*name.encode(), _SEPARATOR, *value.encode(), _SEPARATOR):
            digest = (digest ^ byte) * _FNV_PRIME & 0xFFFF_FFFF_FFFF_FFFF
    return f"{digest:016x}"
