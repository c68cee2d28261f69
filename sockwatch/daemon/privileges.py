"""Who this process is, what it may do, and what that leaves unseen."""

import os
import pwd
from pathlib import Path

SEES = {
    "cap_dac_read_search": (2, "processes of other users are not named"),
    "cap_sys_ptrace": (19, "processes of other users are not named"),
    "cap_sys_admin": (21, "network namespaces other than its own are not looked at"),
}
"""The capabilities that the daemon can use: their number (linux/capability.h), and what is missing without."""


def capabilities(status: Path = Path("/proc/self/status")) -> frozenset[str] | None:
    """Those of SEES that are effective, None where that cannot be read."""
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "CapEff":
            effective = int(value, 16)
            return frozenset(name for name, (number, _) in SEES.items() if effective >> number & 1)
    return None


def user() -> str:
    """The name of the effective user with its number, as `nobody (65534)`."""
    uid = os.geteuid()
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return str(uid)


def missing(effective: frozenset[str]) -> list[str]:
    """One sentence for each thing that stays unseen without the capabilities that are not there."""
    lost: dict[str, list[str]] = {}
    for name, (_, why) in SEES.items():
        if name not in effective:
            lost.setdefault(why, []).append(name)
    return [f"without {' and '.join(names)} {why}" for why, names in lost.items()]
