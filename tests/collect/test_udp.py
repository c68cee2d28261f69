import errno
import socket
import struct
from collections.abc import Iterable

import numpy as np
import pytest

from diag_messages import Answer, Datagram, Kernel, attribute, body, done, error, message
from netns import PrivateNetns, keep
from sockwatch.collect import udp
from sockwatch.collect.netlink import SOCK_DIAG_BY_FAMILY
from sockwatch.collect.udp import read_udp
from sockwatch.model.address import address_text
from sockwatch.model.snapshot import Gap
from sockwatch.model.sockets import NO_DETAIL, SocketTable
from sockwatch.model.state import State

SENT = 97
KINDS = {
    "127.0.0.1": (socket.AF_INET, "127.0.0.1"),
    "::1": (socket.AF_INET6, "::1"),
    "127.0.0.2": (socket.AF_INET6, "::ffff:127.0.0.2"),
}
"""Where to send -> family and address of the socket that is bound there."""
_receivers: list[socket.socket] = []


def overflow() -> list[int]:
    """Sockets that get more than their buffers hold, and a connected one that sends: their ports."""
    ports = []
    for target, (family, address) in KINDS.items():
        receiver = socket.socket(family, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        receiver.bind((address, 0))
        receiver.setblocking(False)  # noqa: FBT003 - its signature
        _receivers.append(receiver)
        ports.append(receiver.getsockname()[1])
        sender = keep(socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM))
        sender.connect((target, ports[-1]))
        for _ in range(SENT):
            sender.send(b"x" * 23)
    return ports


def count_received() -> list[int]:
    counts = []
    for receiver in _receivers:
        counts.append(0)
        try:
            while receiver.recv(23):
                counts[-1] += 1
        except BlockingIOError:
            pass
    return counts


def read() -> tuple[SocketTable, tuple[Gap, ...]]:
    return read_udp()


def test_drops_and_buffers_are_those_of_each_socket() -> None:
    with PrivateNetns() as netns:
        ports = netns.run(overflow)
        table, gaps = netns.run(read)
        received = netns.run(count_received)
    assert gaps == ()
    assert table.count_by_state() == dict.fromkeys(State, 0) | {State.CLOSE: 3, State.ESTABLISHED: 3}
    assert 0 < min(received) <= max(received) < SENT
    for (target, (family, _)), port, count in zip(KINDS.items(), ports, received, strict=True):
        receiver = table.take(table.sport == port)
        assert (receiver.family.tolist(), receiver.state.tolist()) == ([family], [State.CLOSE])
        assert address_text(int(receiver.src_hi[0]), int(receiver.src_lo[0])) == target
        assert receiver.detail("skmem_drops").tolist() == [SENT - count]
        assert receiver.detail("skmem_rmem_alloc")[0] == receiver.recv_q[0] > 0
        assert receiver.inode[0] != 0
        sender = table.take(table.dport == port)
        assert (sender.state.tolist(), sender.detail("skmem_drops").tolist()) == ([State.ESTABLISHED], [0.0])
    assert len(set(table.cookie.tolist())) == len(table)


def lists(four: Iterable[bytes], six: Iterable[Datagram] = ()) -> Answer:
    """A kernel with these IPv4 sockets; `six` is its whole answer about IPv6, if not an empty one."""

    def dump(family: int, _states: int, _extensions: int, sequence: int) -> Iterable[Datagram]:
        if family == socket.AF_INET6:
            return [*six] or [done(sequence)]
        return [b"".join(message(row, sequence, kind=SOCK_DIAG_BY_FAMILY) for row in four) + done(sequence)]

    return dump


def skmem(rmem: int, rcvbuf: int, drops: int) -> bytes:
    return attribute(7, struct.pack("=9I", rmem, rcvbuf, 0, 0, 0, 0, 0, 0, drops))


def test_both_families_are_asked_for_udp_and_its_memory() -> None:
    kernel = Kernel(lists([]))
    read_udp(kernel)
    assert [struct.unpack_from("=BBBxI", player.sent[0], 16) for player in kernel.players] == [
        (family, socket.IPPROTO_UDP, 1 << 6, (1 << 1) | (1 << 7) | (1 << 13))
        for family in (socket.AF_INET, socket.AF_INET6)
    ]
    assert all(player.closed for player in kernel.players)


def test_a_kernel_that_does_not_say_leaves_nan() -> None:
    table, gaps = read_udp(Kernel(lists([body(cookie=1, state=7), body(cookie=2, attributes=skmem(4, 5, 6))])))
    order = np.argsort(table.cookie)
    assert gaps == ()
    assert np.array_equal(table.detail("skmem_drops")[order], [np.nan, 6.0], equal_nan=True)
    assert table.detail_row[order].tolist() == [NO_DETAIL, 0]
    assert (table.detail("skmem_rmem_alloc")[order][1], table.detail("skmem_rcvbuf")[order][1]) == (4.0, 5.0)


def test_many_are_bounded_and_the_gap_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "DETAIL_LIMIT", 23)
    table, gaps = read_udp(Kernel(lists([body(cookie=n, attributes=skmem(0, 0, n)) for n in range(1, 31)])))
    assert len(table) == 23
    assert gaps == (Gap(what="UDP sockets", why="there are more than the 23 that are read"),)


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.ENOENT, "load the kernel module udp_diag"), (errno.EPERM, "a seccomp filter or a security module")],
)
def test_a_refusal_is_a_gap_and_no_error(number: int, why: str) -> None:
    table, gaps = read_udp(Kernel(lambda _f, _s, _e, sequence: [error(sequence, number)]))
    assert len(table) == 0
    assert [(gap.what, gap.fatal) for gap in gaps] == [("UDP sockets", False)]
    assert why in gaps[0].why


def test_a_kernel_without_ipv6_has_udp_over_ipv4() -> None:
    def dump(family: int, states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        if family == socket.AF_INET6:
            return [error(sequence, errno.ENOENT)]
        return lists([body(cookie=23, state=7)])(family, states, extensions, sequence)

    table, gaps = read_udp(Kernel(dump))
    assert table.cookie.tolist() == [23]
    assert [gap.what for gap in gaps] == ["IPv6 sockets"]
