"""Silences: who must not be told, by patterns over an alert's identity, until a time."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache

from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Finding
from sockwatch.model.remark import Remark
from sockwatch.model.settings import Silence

_FIELDS = ("code", "variant", "netns", "local", "remote", "process", "unit", "container")
_WHY = "a silence of the config file"


def silenced_by(
    silences: Iterable[Silence], identity: AlertIdentity, finding: Finding | None, time: float
) -> str | None:
    """Why the first silence that holds was made, or None.

    `local` and `remote` match what the identity says or what the finding says, which has more of the address.
    """
    for silence in silences:
        if _holds(silence.until, time) and all(_matches(silence, field, identity, finding) for field in _FIELDS):
            return silence.why or _WHY
    return None


def remarks(silences: Iterable[Silence], time: float) -> Iterator[Remark]:
    """Warnings of silences that silence nothing any more, or everything."""
    for number, silence in enumerate(silences):
        at = ("alerts", "silences", number)
        if not _holds(silence.until, time):
            text = f"alerts.silences.until: this silence ended at {silence.until}; it silences nothing"
            yield Remark(at=(*at, "until"), text=text, warning=True)
        elif all(set(getattr(silence, field)) == {"*"} for field in _FIELDS):
            end = f"until {silence.until}" if silence.until else "for ever"
            text = f"alerts.silences: this silence has no pattern: it silences every alert {end}"
            yield Remark(at=at, text=text, warning=True)


def _matches(silence: Silence, field: str, identity: AlertIdentity, finding: Finding | None) -> bool:
    pattern = _compiled(getattr(silence, field))
    if pattern.fullmatch(getattr(identity, field)):
        return True
    if finding is None or field not in {"local", "remote"}:
        return False
    return pattern.fullmatch(getattr(finding.subject, field) or "") is not None


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    """`*` and `?` alone: an IPv6 address has brackets, which fnmatch would take for a set of characters."""
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in glob)
    return re.compile(re.sub(r"(\.\*)+", ".*", "".join(parts)), re.DOTALL)


def _holds(until: str, time: float) -> bool:
    """Whether `time` is before it; a silence whose end is no time does not hold."""
    if not until:
        return True
    try:
        end = datetime.fromisoformat(until)
    except ValueError:
        return False
    return time < (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()
