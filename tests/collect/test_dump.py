import errno
import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from diag_messages import Answer, Datagram, Kernel, attribute, body, done, error, message
from sockwatch.collect import dump, netlink
from sockwatch.collect.bytecode import in_ports
from sockwatch.collect.dump import dump_sockets
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Asks, Gap
from sockwatch.model.state import State

INFO, SKMEMINFO = 2, 7
NOTHING = Asks()
CLOSER = Asks(states=frozenset({State.CLOSE_WAIT}), details=frozenset({"last_ack_recv", "skmem_drops"}))


def info(last_ack_recv: int) -> bytes:
    return attribute(INFO, struct.pack("=56xI44x", last_ack_recv))


def skmem(drops: int) -> bytes:
    return attribute(SKMEMINFO, struct.pack("=32xI", drops))


def host(plain: Iterable[bytes], closer: Iterable[bytes] = ()) -> Answer:
    """A host whose sockets look one way in the plain pass and another way in the closer look."""

    def answer(_family: int, _states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        return [b"".join(message(b, sequence) for b in (closer if extensions else plain)) + done(sequence)]

    return answer


def failing(times: int, how: Callable[[int], list[Datagram]], then: Answer) -> Answer:
    """The first dumps fail."""
    left = [times]

    def answer(family: int, states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        left[0] -= 1
        return how(sequence) if left[0] >= 0 else then(family, states, extensions, sequence)

    return answer


def busy(number: int) -> Callable[[int], list[Datagram]]:
    return lambda sequence: [message(body(cookie=99), sequence), error(sequence, number)]


def no_buffer(sequence: int) -> list[Datagram]:
    return [message(body(cookie=99), sequence), OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))]


def interrupted(sequence: int) -> list[Datagram]:
    return [message(body(cookie=7), sequence) + done(sequence, flags=netlink.NLM_F_MULTI | netlink.NLM_F_DUMP_INTR)]


def test_both_families_are_in_the_table() -> None:
    kernel = Kernel(host([body(cookie=1), body("[::1]:1", "[::1]:2", cookie=2)]))
    found = dump_sockets(NOTHING, kernel)
    assert found.sockets.cookie.tolist() == [1, 2]
    assert found.sockets.family.tolist() == [socket.AF_INET, socket.AF_INET6]
    assert (found.sockets.netns.tolist(), found.sockets.detail_row.tolist()) == ([0, 0], [-1, -1])
    assert found.gaps == ()
    assert all(player.closed for player in kernel.players)


def test_nobody_asks_so_nothing_is_read_twice() -> None:
    for asks in (NOTHING, Asks(states=CLOSER.states), Asks(details=CLOSER.details)):
        kernel = Kernel(host([body()]))
        assert dump_sockets(asks, kernel).sockets.detail_row.tolist() == [-1]
        assert len(kernel.players) == 1


