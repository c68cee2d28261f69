import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diag_messages import DATA, PORT_ID, attribute, body, message
from sockwatch.collect.attributes import FIELDS
from sockwatch.collect.columns import Columns
from sockwatch.collect.inet_diag import WRITTEN, Block, blocks, request_all, request_family, write
from sockwatch.collect.netlink import SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK, Expected, Window
from sockwatch.errors import DumpError
from sockwatch.model.sockets import COLUMN_TYPES, SHUTDOWN_UNKNOWN
from sockwatch.model.state import State

SEQUENCE = 0x1234_5678
INFO, SKMEMINFO, SHUTDOWN, MARK, CGROUP_ID, SOCKOPT = 2, 7, 8, 15, 21, 22

TCP_INFO_FORMAT = "=8B 24I 4Q 6I 4Q 2I 2Q 6I 2H I 7I 2H"
TCP_INFO_MEMBERS = """
    state ca_state retransmits probes backoff options wscales flags
    rto ato snd_mss rcv_mss unacked sacked lost retrans fackets
    last_data_sent last_ack_sent last_data_recv last_ack_recv
    pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans
    pacing_rate max_pacing_rate bytes_acked bytes_received segs_out segs_in
    notsent_bytes min_rtt data_segs_in data_segs_out
    delivery_rate busy_time rwnd_limited sndbuf_limited delivered delivered_ce
    bytes_sent bytes_retrans dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash
    total_rto total_rto_recoveries total_rto_time
    received_ce delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes
    received_e1_bytes received_e0_bytes received_ce_bytes accecn_fail_mode accecn_opt_seen
"""
"""struct tcp_info as <linux/tcp.h> declares it."""


def window(*bodies: bytes) -> Window:
    data = b"".join(message(b, SEQUENCE) for b in bodies)
    return Window.of(np.frombuffer(data, np.uint32), Expected(kind=DATA, sequence=SEQUENCE, port_id=PORT_ID))


def only_block(*bodies: bytes) -> Block:
    (block,) = blocks(window(*bodies))
    return block


def columns_of(*bodies: bytes) -> Mapping[str, NDArray[Any]]:
    columns = Columns({name: COLUMN_TYPES[name] for name in WRITTEN})
    for block in blocks(window(*bodies)):
        write(block, columns.extend(len(block)))
    return columns.finish()


def row(*bodies: bytes) -> dict[str, int]:
    return {name: column[0].item() for name, column in columns_of(*bodies).items()}


def test_each_field_of_the_message_lands_in_its_column() -> None:
    one = body(
        "10.1.2.3:258",
        "10.4.5.6:772",
        state=8,
        timer=2,
        retransmits=3,
        iface=0x0504_0302,
        cookie=0x1817_1615_1413_1211,
        expires=0x2423_2221,
        recv_q=0x3433_3231,
        send_q=0x4443_4241,
        uid=0x5453_5251,
        inode=0xF463_6261,
        attributes=attribute(SHUTDOWN, b"\1")
        + attribute(MARK, b"mark")
        + attribute(CGROUP_ID, struct.pack("=Q", 0x7877_7675_7473_7271))
        + attribute(SOCKOPT, struct.pack("=H", 0x8281)),
    )
    assert row(one) == {
        "family": socket.AF_INET,
        "state": State.CLOSE_WAIT,
        "timer": 2,
        "retransmits": 3,
        "sport": 258,
        "dport": 772,
        "src_hi": 0,
        "src_lo": 0xFFFF_0A01_0203,
        "dst_hi": 0,
        "dst_lo": 0xFFFF_0A04_0506,
        "iface": 0x0504_0302,
        "cookie": 0x1817_1615_1413_1211,
        "expires_ms": 0x2423_2221,
        "recv_q": 0x3433_3231,
        "send_q": 0x4443_4241,
        "uid": 0x5453_5251,
        "inode": 0xF463_6261,
        "shutdown": 1,
        "cgroup": 0x7877_7675_7473_7271,
        "sockopt": 0x8281,
    }


def test_ipv6_addresses_are_two_halves_and_a_mapped_one_equals_ipv4() -> None:
    six = row(body("[1122:3344:5566:7788:99aa:bbcc:ddee:ff01]:1", "[::ffff:10.4.5.6]:2"))
    assert (six["src_hi"], six["src_lo"]) == (0x1122_3344_5566_7788, 0x99AA_BBCC_DDEE_FF01)
    assert (six["family"], six["dst_hi"], six["dst_lo"]) == (socket.AF_INET6, 0, row(body())["dst_lo"])


