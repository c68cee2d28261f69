"""Windows of inet_diag messages -> columns. Pure: bytes in, numpy out.

struct inet_diag_msg (include/uapi/linux/inet_diag.h) is the same for every socket; the attributes behind it differ from
socket to socket, but not much. So one message of each length is walked, and the others are compared with it: those
with the same attribute headers in the same places are read by column, the rest gets the next template.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sockwatch.collect.attributes import CGROUP, SHUTDOWN, SOCKOPT, Field
from sockwatch.collect.netlink import HEADER, SOCK_DIAG_BY_FAMILY, TCPDIAG_GETSOCK, Request, Window
from sockwatch.errors import DumpError
from sockwatch.model.address import V4_MAPPED
from sockwatch.model.sockets import COLUMN_TYPES, SHUTDOWN_UNKNOWN
from sockwatch.model.state import State

BOUND_INACTIVE = 13
"""TCPF_BOUND_INACTIVE is asked for by this bit, and answered as TCP_CLOSE (v6.8, 91051f003948)."""
NEW_SYN_RECV = 12
EVERY_STATE = frozenset(State)
FAMILIES = (socket.AF_INET, socket.AF_INET6)
WRITTEN = tuple(name for name in COLUMN_TYPES if name not in {"netns", "autobound", "detail_row"})
"""The columns that a message says something about, in the order of the table."""

_REQUEST = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2: family, protocol, extensions, states, and a socket id that a dump leaves empty."""
_OLD_REQUEST = struct.Struct("=BBBB48xI4x")
"""struct inet_diag_req: family and two prefix lengths that nobody reads, extensions, a socket id, states, tables."""
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
"""NLA_TYPE_MASK: without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_REQ_BYTECODE, _REQ_PROTOCOL = 1, 3
"""INET_DIAG_REQ_*: attributes of a request."""
_MAX_U8 = 0xFF
_WORD = 4
_BODY = HEADER.size
_ATTRIBUTES = _BODY + 72
_UNKNOWN_STATE = 0


def _state_table() -> NDArray[np.uint8]:
    table = np.full(256, _UNKNOWN_STATE, np.uint8)
    table[1:12] = np.arange(1, 12)
    table[NEW_SYN_RECV] = State.SYN_RECV
    return table


_STATES = _state_table()


def request_all(states: frozenset[State], extensions: int, program: bytes = b"") -> Request:
    """Ask for every TCP socket in these states, IPv4 and IPv6 in one dump; `extensions` is idiag_ext.

    Only the old request can do that (inet_diag_dump_compat, net/ipv4/inet_diag.c). Each dump walks all sockets of the
    machine, so that one for each family takes a quarter longer. `program` is a filter (bytecode.py).
    """
    payload = _OLD_REQUEST.pack(0, 0, 0, extensions, _bits(states))
    return Request(kind=TCPDIAG_GETSOCK, payload=payload + _filter(program))


def request_family(
    family: int, states: frozenset[State], extensions: int, *, protocol: int = socket.IPPROTO_TCP, program: bytes = b""
) -> Request:
    """Ask for every socket of one address family and protocol in these states."""
    # The protocol has only eight bits: a larger one is in an attribute (v5.9, 3f935c75eb52).
    wide = protocol > _MAX_U8
    payload = _REQUEST.pack(family, socket.IPPROTO_RAW if wide else protocol, extensions, _bits(states))
    if wide:
        payload += _attribute(_REQ_PROTOCOL, struct.pack("=I", protocol))
    return Request(kind=SOCK_DIAG_BY_FAMILY, payload=payload + _filter(program))


def _filter(program: bytes) -> bytes:
    return _attribute(_REQ_BYTECODE, program) if program else b""


def _attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a request; the length of `value` is a multiple of four."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _bits(states: frozenset[State]) -> int:
    bits = {int(state) for state in states}
    if State.SYN_RECV in states:
        bits.add(NEW_SYN_RECV)
    if states & {State.CLOSE, State.BOUND}:
        bits.add(BOUND_INACTIVE)
    return sum(1 << bit for bit in bits)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Messages with the same attributes in the same places: a row each, as 32-bit words in contiguous memory.

    `attributes` has for each attribute type where its value begins in the message, and its length. The memory may be
    reused as soon as the next window is read.
    """

    words: NDArray[np.uint32]
    attributes: Mapping[int, tuple[int, int]]

    def __len__(self) -> int:
        return len(self.words)

    def column(self, offset: int, dtype: str) -> NDArray[np.integer[Any]]:
        """The numbers at this offset of each message, as a view."""
        if not len(self):  # in memory of no size there is no offset
            return np.empty(0, dtype)
        return np.ndarray(len(self), dtype, self.words, offset, (self.words.strides[0],))

    def field(self, field: Field) -> NDArray[np.integer[Any]] | None:
        """A number from an attribute; None where it is absent or shorter than that."""
        offset, length = self.attributes.get(field.attribute, (0, 0))
        if length < field.offset + field.size:
            return None
        return self.column(offset + field.offset, f"u{field.size}")

    def first(self, rows: int) -> Self:
        """The first messages, at most so many."""
        return type(self)(words=self.words[:rows], attributes=self.attributes)


