"""A namespace that is read in the cheap way has the same sockets as in a full dump."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from box import until
from netns import PrivateNetns, forget_kept, keep
from sockwatch.clock import SystemClock
from sockwatch.collect import namespace_reader
from sockwatch.collect.counters import read_counters
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.idle import Census
from sockwatch.collect.namespace_reader import NamespaceReader
from sockwatch.lab.packet_filter import EVERYTHING, drop
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

PROC = Path("/proc")
ASKS = Asks(
    states=frozenset({State.ESTABLISHED, State.LISTEN, State.CLOSE_WAIT}),
    details=frozenset({"skmem_drops", "last_ack_recv"}),
    sysctls=frozenset({"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_tw_recycle"}),
    udp=True,
    mptcp=True,
)
COUNT = 23

_reader: list[NamespaceReader] = []


def nothing() -> None:
    pass


def other_kinds() -> None:
    for pair in (socket.socketpair(), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)):
        keep(pair)
    keep(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))


def listeners() -> None:
    other_kinds()
    for _ in range(COUNT):
        keep(socket.create_server(("127.0.0.1", 0)))
    keep(socket.create_server(("::1", 0), family=socket.AF_INET6))


def unbound() -> None:
    keep(socket.socket())


def bound() -> None:
    other_kinds()
    keep(socket.socket()).bind(("127.0.0.1", 0))


def bound_beside_listeners() -> None:
    listeners()
    keep(socket.socket(socket.AF_INET6)).bind(("::1", 0))


def bound_beside_udp() -> None:
    keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 0))
    keep(socket.socket()).bind(("127.0.0.1", 0))


def refused() -> None:
    """A failed connect() leaves the port that a program named bound."""
    client = keep(socket.socket())
    client.bind(("127.0.0.1", 4000))
    with pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", 1))


def connections() -> None:
    listener = keep(socket.create_server(("127.0.0.1", 0)))
    for _ in range(COUNT):
        keep(socket.create_connection(listener.getsockname()))
        keep(listener.accept())


def time_wait_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(COUNT):
            with socket.create_connection(listener.getsockname()) as client:
                server, _ = listener.accept()
                client.close()
                assert not server.recv(1)
                server.close()


def orphans_alone() -> None:
    """FIN_WAIT_1 without a process: nobody acknowledges the FIN."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        for end in (client, server):
            drop(end, EVERYTHING)
        client.close()
        server.close()


def syn_recv_alone() -> None:
    """A request beside its listener: the client is gone, and its RST is dropped."""
    listener = keep(socket.create_server(("127.0.0.1", 0)))
    with socket.socket() as client:
        client.settimeout(0)
        drop(client, EVERYTHING)
        client.connect_ex(listener.getsockname())
        while not counts(dump_sockets(ASKS).sockets)["syn_recv"]:
            pass
        drop(listener, EVERYTHING)


def gone() -> None:
    """Traffic of the past: only a listener is left."""
    connections()
    forget_kept()
    keep(socket.create_server(("127.0.0.1", 0)))


def counts(sockets: SocketTable) -> dict[str, int]:
    return {state.label: count for state, count in sockets.count_by_state().items()}


def compare() -> tuple[dict[str, int], dict[str, int], list[bool]]:
    """What the reader of this namespace and a full dump count, and whether details of listeners are alike."""
    if not _reader:
        _reader.append(NamespaceReader(clock=SystemClock(), proc=PROC))
    read = _reader[0].read(ASKS).sockets
    full = dump_sockets(ASKS).sockets
    columns = ("sport", "recv_q", "send_q", "inode", "cookie", "cgroup", "uid")
    ours, theirs = (sorted(zip(*(getattr(t, c).tolist() for c in columns), strict=True)) for t in (read, full))
    drops = [sorted(t.in_state(State.LISTEN).detail("skmem_drops").tolist()) for t in (read, full)]
    return counts(read), counts(full), [ours == theirs, drops[0] == drops[1]]


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (nothing, {}),
        (other_kinds, {}),
        (unbound, {}),
        (listeners, {"listen": COUNT + 1}),
        (bound, {"bound": 1}),
        (bound_beside_listeners, {"listen": COUNT + 1, "bound": 1}),
        (bound_beside_udp, {"bound": 1}),
        (refused, {"bound": 1}),
        (connections, {"listen": 1, "established": 2 * COUNT}),
        (time_wait_alone, {"time_wait": COUNT}),
        (orphans_alone, {"fin_wait_1": 2}),
        (syn_recv_alone, {"listen": 1, "syn_recv": 1}),
    ],
)
def test_the_counts_are_those_of_a_full_dump_at_every_look(scene: Callable[[], None], expected: dict[str, int]) -> None:
    with PrivateNetns() as netns:
        netns.run(scene)
        for _ in range(3):
            read, full, alike = netns.run(compare)
            assert read == full == {**dict.fromkeys(read, 0), **expected}
            # The filter on the listener may drop a segment between the two.
            assert alike == [True, scene is not syn_recv_alone or alike[1]]