def test_the_closer_look_asks_for_states_and_attributes_in_the_kernel() -> None:
    asked = []

    def answer(family: int, states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        asked.append((family, states, extensions))
        return [done(sequence)]

    dump_sockets(CLOSER, Kernel(answer))
    assert asked == [(socket.AF_UNSPEC, 0x3FFE, 0), (socket.AF_UNSPEC, 1 << State.CLOSE_WAIT, 0x42)]


def test_a_socket_seen_twice_is_as_it_was_the_second_time() -> None:
    plain = [body(cookie=1, recv_q=10), body(cookie=2, recv_q=20), body(cookie=3, recv_q=30)]
    closer = [
        body(cookie=4, state=8, recv_q=44, attributes=info(404) + skmem(4)),
        body(cookie=2, state=8, recv_q=22, attributes=info(202) + skmem(2)),
    ]
    table = dump_sockets(CLOSER, Kernel(host(plain, closer))).sockets
    assert table.cookie.tolist() == [1, 2, 3, 4]
    assert table.recv_q.tolist() == [10, 22, 30, 44]
    assert table.state.tolist() == [1, 8, 1, 8]
    assert table.detail("last_ack_recv").tolist()[1::2] == [202.0, 404.0]
    assert table.detail("skmem_drops").tolist()[1::2] == [2.0, 4.0]
    assert np.isnan(table.detail("last_ack_recv")[[0, 2]]).all()


def test_an_attribute_that_did_not_come_is_nan_and_never_zero() -> None:
    closer = [body(cookie=1, state=8, attributes=skmem(5)), body(cookie=2, state=8, attributes=info(6))]
    table = dump_sockets(CLOSER, Kernel(host([], closer))).sockets
    order = np.argsort(table.cookie)
    assert np.array_equal(table.detail("last_ack_recv")[order], [np.nan, 6.0], equal_nan=True)
    assert np.array_equal(table.detail("skmem_drops")[order], [5.0, np.nan], equal_nan=True)


def test_a_minisocket_of_the_closer_look_has_no_details_but_is_up_to_date() -> None:
    table = dump_sockets(CLOSER, Kernel(host([body(cookie=1, inode=7)], [body(cookie=1, state=5)]))).sockets
    assert (table.state.tolist(), table.inode.tolist(), table.detail_row.tolist()) == ([5], [0], [-1])


def test_no_cookie_is_there_twice() -> None:
    twice = [body(cookie=1, recv_q=1), body(cookie=2), body(cookie=1, recv_q=2), body("[::1]:1", "[::1]:2", cookie=2)]
    closer = [body(cookie=3, state=8, attributes=info(n)) for n in (1, 2)] + 2 * [body(cookie=4, state=6)]
    table = dump_sockets(CLOSER, Kernel(host(twice, closer))).sockets
    assert sorted(table.cookie) == [1, 2, 3, 4]
    order = np.argsort(table.cookie)
    assert (table.recv_q[order[0]], table.family[order[1]]) == (2, socket.AF_INET6)
    assert table.detail("last_ack_recv")[order[2]] == 2.0


def test_details_are_bounded_and_the_gap_says_how_many_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "DETAIL_LIMIT", 23)
    closer = [body(cookie=n, state=8, attributes=info(n)) for n in range(1, 31)]
    closer += [body(cookie=n, state=6) for n in range(31, 71)]
    plain = [body(cookie=n, state=8, attributes=attribute(8, b"\1")) for n in range(1, 31)]
    plain += [body(cookie=n, state=8) for n in range(31, 71)]
    found = dump_sockets(CLOSER, Kernel(host(plain, closer)))
    assert np.count_nonzero(~np.isnan(found.sockets.detail("last_ack_recv"))) == 23
    assert [(gap.what, gap.count, gap.fatal) for gap in found.gaps] == [("socket details", 7, False)]
    assert len(found.sockets) == 70


ESTABLISHED = Asks(states=frozenset({State.ESTABLISHED, State.CLOSE_WAIT}), details=frozenset({"last_ack_recv"}))


def connections(count: int) -> list[bytes]:
    """So many established ones of one server's port, whose cookies are their clients' ports."""
    shutdown = attribute(8, b"\0")
    ports = range(10_001, 10_001 + count)
    return [body("10.0.0.1:80", f"10.0.0.2:{port}", cookie=port, attributes=shutdown + info(port)) for port in ports]


def test_few_established_sockets_get_their_closer_look_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "ESTABLISHED_LIMIT", 23)
    rows = connections(23)
    kernel = Kernel(host(rows, rows))
    found = dump_sockets(ESTABLISHED, kernel)
    assert (len(kernel.players), found.gaps) == (2, ())
    assert np.array_equal(found.sockets.detail("last_ack_recv"), found.sockets.cookie)


