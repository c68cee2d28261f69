"""A private network namespace with real programs in it, at which sockwatch looks now and then."""

import ctypes
import math
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from corpus.recording import RecordingSource
from sockwatch.clock import SystemClock
from sockwatch.diagnose.registry import load_detectors
from sockwatch.lab.namespace import enter_private_network, rename_process, write_sysctl
from sockwatch.lab.witness import count_states
from sockwatch.model.report import Report
from sockwatch.model.state import State
from sockwatch.pipeline import Pipeline, Source

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 30.0
"""How long a program gets to do what is waited for."""
CLIENT = "client"
"""The name of the process that plays a scene, where that is the one with the sockets."""
SICK_AGE = 1.0
"""--min-age for what is sick, as in the lab; what is healthy is judged by the defaults."""


Program = subprocess.Popen[bytes]


@dataclass(kw_only=True)
class Host:
    """What a scene is played on. `rest_seconds` is how long idle things are left alone."""

    folder: Path
    source: RecordingSource
    pipeline: Pipeline
    rest_seconds: float
    reports: list[Report] = field(default_factory=list)
    _processes: list[Program] = field(default_factory=list)
    _kept: list[socket.socket] = field(default_factory=list)

    def look(self) -> Report:
        """One look, and what sockwatch says."""
        self.reports.append(self.pipeline.step())
        return self.reports[-1]

    def start(self, *command: str, listens: int | None = None, **options: Any) -> Program:
        """Start a program that ends with the scene; with `listens`, wait for that port."""
        quiet: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        process = subprocess.Popen(command, cwd=self.folder, start_new_session=True, **(quiet | options))
        self._processes.append(process)
        if listens is not None:
            self.until(lambda: count_states()[State.LISTEN] > 0 and _listens(listens), f"{command[0]} listens")
        return process

    def run(self, *command: str, **options: Any) -> None:
        """Run a program to its end, which must be a good one."""
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=SECONDS, **options)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises TimeoutError."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {SECONDS:.0f} s; there are {count_states()}")
            time.sleep(0.02)

    def until_states(self, **wanted: int) -> None:
        """Wait until at least so many sockets are in each state, or none where that is wanted."""
        states = {State[name.upper()]: count for name, count in wanted.items()}
        self.until(
            lambda: all(n >= count if count else not n for s, count in states.items() for n in [count_states()[s]]),
            str(wanted),
        )

    def until_found(self, *names: str) -> None:
        """Look until these findings are there: what is stuck has to be old enough."""
        self.until(lambda: set(names) <= {f.name for f in self.look().findings}, " and ".join(names))

    def connect(self, port: int, count: int = 1, address: str = "127.0.0.1") -> list[socket.socket]:
        """Connections that are held until the scene ends or somebody closes them."""
        made = [socket.create_connection((address, port), timeout=SECONDS) for _ in range(count)]
        self._kept += made
        return made

    def keep(self, *sockets: socket.socket) -> None:
        """Hold these until the scene ends."""
        self._kept += sockets

    def rest(self, *, at_most: float = math.inf) -> None:
        """Leave everything alone for a while."""
        time.sleep(min(self.rest_seconds, at_most))

    def sysctl(self, name: str, value: str) -> None:
        """Set a sysctl of the namespace."""
        write_sysctl(name, value)

    def write(self, name: str, text: str) -> Path:
        """A file in the scene's folder."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def end(self) -> None:
        """End every program that was started, with its children."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        with suppress(ChildProcessError):  # their children are ours now (adopt_orphans)
            while True:
                os.waitpid(-1, 0)
        for kept in self._kept:
            kept.close()


Play = Callable[[Host], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What programs do. `programs` must be installed; the manifest says under `name` what sockwatch must find."""

    name: str
    play: Play
    programs: Sequence[str] = ()


@contextmanager
def private_host(folder: Path, *, healthy: bool, rest_seconds: float) -> Iterator[Host]:
    """Move this process, which must be forked for it (lab.isolation), into a new namespace and make it a host."""
    enter_private_network()
    rename_process(CLIENT)
    _adopt_orphans()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    source = RecordingSource(SystemClock())
    host = Host(
        folder=folder, source=source, pipeline=make_pipeline(source, healthy=healthy), rest_seconds=rest_seconds
    )
    try:
        yield host
    finally:
        host.end()


def make_pipeline(source: Source, *, healthy: bool, supposed: Mapping[str, str] | None = None) -> Pipeline:
    """Every detector over the source: by its defaults, or sooner where something is wrong and must be found."""
    detectors = load_detectors()
    if not healthy:
        detectors = {
            code: replace(detector, settings=replace(detector.settings, min_age=SICK_AGE))
            for code, detector in detectors.items()
        }
    return Pipeline(source, detectors, SystemClock(), supposed=supposed)


def _adopt_orphans() -> None:
    """Workers of a server that was killed become children of this process, which waits for them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _listens(port: int) -> bool:
    """Without a connection, which would be seen."""
    wanted = f":{port:04X}"
    for listing in ("/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"):
        rows = Path(listing).read_text("ascii").splitlines()[1:]
        if any(row.split()[1].endswith(wanted) and row.split()[3] == "0A" for row in rows):
            return True
    return False