def blocks(window: Window) -> Iterator[Block]:
    """The window's messages, sorted by shape. Raises DumpError where one is malformed."""
    lengths = window.lengths
    if not len(lengths):
        return
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < _ATTRIBUTES:
        raise DumpError(f"malformed sock_diag data: a message of {shortest} bytes")
    if shortest == longest:
        width = -(-longest // _WORD)
        yield from _by_template(window.words[: len(lengths) * width].reshape(-1, width), longest)
        return
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        yield from _by_template(_gather(window, length), length)


def _gather(window: Window, length: int) -> NDArray[np.uint32]:
    """The messages of this length, copied side by side."""
    width = -(-length // _WORD)
    # One element for each place where such a message may begin: taking elements copies each message in one piece.
    places = np.ndarray(len(window.words) - width + 1, f"V{width * _WORD}", window.words, 0, (_WORD,))
    taken: NDArray[np.uint32] = places[window.starts[window.lengths == length]].view(np.uint32)
    return taken.reshape(-1, width)


def _by_template(words: NDArray[np.uint32], length: int) -> Iterator[Block]:
    while len(words):
        headers, attributes = _walk(words[0], length)
        alike = np.ones(len(words), np.bool_)
        for place, header in headers:
            alike &= words[:, place] == header
        if alike.all():
            yield Block(words=words, attributes=attributes)
            return
        yield Block(words=words[alike], attributes=attributes)
        words = words[~alike]


def _walk(words: NDArray[np.uint32], length: int) -> tuple[list[tuple[int, np.uint32]], dict[int, tuple[int, int]]]:
    """One message's attribute headers by their word, and its attributes."""
    message = words.tobytes()
    headers: list[tuple[int, np.uint32]] = []
    attributes: dict[int, tuple[int, int]] = {}
    at = _ATTRIBUTES
    while at < length:
        if at + _ATTRIBUTE.size > length:
            raise DumpError(f"malformed sock_diag data: {length - at} bytes are no attribute")
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if size < _ATTRIBUTE.size or at + size > length:
            raise DumpError(f"malformed sock_diag data: an attribute of {size} bytes where {length - at} are left")
        headers.append((at // _WORD, words[at // _WORD]))
        attributes[kind & _TYPE_MASK] = (at + _ATTRIBUTE.size, size - _ATTRIBUTE.size)
        at += -(-size // _WORD) * _WORD
    return headers, attributes


def write(block: Block, into: Mapping[str, NDArray[Any]]) -> None:
    """Fill the columns that WRITTEN names, a row for each message.

    Raises DumpError for an address family that is not IP, and for a state that TCP does not have.
    """
    # Family, state, timer and retransmits are one word: messages are far apart, so each is visited once for all four.
    first = np.ascontiguousarray(block.words[:, _BODY // _WORD]).view(np.uint8).reshape(-1, _WORD)
    family = first[:, 0]
    ipv4 = family == socket.AF_INET
    if not (ipv4 | (family == socket.AF_INET6)).all():
        raise DumpError("malformed sock_diag data: a socket of another address family")
    state = _STATES[first[:, 1]]
    if (state == _UNKNOWN_STATE).any():
        raise DumpError("malformed sock_diag data: a state that TCP does not have")
    closed = np.flatnonzero(state == State.CLOSE)
    state[closed[block.column(_BODY + 6, "u2")[closed] == 0]] = State.BOUND
    into["family"][:] = family
    into["state"][:] = state
    into["timer"][:] = first[:, 2]
    into["retransmits"][:] = first[:, 3]
    into["sport"][:] = block.column(_BODY + 4, ">u2")
    into["dport"][:] = block.column(_BODY + 6, ">u2")
    ipv6 = ~ipv4
    for name, offset in (("src", _BODY + 8), ("dst", _BODY + 24)):
        high, low = into[f"{name}_hi"], into[f"{name}_lo"]
        high[:] = 0
        np.bitwise_or(block.column(offset, ">u4"), V4_MAPPED, out=low)
        if ipv6.any():
            np.copyto(high, block.column(offset, ">u8"), where=ipv6)
            np.copyto(low, block.column(offset + 8, ">u8"), where=ipv6)
    into["iface"][:] = block.column(_BODY + 40, "u4")
    # idiag_cookie is two words, the low one first on every machine (sock_diag_save_cookie, net/core/sock_diag.c).
    np.left_shift(block.column(_BODY + 48, "u4"), 32, out=into["cookie"], dtype=np.uint64)
    into["cookie"] |= block.column(_BODY + 44, "u4")
    into["expires_ms"][:] = block.column(_BODY + 52, "u4")
    into["recv_q"][:] = block.column(_BODY + 56, "u4")
    into["send_q"][:] = block.column(_BODY + 60, "u4")
    into["uid"][:] = block.column(_BODY + 64, "u4")
    into["inode"][:] = block.column(_BODY + 68, "u4")
    for name, field, unknown in (
        ("shutdown", SHUTDOWN, SHUTDOWN_UNKNOWN),
        ("cgroup", CGROUP, 0),
        ("sockopt", SOCKOPT, 0),
    ):
        values = block.field(field)
        into[name][:] = unknown if values is None else values