def test_what_comes_into_an_idle_namespace_is_seen_at_the_next_look() -> None:
    with PrivateNetns() as netns:
        for scene, expected in (
            (nothing, {}),
            (syn_recv_alone, {"listen": 1, "syn_recv": 1}),
            (bound, {"listen": 1, "syn_recv": 1, "bound": 1}),
        ):
            netns.run(scene)
            read, full, _ = netns.run(compare)
            assert read == full == {**dict.fromkeys(read, 0), **expected}


def dumped_states() -> list[set[str]]:
    """What the reader asks the kernel for in two looks, by the dumps that it makes."""
    with patch.object(namespace_reader, "dump_sockets", wraps=dump_sockets) as dumps:
        reader = NamespaceReader(clock=SystemClock(), proc=PROC)
        used = sockets_used()
        for _ in range(2):
            reader.read(ASKS)
            # A netlink socket that was closed counts until an RCU grace period is over (netlink_release).
            until(lambda: sockets_used() <= used, what="the sockets of the look are gone")
    return [{state.label for state in call.kwargs.get("states", {State.ESTABLISHED})} for call in dumps.call_args_list]


def sockets_used() -> int:
    return read_counters(PROC)[0]["sockstat.sockets.used"]


@pytest.mark.parametrize(
    ("scene", "dumps"),
    [
        (nothing, []),
        (listeners, []),
        (bound, 2 * [{"listen", "bound", "close"}]),
        (gone, [{"established"}]),
        (connections, 2 * [{"established"}]),
    ],
)
def test_an_idle_namespace_is_not_dumped(scene: Callable[[], None], dumps: list[set[str]]) -> None:
    with PrivateNetns() as netns:
        if scene is gone:
            netns.set_sysctl("net.ipv4.tcp_max_tw_buckets", "0")
        netns.run(scene)
        assert netns.run(dumped_states) == dumps


def read_twice_and_change() -> list[Any]:
    """The sysctl and a counter: as they are, after a change of the sysctl, and once what is believed is too old."""

    class Clock(SystemClock):
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    reader = NamespaceReader(clock=clock, proc=PROC)
    path, seen = Path("/proc/sys/net/ipv4/tcp_fin_timeout"), []
    for value, later in (("60", 0.0), ("23", 30.0), ("23", 31.0)):
        path.write_text(value)
        clock.now += later
        seen.append(reader.read(ASKS).sysctls)
    return seen


def test_the_sysctls_of_an_idle_namespace_are_believed_for_a_minute() -> None:
    with PrivateNetns() as netns:
        assert netns.run(read_twice_and_change) == [{"net.ipv4.tcp_fin_timeout": value} for value in ("60", "60", "23")]


def counters_of_both() -> tuple[dict[str, int], dict[str, int]]:
    if not _reader:
        _reader.append(NamespaceReader(clock=SystemClock(), proc=PROC))
    return dict(_reader[0].read(ASKS).counters), read_counters(PROC)[0]


def test_the_counters_are_fresh_and_none_of_the_whole_host_is_among_them() -> None:
    with PrivateNetns() as netns:
        for scene in (nothing, nothing, connections, nothing):
            netns.run(scene)
            ours, all_of_them = netns.run(counters_of_both)
            of_the_host = {"sockstat.TCP.orphan", "sockstat.TCP.alloc", "sockstat.TCP.mem", "sockstat.UDP.mem"}
            assert ours.keys() == all_of_them.keys() - of_the_host
            # Closing the reader's own sockets is noticed a little later.
            ours.pop("sockstat.sockets.used")
            assert ours == {name: all_of_them[name] for name in ours}
            if scene is connections:
                assert ours["Tcp.ActiveOpens"] == COUNT


def test_without_the_counts_nothing_is_known() -> None:
    counters, _ = read_counters(PROC)
    assert Census.of(counters) is not None
    for name in ("Tcp.InSegs", "sockstat.TCP.inuse", "sockstat.TCP.tw", "sockstat.sockets.used", "sockstat.UDP.inuse"):
        assert Census.of({key: value for key, value in counters.items() if key != name}) is None
