"""One dump over NETLINK_SOCK_DIAG: a request goes out, windows full of messages come in, or a DumpError.

The messages of a dump follow each other without gaps (struct nlmsghdr, include/uapi/linux/netlink.h), so their
boundaries are found for a whole window at once: every header holds the random sequence number of the request, and the
lengths must lead from each header to the next. Where that does not hold, a careful walk either explains the window
message by message or refuses it.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sockwatch.errors import DumpError

NETLINK_SOCK_DIAG = 4
TCPDIAG_GETSOCK, SOCK_DIAG_BY_FAMILY = 18, 20
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x1, 0x2, 0x10, 0x300
KERNEL = 0
"""The kernel's port id."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length with header, type, flags, sequence number, port id."""
_ERRNO = struct.Struct("=i")
_MAX_ERRNO = 4095
_DONE_SIZE = HEADER.size + _ERRNO.size
_WORD = 4
_LENGTH, _KIND, _SEQUENCE, _PORT, _HEADER_WORDS = range(5)

CHUNK = 64 << 10
"""Room for one datagram: the kernel fills at most 32 KiB of a dump at a time, however large the buffer
(netlink_recvmsg, af_netlink.c)."""
WINDOW = 1 << 21
"""Bytes that are looked at together: large enough that numpy's overhead does not count, small enough for the cache."""


def _kind(message: int, flags: int) -> np.uint32:
    """A header's second word: type and flags side by side, in this machine's byte order."""
    return np.uint32(int.from_bytes(struct.pack("=HH", message, flags), sys.byteorder))


_DONE_KIND = _kind(NLMSG_DONE, NLM_F_MULTI)


class Transport(Protocol):
    """A netlink socket, or recorded bytes in its place. `port_id` is ours, to which the kernel answers."""

    @property
    def port_id(self) -> int:
        """Our address."""
        ...

    def send(self, message: bytes) -> None:
        """Send one message to the kernel. Raises OSError."""
        ...

    def recv_into(self, buffer: memoryview) -> tuple[int, int]:
        """Receive one datagram: its length, also where that is more than fits, and the sender's port id.

        Raises BlockingIOError when there is none, and OSError.
        """
        ...

    def close(self) -> None:
        """Give the socket back; a dump that is under way ends."""
        ...


