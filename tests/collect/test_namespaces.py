import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netns import PrivateNetns
from sockwatch.clock import SystemClock
from sockwatch.collect import namespaces
from sockwatch.collect.live import LiveSource
from sockwatch.collect.namespaces import CURRENT, Place, call_in_namespace, name_namespace
from sockwatch.errors import DumpError, UsageError
from sockwatch.model.snapshot import Asks

PROC = Path("/proc")
AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
import pyroute2.netns  # while it may still read the installation
from sockwatch.collect.namespaces import call_in_namespace
from sockwatch.errors import DumpError, UsageError
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
for asked in sys.argv[2:]:
    try:
        print(call_in_namespace(asked, os.getpid))
    except UsageError as error:
        print(error)
"""

HANGING = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from sockwatch.collect.namespaces import call_in_namespace
class Expired(BaseException):
    pass
def expire(*_):
    raise Expired
def hang():
    os.kill(os.getpid(), signal.SIGALRM)
    os.read(os.pipe()[0], 1)
signal.signal(signal.SIGALRM, expire)
try:
    call_in_namespace(sys.argv[2], hang)
except Expired:
    print("out of time")
"""


def inode() -> int:
    return (PROC / "thread-self/ns/net").stat().st_ino


def refuse() -> None:
    raise DumpError("refused", errno=1)


def name(asked: str) -> tuple[str, int]:
    return name_namespace(asked, PROC)


def never() -> None:
    pytest.fail("called in the wrong namespace")


@pytest.mark.needs_root
def test_a_function_runs_in_the_namespace_and_the_caller_stays_where_it_is() -> None:
    before, threads, fds = inode(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    with PrivateNetns() as netns:
        theirs = netns.run(inode)
        fds_with_netns = len(list(Path("/proc/self/fd").iterdir()))
        assert call_in_namespace(str(netns.path), inode) == theirs
        assert len(list(Path("/proc/self/fd").iterdir())) == fds_with_netns, "an open file would keep the namespace"
    assert theirs != before
    assert inode() == before
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == fds


@pytest.mark.needs_root
def test_what_the_function_raises_comes_back() -> None:
    with PrivateNetns() as netns, pytest.raises(DumpError, match=r"^refused$") as caught:
        call_in_namespace(str(netns.path), refuse)
    assert caught.value.errno == 1


@pytest.mark.needs_root
def test_a_caller_whose_time_is_over_does_not_wait_for_what_runs_there() -> None:
    """What hangs never ends here, so that a wait for it, now or at the exit of the interpreter, would be seen."""
    with PrivateNetns() as netns:
        command = [sys.executable, "-c", HANGING, str(Path(namespaces.__file__).parents[2]), str(netns.path)]
        assert subprocess.check_output(command, text=True, timeout=20) == "out of time\n"


@pytest.mark.needs_root
def test_a_name_stands_for_a_file_in_run_netns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "RUN_NETNS", tmp_path)
    with PrivateNetns() as netns:
        (tmp_path / "blue").symlink_to(netns.path)
        assert call_in_namespace("blue", inode) == netns.run(inode)
        assert call_in_namespace("blue", lambda: name("blue")) == ("blue", netns.run(inode))


def test_the_current_namespace_needs_no_permission_and_no_thread() -> None:
    assert call_in_namespace(CURRENT, threading.get_ident) == threading.get_ident()


def test_a_namespace_without_a_name_is_called_by_its_inode() -> None:
    with PrivateNetns() as netns:
        there = netns.run(inode)
        assert netns.run(name, CURRENT) == (f"net:[{there}]", there)
        assert netns.run(name, str(netns.path)) == (f"net:[{there}]", there)
        assert netns.run(name, "blue") == ("blue", there)


def look_by_name(names: list[str]) -> list[tuple[str, int] | str]:
    """Name and inode of what is seen under each of these names."""
    seen: list[tuple[str, int] | str] = []
    for asked in names:
        try:
            [found] = LiveSource(clock=SystemClock(), netns=asked).look(Asks()).namespaces
        except UsageError as error:
            seen.append(str(error))
        else:
            seen.append((found.name, found.inode))
    return seen