@pytest.mark.parametrize(
    ("kernel", "remote", "ours"),
    [
        *((state, "10.4.5.6:1", State(state)) for state in range(1, 12)),
        (7, "0.0.0.0:0", State.BOUND),
        (12, "10.4.5.6:1", State.SYN_RECV),
    ],
)
def test_states_are_the_kernels_but_for_bound_and_requests(kernel: int, remote: str, ours: State) -> None:
    assert row(body(remote=remote, state=kernel))["state"] == ours


@pytest.mark.parametrize("state", [0, 13, 14, 255])
def test_a_state_that_tcp_does_not_have_is_refused(state: int) -> None:
    with pytest.raises(DumpError, match="a state that TCP does not have"):
        row(body(state=state))


def test_both_families_may_come_in_any_order() -> None:
    found = columns_of(body("10.1.2.3:1"), body("[1:2::3:4]:1", "[::1]:2"), body("10.1.2.4:1"))
    assert found["family"].tolist() == [socket.AF_INET, socket.AF_INET6, socket.AF_INET]
    assert found["src_hi"].tolist() == [0, 0x1_0002_0000_0000, 0]
    assert found["src_lo"].tolist() == [0xFFFF_0A01_0203, 0x3_0004, 0xFFFF_0A01_0204]
    assert found["dst_lo"].tolist() == [0xFFFF_0A04_0506, 1, 0xFFFF_0A04_0506]


def test_a_socket_of_another_family_is_refused() -> None:
    with pytest.raises(DumpError, match="another address family"):
        columns_of(body(), body(family=socket.AF_UNIX))


@pytest.mark.parametrize("attributes", [b"", attribute(SHUTDOWN, b"") + attribute(CGROUP_ID, b"1234567")])
def test_what_the_kernel_does_not_say_is_unknown(attributes: bytes) -> None:
    found = row(body(attributes=attributes))
    assert (found["shutdown"], found["cgroup"], found["sockopt"]) == (SHUTDOWN_UNKNOWN, 0, 0)


def numbered_tcp_info() -> tuple[bytes, dict[str, int]]:
    values = {name: 101 + i for i, name in enumerate(TCP_INFO_MEMBERS.split())}
    return struct.pack(TCP_INFO_FORMAT, *values.values()), values


def details(block: Block) -> dict[str, float | None]:
    found = {name: block.field(field) for name, field in FIELDS.items()}
    return {name: None if values is None else values[0].item() for name, values in found.items()}


def test_each_field_of_tcp_info_is_read_from_its_place() -> None:
    info, values = numbered_tcp_info()
    assert len(info) == 280
    found = details(only_block(body(attributes=attribute(INFO, info))))
    assert {name: value for name, value in found.items() if value is not None} == {
        name: value for name, value in values.items() if name not in {"wscales", "flags"}
    }


@pytest.mark.parametrize(
    ("length", "last", "first_missing"),
    [
        (104, "total_retrans", "pacing_rate"),
        (192, "sndbuf_limited", "delivered"),
        (232, "snd_wnd", "rcv_wnd"),
        (248, "total_rto_time", "received_ce"),
        (231, "rcv_ooopack", "snd_wnd"),
        (0, None, "state"),
    ],
)
def test_a_shorter_tcp_info_lacks_its_later_fields(length: int, last: str | None, first_missing: str) -> None:
    info, values = numbered_tcp_info()
    found = details(only_block(body(attributes=attribute(INFO, info[:length]))))
    known = list(FIELDS)[: list(FIELDS).index(first_missing)]
    assert not last or known[-1] == last
    assert {name for name, value in found.items() if value is not None} == set(known)
    assert all(found[name] == values[name] for name in known)


def test_a_longer_tcp_info_is_read_as_far_as_it_is_known() -> None:
    info, values = numbered_tcp_info()
    found = details(only_block(body(attributes=attribute(INFO, info + b"future" * 6))))
    assert found["accecn_opt_seen"] == values["accecn_opt_seen"]


