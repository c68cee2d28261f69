"""Runs `sockwatch lab` as people do, and looks at its stage from outside."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netns import require_namespaces

SECONDS = 100
KEEP = ("--keep", "600", "--json")
STATES = {
    "ESTAB": "established",
    "SYN-SENT": "syn_sent",
    "SYN-RECV": "syn_recv",
    "FIN-WAIT-1": "fin_wait_1",
    "FIN-WAIT-2": "fin_wait_2",
    "TIME-WAIT": "time_wait",
    "CLOSE-WAIT": "close_wait",
    "CLOSING": "closing",
    "LAST-ACK": "last_ack",
    "LISTEN": "listen",
}
"""How ss spells the states that the lab provokes."""


def lab(*arguments: str, program: tuple[str, ...] = ("-m", "sockwatch")) -> subprocess.CompletedProcess[str]:
    """Run `sockwatch lab` to its end."""
    command = [sys.executable, *program, "lab", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A stage that was kept, and what the run said about it."""

    process: subprocess.Popen[str]
    result: dict[str, Any]

    @property
    def pids(self) -> list[int]:
        """The stage's process and those of its players."""
        return [*self.result["pids"].values()]

    @property
    def differences(self) -> list[str]:
        """What differs from the declaration; with it what could not be seen, which may be why."""
        differing = [*self.result["missing"], *self.result["surplus"]]
        return differing and [*differing, *map(str, self.result["gaps"])]

    def count_with_ss(self) -> Counter[str]:
        """The stage's sockets in each state, as ss counts them."""
        command = ["nsenter", "--target", str(self.result["pids"]["stage"]), "--net"]
        if os.geteuid():
            command += ["--user", "--preserve-credentials"]
        listing = subprocess.run([*command, "ss", "-Htan"], capture_output=True, text=True, check=True)
        return Counter(STATES[line.split()[0]] for line in listing.stdout.splitlines())


@contextmanager
def standing(name: str, *arguments: str, program: tuple[str, ...] = ("-m", "sockwatch")) -> Iterator[Standing]:
    """Run a scenario and keep its stage. Skips where the kernel allows no private namespace."""
    command = [sys.executable, *program, "lab", "run", name, *KEEP, *arguments]
    # A session of its own, as under a terminal: Ctrl-C is a signal to the whole group.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                _, complaint = process.communicate(timeout=SECONDS)
                if "private network namespace" in complaint:
                    require_namespaces()
                if "this kernel has no " in complaint:
                    pytest.skip(f"kernel: {complaint.strip()}")
                pytest.fail(complaint)
            yield Standing(process=process, result=json.loads(line))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=SECONDS)


def is_alive(pid: int) -> bool:
    """Whether this process still does something: a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
