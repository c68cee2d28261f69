"""A private network namespace for a test: a child process that is alone in it and runs the test's functions there.

    def listen() -> int:                       # a module-level function: it is sent by name, its result comes back
        listener = keep(socket.create_server(("127.0.0.1", 0)))
        return listener.getsockname()[1]

    with PrivateNetns() as netns:
        port = netns.run(listen)

Works as root and, where the kernel allows user namespaces, as an ordinary user; elsewhere the test is skipped.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import warnings
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, Self, TypeVar

import pytest

P = ParamSpec("P")
T = TypeVar("T")

CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
ANSWER_SECONDS = 60

_kept: list[Any] = []


def require_namespaces() -> None:
    """Skip the test if no private namespace can be made here; what the program under test says proves nothing."""
    with PrivateNetns():
        pass


def keep(thing: T) -> T:
    """Hold a socket (or anything) open in the namespace until the namespace ends, or forget_kept()."""
    _kept.append(thing)
    return thing


def forget_kept() -> None:
    """Close what was kept."""
    _kept.clear()


class PrivateNetns:
    """A context manager. `pid` is the child's, `path` its namespace file as `--netns` takes it."""

    def __enter__(self) -> Self:
        self._connection, theirs = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside xdist's threads: the child takes no lock
            self.pid = os.fork()
        if not self.pid:
            self._connection.close()
            _serve(theirs)
        theirs.close()
        self.path = Path(f"/proc/{self.pid}/ns/net")
        refusal = self._receive()
        if refusal is not None:
            self.__exit__()
            pytest.skip(f"kernel: no private network namespace here: {refusal}")
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._connection.close()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a module-level function in the namespace; what it returns comes back, what it raises is raised here."""
        self._connection.send((function, args, kwargs))
        result: T = self._receive()
        return result

    def set_sysctl(self, name: str, value: str) -> None:
        """Set a sysctl of the namespace, by its full name."""
        self.run(_write_sysctl, name, value)

    def _receive(self) -> Any:
        if not self._connection.poll(ANSWER_SECONDS):
            raise TimeoutError("the process in the private namespace does not answer")
        worked, answer = self._connection.recv()
        if not worked:
            raise answer
        return answer


def _serve(connection: Connection) -> NoReturn:
    """The child: enters its namespace, says how that went, then runs what it is sent."""
    try:
        try:
            _enter()
        except OSError as error:
            connection.send((True, str(error)))
        else:
            connection.send((True, None))
        while True:  # until the parent ends us
            function, args, kwargs = connection.recv()
            try:
                answer = (True, function(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to see it
                answer = (False, error)
            connection.send(answer)
    finally:
        os._exit(0)


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET | (CLONE_NEWUSER if uid else 0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        # A process that got a user namespace may not be looked into, not even from within it.
        libc.prctl(PR_SET_DUMPABLE, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh", b"lo", 0).ljust(40, b"\0")
        flags = struct.unpack_from("16xh", fcntl.ioctl(control, SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP).ljust(40, b"\0"))


def _write_sysctl(name: str, value: str) -> None:
    Path("/proc/sys", *name.split(".")).write_text(value)
