import errno
import os
import socket

import pytest

import builders
from diag_messages import Answer, Kernel, attribute, body, done, error, message
from netns import PrivateNetns, keep
from sockwatch.collect.autobound import fill_autobound
from sockwatch.collect.dump import dump_sockets
from sockwatch.collect.netlink import HEADER, TCPDIAG_GETSOCK, NetlinkSocket
from sockwatch.model.address import address_text
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, SocketTable
from sockwatch.model.state import State

ENDS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
COUNT = 23


def provoke() -> None:
    for family, address in ENDS.items():
        listener = keep(socket.create_server((address, 4000), family=family, backlog=4 * COUNT))
        for number in range(COUNT):
            keep(socket.create_connection((address, 4000)))
            bound = keep(socket.socket(family))
            bound.bind((address, 0))
            bound.connect((address, 4000))
            named = keep(socket.socket(family))
            named.bind((address, 20_000 + number))
            named.connect((address, 4000))
            keep(socket.socket(family)).bind((address, 21_000 + number))
            keep(socket.socket(family)).bind((address, 0))
            gone = socket.create_connection((address, 4000))
            for _ in range(3):
                keep(listener.accept()[0])
            last = listener.accept()[0]
            gone.close()
            last.close()


class ByFamily(NetlinkSocket):
    """As if this kernel did not know the old request any more."""

    def send(self, message: bytes) -> None:
        if HEADER.unpack_from(message)[1] == TCPDIAG_GETSOCK:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        super().send(message)


def look() -> tuple[SocketTable, SocketTable]:
    table = dump_sockets(Asks()).sockets
    (filled, gaps), (again, more) = fill_autobound(table), fill_autobound(table, ByFamily)
    assert not gaps
    assert not more
    return filled, again


def test_a_named_port_is_told_from_one_that_the_kernel_chose() -> None:
    with PrivateNetns() as netns:
        netns.run(provoke)
        filled, again = netns.run(look)
    assert again.autobound.tolist() == filled.autobound.tolist()
    for address in ENDS.values():
        here = filled.take(filled.src_lo == builders.halves(address)[1])
        assert {address_text(int(hi), int(lo)) for hi, lo in zip(here.src_hi, here.src_lo, strict=True)} == {address}
        client = (here.dport == 4000) & here.is_in_state(State.ESTABLISHED)
        named = (here.sport // 1000 == 20) | (here.sport // 1000 == 21) | here.is_in_state(State.LISTEN)
        gone = here.is_in_state(State.TIME_WAIT, State.FIN_WAIT_2)
        assert (client.sum(), (here.autobound == 0).sum(), gone.sum()) == (3 * COUNT, 2 * COUNT + 1, COUNT)
        assert (here.autobound[named] == 0).all()
        assert (here.autobound[gone] == AUTOBOUND_UNKNOWN).all()
        # Of the accepted sockets, whose port was named for the listener, the kernel clears that (sk_clone_lock).
        assert (here.autobound[~named & ~gone] == 1).all()


def answer(*cookies: int) -> Answer:
    def dump(_family: int, _states: int, _extensions: int, sequence: int) -> list[bytes]:
        return [b"".join(message(body(cookie=cookie), sequence) for cookie in cookies) + done(sequence)]

    return dump


@pytest.fixture
def table() -> SocketTable:
    rows = [body(cookie=n, attributes=attribute(8, b"\0")) for n in (1, 2)] + [body(cookie=3, state=6)]

    def dump(_family: int, _states: int, _extensions: int, sequence: int) -> list[bytes]:
        return [b"".join(message(row, sequence) for row in rows) + done(sequence)]

    return dump_sockets(Asks(), Kernel(dump)).sockets


def test_nobody_knows_until_somebody_asks(table: SocketTable) -> None:
    assert table.autobound.tolist() == [AUTOBOUND_UNKNOWN] * 3


def test_what_is_not_listed_as_named_was_autobound_but_a_minisocket_stays_unknown(table: SocketTable) -> None:
    kernel = Kernel(answer(2, 99))
    filled, gaps = fill_autobound(table, kernel)
    assert gaps == ()
    assert dict(zip(filled.cookie.tolist(), filled.autobound.tolist(), strict=True)) == {
        1: 1,
        2: 0,
        3: AUTOBOUND_UNKNOWN,
    }
    assert [player.closed for player in kernel.players] == [True]


def test_a_refusal_is_a_gap_and_changes_nothing(table: SocketTable) -> None:
    filled, gaps = fill_autobound(table, Kernel(lambda _f, _s, _e, sequence: [error(sequence, errno.EPERM)]))
    assert filled is table
    assert [(gap.what, gap.fatal) for gap in gaps] == [("autobound ports", False)]
