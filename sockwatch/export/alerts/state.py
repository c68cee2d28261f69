"""What a restart must know of the alerts, as bytes. Keys may be added within a version; unknown ones are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import msgspec

from sockwatch.export.alerts.tracked import Kept, Memory, Tracked
from sockwatch.export.alerts.transitions import MOST_ALERTS

VERSION = 1
MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    version: int
    alerts: tuple[Kept, ...]
    failures: int = 0


_FIELDS = tuple(field.name for field in fields(Kept))


def encode(memory: Memory) -> bytes:
    """The file's content."""
    alerts = tuple(Kept(**{name: getattr(one, name) for name in _FIELDS}) for one in memory.alerts.values())
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
