"""Runs one hook and outlives all of it; started by itself, as `python -I -S supervisor.py`: standard library only.

A process of its own, because what has to be done between fork() and exec() (capabilities, limits) is safe only where
there is one thread, and because a subreaper gets the orphans of all its children: here they are those of one hook.

The first line of standard input is the request; the end of standard input means: stop now. The environment, the working
directory, the umask and the session are those that the daemon gave this process. The answer is one JSON object.
"""

import ctypes
import json
import math
import os
import resource
import select
import signal
import sys
import time
from enum import Enum, auto
from pathlib import Path
from typing import Any, NoReturn

STOP_GRACE = 1.0
"""Seconds from SIGTERM to SIGKILL where the daemon itself is told to end."""
OUTPUT_BYTES = 65536
_CPU_SECONDS_MORE = 5
_FILES = 1024
_CHUNK = 65536
_KILL_AGAIN = 0.05
_GIVE_UP = 2.0
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    """Answer the request on standard input."""
    request = json.loads(sys.stdin.buffer.readline())
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    json.dump(_Hook(request).run(), sys.stdout)
    sys.stdout.flush()
    os._exit(0)


class _Stage(Enum):
    RUNNING = auto()
    TERMINATED = auto()
    KILLED = auto()


class _Hook:
    """The hook, its descendants, and their way out: until the deadline, then SIGTERM, `grace` seconds, then SIGKILL."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._grace: float = request["grace"]
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._stage = _Stage.RUNNING
        self._deadline = time.monotonic() + request["timeout"]
        self._give_up = math.inf
        self._status: int | None = None
        self._timed_out = self._stopped = False
        self._left_behind = self._dropped_bytes = 0
        self._output = bytearray()
        self._pid, self._reader, self._error = _start(request)

    def run(self) -> dict[str, Any]:
        """What became of it, when nothing of it is left."""
        watched = {0, self._woken, self._reader}
        while self._alive() and time.monotonic() < self._give_up:
            ready = select.select(watched, (), (), max(self._deadline - time.monotonic(), 0))[0]
            if self._woken in ready:
                os.read(self._woken, _CHUNK)
            if self._reader in ready and not self._read():
                watched.discard(self._reader)
            if 0 in ready and not os.read(0, _CHUNK):
                watched.discard(0)
                self._stop()
            if time.monotonic() >= self._deadline:
                self._escalate()
        os.set_blocking(self._reader, False)
        while self._reader in watched and self._read():
            pass
        return {
            "status": self._status,
            "error": self._error,
            "timed_out": self._timed_out,
            "stopped": self._stopped,
            "left_behind": self._left_behind,
            "survivors": len(_children()),
            "output": self._output.decode(errors="backslashreplace"),
            "dropped_bytes": self._dropped_bytes,
        }

    def _alive(self) -> bool:
        """Whether any process is left, after those that ended are reaped."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._pid:
                self._status = os.waitstatus_to_exitcode(status)
                self._left_behind = len(_children())
                if self._stage is _Stage.RUNNING:
                    self._deadline = 0  # what a hook leaves behind ends with it

    def _stop(self) -> None:
        self._stopped = self._status is None
        self._grace = min(self._grace, STOP_GRACE)
        self._deadline = 0 if self._stage is _Stage.RUNNING else min(self._deadline, time.monotonic() + self._grace)

    def _escalate(self) -> None:
        if self._stage is _Stage.RUNNING:
            self._timed_out = self._status is None and not self._stopped
            self._stage = _Stage.TERMINATED
            self._deadline = time.monotonic() + self._grace
            _send(signal.SIGTERM)
            return
        if self._stage is _Stage.TERMINATED:
            self._stage = _Stage.KILLED
            self._give_up = time.monotonic() + _GIVE_UP  # processes of other users, and those in the kernel's hands
        self._deadline = time.monotonic() + _KILL_AGAIN  # what was forked meanwhile
        _send(signal.SIGKILL)

    def _read(self) -> bool:
        """Take what it wrote; False at the end of it, or where there is nothing now."""
        try:
            chunk = os.read(self._reader, _CHUNK)
        except BlockingIOError:
            return False
        kept = chunk[: OUTPUT_BYTES - len(self._output)]
        self._output += kept
        self._dropped_bytes += len(chunk) - len(kept)
        return bool(chunk)


