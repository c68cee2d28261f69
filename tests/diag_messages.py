"""Hand-made sock_diag bytes, and a transport that plays them in place of the kernel."""

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterable

from sockwatch.collect import netlink

PORT_ID = 4_711
DATA, MULTI = netlink.TCPDIAG_GETSOCK, netlink.NLM_F_MULTI


def header(length: int, kind: int, flags: int, sequence: int, port_id: int = PORT_ID) -> bytes:
    return netlink.HEADER.pack(length, kind, flags, sequence, port_id)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def body(
    local: str = "10.1.2.3:80",
    remote: str = "10.4.5.6:9876",
    *,
    state: int = 1,
    timer: int = 0,
    retransmits: int = 0,
    iface: int = 0,
    cookie: int = 1,
    expires: int = 0,
    recv_q: int = 0,
    send_q: int = 0,
    uid: int = 0,
    inode: int = 0,
    attributes: bytes = b"",
    family: int | None = None,
) -> bytes:
    (source, sport), (destination, dport) = (_split(end) for end in (local, remote))
    own = socket.AF_INET6 if len(source) == 16 else socket.AF_INET
    return (
        struct.pack("=BBBB", own if family is None else family, state, timer, retransmits)
        + struct.pack("!HH16s16s", sport, dport, source, destination)
        + struct.pack("=IQ", iface, cookie)
        + struct.pack("=IIIII", expires, recv_q, send_q, uid, inode)
        + attributes
    )


def _split(endpoint: str) -> tuple[bytes, int]:
    host, _, port = endpoint.rpartition(":")
    return ipaddress.ip_address(host.strip("[]")).packed, int(port)


def message(payload: bytes, sequence: int, *, kind: int = DATA, flags: int = MULTI) -> bytes:
    """One message, padded as the kernel pads it; its type is that of the old request, which asks for all families."""
    return header(16 + len(payload), kind, flags, sequence) + payload + bytes(-len(payload) % 4)


def done(sequence: int, *, error: int = 0, flags: int = MULTI) -> bytes:
    return message(struct.pack("=i", -error), sequence, kind=netlink.NLMSG_DONE, flags=flags)


def error(sequence: int, number: int) -> bytes:
    return message(struct.pack("=i", -number) + bytes(16), sequence, kind=netlink.NLMSG_ERROR, flags=0)


Datagram = bytes | OSError | tuple[bytes, int]
"""Bytes from the kernel, an error of recv(), or bytes and the port id of another sender."""
Answer = Callable[[int, int, int, int], Iterable[Datagram]]
"""(family, states, extensions, sequence) -> the datagrams of one dump; family 0 asks for all."""


class Player:
    """Answers each dump by calling `answer`; when it has no more to say, recv() finds nothing."""

    def __init__(self, answer: Answer) -> None:
        self.port_id = PORT_ID
        self.requests = 0
        self.sent: list[bytes] = []
        self.closed = False
        self._answer = answer
        self._datagrams: list[Datagram] = []

    def send(self, sent: bytes) -> None:
        _, kind, _, sequence, _ = netlink.HEADER.unpack_from(sent)
        if kind == netlink.SOCK_DIAG_BY_FAMILY:
            family, _protocol, extensions, states = struct.unpack_from("=BBBxI", sent, 16)
        else:
            family, _, _, extensions, states = struct.unpack_from("=BBBB48xI", sent, 16)
        self._datagrams = list(self._answer(family, states, extensions, sequence))
        self.requests += 1
        self.sent.append(sent)

    def recv_into(self, buffer: memoryview) -> tuple[int, int]:
        if not self._datagrams:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        datagram = self._datagrams.pop(0)
        if isinstance(datagram, OSError):
            raise datagram
        data, sender = datagram if isinstance(datagram, tuple) else (datagram, 0)
        buffer[: len(data)] = data[: len(buffer)]
        return len(data), sender

    def close(self) -> None:
        self.closed = True


class Kernel:
    """Opens players; counts them, and knows whether each was closed."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.players: list[Player] = []

    def __call__(self) -> Player:
        self.players.append(Player(self._answer))
        return self.players[-1]
