"""The sink that runs a program."""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from sockwatch.clock import Clock
from sockwatch.errors import UsageError
from sockwatch.export.sinks import supervisor
from sockwatch.export.sinks.notice import Notice, notice_object, variables
from sockwatch.export.sinks.outcome import Outcome, Reason, delivered, failed
from sockwatch.export.sinks.program import opened_program
from sockwatch.model.printable import printable
from sockwatch.model.settings import ExecSink

GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""
MOST_HOOKS = 4
"""Of all sinks together, at the same time."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE = 10.0
"""Seconds that the supervisor may take beyond all its deadlines."""
_MOST_ANSWER = 1 << 20
_LOGGED_LINES = 20
_LOGGED_CHARACTERS = 500
_CHUNK = 65536

_log = logging.getLogger(__name__)


class Hook:
    """Tells one alert by running the program once; `slots` are shared by all hooks."""

    most = 1
    attempts: int | None = 5
    first_pause = 5.0
    own_pauses = True

    def __init__(
        self,
        name: str,
        settings: ExecSink,
        *,
        host: str,
        slots: threading.Semaphore,
        clock: Clock,
        grace: float = GRACE,
    ) -> None:
        self.send_resolved = settings.send_resolved
        self._name = name
        self._settings = settings
        self._host = host
        self._slots = slots
        self._clock = clock
        self._grace = grace
        self._lock = threading.Lock()
        self._control: IO[bytes] | None = None
        self._aborted = False

    def deliver(self, notices: Sequence[Notice]) -> Outcome:
        """Run it for the first of the notices, and return when nothing of it is left."""
        with self._slots:
            if self._aborted:
                return failed(Reason.STOPPED, "not started: the daemon ends")
            try:
                with opened_program(self._settings.command[0]) as program:
                    answer = self._supervise(program, notices[0])
            except (UsageError, OSError) as error:
                return failed(Reason.PROGRAM, printable(str(error)))
        self._show(answer)
        return _outcome(answer, self._settings.timeout)

    def abort(self) -> None:
        """End a run that is under way, and let no other begin."""
        with self._lock:
            self._aborted = True
            if self._control is not None:
                self._control.close()

    def _supervise(self, program: int, notice: Notice) -> Mapping[str, Any]:
        request = {
            "command": self._settings.command,
            "program": program,
            "timeout": self._settings.timeout,
            "grace": self._grace,
            "stdin": json.dumps(notice_object(notice, self._host)) + "\n",
        }
        environment = {"PATH": PATH, "LANG": "C.UTF-8", **self._settings.environment, **variables(notice, self._host)}
        with subprocess.Popen(  # noqa: S603 - our own file; what it runs was looked at by opened_program()
            [sys.executable, "-I", "-S", str(Path(supervisor.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            umask=0o077,
            start_new_session=True,
            pass_fds=[program],
        ) as process:
            control, answers = process.stdin, process.stdout
            if control is None or answers is None:
                raise OSError("no pipe")
            try:
                control.write(json.dumps(request).encode() + b"\n")
                control.flush()
                with self._lock:
                    self._control = control
                    if self._aborted:
                        control.close()
                answer = self._read(answers, self._settings.timeout + self._grace + _PATIENCE)
            finally:
                with self._lock:
                    self._control = None
                process.kill()  # it has ended, unless it is stuck
        try:
            result: Mapping[str, Any] = json.loads(answer)
        except ValueError:
            raise OSError(f"the supervisor failed: {answer[-200:].decode(errors='backslashreplace')}") from None
        return result

    def _read(self, answers: IO[bytes], seconds: float) -> bytes:
        deadline = self._clock.monotonic() + seconds
        answer = b""
        while (wait := deadline - self._clock.monotonic()) > 0 and len(answer) < _MOST_ANSWER:
            if not select.select([answers], (), (), wait)[0]:
                break
            chunk = os.read(answers.fileno(), _CHUNK)
            if not chunk:
                break
            answer += chunk
        return answer

    def _show(self, answer: Mapping[str, Any]) -> None:
        lines = answer["output"].splitlines()
        for line in lines[:_LOGGED_LINES]:
            _log.info('sink %s said "%s"', self._name, printable(line[:_LOGGED_CHARACTERS]))
        if len(lines) > _LOGGED_LINES or answer["dropped_bytes"]:
            _log.info("sink %s said %d more lines", self._name, max(len(lines) - _LOGGED_LINES, 0))
        if answer["left_behind"]:
            _log.warning("sink %s: it left %d processes behind, which were ended", self._name, answer["left_behind"])
        if answer["survivors"]:
            _log.error("sink %s: %d of its processes could not be killed", self._name, answer["survivors"])


def _outcome(answer: Mapping[str, Any], timeout: float) -> Outcome:
    status = answer["status"]
    if answer["error"] or (status is None and not answer["stopped"] and not answer["timed_out"]):
        return failed(Reason.PROGRAM, f"cannot be started: {answer['error']}")
    if answer["stopped"]:
        return failed(Reason.STOPPED, "ended, because the daemon ends")
    if answer["timed_out"]:
        return failed(Reason.TIMEOUT, f"ended after {timeout:g} s")
    if status < 0:
        return failed(Reason.SIGNAL, f"killed by {signal.Signals(-status).name}")
    return failed(Reason.EXIT_STATUS, f"exit status {status}") if status else delivered("exit status 0")
