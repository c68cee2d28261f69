"""The packets of one connection, as they pass lo: the handshake and the waves, in one line each."""

import socket
import struct
from typing import NamedTuple

ETH_P_ALL = 3
ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23  # v4.20, fa788d986a3a; on lo every packet would be seen twice
FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x10, "ACK"))
IPV6_HEADER = 40
SNAP_LENGTH = 128


class Segment(NamedTuple):
    """One TCP segment."""

    sport: int
    dport: int
    flags: int
    size: int

    @property
    def is_opening(self) -> bool:
        """A SYN without ACK."""
        return self.flags & 0x12 == 0x02  # noqa: PLR2004 - SYN of SYN and ACK

    def describe(self, client: int) -> str:
        """`client > server  FIN ACK`; `client` is the port of the side that opened the connection."""
        ends = "itself > itself" if self.sport == self.dport else "server > client"
        if self.sport == client and self.dport != client:
            ends = "client > server"
        names = " ".join(name for bit, name in FLAGS if self.flags & bit)
        return f"{ends}  {names}" + (f"  {self.size} bytes" if self.size else "")


def parse_segment(protocol: int, packet: bytes) -> Segment | None:
    """The TCP segment in an IP packet that begins with its IP header; None for anything else."""
    try:
        if protocol == ETH_P_IP:
            (length,) = struct.unpack_from("!H", packet, 2)
            transport, start = packet[9], (packet[0] & 0xF) * 4
        elif protocol == ETH_P_IPV6:
            (payload,) = struct.unpack_from("!H", packet, 4)
            transport, start = packet[6], IPV6_HEADER
            length = payload + IPV6_HEADER
        else:
            return None
        if transport != socket.IPPROTO_TCP:
            return None
        sport, dport, words, flags = struct.unpack_from("!HH8xBB", packet, start)
    except (struct.error, IndexError):
        return None
    return Segment(sport, dport, flags, length - start - (words >> 4) * 4)


class Tap:
    """Listens on lo in the current namespace and keeps to the first connection that it sees opened.

    One that is opened to itself is more interesting: it takes the place of another.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.settimeout(0)
        self._ports: tuple[int, int] | None = None

    def read(self) -> list[str]:
        """What passed since the last call, one line a packet."""
        lines: list[str] = []
        while True:
            try:
                packet, (_, protocol, *_) = self._socket.recvfrom(SNAP_LENGTH)
            except BlockingIOError:
                return lines
            segment = parse_segment(protocol, packet)
            if segment is None:
                continue
            if segment.is_opening and (self._ports is None or segment.sport == segment.dport):
                self._ports = segment.sport, segment.dport
            if self._ports and {segment.sport, segment.dport} == set(self._ports):
                lines.append(segment.describe(self._ports[0]))

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