def _start(request: dict[str, Any]) -> tuple[int, int, str | None]:
    """Fork and exec: the process id, where its standard output and error come out, and why it could not start."""
    stdin = os.memfd_create("alert")
    os.write(stdin, request["stdin"].encode())
    os.lseek(stdin, 0, os.SEEK_SET)
    reader, writer = os.pipe()
    refusal, refuse = os.pipe()  # closed by exec()
    pid = os.fork()
    if not pid:
        try:
            for target, source in ((0, stdin), (1, writer), (2, writer)):
                os.dup2(source, target)
            _become_harmless(request["timeout"])
            _execute(request["program"], request["command"])
        except OSError as error:
            os.write(refuse, (error.strerror or "?").encode())
        finally:
            os._exit(127)
    for end in (writer, refuse, stdin, request["program"]):
        os.close(end)
    why = os.read(refusal, _CHUNK).decode()
    os.close(refusal)
    return pid, reader, why or None


def _become_harmless(timeout: float) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_CPU, int(timeout) + _CPU_SECONDS_MORE),
    ):
        hard = resource.getrlimit(limit)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))
    _restore_oom_score()
    _drop_capabilities()


def _restore_oom_score() -> None:
    """What the service manager set for the daemon is not for its hooks; raising it needs no capability."""
    adjusted = Path("/proc/self/oom_score_adj")
    if int(adjusted.read_bytes()) < 0:
        adjusted.write_bytes(b"0")


def _drop_capabilities() -> None:
    """Leave none, and none that exec() could give back (capabilities(7)).

    An ordinary user's are ambient. Root gets the bounding set at exec(): it is emptied, and where that is not allowed
    (no CAP_SETPCAP), no_new_privs keeps exec() from giving more than there is, which is nothing then.
    """
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    emptied = True
    for capability in range(64):
        held = _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0)
        if held < 0:
            break  # the kernel knows no more
        if held and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
            emptied = False
    if os.geteuid() == 0 and not emptied:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if _libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise _error()


def _execute(program: int, command: list[str]) -> NoReturn:
    """Run the very file that was looked at."""
    os.set_inheritable(program, False)  # noqa: FBT003 - it takes no names
    try:
        os.execve(program, command, os.environ)  # noqa: S606 - that is what a hook is
    except FileNotFoundError:
        # A script: its interpreter opens it by name, which it could not do with a descriptor that is closed on exec
        # (execveat(2)), and $0 tells it where it is. Nobody but root and this user can write on the way to it.
        os.execve(command[0], command, os.environ)  # noqa: S606 - as above


def _children() -> dict[int, int]:
    """The processes whose parent this one is, with their groups; /proc/PID/task/TID/children is not in every kernel."""
    own = os.getpid()
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                status = (path / "stat").read_bytes()
            except OSError:
                continue
            state, parent, group = status.rpartition(b")")[2].split()[:3]
            if int(parent) == own and state != b"Z":
                found[int(path.name)] = int(group)
    return found


def _send(number: signal.Signals) -> None:
    """To all children and their groups; groups exist as long as the child does, which only this process reaps."""
    children = _children()
    for send, targets in ((os.killpg, {*children.values()} - {os.getpgrp()}), (os.kill, {*children})):
        for target in targets:
            try:
                send(target, number)
            except (ProcessLookupError, PermissionError):
                continue


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


_libc = ctypes.CDLL(None, use_errno=True)

if __name__ == "__main__":
    main()
