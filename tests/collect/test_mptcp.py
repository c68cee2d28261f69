import errno
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from diag_messages import Datagram, Kernel, attribute, body, done, error, message
from netns import PrivateNetns, keep
from sockwatch.collect.counters import read_counters
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.mptcp import read_mptcp
from sockwatch.collect.netlink import SOCK_DIAG_BY_FAMILY
from sockwatch.model.snapshot import Asks, Gap
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

IPPROTO_MPTCP = 262
COUNT = 23
USED = {"MPTcpExt.MPCapableSYNRX": 1}
REQ_PROTOCOL = 3


def leak() -> None:
    """The clients close MPTCP connections, the server's ends stay; half of them are IPv6, and one client speaks TCP."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        listener = keep(socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP))
        listener.bind((address, 4000))
        listener.listen(COUNT)
        for _ in range(COUNT):
            client = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP)
            client.connect((address, 4000))
            server = keep(listener.accept()[0])
            client.sendall(b"x" * 100)
            assert len(server.recv(100, socket.MSG_WAITALL)) == 100
            client.close()
            assert not server.recv(1)
        keep(socket.create_connection((address, 4000)))
        keep(listener.accept()[0])


def read() -> tuple[SocketTable, tuple[Gap, ...], SocketTable]:
    counters, _ = read_counters(Path("/proc"))
    table, gaps = read_mptcp(counters)
    return table, gaps, dump_sockets(Asks()).sockets


def test_what_mptcp_leaks_is_seen_where_tcp_shows_its_subflows() -> None:
    with PrivateNetns() as netns:
        try:
            netns.run(leak)
        except OSError as refusal:
            pytest.skip(f"kernel: no MPTCP: {refusal}")
        table, gaps, tcp = netns.run(read)
    assert gaps == ()
    leaked = table.in_state(State.CLOSE_WAIT)
    assert (len(leaked), len(table.in_state(State.LISTEN))) == (2 * COUNT, 2)
    assert sorted(leaked.family.tolist()) == COUNT * [socket.AF_INET] + COUNT * [socket.AF_INET6]
    assert (leaked.sport == 4000).all()
    assert leaked.inode.all()
    assert (leaked.detail("bytes_received") == 100).all()
    assert (leaked.detail("skmem_rcvbuf") > 0).all()
    assert not len(tcp.in_state(State.CLOSE_WAIT))
    assert set(leaked.inode.tolist()) <= set(tcp.in_state(State.ESTABLISHED).inode.tolist())


def lists(*rows: bytes) -> Kernel:
    def dump(family: int, _states: int, _extensions: int, sequence: int) -> Iterable[Datagram]:
        shown = rows if family == socket.AF_INET else ()
        return [b"".join(message(row, sequence, kind=SOCK_DIAG_BY_FAMILY) for row in shown) + done(sequence)]

    return Kernel(dump)


def test_the_wide_protocol_number_is_in_an_attribute() -> None:
    kernel = lists()
    read_mptcp({}, kernel)
    for player, family in zip(kernel.players, (socket.AF_INET, socket.AF_INET6), strict=True):
        [sent] = player.sent
        assert struct.unpack_from("=I", sent) == (len(sent),)
        assert struct.unpack_from("=BBB", sent, 16) == (family, socket.IPPROTO_RAW, 0x42)
        assert struct.unpack("=HHI", sent[16 + 56 :]) == (8, REQ_PROTOCOL, IPPROTO_MPTCP)
        assert player.closed


def test_info_is_that_of_mptcp_and_an_older_kernel_sends_less_of_it() -> None:
    info = struct.pack("=B79xB3xIII", 5, 1, 84, 88, 92)
    kernel = lists(body(cookie=1, attributes=attribute(2, info)), body(cookie=2, attributes=attribute(2, info[:44])))
    table, _ = read_mptcp({}, kernel)
    older, newer = (table.take(table.cookie == cookie) for cookie in (2, 1))
    names = ("last_data_sent", "last_data_recv", "last_ack_recv", "subflows")
    assert [newer.detail(name)[0] for name in names] == [84.0, 88.0, 92.0, 5.0]
    assert [str(older.detail(name)[0]) for name in names] == ["nan", "nan", "nan", "5.0"]


@pytest.mark.parametrize(("counters", "gaps"), [({}, 0), ({"MPTcpExt.MPCapableSYNRX": 0}, 0), (USED, 1)])
def test_a_kernel_that_cannot_list_them_is_a_gap_only_where_mptcp_is_used(counters: dict[str, int], gaps: int) -> None:
    table, said = read_mptcp(counters, Kernel(lambda _f, _s, _e, sequence: [error(sequence, errno.ENOENT)]))
    assert len(table) == 0
    assert [(gap.what, gap.fatal) for gap in said] == gaps * [("MPTCP sockets", False)]


def test_another_refusal_is_a_gap() -> None:
    _, [gap] = read_mptcp({}, Kernel(lambda _f, _s, _e, sequence: [error(sequence, errno.EPERM)]))
    assert (gap.what, "seccomp" in gap.why) == ("MPTCP sockets", True)


def test_a_kernel_that_would_list_raw_sockets_instead_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "5.8.18", "", "")))
    kernel = lists(body(cookie=1))
    assert read_mptcp({}, kernel)[1] == ()
    assert [gap.what for gap in read_mptcp(USED, kernel)[1]] == ["MPTCP sockets"]
    assert not kernel.players
