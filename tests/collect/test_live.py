import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import builders
from netns import PrivateNetns, keep
from sockwatch.clock import SystemClock
from sockwatch.collect import namespace_reader
from sockwatch.collect.dump import Dump
from sockwatch.collect.live import LiveSource
from sockwatch.model.snapshot import Asks, FollowUp, Gap, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

COUNT = 23
ASKS = Asks(
    states=frozenset({State.CLOSE_WAIT}),
    details=frozenset({"last_ack_recv"}),
    sysctls=frozenset({"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_tw_recycle"}),
)
WITHOUT_SUSPECTS = """
import sys
sys.path.insert(0, sys.argv[1])
from sockwatch.clock import SystemClock
from sockwatch.collect import namespace_reader
from sockwatch.collect.live import LiveSource
from sockwatch.model.snapshot import Asks, FollowUp
source = LiveSource(clock=SystemClock())
snapshot = source.look(Asks())
source.follow_up(snapshot, FollowUp(suspects=snapshot.sockets.take(snapshot.sockets.inode == 0)))
print(sorted({"psutil", "pyroute2", "asyncio", "ssl", "concurrent.futures", "msgspec"} & set(sys.modules)))
"""


class ManualClock(SystemClock):
    def unixtime(self) -> float:
        return 1_700_000_000.0

    def monotonic(self) -> float:
        return 100.0


class SlowClock(ManualClock):
    """Every reading is 2 s after the last."""

    def __init__(self) -> None:
        self.now = 98.0

    def monotonic(self) -> float:
        self.now += 2.0
        return self.now


UNLISTED = "sockets in bound and close"


def leak_close_wait() -> None:
    """The clients close, the server's ends stay."""
    with socket.create_server(("127.0.0.1", 0), backlog=COUNT) as listener:
        for _ in range(COUNT):
            client = socket.create_connection(listener.getsockname())
            server, _address = listener.accept()
            keep(server)
            client.close()
            assert not server.recv(1, socket.MSG_PEEK)


def look(netns: str) -> Snapshot:
    source = LiveSource(clock=ManualClock(), netns=netns)
    snapshot = source.look(ASKS)
    return source.follow_up(snapshot, FollowUp(suspects=snapshot.sockets.in_state(State.CLOSE_WAIT)))


def assert_complete(snapshot: Snapshot, netns: PrivateNetns) -> None:
    stuck = snapshot.sockets.in_state(State.CLOSE_WAIT)
    assert len(stuck) == COUNT
    assert (stuck.detail("last_ack_recv") >= 0).all()
    assert [process.pid for process in snapshot.owners.holders(stuck)] == [netns.pid]
    [namespace] = snapshot.namespaces
    assert not namespace.initial
    assert namespace.lists_bound == (tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 8))
    assert (namespace.name, namespace.inode) == (f"net:[{namespace.inode}]", netns.path.stat().st_ino)
    assert namespace.sysctls == {"net.ipv4.tcp_fin_timeout": "23"}
    assert namespace.counters["Tcp.ActiveOpens"] == COUNT
    assert (snapshot.host, snapshot.kernel) == (os.uname().nodename, os.uname().release)
    assert (snapshot.time, snapshot.monotonic) == (1_700_000_000.0, 100.0)
    assert [gap.what for gap in snapshot.gaps] == ([] if namespace.lists_bound else [UNLISTED])


