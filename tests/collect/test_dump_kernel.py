"""The dump on the real kernel, against independent witnesses: /proc/net/tcp{,6}, ss, and getsockopt."""

import errno
import os
import re
import resource
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from netns import PrivateNetns, keep
from sockwatch.clock import SystemClock
from sockwatch.collect import dump
from sockwatch.collect.attributes import FIELDS
from sockwatch.collect.dump import Dump, dump_sockets
from sockwatch.collect.namespace_reader import NamespaceReader
from sockwatch.collect.netlink import HEADER, TCPDIAG_GETSOCK, NetlinkSocket
from sockwatch.model.address import address_text
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SHUTDOWN_UNKNOWN, SocketTable
from sockwatch.model.state import State

MANY = 23
TCP_DEFER_ACCEPT = 9
RESET = struct.pack("ii", 1, 0)
WITH_DETAILS = Asks(states=frozenset(State), details=frozenset(FIELDS))
ENDS = [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "::")]
"""From where to where: IPv4, IPv6, and IPv4 to a socket that is IPv6."""
EXPECTED = {  # of one pair of ends
    State.ESTABLISHED: 2 * MANY + MANY + MANY + 2,  # pairs, deferred clients, the peers of FIN_WAIT_1, the full queue
    State.SYN_SENT: MANY,
    State.SYN_RECV: MANY,
    State.FIN_WAIT_1: MANY,
    State.FIN_WAIT_2: 4 * MANY,  # held, orphaned, and the peers of LAST_ACK and CLOSING
    State.TIME_WAIT: MANY,
    State.CLOSE: MANY,
    State.CLOSE_WAIT: 2 * MANY,
    State.LAST_ACK: MANY,
    State.LISTEN: 9,
    State.CLOSING: MANY,
    State.BOUND: MANY,
}


