"""Which namespaces are found and what they are called: a /proc made of files, and what the kernel really has."""

import ctypes
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netns import CLONE_NEWNET, PrivateNetns, keep
from sockwatch.clock import SystemClock
from sockwatch.collect import namespaces, netns_listing
from sockwatch.collect.live import LiveSource
from sockwatch.collect.namespaces import Place, own_inode, visit
from sockwatch.collect.netns_listing import NamespaceLister, net_number
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Asks, Gap

PROC = Path("/proc")
DOCKER = "0::/system.slice/docker-{}.scope\n"
ID, OTHER = "0123456789ab" + 52 * "0", "ba9876543210" + 52 * "0"
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x0002_0000, 4096, 16384, 1 << 18, 2
KERNEL_THREAD = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"
PROCESS = "2 (a) S 1 (b) S 1 1 1 0 -1 4194304 0 0"


class ManualClock(SystemClock):
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class FakeProc:
    """A folder that looks like /proc to the lister; the caller's own namespace is the real one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        own = root / "thread-self"
        (own / "ns").mkdir(parents=True)
        (own / "ns/net").symlink_to("/proc/self/ns/net")
        (own / "mountinfo").touch()
        (own / "ns/pid").symlink_to("/proc/self/ns/pid")
        (root / "2").mkdir()
        (root / "2/stat").write_text(KERNEL_THREAD)

    def add(self, pid: int, inode: int, *, cgroup: str = "0::/\n", fds: tuple[str, ...] = ()) -> Path:
        """A process in a namespace."""
        folder = self.root / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "ns/net").symlink_to(f"net:[{inode}]")
        (folder / "cgroup").write_text(cgroup)
        (folder / "stat").write_text(PROCESS)
        (folder / "task").mkdir()
        (folder / "fd").mkdir()
        for number, link in enumerate(fds):
            (folder / "fd" / str(number)).symlink_to(link)
        return folder

    def lister(self, clock: SystemClock | None = None) -> NamespaceLister:
        return NamespaceLister(clock=clock or ManualClock(), proc=self.root)

    def names(self) -> dict[int, str]:
        return {place.inode: place.name for place in self.lister().find().places}


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProc:
    monkeypatch.setattr(namespaces, "RUN_NETNS", tmp_path / "run")
    (tmp_path / "run").mkdir()
    return FakeProc(tmp_path / "proc")


def test_each_namespace_is_found_once_with_ways_in_and_our_own_is_not(proc: FakeProc) -> None:
    for pid, inode in ((10, 7), (11, 8), (12, 7), (9, own_inode())):
        proc.add(pid, inode)
    paths = {place.inode: place.paths for place in proc.lister().find().places}
    assert paths == {
        7: (f"{proc.root}/10/ns/net", f"{proc.root}/12/ns/net"),
        8: (f"{proc.root}/11/ns/net",),
    }


def test_what_an_open_file_keeps_is_found_and_nothing_else_is_a_namespace(proc: FakeProc) -> None:
    proc.add(
        10, own_inode(), fds=("net:[7]", "socket:[8]", "mnt:[9]", "/var/net:[10]", "net:[11] (deleted)", "net:[x]")
    )
    [place] = proc.lister().find().places
    assert (place.inode, place.paths) == (7, (f"{proc.root}/10/fd/0",))


def test_what_is_mounted_is_found_under_its_real_path(proc: FakeProc) -> None:
    lines = [
        r"41 30 0:4 net:[7] /run/netns/a\040b rw shared:5 - nsfs nsfs rw",
        r"42 30 0:4 mnt:[8] /run/mnt rw - nsfs nsfs rw",
        r"43 30 0:4 / /net:[9] rw - ext4 /dev/sda rw",
    ]
    (proc.root / "thread-self/mountinfo").write_text("\n".join(lines) + "\n")
    [place] = proc.lister().find().places
    assert (place.inode, place.paths) == (7, ("/run/netns/a b",))


def test_a_container_gives_its_namespace_12_characters_of_its_id(proc: FakeProc) -> None:
    proc.add(10, 7, cgroup=DOCKER.format(ID))
    proc.add(11, 8)
    assert proc.names() == {7: "0123456789ab", 8: "net:[8]"}


def test_an_id_that_two_namespaces_claim_is_nobodys(proc: FakeProc) -> None:
    proc.add(10, 7, cgroup=DOCKER.format(ID))
    proc.add(11, 8, cgroup=DOCKER.format(ID))
    assert proc.names() == {7: "net:[7]", 8: "net:[8]"}


def test_who_has_a_name_keeps_it_when_somebody_else_claims_it(proc: FakeProc) -> None:
    clock = ManualClock()
    lister = proc.lister(clock)
    proc.add(10, 7, cgroup=DOCKER.format(ID))
    assert [place.name for place in lister.find().places] == ["0123456789ab"]
    proc.add(9, 8, cgroup=DOCKER.format(ID))
    assert {place.inode: place.name for place in lister.find().places} == {7: "0123456789ab", 8: "net:[8]"}


def test_a_name_that_root_gave_is_taken_from_who_had_it_of_its_container(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch
) -> None:
    lister = proc.lister()
    proc.add(10, 7, cgroup=DOCKER.format(ID))
    proc.add(11, 8)
    assert {place.inode: place.name for place in lister.find().places} == {7: "0123456789ab", 8: "net:[8]"}
    monkeypatch.setattr(netns_listing, "given_names", lambda: {8: "0123456789ab"})
    assert {place.inode: place.name for place in lister.find().places} == {7: "net:[7]", 8: "0123456789ab"}


def test_a_name_does_not_stay_with_an_inode_that_serves_again(proc: FakeProc) -> None:
    lister = proc.lister()
    folder = proc.add(10, 7, cgroup=DOCKER.format(ID))
    assert [place.name for place in lister.find().places] == ["0123456789ab"]
    (folder / "cgroup").write_text(DOCKER.format(OTHER))
    assert [place.name for place in lister.find().places] == ["ba9876543210"]
    (folder / "cgroup").write_text("0::/\n")
    assert [place.name for place in lister.find().places] == ["net:[7]"]


@pytest.mark.parametrize("name", ["host", "current", "all", "net:[7]"])
def test_nobody_takes_a_name_that_only_sockwatch_gives(proc: FakeProc, name: str) -> None:
    proc.add(10, 8, cgroup=f"0::/lxc.payload.{name}\n")
    assert proc.names() == {8: "net:[8]"}


def test_threads_and_open_files_are_searched_once_a_minute(proc: FakeProc) -> None:
    clock = ManualClock()
    lister = proc.lister(clock)
    folder = proc.add(10, own_inode())
    assert lister.find().places == ()
    (folder / "fd/5").symlink_to("net:[7]")
    clock.now += 59
    assert lister.find().places == ()
    clock.now += 1
    assert [place.inode for place in lister.find().places] == [7]
    (folder / "fd/5").unlink()
    clock.now += 59
    assert [place.inode for place in lister.find().places] == [7], "it may still be there; who goes in will see"


class Slow(ManualClock):
    """Every reading is 0.4 s after the last."""

    def monotonic(self) -> float:
        self.now += 0.4
        return self.now


def test_what_the_time_did_not_suffice_for_is_a_gap(proc: FakeProc) -> None:
    for pid in range(10, 14):
        proc.add(pid, own_inode())
    [gap] = proc.lister(Slow()).find().gaps
    assert (gap.what, gap.count) == ("network namespaces", 3)
    assert gap.why == "3 processes: not searched within 1 s for whether a thread or an open file keeps another one"


def test_a_search_goes_on_where_the_last_one_stopped(proc: FakeProc) -> None:
    for pid in range(10, 14):
        proc.add(pid, own_inode(), fds=(f"net:[{pid}]",))
    clock = Slow()
    lister = proc.lister(clock)
    counts = []
    for _ in range(4):
        listing = lister.find()
        counts.append(([place.inode for place in listing.places], [gap.count for gap in listing.gaps]))
        clock.now += 60
    assert counts == [([10], [3]), ([10, 11, 12], [1]), ([10, 11, 12, 13], []), ([10, 11, 12, 13], [])]


def test_a_process_with_more_files_than_the_time_suffices_for_is_searched_bit_by_bit(proc: FakeProc) -> None:
    count = 400
    proc.add(10, own_inode(), fds=tuple(f"net:[{number}]" for number in range(1, count + 1)))
    clock = Slow()
    lister = proc.lister(clock)
    seen = []
    while True:
        listing = lister.find()
        seen.append(len(listing.places))
        if not listing.gaps:
            break
        assert [gap.count for gap in listing.gaps] == [1]
        clock.now += 60
    assert seen == sorted(set(seen))
    assert seen[-1] == count > seen[0] > 0
    assert len(seen) > 2


def test_a_process_that_is_gone_is_forgotten(proc: FakeProc) -> None:
    clock = ManualClock()
    lister = proc.lister(clock)
    folder = proc.add(10, own_inode(), fds=("net:[7]",))
    assert [place.inode for place in lister.find().places] == [7]
    shutil.rmtree(folder)
    assert lister.find().places == ()


@pytest.mark.parametrize("stat", [PROCESS, None])
@pytest.mark.parametrize(
    ("pid_namespace", "why"),
    [
        (4026531836, "those of processes that /proc hides from this user are not seen (hidepid; CAP_SYS_PTRACE)"),
        (4026532177, "those of processes outside of this PID namespace are not seen"),
    ],
)
def test_processes_that_this_proc_does_not_have_are_a_gap(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch, stat: str | None, pid_namespace: int, why: str
) -> None:
    """Where pid 2 is not seen, or is somebody's."""
    (proc.root / "2/stat").unlink()
    if stat is not None:
        (proc.root / "2/stat").write_text(stat)
    inode = (proc.root / "thread-self/ns/pid").stat().st_ino
    monkeypatch.setattr(netns_listing, "_PID_INITIAL", inode if pid_namespace == 4026531836 else inode + 1)
    assert proc.lister().find().gaps == (Gap(what="network namespaces", why=why),)


