"""What a socket does not hear: filters of the kernel (socket(7), SO_ATTACH_FILTER) that drop packets for it."""

import ctypes
import socket
import struct
from collections.abc import Sequence

SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27

_LOAD_BYTE, _AND, _IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_FLAGS = 13
"""Where the flags are: a filter of a TCP socket sees the packet from its TCP header on, in both address families."""
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_DROP, _KEEP = 0, 0xFFFF_FFFF

Program = Sequence[tuple[int, int, int, int]]
"""Instructions of classic BPF: code, jump if true, jump if false, constant."""


def _by_flags(mask: int, flags: int, *, then: int, otherwise: int) -> Program:
    return (
        (_LOAD_BYTE, 0, 0, _FLAGS),
        (_AND, 0, 0, mask),
        (_IF_EQUAL, 0, 1, flags),
        (_RETURN, 0, 0, then),
        (_RETURN, 0, 0, otherwise),
    )


EVERYTHING: Program = ((_RETURN, 0, 0, _DROP),)
RESETS = _by_flags(_RST, _RST, then=_DROP, otherwise=_KEEP)
BARE_ACKS = _by_flags(_FIN | _SYN | _RST | _ACK, _ACK, then=_DROP, otherwise=_KEEP)
"""Segments with no flag but ACK; data is not told from an acknowledgement alone."""
ALL_BUT_SYNS = _by_flags(_FIN | _SYN | _RST | _ACK, _SYN, then=_KEEP, otherwise=_DROP)


def drop(opened: socket.socket, program: Program) -> None:
    """Drop what the program says, whatever was dropped before. A listener's filter is its half-open handshakes' too."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def drop_nothing(opened: socket.socket) -> None:
    """Hear everything again."""
    opened.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