@pytest.mark.parametrize("others", [frozenset({State.CLOSE_WAIT}), frozenset()])
def test_of_many_established_sockets_the_kernel_is_asked_for_a_part(
    others: frozenset[State], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump, "ESTABLISHED_LIMIT", 23)
    monkeypatch.setattr(secrets, "randbelow", lambda _end: 10_050)
    rows = connections(100)
    waiting = [body("10.0.0.1:80", "10.0.0.3:9", cookie=7, state=state) for state in others]
    asked: list[tuple[int, int]] = []

    def answer(_family: int, states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        asked.append((states, extensions))
        part = rows[49:72] if extensions and states == 1 << State.ESTABLISHED else [] if extensions else rows
        return [b"".join(message(row, sequence) for row in (*part, *waiting)) + done(sequence)]

    kernel = Kernel(answer)
    found = dump_sockets(replace(ESTABLISHED, states=others | {State.ESTABLISHED, State.LAST_ACK}), kernel)
    every = (0x3FFE, 0)
    assert asked == [every, *[(1 << state, 2) for state in others], (1 << State.ESTABLISHED, 2)]
    filters = [player.sent[0][16 + 60 :] for player in kernel.players]
    program = in_ports([(10_050, 10_072)])
    assert filters == [*[b""] * (len(filters) - 1), struct.pack("=HH", 4 + len(program), 1) + program]
    known = ~np.isnan(found.sockets.detail("last_ack_recv"))
    assert sorted(found.sockets.cookie[known]) == list(range(10_050, 10_073))
    assert [(gap.what, gap.count, gap.fatal) for gap in found.gaps] == [("socket details", 77, False)]


def test_where_every_port_is_common_the_dump_is_read_as_far_as_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump, "ESTABLISHED_LIMIT", 23)
    attributes = attribute(8, b"\0") + info(5)
    rows = [body("10.0.0.1:80", "10.0.0.2:80", cookie=n, attributes=attributes) for n in range(1, 101)]
    asks = replace(ESTABLISHED, states=frozenset({State.ESTABLISHED}))
    found = dump_sockets(asks, Kernel(host(rows, rows)))
    assert np.count_nonzero(~np.isnan(found.sockets.detail("last_ack_recv"))) == 23
    assert [(gap.what, gap.count) for gap in found.gaps] == [("socket details", 77)]


def test_a_detail_that_does_not_exist_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="no such detail: last_ack_received"):
        dump_sockets(Asks(details=frozenset({"last_ack_received", "rto"})), Kernel(host([])))


@pytest.mark.parametrize("how", [busy(errno.EBUSY), busy(errno.ENOBUFS), no_buffer])
def test_a_dump_that_the_kernel_could_not_finish_is_repeated(how: Callable[[int], list[Datagram]]) -> None:
    kernel = Kernel(failing(2, how, host([body(cookie=1)])))
    assert dump_sockets(NOTHING, kernel).sockets.cookie.tolist() == [1]
    assert len(kernel.players) == 3


def test_the_third_failure_is_the_answer() -> None:
    kernel = Kernel(failing(3, busy(errno.EBUSY), host([body()])))
    with pytest.raises(DumpError, match="too busy") as caught:
        dump_sockets(NOTHING, kernel)
    assert (caught.value.errno, len(kernel.players)) == (errno.EBUSY, 3)
    assert all(player.closed for player in kernel.players)


def test_a_refusal_is_not_repeated() -> None:
    kernel = Kernel(failing(9, busy(errno.EPERM), host([])))
    with pytest.raises(DumpError, match="seccomp"):
        dump_sockets(NOTHING, kernel)
    assert len(kernel.players) == 1


def test_an_interrupted_dump_is_repeated_once() -> None:
    found = dump_sockets(NOTHING, Kernel(failing(1, interrupted, host([body(cookie=1)]))))
    assert (found.sockets.cookie.tolist(), found.gaps) == ([1], ())


def test_a_dump_interrupted_twice_is_kept_with_a_gap() -> None:
    kernel = Kernel(failing(2, interrupted, host([body(cookie=1)])))
    found = dump_sockets(NOTHING, kernel)
    assert (found.sockets.cookie.tolist(), len(kernel.players)) == ([7], 2)
    assert [(gap.what, gap.fatal) for gap in found.gaps] == [("sockets", False)]