class Ends:
    """Makes sockets between two ends."""

    def __init__(self, number: int, client: str, server: str) -> None:
        self.number = number
        self.client = client
        self.server = server
        self.client_family, self.server_family = (socket.AF_INET6 if ":" in a else socket.AF_INET for a in ENDS[number])

    def listen(self, backlog: int = 64, *, deferring: bool = False) -> socket.socket:
        listener = keep(socket.socket(self.server_family))
        if self.server_family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if deferring:
            listener.setsockopt(socket.IPPROTO_TCP, TCP_DEFER_ACCEPT, 60)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        listener.bind((self.server, 0))
        listener.listen(backlog)
        return listener

    def connect(self, listener: socket.socket, port: int = 0) -> socket.socket:
        client = socket.socket(self.client_family)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        if port:
            client.bind((self.client, port))
        client.connect((self.client, listener.getsockname()[1]))
        return client

    def pairs(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        listener = self.listen()
        for _ in range(MANY):
            client = self.connect(listener)
            yield client, listener.accept()[0]


def fill(sender: socket.socket) -> None:
    """Send until the receiver's window and the send buffer are full, so that a FIN cannot leave."""
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    sender.settimeout(0)
    try:
        while True:
            sender.send(bytes(100_000))
    except BlockingIOError:
        pass


def provoke() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for number, (client, server) in enumerate(ENDS):
        provoke_between(Ends(number, client, server))


def provoke_between(ends: Ends) -> None:
    for client, server in ends.pairs():  # ESTABLISHED
        client.sendall(b"x" * 100)
        keep((client, server))
    for client, server in ends.pairs():  # FIN_WAIT_2 with its fd, CLOSE_WAIT
        client.shutdown(socket.SHUT_WR)
        keep((client, server))
    for client, server in ends.pairs():  # FIN_WAIT_2 without, a minisocket, CLOSE_WAIT
        client.close()
        keep(server)
    for client, server in ends.pairs():  # TIME_WAIT
        client.close()
        server.close()
    for client, server in ends.pairs():  # FIN_WAIT_1
        fill(client)
        client.shutdown(socket.SHUT_WR)
        keep((client, server))
    for client, server in ends.pairs():  # LAST_ACK, FIN_WAIT_2
        client.shutdown(socket.SHUT_WR)
        fill(server)
        server.shutdown(socket.SHUT_WR)
        keep((client, server))
    for client, server in ends.pairs():  # CLOSING, FIN_WAIT_2
        fill(client)
        client.shutdown(socket.SHUT_WR)
        server.shutdown(socket.SHUT_WR)
        keep((client, server))
    deferring = ends.listen(deferring=True)  # SYN_RECV: a request that waits for data
    full = ends.listen(backlog=0)  # SYN_SENT: one fills the queue, the others get no answer
    keep(ends.connect(full))
    for _ in range(MANY):
        keep(ends.connect(deferring))
        late = keep(socket.socket(ends.client_family))
        late.settimeout(0)
        late.connect_ex((ends.client, full.getsockname()[1]))
        keep(socket.socket(ends.server_family)).bind((ends.server, 0))  # BOUND
    resetting = socket.socket(ends.server_family)
    resetting.bind((ends.server, 0))
    resetting.listen()
    for number in range(MANY):  # CLOSE: the peer reset the connection, the fd is open and the port was chosen
        keep(ends.connect(resetting, port=20_000 + 100 * ends.number + number))
        server = resetting.accept()[0]
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.close()
    resetting.close()


def look(asks: Asks) -> Dump:
    return dump_sockets(asks)


class ByFamily(NetlinkSocket):
    """As if this kernel did not know the old request any more."""

    def send(self, message: bytes) -> None:
        if HEADER.unpack_from(message)[1] == TCPDIAG_GETSOCK:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        super().send(message)


def look_by_family(asks: Asks) -> Dump:
    return dump_sockets(asks, ByFamily)


def read_proc() -> dict[str, str]:
    return {name: Path("/proc/thread-self/net", name).read_text() for name in ("tcp", "tcp6")}


def run_ss() -> str:
    return subprocess.run(["ss", "-Htane"], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def netns() -> Iterator[PrivateNetns]:
    with PrivateNetns() as namespace:
        namespace.run(provoke)
        yield namespace


def rows(table: SocketTable) -> Counter[tuple[object, ...]]:
    return Counter(
        (
            State(table.state[i]),
            address_text(int(table.src_hi[i]), int(table.src_lo[i])),
            int(table.sport[i]),
            address_text(int(table.dst_hi[i]), int(table.dst_lo[i])),
            int(table.dport[i]),
            int(table.timer[i]),
            int(table.recv_q[i]),
            0 if table.state[i] == State.LISTEN else int(table.send_q[i]),  # /proc has no limit of the accept queue
            int(table.uid[i]),
            int(table.inode[i]),
        )
        for i in range(len(table))
    )


def states(table: SocketTable) -> dict[int, int]:
    return dict(zip(table.cookie.tolist(), table.state.tolist(), strict=True))


def parse_proc(text: str) -> Iterator[tuple[object, ...]]:
    for line in text.splitlines()[1:]:
        _, local, remote, state, queues, timer, _, uid, _, inode, *_ = line.split()
        send_q, recv_q = (int(part, 16) for part in queues.split(":"))
        yield (
            State(int(state, 16)),
            *parse_endpoint(local),
            *parse_endpoint(remote),
            int(timer[:2], 16),
            recv_q,
            send_q,
            int(uid),
            int(inode),
        )


def parse_endpoint(text: str) -> tuple[str, int]:
    words, port = text.split(":")
    packed = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    name = socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)
    return name.removeprefix("::ffff:") if "." in name else name, int(port, 16)


def test_each_state_is_counted_exactly(netns: PrivateNetns) -> None:
    found = netns.run(look, Asks())
    expected = {state: len(ENDS) * count for state, count in EXPECTED.items()}
    assert found.gaps == ()
    if not found.lists_bound:
        expected |= {State.BOUND: 0, State.CLOSE: 0}
    assert found.sockets.count_by_state() == expected


def count_without(unread: frozenset[State]) -> tuple[Mapping[State, int | None], Mapping[State, int]]:
    """What the kernel counts of sockets that are not read, and how many are read."""
    asks = replace(WITH_DETAILS, unread=unread)
    reading = NamespaceReader(clock=SystemClock(), proc=Path("/proc")).read(asks)
    return reading.counted, reading.sockets.count_by_state()


@pytest.mark.parametrize(
    "unread", [{State.TIME_WAIT}, {State.ESTABLISHED}, {State.TIME_WAIT, State.ESTABLISHED}], ids=str
)
def test_what_is_not_read_is_counted_by_the_kernel_as_it_would_be_read(netns: PrivateNetns, unread: set[State]) -> None:
    full = netns.run(look, WITH_DETAILS).sockets.count_by_state()
    counted, read = netns.run(count_without, frozenset(unread))
    assert counted == {state: full[state] for state in unread}
    assert read == {**full, **dict.fromkeys(unread, 0)}


@pytest.mark.parametrize("how", [look, look_by_family])
def test_every_row_is_that_of_proc(netns: PrivateNetns, how: Callable[[Asks], Dump]) -> None:
    deadline = time.monotonic() + 20
    for asks in (Asks(), WITH_DETAILS):
        listed, proc = Counter[tuple[object, ...]](), Counter[tuple[object, ...]]([()])
        while listed != proc and time.monotonic() < deadline:  # timers and queues move while a FIN cannot leave
            table = netns.run(how, asks).sockets
            listed = rows(table.take(~table.is_in_state(State.BOUND, State.CLOSE)))
            proc = Counter(row for text in netns.run(read_proc).values() for row in parse_proc(text))
        assert listed == proc


def test_bound_sockets_have_no_remote_end_and_closed_ones_have(netns: PrivateNetns) -> None:
    found = netns.run(look, Asks())
    if not found.lists_bound:
        pytest.skip("kernel: does not list bound sockets (v6.8)")
    bound, closed = found.sockets.in_state(State.BOUND), found.sockets.in_state(State.CLOSE)
    assert int(np.count_nonzero(bound.sport)) == 3 * MANY
    assert not bound.dport.any()
    assert sorted(closed.sport) == [20_000 + 100 * n + i for n in range(len(ENDS)) for i in range(MANY)]
    assert closed.dport.all()


@pytest.mark.needs_program("ss")
def test_cookies_and_inodes_are_those_of_ss(netns: PrivateNetns) -> None:
    table = netns.run(look, Asks()).sockets
    table = table.take(~table.is_in_state(State.BOUND, State.CLOSE))
    seen = re.findall(r" ino:(\d+) sk:([0-9a-f]+)", netns.run(run_ss))
    assert Counter(zip(table.inode.tolist(), table.cookie.tolist(), strict=True)) == Counter(
        (int(inode), int(cookie, 16)) for inode, cookie in seen
    )


def test_minisockets_and_requests_say_nothing_about_shutdown_and_details(netns: PrivateNetns) -> None:
    table = netns.run(look, WITH_DETAILS).sockets
    mini = (table.inode == 0) & table.is_in_state(State.FIN_WAIT_2, State.TIME_WAIT, State.SYN_RECV)
    assert np.count_nonzero(mini) == 9 * MANY
    assert (table.shutdown[mini] == SHUTDOWN_UNKNOWN).all()
    assert np.isnan(table.detail("rto")[mini]).all()
    assert not (table.shutdown[~mini] == SHUTDOWN_UNKNOWN).any()
    assert (table.shutdown[table.is_in_state(State.CLOSE_WAIT)] == 1).all()


def test_a_closer_look_at_one_state_changes_no_row_of_another(netns: PrivateNetns) -> None:
    plain = netns.run(look, Asks()).sockets
    asks = Asks(states=frozenset({State.CLOSE_WAIT}), details=frozenset({"last_ack_recv", "skmem_rcvbuf"}))
    closer = netns.run(look, asks).sockets
    assert states(closer) == states(plain)
    known = ~np.isnan(closer.detail("skmem_rcvbuf"))
    assert np.array_equal(known, closer.is_in_state(State.CLOSE_WAIT))
    assert (closer.detail("skmem_rcvbuf")[known] > 0).all()


def look_at_few(asks: Asks, limit: int | None = None) -> Dump:
    with mock.patch.object(dump, "ESTABLISHED_LIMIT", limit or dump.ESTABLISHED_LIMIT):
        return dump_sockets(asks, few=MANY)


@pytest.mark.parametrize("limit", [None, MANY])
def test_one_pass_over_few_sockets_brings_what_two_bring(netns: PrivateNetns, limit: int | None) -> None:
    """Also where they prove not to be few: more than fit, with details or without."""
    asks = Asks(
        states=frozenset({State.CLOSE_WAIT, State.LISTEN, State.FIN_WAIT_2}), details=frozenset({"skmem_rcvbuf"})
    )
    one, two = netns.run(look_at_few, asks, limit), netns.run(look, asks)
    assert states(one.sockets) == states(two.sockets)
    assert one.gaps == two.gaps == ()
    assert one.lists_bound == two.lists_bound
    for state in State:
        known = [~np.isnan(found.sockets.in_state(state).detail("skmem_rcvbuf")) for found in (one, two)]
        assert known[0].sum() == known[1].sum()
