"""The protocol of the service manager: notify, watchdog, inherited sockets (sd_notify(3), sd_watchdog_enabled(3))."""

import logging
import os
import socket
from collections.abc import MutableMapping

from sockwatch.model.printable import printable

_FIRST_INHERITED = 3
"""SD_LISTEN_FDS_START"""
_SEND_SECONDS = 1.0
"""A service manager that reads nothing for so long is not waited for."""
_VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
)

_log = logging.getLogger(__name__)


class ServiceManager:
    """Who started this process, if it wants to be told things; without one, nothing is sent.

    Takes its variables out of `environment`, so that no program started later answers in our name. `watchdog_seconds`
    is how long it waits for a ping before it kills, None where it waits for none. `inherited` are the sockets it
    listens on for us.
    """

    def __init__(self, environment: MutableMapping[str, str], pid: int | None = None) -> None:
        own = str(os.getpid() if pid is None else pid)
        given = {name: environment.pop(name, "") for name in _VARIABLES}
        self._socket = _connect(given["NOTIFY_SOCKET"])
        self._status = ""
        self._complained = False
        usec = given["WATCHDOG_USEC"]
        meant = given["WATCHDOG_PID"] in {"", own} and usec.isdecimal() and int(usec) > 0
        self.watchdog_seconds = int(usec) / 1e6 if meant else None
        self.inherited = _inherited(given["LISTEN_FDS"]) if given["LISTEN_PID"] == own else ()

    def ready(self) -> None:
        """Started, or reloaded: everything works."""
        self._send("READY=1")

    def reloading(self, monotonic: float) -> None:
        """A reload begins; `monotonic` is CLOCK_MONOTONIC in seconds."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(monotonic * 1e6)}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """The watchdog's ping."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line that `systemctl status` shows; sent only when it is another one."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={printable(text)}")

    def close(self) -> None:
        """Tell nothing more, and give the inherited sockets back."""
        for opened in (self._socket, *self.inherited):
            if opened is not None:
                opened.close()

    def _send(self, *assignments: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send("\n".join(assignments).encode())
        except OSError as error:  # gone, or its queue stays full
            if not self._complained:
                _log.warning("the service manager does not listen: %s", error)
            self._complained = True


def _connect(address: str) -> socket.socket | None:
    """A socket to $NOTIFY_SOCKET: a path, or with a leading @ an abstract name; None for anything else."""
    if not address.startswith(("/", "@")):
        return None
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    notify.settimeout(_SEND_SECONDS)
    try:
        notify.connect(f"\0{address[1:]}" if address.startswith("@") else address)
    except OSError as error:
        notify.close()
        _log.warning("NOTIFY_SOCKET %s: %s", address, error)
        return None
    return notify


def _inherited(count: str) -> tuple[socket.socket, ...]:
    if not count.isdecimal():
        return ()
    found: list[socket.socket] = []
    for fd in range(_FIRST_INHERITED, _FIRST_INHERITED + int(count)):
        try:
            os.set_inheritable(fd, False)  # noqa: FBT003 - the system's own signature
            candidate = socket.socket(fileno=fd)
        except OSError as error:
            _log.warning("LISTEN_FDS: file descriptor %d is no socket: %s", fd, error.strerror)
            continue
        if candidate.type == socket.SOCK_STREAM and candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            found.append(candidate)
        else:
            _log.warning("LISTEN_FDS: file descriptor %d does not listen for connections", fd)
    return tuple(found)
