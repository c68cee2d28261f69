"""What a restart must know of the alerts, as bytes. Keys may be added within a version; unknown ones are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sockwatch.export.alerts.tracked import Memory, Tracked
from sockwatch.export.alerts.transitions import MOST_ALERTS
from sockwatch.model.alert import AlertIdentity, AlertState
from sockwatch.model.finding import Severity

VERSION = 1
MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    identity: AlertIdentity
    state: AlertState
    severity: Severity
    worst: Severity
    summary: str
    cause: str
    remedies: tuple[str, ...]
    count: int
    began: float
    fired: float | None = None
    present: float = 0.0
    away: float = 0.0
    told: Severity | None = None
    told_ago: float = 0.0
    inhibited_by: AlertIdentity | None = None
    wait: float = 0.0
    hidden: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    version: int
    alerts: tuple[_Entry, ...]
    failures: int = 0


_FIELDS = tuple(_Entry.__dataclass_fields__)


def encode(memory: Memory) -> bytes:
    """The file's content."""
    alerts = tuple(_Entry(**{name: getattr(one, name) for name in _FIELDS}) for one in memory.alerts.values())
    return msgspec.json.encode(_State(version=VERSION, alerts=alerts, failures=memory.failures))


def decode(data: bytes) -> Memory:
    """The memory that a file's content stands for. Raises ValueError for what encode() did not make."""
    try:
        head = msgspec.json.decode(data, type=Mapping[str, msgspec.Raw])
        version = msgspec.json.decode(head.get("version", msgspec.Raw(b"null")))
        if version != VERSION:
            raise ValueError(f"its version is {version!r}, and this release reads {VERSION}")
        state = msgspec.json.decode(data, type=_State)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if len(state.alerts) > MOST_ALERTS:
        raise ValueError(f"it has more than {MOST_ALERTS:,} alerts")
    alerts = (Tracked(**{name: getattr(entry, name) for name in _FIELDS}) for entry in state.alerts)
    return Memory(alerts={one.identity: one for one in alerts}, failures=state.failures)
