"""Which network namespace to look at, how to get in, and what to call it."""

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sockwatch.collect.netns_search import is_kernel_thread
from sockwatch.errors import DumpError, UsageError
from sockwatch.model.printable import printable

if TYPE_CHECKING:
    import ctypes

CURRENT, ALL, HOST = "current", "all", "host"
RUN_NETNS = Path("/run/netns")
"""Where iproute2 keeps the namespaces that have a name."""
PROC = Path("/proc")
_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x4000_0000
"""include/uapi/linux/nsfs.h and sched.h"""
_ONLY_IN_INITIAL = "sys/net/ipv4/tcp_max_orphans"
_SO_NETNS_COOKIE = 71
_COOKIE_BYTES = 8
"""include/uapi/asm-generic/socket.h (v5.14, e8b9eab99232)"""
VANISHED = frozenset({errno.ENOENT, errno.ESRCH, errno.EINVAL, errno.ENOTDIR, errno.ENXIO})
"""What a namespace that ends says, or one whose file is there and not yet mounted over (setns: EINVAL)."""
REFUSED = frozenset({errno.EPERM, errno.EACCES})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A namespace that was seen: `name` is what it is called if it is not the initial one, `paths` are ways in."""

    inode: int
    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """What was not entered on a tour: `refused` may not be, and to `missed` no path leads any more."""

    refused: tuple[Place, ...] = ()
    missed: tuple[Place, ...] = ()


def visit(
    places: Iterable[Place], function: Callable[[Place], None], *, first: Callable[[], None] | None = None
) -> Tour:
    """Call `function` in each of these namespaces, one after the other, in one thread that ends with the call.

    `first` is called before, in the namespace of the caller, which itself never moves. A place that is no longer there
    is passed over. No file or socket of ours keeps a namespace: each is opened to go in, and closed before `function`
    runs. What `function` raises ends the tour and is raised here; DumpError where the caller was moved after all.
    """
    refused: list[Place] = []
    missed: list[Place] = []

    def tour() -> None:
        if first is not None:
            first()
        for place in places:
            outcome = _enter(place)
            if outcome is None:
                function(place)
            elif outcome in REFUSED:
                refused.append(place)
            else:
                missed.append(place)

    before = own_inode()
    _in_thread(tour)
    if own_inode() != before:
        raise DumpError("this thread is in another network namespace than before")
    return Tour(refused=tuple(refused), missed=tuple(missed))


def call_in_namespace(
    asked: str, function: Callable[[], T], *, listed: Callable[[], Sequence[Place]] = tuple, proc: Path = PROC
) -> T:
    """What `function` returns or raises when it runs in the namespace: CURRENT, a name, or a path (with a slash).

    A name is HOST, `net:[INODE]`, one in RUN_NETNS, or one of those `listed`, which is called only for a name that is
    nowhere else. Another namespace is entered by a thread that ends with the call, so the caller stays where it is.
    What the function opens there stays there; a netlink socket that is kept keeps the namespace alive. Raises
    UsageError where there is no such namespace, or no permission to enter it.
    """
    if asked == CURRENT or (asked == HOST and is_initial(proc)) or asked == f"net:[{own_inode(proc)}]":
        return function()

    def enter_and_call(fd: int) -> T:
        try:
            _setns(fd)
        except OSError as error:
            shown = printable(asked)
            if error.errno == errno.EPERM:
                raise UsageError(f"{shown}: no permission to enter this namespace (CAP_SYS_ADMIN)") from None
            raise UsageError(f"{shown}: {os.strerror(error.errno or 0)}") from None
        return function()

    with _opened(asked, listed, proc) as fd:
        return _in_thread(lambda: enter_and_call(fd))


def own_inode(proc: Path = PROC) -> int:
    """The inode of the calling thread's namespace. Raises DumpError without /proc."""
    try:
        return (proc / "thread-self" / "ns" / "net").stat().st_ino
    except OSError as error:
        raise DumpError(f"cannot tell the network namespace: {proc}: {error.strerror}", errno=error.errno) from error


def is_initial(proc: Path) -> bool:
    """Whether the calling thread is in the initial namespace."""
    return (proc / _ONLY_IN_INITIAL).exists()


def own_cookie() -> int:
    """A number that no other namespace of this boot has or will have, unlike the inode; 0 where there is none."""
    # A UNIX socket is gone when it is closed; a netlink socket would count for a while yet (netlink_release).
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE_BYTES), "little")
    return 0


def name_namespace(asked: str, proc: Path) -> tuple[str, int]:
    """Name and inode of the calling thread's namespace.

    It is "host" for the initial one, else the name it was asked by, else that in RUN_NETNS, else `net:[INODE]`. Raises
    DumpError without /proc.
    """
    inode = own_inode(proc)
    if is_initial(proc):
        return HOST, inode
    if asked not in {CURRENT, ALL} and "/" not in asked:
        return printable(asked), inode
    return given_names().get(inode, f"net:[{inode}]"), inode