def by_family(refusal: int, six: int = 0) -> Answer:
    """A kernel that does not know the old request, and may have no IPv6."""

    def answer(family: int, _states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        if family == socket.AF_UNSPEC:
            return [error(sequence, refusal)]
        if family == socket.AF_INET6 and six:
            return [error(sequence, six)]
        ends = ("[::1]:1", "[::1]:2") if family == socket.AF_INET6 else ("10.0.0.1:1", "10.0.0.1:2")
        shown = body(*ends, cookie=family, state=8, attributes=info(family) if extensions else b"")
        return [message(shown, sequence, kind=netlink.SOCK_DIAG_BY_FAMILY) + done(sequence)]

    return answer


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT])
def test_a_kernel_that_dumps_one_family_at_a_time_gives_the_same_table(refusal: int) -> None:
    kernel = Kernel(by_family(refusal))
    found = dump_sockets(CLOSER, kernel)
    assert found.gaps == ()
    assert found.sockets.cookie.tolist() == found.sockets.family.tolist() == [socket.AF_INET, socket.AF_INET6]
    assert found.sockets.detail("last_ack_recv").tolist() == [socket.AF_INET, socket.AF_INET6]
    assert all(player.closed for player in kernel.players)


def test_what_a_refused_dump_brought_is_forgotten() -> None:
    def answer(family: int, states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        if family == socket.AF_UNSPEC:  # its end looks like the end of a dump, so that it is read by itself
            early = body(cookie=99, attributes=attribute(99, done(sequence)))
            return [message(early, sequence), error(sequence, errno.EINVAL)]
        return by_family(errno.EINVAL)(family, states, extensions, sequence)

    assert dump_sockets(NOTHING, Kernel(answer)).sockets.cookie.tolist() == [socket.AF_INET, socket.AF_INET6]


def test_a_kernel_without_ipv6_is_no_error() -> None:
    found = dump_sockets(CLOSER, Kernel(by_family(errno.ENOENT, six=errno.ENOENT)))
    assert found.sockets.family.tolist() == [socket.AF_INET]
    assert [gap.what for gap in found.gaps] == ["IPv6 sockets"]


def test_a_kernel_without_tcp_diag_is_one() -> None:
    with pytest.raises(DumpError, match="inet_diag and tcp_diag") as caught:
        dump_sockets(NOTHING, Kernel(failing(2, lambda sequence: [error(sequence, errno.ENOENT)], host([]))))
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("release", "lists"), [("6.7.12-amd64", False), ("6.8.0", True), ("7.0-rc1", True), ("x", False)]
)
def test_the_release_decides_where_no_bound_socket_does(
    release: str,
    lists: bool,  # noqa: FBT001 - pytest passes it
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", release, "", "")))
    assert dump_sockets(NOTHING, Kernel(host([body()]))).lists_bound is lists
    bound = body("0.0.0.0:5000", "0.0.0.0:0", state=7)
    assert dump_sockets(NOTHING, Kernel(host([bound]))).lists_bound


@given(st.integers(0, 420), st.binary(min_size=1, max_size=6))
def test_damaged_bytes_give_an_error_or_a_whole_table(at: int, damage: bytes) -> None:
    def answer(_family: int, _states: int, extensions: int, sequence: int) -> Iterable[Datagram]:
        bodies = [body(cookie=n, state=8, attributes=info(n) + attribute(8, b"\1")) for n in (1, 2, 3)]
        whole = bytearray(b"".join(message(b, sequence) for b in bodies) + done(sequence))
        if extensions:
            whole[at : at + len(damage)] = damage
        return [bytes(whole)]

    with suppress(DumpError):
        table = dump_sockets(CLOSER, Kernel(answer)).sockets
        assert len(table) in range(3, 7)
        assert len(set(table.cookie.tolist())) == len(table)
        assert sum(table.count_by_state().values()) == len(table)


def test_gaps_are_said_once() -> None:
    found = dump_sockets(CLOSER, Kernel(failing(9, interrupted, host([]))))
    assert len(found.gaps) == len(set(found.gaps)) == 1
    assert isinstance(found.gaps[0], Gap)