def test_a_look_says_when_its_reading_began_and_how_long_that_took(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Dump(sockets=SocketTable.empty(), gaps=(), lists_bound=True)
    monkeypatch.setattr(namespace_reader, "dump_sockets", lambda _asks, **_states: nothing)
    snapshot = LiveSource(clock=SlowClock()).look(Asks())
    assert (snapshot.monotonic, snapshot.took) == (100.0, 2.0)


def test_states_that_this_kernel_does_not_list_are_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    old_kernel = Dump(sockets=SocketTable.empty(), gaps=(), lists_bound=False)
    monkeypatch.setattr(namespace_reader, "dump_sockets", lambda _asks, **_states: old_kernel)
    monkeypatch.setattr(namespace_reader, "lists_bound", lambda _sockets: False)
    snapshot = LiveSource(clock=ManualClock()).look(Asks())
    assert [gap.what for gap in snapshot.gaps] == [UNLISTED]
    assert not snapshot.namespaces[0].lists_bound


def test_a_look_has_the_sockets_counters_sysctls_and_holders_of_its_namespace() -> None:
    with PrivateNetns() as netns:
        netns.set_sysctl("net.ipv4.tcp_fin_timeout", "23")
        netns.run(leak_close_wait)
        assert_complete(netns.run(look, "current"), netns)


def test_what_the_look_could_not_see_stays_said_when_holders_are_named() -> None:
    unseen = Gap(what="dump", why="not seen")
    named = LiveSource(clock=ManualClock(), proc=Path("/nonexistent")).follow_up(
        builders.snapshot(gaps=[unseen]),
        FollowUp(suspects=builders.table([builders.socket(State.CLOSE_WAIT, "127.0.0.1:1", inode=7)])),
    )
    assert named.gaps == (unseen, Gap(what="owners", why="/nonexistent: No such file or directory"))


@pytest.mark.needs_root
def test_a_look_from_outside_sees_the_same() -> None:
    with PrivateNetns() as netns:
        netns.set_sysctl("net.ipv4.tcp_fin_timeout", "23")
        netns.run(leak_close_wait)
        assert_complete(look(str(netns.path)), netns)


def test_where_nobody_is_to_be_named_nothing_heavy_is_imported() -> None:
    package = str(Path(__file__).parents[2])
    assert subprocess.check_output([sys.executable, "-c", WITHOUT_SUSPECTS, package], text=True) == "[]\n"


def bind_and_receive() -> None:
    keep(socket.socket()).bind(("127.0.0.1", 4000))
    keep(socket.socket()).bind(("127.0.0.1", 0))
    keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 5353))


def follow(netns: str, root: Path) -> Snapshot:
    source = LiveSource(clock=ManualClock(), netns=netns, root=root)
    snapshot = source.look(Asks(udp=True, mptcp=True, sysctl_files=True))
    return source.follow_up(snapshot, FollowUp(suspects=SocketTable.empty(), autobound=True))


def assert_asked_for(snapshot: Snapshot) -> None:
    assert dict(zip(snapshot.sockets.sport == 4000, snapshot.sockets.autobound, strict=True)) == {True: 0, False: 1}
    assert snapshot.udp.sport.tolist() == [5353]
    assert len(snapshot.mptcp) == 0
    assert snapshot.sysctl_files == ()
    assert snapshot.gaps == ()


@pytest.fixture
def sysctl_conf(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/sysctl.conf").write_text("net.core.somaxconn = 23\n")
    return tmp_path


def test_what_is_asked_for_is_read_in_the_namespace_and_nobody_knows_which_files_it_had(sysctl_conf: Path) -> None:
    with PrivateNetns() as netns:
        netns.run(bind_and_receive)
        assert_asked_for(netns.run(follow, "current", sysctl_conf))


@pytest.mark.needs_root
def test_what_is_asked_for_is_read_in_the_namespace_from_outside(sysctl_conf: Path) -> None:
    with PrivateNetns() as netns:
        netns.run(bind_and_receive)
        assert_asked_for(follow(str(netns.path), sysctl_conf))


def test_the_sysctl_files_are_those_of_the_initial_namespace(
    sysctl_conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace_reader, "is_initial", lambda _proc: True)
    with PrivateNetns() as netns:
        [setting] = netns.run(follow, "current", sysctl_conf).sysctl_files
        assert (setting.name, setting.value) == ("net.core.somaxconn", "23")
        assert netns.run(look, "current").sysctl_files == ()