def test_a_name_that_a_report_gives_is_taken_back() -> None:
    with PrivateNetns() as netns, PrivateNetns() as other:
        inodes = [one.path.stat().st_ino for one in (netns, other)]
        names = [f"net:[{number}]" for number in inodes]
        *found, absent = netns.run(look_by_name, [*names, "net:[1]"])
    assert found == list(zip(names, inodes, strict=True))
    assert str(absent).startswith("no network namespace net:[1]")


@pytest.mark.needs_root
def test_the_host_is_found_from_elsewhere() -> None:
    if not (PROC / "sys/net/ipv4/tcp_max_orphans").exists():
        pytest.skip("kernel: this is not the initial network namespace")
    with PrivateNetns() as netns:
        assert netns.run(look_by_name, ["host"]) == [("host", inode())]
    assert look_by_name(["host"]) == [("host", inode())]


def test_a_container_is_found_by_its_name_and_a_typo_is_told() -> None:
    with PrivateNetns() as netns:
        place = Place(inode=netns.path.stat().st_ino, name="0123456789ab", paths=(str(netns.path),))
        assert netns.run(call_listed, place) == (
            place.inode,
            "no network namespace 0123456789ac; did you mean 0123456789ab?",
        )


def call_listed(place: Place) -> tuple[int, str]:
    found = call_in_namespace(place.name, inode, listed=lambda: [place])
    with pytest.raises(UsageError) as caught:
        call_in_namespace("0123456789ac", inode, listed=lambda: [place])
    return found, str(caught.value)


def test_the_initial_namespace_is_the_host() -> None:
    if not (PROC / "sys/net/ipv4/tcp_max_orphans").exists():
        pytest.skip("kernel: this is not the initial network namespace")
    assert name(CURRENT) == ("host", inode())
    assert name("whatever") == ("host", inode())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("gren", "no network namespace gren; did you mean green?"),
        ("zzz", "no network namespace zzz in {run}"),
        ("{run}/absent", "no network namespace {run}/absent"),
        ("file", "file: not a network namespace"),
        ("fifo", "fifo: not a network namespace"),
        ("{run}", "{run}: not a network namespace"),
        ("..", "..: not a network namespace"),
        ("", ": not a network namespace"),
        ("/dev/null", "/dev/null: not a network namespace"),
        ("/proc/self/ns/uts", "/proc/self/ns/uts: not a network namespace"),
        ("file/below", "file/below: Not a directory"),
        ("loop", "loop: Too many levels of symbolic links"),
        ("\x1b[2J", r"no network namespace \x1b[2J in {run}"),
        ("nul\0", r"nul\x00: not a path"),
        ("x" * 300, "x" * 300 + ": File name too long"),
    ],
)
def test_what_is_no_network_namespace_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, message: str
) -> None:
    monkeypatch.setattr(namespaces, "RUN_NETNS", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "green").touch()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError) as caught:
        call_in_namespace(asked.format(run=tmp_path), never)
    assert str(caught.value) == message.format(run=tmp_path)


def test_without_run_netns_there_is_no_such_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "RUN_NETNS", tmp_path / "absent")
    with pytest.raises(UsageError, match=r"^no network namespace blue in .*absent$"):
        call_in_namespace("blue", never)


def test_without_permission_the_capability_is_named() -> None:
    package = str(Path(namespaces.__file__).parents[2])
    command = [sys.executable, "-c", AS_NOBODY, package, "/proc/1/ns/net", "/proc/self/ns/net"]
    assert subprocess.check_output(command, text=True).splitlines() == [
        "/proc/1/ns/net: no permission to open this namespace (CAP_SYS_PTRACE and CAP_SYS_ADMIN)",
        "/proc/self/ns/net: no permission to enter this namespace (CAP_SYS_ADMIN)",
    ]


def test_without_proc_the_namespace_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="cannot tell the network namespace"):
        name_namespace(CURRENT, tmp_path)