class NetlinkSocket:
    """The transport that reads the kernel, in the network namespace of the thread that opens it.

    It never waits: the kernel produces the next part of a dump while the one before is received, so that an empty
    queue means the end (netlink_recvmsg calls netlink_dump, af_netlink.c).
    """

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise DumpError(f"sockets are read through netlink, which only Linux has; this is {sys.platform}")
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_SOCK_DIAG)
            self._socket.bind((0, 0))
        except OSError as error:
            raise refused(error) from error
        self.port_id: int = self._socket.getsockname()[0]

    def send(self, message: bytes) -> None:
        """Send one message to the kernel."""
        self._socket.send(message)

    def recv_into(self, buffer: memoryview) -> tuple[int, int]:
        """Receive one datagram; MSG_TRUNC asks for its true length."""
        size, (port_id, _groups) = self._socket.recvfrom_into(buffer, len(buffer), socket.MSG_TRUNC)
        return size, port_id

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a dump is asked for: the message type, which the answers have as well, and what follows the header."""

    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the header of each answer says. The sequence number is random: nothing else in a dump is likely to be it."""

    kind: int
    sequence: int
    port_id: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """Messages of a dump, headers included: `words` is their memory, in which message i starts at word `starts[i]`.

    `lengths` are in bytes, without the padding to whole words that the kernel adds (NLMSG_ALIGN). The memory is reused
    for the next window. `interrupted`: the kernel says that the table changed under the dump, so that entries may be
    missing or doubled.
    """

    words: NDArray[np.uint32]
    starts: NDArray[np.intp]
    lengths: NDArray[np.intp]
    interrupted: bool = False
    last: bool = False

    @classmethod
    def of(cls, words: NDArray[np.uint32], expected: Expected) -> Self:
        """The messages in `words`. Raises DumpError."""
        return cls._all_alike(words, expected) or cls._search(words, expected)

    @classmethod
    def _all_alike(cls, words: NDArray[np.uint32], expected: Expected) -> Self | None:
        """The messages where all have the length of the first, as is common; otherwise nothing."""
        length = int(words[0]) if len(words) else 0
        width = -(-length // _WORD)
        if width < _HEADER_WORDS or len(words) % width:
            return None
        headers = words.reshape(-1, width)[:, :_HEADER_WORDS]
        header = (length, _kind(expected.kind, NLM_F_MULTI), expected.sequence, expected.port_id)
        if not (headers == np.array(header, np.uint32)).all():
            return None
        return cls(words=words, starts=np.arange(0, len(words), width), lengths=np.full(len(headers), length, np.intp))

    @classmethod
    def _search(cls, words: NDArray[np.uint32], expected: Expected) -> Self:
        """The messages where lengths differ: every header holds the sequence number."""
        starts = np.flatnonzero(words == np.uint32(expected.sequence)) - _SEQUENCE
        if not len(starts) or starts[0] != 0 or starts[-1] + _HEADER_WORDS > len(words):
            return cls._walk(words, expected)
        lengths = words[starts].astype(np.intp)
        ends = starts + (lengths + _WORD - 1) // _WORD
        kinds = words[starts + _KIND]
        done = kinds[-1] == _DONE_KIND and lengths[-1] == _DONE_SIZE and words[-1] == 0
        data = len(starts) - 1 if done else len(starts)
        if not (
            (kinds[:data] == _kind(expected.kind, NLM_F_MULTI)).all()
            and (words[starts + _PORT] == expected.port_id).all()
            and (ends[:-1] == starts[1:]).all()
            and ends[-1] == len(words)
        ):
            return cls._walk(words, expected)
        return cls(words=words, starts=starts[:data], lengths=lengths[:data], last=bool(done))

    @classmethod
    def _walk(cls, words: NDArray[np.uint32], expected: Expected) -> Self:
        view = memoryview(words.tobytes())
        starts, lengths, interrupted, last, at = [], [], False, False, 0
        while at < len(view):
            if last:
                raise DumpError("malformed netlink data: a message follows the end of the dump")
            if at + HEADER.size > len(view):
                raise DumpError(f"malformed netlink data: {len(view) - at} bytes are no header")
            length, kind, flags, answers, to = HEADER.unpack_from(view, at)
            if length < HEADER.size or at + length > len(view):
                raise DumpError(f"malformed netlink data: a message of {length} bytes where {len(view) - at} are left")
            # A fresh socket carries one dump, so an answer to somebody else cannot be a late one: it is wrong.
            if (answers, to) != (expected.sequence, expected.port_id):
                raise DumpError("malformed netlink data: the answer to another request")
            interrupted |= bool(flags & NLM_F_DUMP_INTR)
            match kind:
                case expected.kind:
                    starts.append(at // _WORD)
                    lengths.append(length)
                case _ if kind in {NLMSG_ERROR, NLMSG_DONE}:
                    _raise_errno(view[at + HEADER.size : at + length], kind)
                    last = True
                case _ if kind != NLMSG_NOOP:
                    raise DumpError(f"malformed netlink data: a message of unknown type {kind}")
            at += -(-length // _WORD) * _WORD
        return cls(
            words=words,
            starts=np.array(starts, np.intp),
            lengths=np.array(lengths, np.intp),
            interrupted=interrupted,
            last=last,
        )


def read_dump(transport: Transport, request: Request) -> Iterator[Window]:
    """Ask for a dump; yield its messages, window by window.

    Raises DumpError: with errno where the kernel refused, without where its answer cannot be trusted. Only a dump
    whose NLMSG_DONE arrived ends without an error.
    """
    expected = Expected(
        kind=request.kind, sequence=int.from_bytes(os.urandom(4), sys.byteorder), port_id=transport.port_id
    )
    length = HEADER.size + len(request.payload)
    header = HEADER.pack(length, request.kind, NLM_F_REQUEST | NLM_F_DUMP, expected.sequence, expected.port_id)
    arena = np.empty((WINDOW + CHUNK) // _WORD, np.uint32)
    view = arena.data.cast("B")
    try:
        transport.send(header + request.payload)
        end = 0
        while True:
            try:
                size, sender = transport.recv_into(view[end : end + CHUNK])
            except BlockingIOError:
                size, sender = 0, KERNEL
            if sender != KERNEL:
                continue  # another process may send us anything, and none of it is part of the dump
            if size > CHUNK or size % _WORD:
                raise DumpError(f"malformed netlink data: a datagram of {size} bytes")
            if end + size <= WINDOW and size and not _may_end(view[end : end + size]):
                end += size
                continue
            window = Window.of(arena[: (end + size) // _WORD], expected)
            yield window
            if window.last:
                return
            if not size:
                raise DumpError("the kernel ended the dump without saying that it is complete")
            end = 0
    except OSError as error:
        raise refused(error) from error


def _may_end(datagram: memoryview) -> bool:
    """Whether this may be the last datagram of a dump: the window that it closes says for sure."""
    if len(datagram) < _DONE_SIZE:
        return True
    first: int = HEADER.unpack_from(datagram)[1]
    length, final, *_ = HEADER.unpack_from(datagram, len(datagram) - _DONE_SIZE)
    return first in {NLMSG_ERROR, NLMSG_DONE} or (length, final) == (_DONE_SIZE, NLMSG_DONE)


def _raise_errno(body: memoryview, kind: int) -> None:
    """NLMSG_ERROR and NLMSG_DONE both begin with minus errno; 0 is no error, but NLMSG_ERROR is no answer to a dump."""
    if len(body) < _ERRNO.size:
        raise DumpError("malformed netlink data: an end without its error number")
    number = -_ERRNO.unpack_from(body)[0]
    if not 0 <= number <= _MAX_ERRNO:
        raise DumpError(f"malformed netlink data: error number {number}")
    if number:
        raise refused(OSError(number, os.strerror(number)))
    if kind == NLMSG_ERROR:
        raise DumpError("malformed netlink data: an acknowledgement in place of a dump")


def refused(error: OSError) -> DumpError:
    """The kernel's errno in words that say what to do."""
    match error.errno:
        case errno.EPERM | errno.EACCES:
            why = "a seccomp filter or a security module forbids NETLINK_SOCK_DIAG"
        case errno.ENOENT | errno.EPROTONOSUPPORT:
            why = "this kernel has no socket diagnostics for TCP: load the modules inet_diag and tcp_diag"
        case errno.EAFNOSUPPORT:
            why = "netlink is not available: RestrictAddressFamilies=, a sandbox, or a kernel that is not Linux"
        case errno.ENOBUFS | errno.EBUSY:
            why = "the kernel was too busy to finish the dump"
        case _:
            why = "the kernel refused the dump"
    return DumpError(f"cannot read sockets: {why} ({error.strerror})", errno=error.errno)
