"""Details on the real kernel, of all sockets and of a part of them, and a sandbox that forbids to ask."""

import ctypes
import errno
import platform
import socket
import struct
import time
from collections import Counter
from unittest import mock

import numpy as np
import pytest

from netns import PrivateNetns, keep
from sockwatch.collect import dump
from sockwatch.collect.attributes import FIELDS
from sockwatch.collect.dump import Dump, dump_sockets
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Asks
from sockwatch.model.state import State

MANY = 23
SO_MEMINFO = 55
SYS_SOCKET = {"x86_64": 41, "aarch64": 198}
WITH_DETAILS = Asks(states=frozenset(State), details=frozenset(FIELDS))
_idle: list[socket.socket] = []


def look(asks: Asks) -> Dump:
    return dump_sockets(asks)


def look_at_a_part(asks: Asks, limit: int) -> Dump:
    with mock.patch.object(dump, "ESTABLISHED_LIMIT", limit):
        return dump_sockets(asks)


def connect_many() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        listener = keep(socket.create_server((address, 5000), family=family))
        for _ in range(5 * MANY):
            keep(socket.create_connection((address, 5000)))
            keep(listener.accept()[0])


def test_of_many_established_sockets_a_part_has_details_and_another_one_each_time() -> None:
    asks = Asks(states=frozenset({State.ESTABLISHED, State.LISTEN}), details=frozenset({"rto"}))
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    with PrivateNetns() as netns:
        netns.run(connect_many)
        while len(seen) < 20 * MANY and time.monotonic() < deadline:
            found = netns.run(look_at_a_part, asks, 4 * MANY)
            table = found.sockets.in_state(State.ESTABLISHED)
            known = ~np.isnan(table.detail("rto"))
            assert len(table) == 20 * MANY
            assert 2 * MANY < np.count_nonzero(known) <= 4 * MANY
            assert [(gap.what, gap.count) for gap in found.gaps] == [("socket details", int((~known).sum()))]
            assert not np.isnan(found.sockets.in_state(State.LISTEN).detail("rto")).any()
            clients = Counter(np.maximum(table.sport, table.dport)[known].tolist())
            assert set(clients.values()) <= {2, 4}  # both ends, and maybe the same port in the other family
            seen.update(table.cookie[known].tolist())
    assert len(seen) == 20 * MANY


def make_idle_pair() -> None:
    listener = keep(socket.create_server(("127.0.0.1", 4000)))
    client = keep(socket.create_connection(("127.0.0.1", 4000)))
    server = keep(listener.accept()[0])
    client.sendall(b"x" * 1234)
    server.sendall(b"y" * 321)
    _idle.extend((client, server))


def ask_the_sockets() -> dict[int, tuple[bytes, bytes]]:
    return {
        end.getsockname()[1]: (
            end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512),
            end.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36),
        )
        for end in _idle
    }


def test_details_are_what_the_sockets_themselves_say() -> None:
    """Of tcp_info what does not move on an idle connection; all of SKMEMINFO."""
    still = [
        name
        for name, field in FIELDS.items()
        if field.attribute == FIELDS["rto"].attribute and not name.startswith(("last_", "busy_", "ato"))
    ]
    memory = [name for name in FIELDS if name.startswith("skmem_")]
    with PrivateNetns() as netns:
        netns.run(make_idle_pair)
        said = netns.run(ask_the_sockets)
        table = netns.run(look, WITH_DETAILS).sockets.in_state(State.ESTABLISHED)
    assert sorted(table.sport) == sorted(said)
    for i, port in enumerate(table.sport.tolist()):
        tcp_info, meminfo = said[port]
        for name in still:
            field = FIELDS[name]
            raw = tcp_info[field.offset : field.offset + field.size]
            number = int.from_bytes(raw, "little" if np.little_endian else "big") if len(raw) == field.size else np.nan
            assert np.array_equal(table.detail(name)[i], float(number), equal_nan=True), name
        assert [table.detail(name)[i] for name in memory] == list(struct.unpack("=9I", meminfo))
        sent, received = (1234, 321) if table.dport[i] == 4000 else (321, 1234)
        assert (table.detail("bytes_sent")[i], table.detail("bytes_received")[i]) == (sent, received)


def forbid_netlink(number: int) -> None:
    """What systemd's RestrictAddressFamilies= does: a seccomp filter that lets socket(AF_NETLINK) fail."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, equal, answer = 0x20, 0x15, 0x06
    instructions = [
        (load, 0, 0, 0),  # seccomp_data.nr
        (equal, 0, 3, SYS_SOCKET[platform.machine()]),
        (load, 0, 0, 16),  # seccomp_data.args[0]
        (equal, 0, 1, socket.AF_NETLINK),
        (answer, 0, 0, 0x0005_0000 | number),  # SECCOMP_RET_ERRNO
        (answer, 0, 0, 0x7FFF_0000),  # SECCOMP_RET_ALLOW
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(instructions), ctypes.addressof(code)))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.skipif(platform.machine() not in SYS_SOCKET, reason="kernel: the filter knows x86-64 and arm64 only")
@pytest.mark.parametrize(
    ("number", "words"), [(errno.EPERM, "seccomp filter"), (errno.EAFNOSUPPORT, "RestrictAddressFamilies")]
)
def test_a_sandbox_that_forbids_netlink_is_named(number: int, words: str) -> None:
    with PrivateNetns() as netns:
        assert len(netns.run(look, Asks()).sockets) == 0
        netns.run(forbid_netlink, number)
        with pytest.raises(DumpError, match=words) as caught:
            netns.run(look, Asks())
    assert caught.value.errno == number
