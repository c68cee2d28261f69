"""A machine for a test: the host's systemd as PID 1 in namespaces of its own, up in half a second.

    with Box({"/etc/systemd/system/x.service": unit}) as box:
        box.run("systemctl", "start", "x")

It sees the host's files and changes nothing: what it writes goes with it. It has a network of its own, with nothing but
loopback, so that ports are always free. As root only. PROGRAM is `sockwatch` as a service would find it, and PYTHON the
interpreter of the tests.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import pytest

ROOT = Path(__file__).parents[1]
BOOT = Path(__file__).parent / "systemd" / "boot"
SYSTEMD = Path("/lib/systemd/systemd")
DEADLINE_SECONDS = 60.0
PROGRAM = "/usr/local/bin/sockwatch"
PYTHON = "/usr/local/bin/python-of-tests"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_numbers = itertools.count()


def until(condition: Callable[[], object], *, what: str, deadline: float = DEADLINE_SECONDS) -> None:
    """Ask until it is true; fail the test where it does not come true in time."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not in {deadline:g} s: {what}")
        time.sleep(0.02)


class Box:
    """A context manager. `files` are put over the root: a path to its text, executable where that begins with `#!`."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def __enter__(self) -> Self:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
        unified = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
        if unified is None:
            pytest.skip("kernel: no cgroup2")
        if not SYSTEMD.exists():
            pytest.skip("systemd: not installed")
        self._dir = Path(tempfile.mkdtemp(prefix="box-"))
        self._cgroup = unified / f"{self._dir.name}-{next(_numbers)}"
        self._cgroup.mkdir()
        self._prepare()
        with (self._dir / "console").open("wb") as console:
            self._process = subprocess.Popen(
                [BOOT, self._dir, self._cgroup], stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        try:
            until(self._is_there, what="PID 1")
            self.pid = int((self._dir / "pid").read_text())
            until(self._is_up, what="systemctl is-system-running")
        except BaseException:
            sys.stderr.write((self._dir / "console").read_text(errors="replace"))
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)  # and with it, as unshare --kill-child says, PID 1 and all others
        self._process.wait()
        until(self._remove_cgroups, what="the end of all its processes")
        shutil.rmtree(self._dir)

    def run(self, *command: str, check: bool = True) -> str:
        """The output of a program in the box; fails the test where that fails, unless `check` is off."""
        ended = self.call(*command)
        assert not check or ended.returncode == 0, f"{command}: {ended.returncode}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def call(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """How a program in the box ended, and what it said."""
        return subprocess.run(
            [*self._enter(), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_SECONDS,
        )

    def write(self, path: str, text: str) -> None:
        """A file in the box."""
        subprocess.run([*self._enter(), "tee", path], input=text.encode(), stdout=subprocess.DEVNULL, check=True)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def journal(self, unit: str) -> str:
        """All that a unit has logged, one message a line."""
        return self.run("journalctl", "-o", "cat", "-u", unit)

    def _enter(self) -> list[str]:
        entered = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", "env", "-i"]
        return [*entered, f"PATH={_PATH}", "LANG=C.UTF-8", "HOME=/root", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER="]

    def _prepare(self) -> None:
        (self._dir / "mount").mkdir()
        files = self._dir / "files"
        python = Path(os.path.realpath(sys.executable)).relative_to(os.path.realpath(sys.base_prefix))
        # The interpreter may be in a home, which services do not see, and so may the library that it needs.
        launchers = {
            PYTHON: f'#!/bin/sh\nLD_LIBRARY_PATH=/srv/python/lib exec /srv/python/{python} "$@"\n',
            PROGRAM: f'#!/bin/sh\nexport PYTHONPATH=/srv/sockwatch:/srv/packages\nexec {PYTHON} -m sockwatch "$@"\n',
        }
        for path, text in {**launchers, **self._files}.items():
            target = files / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            target.chmod(0o755 if text.startswith("#!") else 0o644)
        for folder in files.rglob("*/"):
            folder.chmod(0o755)
        files.chmod(0o755)
        binds = {
            os.path.realpath(sys.base_prefix): "/srv/python",
            sysconfig.get_path("purelib"): "/srv/packages",
            str(ROOT / "sockwatch"): "/srv/sockwatch/sockwatch",
            str(ROOT): str(ROOT),  # which may be below /tmp, where the machine has its own
        }
        (self._dir / "binds").write_text("".join(f"{source} {target}\n" for source, target in binds.items()))

    def _is_there(self) -> bool:
        assert self._process.poll() is None, (self._dir / "console").read_text(errors="replace")
        return (self._dir / "pid").exists()

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self._dir / "console").read_text(errors="replace")
        if Path(f"/proc/{self.pid}/comm").read_text() != "systemd\n":
            return False
        return self.run("systemctl", "is-system-running", check=False).strip() in {"running", "degraded"}

    def _remove_cgroups(self) -> bool:
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            try:
                os.rmdir(folder)  # noqa: PTH106 - as os.walk names it
            except OSError:
                return False
        return True
