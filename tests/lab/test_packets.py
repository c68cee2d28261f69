"""Segments out of bytes, and the handshakes and waves that a run shows."""

import socket
import struct

import pytest
from hypothesis import given, strategies as st

from netns import require_namespaces
from scenery import lab
from sockwatch.lab.packets import ETH_P_IP, ETH_P_IPV6, Segment, parse_segment

SYN, ACK, FIN = 0x02, 0x10, 0x01


def tcp(flags: int, *, options: bytes = b"", data: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    return struct.pack("!HHIIBBHHH", 40000, 9100, 1, 2, words << 4, flags, 512, 0, 0) + options + data


def ipv4(payload: bytes, *, protocol: int = socket.IPPROTO_TCP, options: bytes = b"") -> bytes:
    words, length = 5 + len(options) // 4, 20 + len(options) + len(payload)
    return struct.pack("!BBHHHBBH8x", 0x40 | words, 0, length, 0, 0, 64, protocol, 0) + options + payload


def ipv6(payload: bytes) -> bytes:
    return struct.pack("!IHBB32x", 6 << 28, len(payload), socket.IPPROTO_TCP, 64) + payload


@pytest.mark.parametrize(
    ("protocol", "packet"),
    [
        (ETH_P_IP, ipv4(tcp(ACK | FIN, options=bytes(12), data=b"x" * 23))),
        (ETH_P_IP, ipv4(tcp(ACK | FIN, data=b"x" * 23), options=bytes(4))),
        (ETH_P_IPV6, ipv6(tcp(ACK | FIN, options=bytes(12), data=b"x" * 23))),
    ],
)
def test_a_segment_is_told_with_its_ports_flags_and_size_whatever_the_header_options(
    protocol: int, packet: bytes
) -> None:
    assert parse_segment(protocol, packet) == Segment(40000, 9100, ACK | FIN, 23)


def test_what_is_no_tcp_is_none() -> None:
    assert parse_segment(ETH_P_IP, ipv4(tcp(SYN), protocol=socket.IPPROTO_UDP)) is None
    assert parse_segment(0x0806, ipv4(tcp(SYN))) is None


@given(st.sampled_from([ETH_P_IP, ETH_P_IPV6]), st.binary(max_size=128))
def test_no_bytes_break_it(protocol: int, packet: bytes) -> None:
    parse_segment(protocol, packet)


@given(st.sampled_from([(ETH_P_IP, ipv4(tcp(SYN))), (ETH_P_IPV6, ipv6(tcp(SYN)))]), st.data())
def test_a_packet_that_was_cut_in_its_headers_is_none(packet: tuple[int, bytes], data: st.DataObject) -> None:
    protocol, whole = packet
    cut = data.draw(st.integers(0, len(whole) - 7))  # up to the flags
    assert parse_segment(protocol, whole[:cut]) is None


def packets(name: str) -> list[str]:
    run = lab("run", name)
    if "private network namespace" in run.stderr:
        require_namespaces()
    assert run.returncode == 0, run.stdout + run.stderr
    return [" ".join(line.split()) for line in run.stdout.splitlines() if line.startswith(" ") and " > " in line]


def test_a_self_connect_opens_with_three_packets_and_closes_with_two() -> None:
    itself = "itself > itself"
    assert packets("self_connect/time_wait") == [
        f"{itself} SYN",
        f"{itself} SYN ACK",
        f"{itself} ACK",
        f"{itself} FIN ACK",
        f"{itself} ACK",
    ]


def test_the_first_connection_shows_its_handshake_and_the_half_close() -> None:
    assert packets("fin_wait_2_stuck/held") == [
        "client > server SYN",
        "server > client SYN ACK",
        "client > server ACK",
        "client > server FIN ACK",
        "server > client ACK",
    ]


def test_the_lottery_shows_a_refusal_and_then_the_hit() -> None:
    shown = packets("lottery")
    assert shown[-3:] == ["itself > itself SYN", "itself > itself SYN ACK", "itself > itself ACK"]
    assert set(shown[:-3]) <= {"client > server SYN", "server > client RST ACK"}


OPENING = ["client > server SYN", "server > client SYN ACK", "client > server ACK"]


@pytest.mark.parametrize(
    ("name", "after_the_handshake"),
    [
        (
            "close_in_four_waves",
            ["server > client FIN ACK", "client > server ACK", "client > server FIN ACK", "server > client ACK"],
        ),
        (
            "killed_process",
            ["client > server FIN ACK", "server > client ACK", "server > client FIN ACK", "client > server ACK"],
        ),
        (
            "data_after_close",
            [
                "client > server FIN ACK",
                "server > client ACK",
                "server > client ACK 100 bytes",
                "client > server RST",
            ],
        ),
    ],
)
def test_a_story_shows_each_wave(name: str, after_the_handshake: list[str]) -> None:
    assert packets(name) == OPENING + after_the_handshake


def test_a_close_that_follows_within_40_ms_takes_three_waves() -> None:
    three = ["server > client FIN ACK", "client > server FIN ACK", "server > client ACK"]
    assert any(packets("close_in_three_waves") == OPENING + three for _ in range(5))  # a busy machine may be slower


def test_a_simultaneous_open_takes_four_packets_and_the_reset_that_is_not_heard() -> None:
    assert packets("simultaneous_open") == [
        "client > server SYN",
        "server > client RST ACK",
        "server > client SYN",
        "client > server SYN ACK",
        "server > client ACK",
    ]


def test_close_over_unread_data_is_one_packet() -> None:
    assert packets("reset_by_close")[-1] == "server > client RST ACK"


def test_a_clash_shows_the_challenge_the_reset_and_the_second_try() -> None:
    again = ["client > server SYN", "server > client ACK", "client > server RST", *OPENING]
    shown = packets("tuple_clash")
    assert shown[:5] == [*OPENING, "client > server FIN ACK", "server > client ACK"]
    assert shown[5 : 5 + len(again)] == again