@pytest.mark.parametrize(("stat", "gaps"), [(PROCESS, 1), (KERNEL_THREAD, 0)])
def test_a_process_that_may_not_be_searched_is_a_gap_unless_it_is_the_kernels(
    proc: FakeProc, monkeypatch: pytest.MonkeyPatch, stat: str, gaps: int
) -> None:
    (proc.add(10, own_inode()) / "stat").write_text(stat)
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if str(path).endswith("/10/fd"):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    found = proc.lister().find().gaps
    who, permission = "whether a thread or an open file keeps another one", "(CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH)"
    assert [gap.why for gap in found] == [f"1 process: no permission to see {who} {permission}"] * gaps


def test_without_proc_nothing_can_be_listed(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match="cannot tell the network namespace"):
        NamespaceLister(clock=SystemClock(), proc=tmp_path).find()


def test_the_number_of_a_namespace_is_the_same_for_all_in_it_and_nobody_else() -> None:
    with PrivateNetns() as blue, PrivateNetns() as green:
        numbers = [net_number(PROC, str(netns.pid)) for netns in (blue, green)]
        assert numbers == [blue.run(net_number, PROC, "thread-self"), green.run(net_number, PROC, "thread-self")]
        assert len({*numbers, net_number(PROC, "self"), None}) == 4


def unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def in_new_namespace(*, then_back: bool) -> Iterator[int]:
    """A new namespace for this thread, and back again: nothing holds it any more but what was opened meanwhile."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNET)
    yield own_inode()
    if then_back:
        ctypes.CDLL(None).setns(home, CLONE_NEWNET)
    os.close(home)


def hold_with_a_file() -> tuple[int, bool]:
    with in_new_namespace(then_back=True) as inode:
        keep(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
    return inode, can_enter(inode)


def hold_with_a_thread() -> tuple[int, bool]:
    inodes: list[int] = []
    ready, done = threading.Event(), threading.Event()

    def stay() -> None:
        with in_new_namespace(then_back=False) as inode:
            inodes.append(inode)
            ready.set()
            done.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    ready.wait()
    entered = can_enter(inodes[0])
    done.set()
    thread.join()
    return inodes[0], entered


def hold_with_a_mount(folder: Path) -> tuple[int, str, bool]:
    """In RUN_NETNS, beside files that somebody else put there."""
    libc = ctypes.CDLL(None, use_errno=True)
    unshare(CLONE_NEWNS)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    namespaces.RUN_NETNS = folder
    for name in ("a file", "blue"):
        (folder / name).touch()
    os.mkfifo(folder / "a-fifo")
    (folder / "another-kind").symlink_to("/proc/self/ns/uts")
    (folder / "leads-nowhere").symlink_to("absent")
    with in_new_namespace(then_back=True) as inode:
        if libc.mount(b"/proc/thread-self/ns/net", bytes(folder / "blue"), None, MS_BIND, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    lister = NamespaceLister(clock=SystemClock())
    [name] = [place.name for place in lister.find().places if place.inode == inode]
    entered = can_enter(inode)
    libc.umount2(bytes(folder / "blue"), MNT_DETACH)
    return inode, name, entered


def can_enter(inode: int) -> bool:
    """Whether it is listed, and whoever goes in is there."""
    places = [place for place in NamespaceLister(clock=SystemClock()).find().places if place.inode == inode]
    seen: list[int] = []
    visit(places, lambda _place: seen.append(own_inode()))
    return seen == [inode]


def test_what_only_an_open_file_keeps_is_found() -> None:
    with PrivateNetns() as netns:
        assert netns.run(hold_with_a_file)[1]


def test_what_only_a_thread_keeps_is_found() -> None:
    with PrivateNetns() as netns:
        assert netns.run(hold_with_a_thread)[1]


def test_what_only_a_mount_keeps_is_found_by_the_name_of_its_file(tmp_path: Path) -> None:
    with PrivateNetns() as netns:
        _, name, entered = netns.run(hold_with_a_mount, tmp_path)
        assert (name, entered) == ("blue", True)


def name_two_that_read_alike(folder: Path) -> dict[str, str]:
    """Two namespaces in RUN_NETNS: a name that is no text, and one that reads as that one is printed."""
    libc = ctypes.CDLL(None, use_errno=True)
    unshare(CLONE_NEWNS)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    namespaces.RUN_NETNS = folder
    named = {}
    for name in (b"\xff", b"\\udcff"):
        path = bytes(folder) + b"/" + name
        os.close(os.open(path, os.O_CREAT))
        with in_new_namespace(then_back=True) as inode:
            if libc.mount(b"/proc/thread-self/ns/net", path, None, MS_BIND, None):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        named[str(inode)] = name.decode("utf-8", "backslashreplace")
    places = NamespaceLister(clock=SystemClock()).find().places
    return {named[str(place.inode)]: place.name for place in places if str(place.inode) in named}


def test_of_two_names_that_read_alike_the_one_that_is_so_counts(tmp_path: Path) -> None:
    with PrivateNetns() as netns:
        names = netns.run(name_two_that_read_alike, tmp_path)
    assert names["\\udcff"] == "\\udcff"
    assert names["\\xff"].startswith("net:[")


def cover_a_mount(folder: Path) -> tuple[list[str], int]:
    """What a look says of a namespace that is mounted where another file is mounted over, and of how many."""
    libc = ctypes.CDLL(None, use_errno=True)
    unshare(CLONE_NEWNS)
    libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    (folder / "blue").touch()
    with in_new_namespace(then_back=True) as inode:
        if libc.mount(b"/proc/thread-self/ns/net", bytes(folder / "blue"), None, MS_BIND, None):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    libc.mount(b"/dev/null", bytes(folder / "blue"), None, MS_BIND, None)
    look = LiveSource(clock=SystemClock(), netns="all").look(Asks())
    return [gap.why for gap in look.gaps if "mounted" in gap.why], sum(n.inode == inode for n in look.namespaces)


def test_a_mounted_namespace_that_something_covers_is_a_gap(tmp_path: Path) -> None:
    with PrivateNetns() as netns:
        gaps, seen = netns.run(cover_a_mount, tmp_path)
    assert (gaps, seen) == (["1 is mounted where something else is mounted over"], 0)


def visit_by_a_way_that_is_refused(other: int, errors_of_setns: tuple[int, ...]) -> list[str]:
    """Who may be entered by none of several ways, the last of which is gone."""
    errors = iter(errors_of_setns)

    def refuse(fd: int) -> None:
        error = next(errors)
        raise OSError(error, f"{os.strerror(error)}: {fd}")

    path = f"/proc/{other}/ns/net"
    place = Place(inode=Path(path).stat().st_ino, name="refused", paths=(path,) * len(errors_of_setns))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(namespaces, "_setns", refuse)
        return [place.name for place in visit([place], lambda _place: None).refused]


@pytest.mark.parametrize("errors", [(errno.EPERM, errno.ESRCH), (errno.ENOENT, errno.EACCES), (errno.EPERM,)])
def test_a_namespace_that_was_refused_once_is_there(errors: tuple[int, ...]) -> None:
    with PrivateNetns() as netns, PrivateNetns() as other:
        assert netns.run(visit_by_a_way_that_is_refused, other.pid, errors) == ["refused"]


def visit_what_is_not_there(other: int) -> list[str]:
    """Files that are no namespace, another kind of one, another namespace, and none at all: nobody gets in."""
    places = [
        Place(inode=own_inode(), name="another", paths=(f"/proc/{other}/ns/net",)),
        Place(inode=os.stat("/proc/self/ns/uts").st_ino, name="uts", paths=("/proc/self/ns/uts",)),  # noqa: PTH116 - a link to no path
        Place(inode=1, name="gone", paths=("/proc/4194305/ns/net", "/nonexistent", "/dev/null/x")),
        Place(inode=os.stat("/dev/null").st_ino, name="device", paths=("/dev/null",)),  # noqa: PTH116 - as the product asks
    ]
    seen: list[str] = []
    visit(places, lambda place: seen.append(place.name))
    return seen


def test_what_vanished_or_is_something_else_is_passed_over() -> None:
    with PrivateNetns() as netns, PrivateNetns() as other:
        assert netns.run(visit_what_is_not_there, other.pid) == []
