"""--what-if SYSCTL=VALUE: which sysctl, and whether the kernel would take the value."""

from collections.abc import Iterable, Mapping
from typing import Any

from sockwatch.diagnose.detector import Detector
from sockwatch.diagnose.misfits.gone import GONE
from sockwatch.diagnose.what_if import READ_ONLY, rule
from sockwatch.errors import UsageError
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Asks
from sockwatch.nearest import unknown

OPTION = "--what-if"


def suppositions(words: Iterable[str], detectors: Mapping[str, Detector[Any]]) -> Mapping[str, str]:
    """The values by the full name of their sysctl, as /proc/sys shows them.

    Raises UsageError for a sysctl that no detector reads, with the nearest one, for one that nobody can set, and for a
    value that the kernel refuses.
    """
    known = Asks.union(detector.asks for detector in detectors.values()).sysctls
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f'{OPTION} "{printable(word)}": give a sysctl and a value, as tcp_tw_reuse=1')
        sysctl = _full_name(name, known)
        if sysctl in values:
            raise UsageError(f"{OPTION} {sysctl}: given twice")
        if why := READ_ONLY.get(sysctl) or GONE.get(sysctl):
            raise UsageError(f"{OPTION} {sysctl}: nobody can set it: {why}")
        if why := rule(sysctl).refusal(value):
            raise UsageError(f'{OPTION} {sysctl}: the kernel refuses "{printable(value)}": {why}')
        values[sysctl] = "\t".join(value.split())
    return values


def _full_name(word: str, known: Iterable[str]) -> str:
    """The sysctl that is meant: its full name, with dots or as a path, or the last part. Raises UsageError."""
    names = {alias: name for name in sorted(known) for alias in (name.rpartition(".")[2], name)}
    plain = word.strip().removeprefix("/proc/sys/").replace("/", ".")
    if plain not in names:
        raise UsageError(f"{OPTION}: {unknown('sysctl', printable(word), names)}")
    return names[plain]
