"""A private network namespace for this process: lo is up, and nothing in it touches the host's network."""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import NoReturn

from sockwatch.errors import ProvokeError

CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)  # os.unshare is Python 3.12, prctl is in no Python


def _unshare(flags: int) -> None:
    if _libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def enter_private_network() -> bool:
    """Move this single-threaded process into a new network namespace; True if that took a user namespace as well.

    Raises ProvokeError where the kernel, a container or a security module does not allow either.
    """
    uid, gid = os.geteuid(), os.getegid()
    with_user = False
    try:
        try:
            _unshare(CLONE_NEWNET)
        except PermissionError:
            _unshare(CLONE_NEWUSER | CLONE_NEWNET)
            with_user = True
            # user_namespaces(7): without privilege gid_map may be written only after setgroups is denied.
            Path("/proc/self/setgroups").write_text("deny", "ascii")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")
        _raise_loopback()
    except OSError as error:
        raise ProvokeError(f"cannot make a private network namespace: {_reason(error)}") from error
    return with_user


def _reason(error: OSError) -> str:
    hints = {
        errno.EPERM: "as an ordinary user this needs unprivileged user namespaces, as root CAP_SYS_ADMIN",
        errno.EACCES: "a security module forbids it",
        errno.ENOSPC: "/proc/sys/user/max_user_namespaces or max_net_namespaces is reached",
        errno.EINVAL: "this kernel has no such namespaces, or the process has threads",
    }
    text = error.strerror or str(error)
    return f"{text} ({hints[error.errno]})" if error.errno in hints else text


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def write_sysctl(name: str, value: str) -> None:
    """Set a sysctl of the namespace this process is in. Raises ProvokeError where it is absent or read-only."""
    path = Path("/proc/sys", *name.split("."))
    try:
        path.write_text(value, "ascii")
    except OSError as error:
        raise ProvokeError(f"cannot set {name} to {value} in the private namespace: {error.strerror}") from error


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process the signal when its parent ends, however it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it ended before prctl was there to notice
        os._exit(1)


def rename_process(name: str) -> None:
    """Give this process a name that listings show; at most 15 bytes."""
    _libc.prctl(PR_SET_NAME, name.encode("ascii"), 0, 0, 0)


def exit_now() -> NoReturn:
    """End this forked process without running what its parent left to be done at exit; a bug in flight is shown."""
    failure = sys.exception()
    if isinstance(failure, Exception):
        sys.excepthook(type(failure), failure, failure.__traceback__)
    os._exit(0)
