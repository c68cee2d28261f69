"""Which network namespace to look at, how to get in, and what to call it."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sockwatch.errors import DumpError, UsageError
from sockwatch.model.printable import printable

CURRENT = "current"
RUN_NETNS = Path("/run/netns")
"""Where iproute2 keeps the namespaces that have a name."""
_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x4000_0000
"""include/uapi/linux/nsfs.h and sched.h"""
_ONLY_IN_INITIAL = "sys/net/ipv4/tcp_max_orphans"

T = TypeVar("T")


def call_in_namespace(asked: str, function: Callable[[], T]) -> T:
    """What `function` returns or raises when it runs in the namespace: CURRENT, a name, or a path (with a slash).

    Another namespace is entered by a thread that ends with the call, so the caller stays where it is. What the
    function opens there stays there; a netlink socket that is kept keeps the namespace alive. Raises UsageError where
    there is no such namespace, or no permission to enter it.
    """
    if asked == CURRENT:
        return function()
    from threading import Thread  # noqa: PLC0415 - only for other namespaces

    results: list[T] = []
    errors: list[BaseException] = []

    def run(fd: int) -> None:
        try:
            results.append(_enter_and_call(fd, printable(asked), function))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the caller waits
            errors.append(error)

    with _opened(asked) as fd:
        # A daemon: the exit of a check whose deadline is over does not wait for a thread that the kernel keeps.
        thread = Thread(target=run, args=(fd,), daemon=True)
        thread.start()
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def name_namespace(asked: str, proc: Path) -> tuple[str, int, bool]:
    """Name, inode, and whether it is the initial one, of the calling thread's namespace.

    It is "host" for the initial one, else the name it was asked by, else `net:[INODE]`. Raises DumpError without /proc.
    """
    try:
        inode = (proc / "thread-self" / "ns" / "net").stat().st_ino
    except OSError as error:
        raise DumpError(f"cannot tell the network namespace: {proc}: {error.strerror}", errno=error.errno) from error
    initial = (proc / _ONLY_IN_INITIAL).exists()
    if initial:
        return "host", inode, True
    named = asked != CURRENT and "/" not in asked
    return printable(asked) if named else f"net:[{inode}]", inode, False


@contextmanager
def _opened(asked: str) -> Iterator[int]:
    """The namespace as an open file, verified to be one."""
    shown = printable(asked)
    path = Path(asked) if "/" in asked else RUN_NETNS / asked
    try:
        # A FIFO would wait for a writer, a device might act: neither is opened.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{shown}: not a network namespace")
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UsageError(f"no network namespace {shown}{_hint(asked)}") from None
    except PermissionError:
        raise UsageError(f"{shown}: no permission to open this namespace (CAP_SYS_PTRACE and CAP_SYS_ADMIN)") from None
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}") from None
    except ValueError:  # it holds a NUL, which each Python version words in its own way
        raise UsageError(f"{shown}: not a path") from None
    try:
        if not _is_network_namespace(fd):
            raise UsageError(f"{shown}: not a network namespace")
        yield fd
    finally:
        os.close(fd)


def _is_network_namespace(fd: int) -> bool:
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def _hint(asked: str) -> str:
    if "/" in asked:
        return ""
    try:
        names = sorted(path.name for path in RUN_NETNS.iterdir())
    except OSError:
        names = []
    import difflib  # noqa: PLC0415 - only a mistake needs it

    near = difflib.get_close_matches(asked, names, n=1)
    return f"; did you mean {printable(near[0])}?" if near else f" in {RUN_NETNS}"


def _enter_and_call(fd: int, shown: str, function: Callable[[], T]) -> T:
    import ctypes  # noqa: PLC0415 - only for other namespaces

    from pyroute2 import netns  # noqa: PLC0415 - 100 ms, only for other namespaces

    try:
        # Without a libc of ours pyroute2 would start ldconfig to find one; other flags would create namespaces.
        netns.setns(fd, flags=0, libc=ctypes.CDLL(None, use_errno=True), fork=False)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise UsageError(f"{shown}: no permission to enter this namespace (CAP_SYS_ADMIN)") from None
        raise UsageError(f"{shown}: {os.strerror(error.errno or 0)}") from None
    return function()