@pytest.mark.parametrize(
    ("kind", "form", "names"),
    [
        (SKMEMINFO, "=9I", "rmem_alloc rcvbuf wmem_alloc sndbuf fwd_alloc wmem_queued optmem backlog drops"),
        (1, "=4I", "rmem wmem fmem tmem"),
        (3, "=4I", "enabled rttcnt rtt minrtt"),
        (9, "=2H3I", "enabled ce_state alpha ab_ecn ab_tot"),
        (16, "=5I", "bw_lo bw_hi min_rtt pacing_gain cwnd_gain"),
        (5, "=B", "tos"),
        (6, "=B", "tclass"),
        (17, "=I", "class_id"),
        (11, "=B", "v6only"),
        (MARK, "=I", "mark"),
    ],
)
def test_each_field_of_the_other_attributes_is_read_from_its_place(kind: int, form: str, names: str) -> None:
    numbers = range(51, 51 + len(names.split()))
    found = details(only_block(body(attributes=attribute(kind, struct.pack(form, *numbers)))))
    assert [value for value in found.values() if value is not None] == list(numbers)
    known = [name for name, value in found.items() if value is not None]
    assert [name.removeprefix(prefix_of(kind)) for name in known] == names.split()


def prefix_of(kind: int) -> str:
    return {SKMEMINFO: "skmem_", 1: "meminfo_", 3: "vegas_", 9: "dctcp_", 16: "bbr_"}.get(kind, "")


def test_flags_in_an_attribute_type_are_not_part_of_it() -> None:
    assert row(body(attributes=attribute(0x8000 | SHUTDOWN, b"\2")))["shutdown"] == 2


def test_messages_of_all_shapes_keep_their_own_values() -> None:
    shapes = [
        b"",
        attribute(SHUTDOWN, b"\1"),
        attribute(MARK, b"mark"),
        attribute(SHUTDOWN, b"\2") + attribute(CGROUP_ID, struct.pack("=Q", 77)),
        attribute(CGROUP_ID, struct.pack("=Q", 88)) + attribute(SHUTDOWN, b"\3"),
    ]
    wanted = [(SHUTDOWN_UNKNOWN, 0), (1, 0), (SHUTDOWN_UNKNOWN, 0), (2, 77), (3, 88)]
    bodies = [body(cookie=i + 1, attributes=shapes[i * 3 % 5]) for i in range(23)]
    found = columns_of(*bodies)
    by_cookie = dict(zip(found["cookie"].tolist(), zip(found["shutdown"], found["cgroup"], strict=True), strict=True))
    assert by_cookie == {i + 1: wanted[i * 3 % 5] for i in range(23)}


@pytest.mark.parametrize("length", [0, 1, 3, 65535])
@pytest.mark.parametrize("before", [b"", attribute(SHUTDOWN, b"\1")])
def test_an_attribute_of_impossible_length_is_refused(length: int, before: bytes) -> None:
    good = attribute(CGROUP_ID, bytes(8))
    bad = before + struct.pack("=HHQ", length, CGROUP_ID, 0)
    with pytest.raises(DumpError, match=f"an attribute of {length} bytes"):
        columns_of(body(attributes=before + good), body(attributes=bad))


@pytest.mark.parametrize("rest", [1, 2, 3])
def test_bytes_too_few_for_an_attribute_are_refused(rest: int) -> None:
    with pytest.raises(DumpError, match=f"{rest} bytes are no attribute"):
        columns_of(body(attributes=bytes(rest)))


def test_a_message_too_short_for_a_socket_is_refused() -> None:
    with pytest.raises(DumpError, match="a message of 84 bytes"):
        columns_of(body(), body()[:-4])


def test_a_request_asks_for_the_bits_that_stand_for_the_states() -> None:
    states = frozenset({State.LISTEN, State.SYN_RECV, State.BOUND})
    bits = 1 << 10 | 1 << 3 | 1 << 12 | 1 << 13
    old = request_all(states, 0x42)
    assert (old.kind, len(old.payload)) == (TCPDIAG_GETSOCK, 60)
    assert struct.unpack("=BBBB48xII", old.payload) == (0, 0, 0, 0x42, bits, 0)
    new = request_family(socket.AF_INET6, states, 0x42)
    assert (new.kind, len(new.payload)) == (SOCK_DIAG_BY_FAMILY, 56)
    assert struct.unpack("=BBBxI48x", new.payload) == (socket.AF_INET6, socket.IPPROTO_TCP, 0x42, bits)
    assert struct.unpack_from("=I", request_family(socket.AF_INET, frozenset(State), 0).payload, 4) == (0x3FFE,)