def given_names() -> Mapping[int, str]:
    """Inode -> name of the namespaces in RUN_NETNS; of several names the first by the alphabet.

    A file there that is no namespace has no say, and neither has one that is called as only sockwatch calls something.
    No two have the same name: one that only reads like another when it is printed is none.
    """
    try:
        names = os.listdir(RUN_NETNS)  # noqa: PTH208 - names, and often hundreds of them
    except OSError:
        return {}
    found: dict[int, str] = {}
    holders: dict[str, int] = {}
    for name in sorted(names, key=lambda name: (not name.isprintable(), name)):
        try:
            status = os.stat(f"{RUN_NETNS}/{name}")  # noqa: PTH116 - as above
        except OSError:
            continue
        shown = printable(name)
        inode = status.st_ino
        if status.st_dev == _nsfs() and is_free(shown) and holders.setdefault(shown, inode) == inode:
            found.setdefault(inode, shown)
    return found


def is_free(name: str) -> bool:
    """Whether somebody may call a namespace so: the other names are those that only sockwatch gives."""
    return name not in {HOST, CURRENT, ALL} and not name.startswith("net:[")


@contextmanager
def open_namespace(path: str, *, inode: int | None = None) -> Iterator[int]:
    """The namespace as an open file. Raises OSError, also where it is none (ENXIO) or not the one with this inode.

    Only a handle (O_PATH) is opened before it is clear what this is: a FIFO would wait for a writer, a device might
    act, and whose path this is may change under us.
    """
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if status.st_dev != _nsfs() or inode not in {None, status.st_ino}:
            raise OSError(errno.ENXIO, "not a network namespace")
        fd = os.open(f"/proc/thread-self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(handle)
    try:
        if fcntl.ioctl(fd, _NS_GET_NSTYPE) != _CLONE_NEWNET:
            raise OSError(errno.ENXIO, "not a network namespace")
        yield fd
    finally:
        os.close(fd)


@cache
def _nsfs() -> int:
    """The device of the file system that namespaces are files of; there is one, and it stays mounted."""
    return (PROC / "thread-self" / "ns" / "net").stat().st_dev


def _enter(place: Place) -> int | None:
    """Move this thread there; why not if there is no way in, and of several reasons one that says that it is there."""
    reason = errno.ENOENT
    for path in place.paths:
        try:
            with open_namespace(path, inode=place.inode) as fd:
                _setns(fd)
        except OSError as error:
            if error.errno not in VANISHED | REFUSED:
                raise DumpError(f"cannot enter {place.name}: {error.strerror}", errno=error.errno) from error
            if reason not in REFUSED:
                reason = error.errno or reason
        else:
            return None
    return reason


def _in_thread(function: Callable[[], T]) -> T:
    """What `function` returns or raises, from a thread that ends with it."""
    from threading import Thread  # noqa: PLC0415 - only for other namespaces

    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the caller waits
            errors.append(error)

    # A daemon: the exit of a check whose deadline is over does not wait for a thread that the kernel keeps.
    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _setns(fd: int) -> None:
    from pyroute2 import netns  # noqa: PLC0415 - 100 ms, only for other namespaces

    # Without a libc of ours pyroute2 would start ldconfig to find one; other flags would create namespaces.
    netns.setns(fd, flags=0, libc=_libc(), fork=False)


@cache
def _libc() -> "ctypes.CDLL":
    import ctypes  # noqa: PLC0415 - only for other namespaces

    return ctypes.CDLL(None, use_errno=True)


@contextmanager
def _opened(asked: str, listed: Callable[[], Sequence[Place]], proc: Path) -> Iterator[int]:
    """The namespace that somebody asked for, as an open file. Raises UsageError."""
    shown = printable(asked)
    stack = ExitStack()
    try:
        place = _place(asked, listed, proc)
        fd = stack.enter_context(open_namespace(place.paths[0], inode=place.inode or None))
    except FileNotFoundError:
        raise UsageError(f"no network namespace {shown}{_hint(asked, listed)}") from None
    except PermissionError:
        raise UsageError(f"{shown}: no permission to open this namespace (CAP_SYS_PTRACE and CAP_SYS_ADMIN)") from None
    except OSError as error:
        why = "not a network namespace" if error.errno == errno.ENXIO else error.strerror
        raise UsageError(f"{shown}: {why}") from None
    except ValueError:  # it holds a NUL, which each Python version words in its own way
        raise UsageError(f"{shown}: not a path") from None
    with stack:
        yield fd


def _place(asked: str, listed: Callable[[], Sequence[Place]], proc: Path) -> Place:
    """Where the namespace is that somebody asked for; inode 0 is any. Raises FileNotFoundError."""
    if asked == HOST:
        if is_kernel_thread(f"{proc}/2") is False:  # not kthreadd: this is not the initial PID namespace
            raise FileNotFoundError
        return Place(inode=0, name=asked, paths=(f"{proc}/2/ns/net",))
    path = asked if "/" in asked else f"{RUN_NETNS}/{asked}"
    if "/" in asked or os.path.lexists(path):
        return Place(inode=0, name=asked, paths=(path,))
    return next((place for place in listed() if place.name == asked), Place(inode=0, name=asked, paths=(path,)))


def _hint(asked: str, listed: Callable[[], Sequence[Place]]) -> str:
    if "/" in asked:
        return ""
    if asked == HOST:
        return ": the initial one is not to be seen from this PID namespace"
    try:
        names = [path.name for path in RUN_NETNS.iterdir()]
    except OSError:
        names = []
    names += [place.name for place in listed()]
    import difflib  # noqa: PLC0415 - only a mistake needs it

    near = difflib.get_close_matches(asked, sorted({*names, HOST}), n=1)
    return f"; did you mean {printable(near[0])}?" if near else f" in {RUN_NETNS}"
