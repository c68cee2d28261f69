"""What the tests of the units share: the units as files of a box, and questions to the daemon in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from box import ROOT, Box, until

UNITS = "/etc/systemd/system"
CONFIG = "/etc/sockwatch/config.toml"
SERVICE = "sockwatch.service"


def installed(*drop_ins: str) -> Mapping[str, str]:
    """The units and these drop-ins as installed, with a watchdog that a test can wait for."""
    files = [*(ROOT / "systemd").glob("*.service"), *(ROOT / "systemd").glob("*.socket")]
    units = {f"{UNITS}/{file.name}": file.read_text(encoding="utf-8") for file in files}
    chosen = [ROOT / "systemd" / name for name in drop_ins]
    units |= {f"{UNITS}/{SERVICE}.d/{file.name}": file.read_text(encoding="utf-8") for file in chosen}
    impatient = "[Service]\nWatchdogSec=2\nRestartSec=100ms\nTimeoutStopSec=20\n"
    return {**units, f"{UNITS}/{SERVICE}.d/zz-test.conf": impatient}


def config(**poll: object) -> str:
    """A config that polls every 0.2 s."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"interval": 0.2, "cpu_share": 1.0, **poll}.items()]
    return "\n".join(["[poll]", *lines, "[detectors.close_wait_leak]", "min_age = 0", ""])


def page(box: Box, path: str) -> str:
    """What the daemon answers."""
    return box.run("curl", "--silent", "--show-error", "--max-time", "10", f"http://127.0.0.1:10147{path}")


def metrics(box: Box) -> Mapping[str, float]:
    """Each series of /metrics with its value."""
    samples = (line.rpartition(" ") for line in page(box, "/metrics").splitlines() if line[:1] not in {"#", ""})
    return {series: float(value) for series, _, value in samples}


def report(box: Box) -> Mapping[str, Any]:
    """The last poll's report."""
    told: Mapping[str, Any] = json.loads(page(box, "/api/v1/report"))
    return told


def main_pid(box: Box) -> int:
    """The daemon's process, as the box numbers it."""
    return int(box.show(SERVICE, "MainPID"))


def outside(box: Box, pid: int) -> int:
    """The host's number of a process in the box."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if lines["NSpid"].split()[1:] == [str(pid)] and _same_pid_namespace(int(lines["Pid"]), box.pid):
            return int(lines["Pid"])
    raise LookupError(pid)


def _same_pid_namespace(one: int, other: int) -> bool:
    return Path(f"/proc/{one}/ns/pid").readlink() == Path(f"/proc/{other}/ns/pid").readlink()


def restarts(box: Box) -> int:
    """How often systemd has restarted the daemon by itself."""
    return int(box.show(SERVICE, "NRestarts"))


def wait_for_restart(box: Box, before: int) -> None:
    """Until systemd has restarted it and it is ready again."""
    until(lambda: restarts(box) > before and box.show(SERVICE, "ActiveState") == "active", what="the restart")
