"""Looks in a file: a capture replays to the verdict that its host got.

A capture is the line `sockwatch.capture/1` and then one gzip stream. For each look this holds the length of a JSON
header (32 bits, little-endian), the header, and the columns that the header lists; a length of 0 ends it. A column is
little-endian and transposed, all lowest bytes first, which compresses better. Readers skip columns and header fields
that they do not know.
"""

import struct
import sys
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from sockwatch.collect.recording import Header, decode_look, encode_look
from sockwatch.errors import CaptureError
from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Asks, FollowUp, Snapshot
from sockwatch.private_file import write_private

STANDARD = "-"
"""As a path: standard input."""
MAX_BYTES = 1 << 30
"""A capture that unpacks to more is refused: some 6 million sockets, twice."""
_MAX_HEADER = 1 << 26
"""A header with the holders of a million sockets has a third of this."""
_MAGIC = b"sockwatch.capture/"
_VERSION = b"1"
_LENGTH = struct.Struct("<I")
_GZIP = 31
"""wbits for zlib: a gzip header and a CRC-32 of everything."""
_LEVEL = 3
"""6 saves 5 % of the size for three times the time."""
_CHUNK = 1 << 16


def write_capture(stream: BinaryIO, looks: Sequence[Snapshot]) -> None:
    """Write the looks to a binary stream, which need not be seekable. Raises what the stream raises."""
    stream.write(_MAGIC + _VERSION + b"\n")
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for look in looks:
        header, columns = encode_look(look)
        text = msgspec.json.encode(header)
        stream.write(packer.compress(_LENGTH.pack(len(text)) + text))
        stream.writelines(packer.compress(column) for column in columns)
    stream.write(packer.compress(_LENGTH.pack(0)) + packer.flush())


def save_capture(path: Path, looks: Sequence[Snapshot]) -> None:
    """Write the looks to a file that only its owner can read; an older one there is replaced when all is written.

    Raises UsageError where that cannot be, and leaves what was there.
    """
    write_private(path, partial(write_capture, looks=looks))


class ReplaySource:
    """Recorded looks, one after the other, as a source of snapshots; holders are those that were recorded."""

    def __init__(self, looks: Sequence[Snapshot], *, name: str) -> None:
        self._looks = tuple(looks)
        self._next = 0
        self._name = name

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Read a whole capture; `-` is standard input. Raises CaptureError with one line that names the file."""
        shown = "standard input" if str(path) == STANDARD else printable(str(path))
        try:
            if str(path) == STANDARD:
                looks = _read_looks(sys.stdin.buffer)
            else:
                with Path(path).open("rb") as stream:
                    looks = _read_looks(stream)
        except OSError as error:
            raise CaptureError(f"{shown}: {error.strerror}") from None
        except (ValueError, RecursionError, zlib.error) as error:
            raise CaptureError(f"{shown}: {printable(str(error))[:200]}") from None
        return cls(looks, name=shown)

    @property
    def looks(self) -> int:
        """How many looks the capture has, at least one."""
        return len(self._looks)

    def look(self, _asks: Asks) -> Snapshot:
        """The next look, whatever is asked for. Raises CaptureError after the last."""
        if self._next == len(self._looks):
            raise CaptureError(f"{self._name}: the capture has no more than {self.looks} looks")
        self._next += 1
        return self._looks[self._next - 1]

    def follow_up(self, snapshot: Snapshot, _wanted: FollowUp) -> Snapshot:
        """The snapshot as it is: what was recorded is all there is."""
        return snapshot


def _read_looks(stream: BinaryIO) -> tuple[Snapshot, ...]:
    """Raises ValueError, RecursionError or zlib.error for a file that is no sound capture."""
    first = stream.readline(len(_MAGIC) + 20)
    if not first.startswith(_MAGIC):
        raise ValueError("not a capture of sockwatch")
    version = first.removeprefix(_MAGIC).rstrip(b"\n")
    if version != _VERSION:
        raise ValueError(f"a capture of version {version.decode('ascii', 'backslashreplace')}; this release reads 1")
    unpacker = _Unpacker(stream)
    looks = []
    while length := _LENGTH.unpack(unpacker.read(_LENGTH.size))[0]:
        if length > _MAX_HEADER:
            raise ValueError("a header is too long")
        header = msgspec.json.decode(unpacker.read(length), type=Header)
        looks.append(decode_look(header, unpacker.read))
    unpacker.finish()
    if not looks:
        raise ValueError("the capture has no look")
    return tuple(looks)


class _Unpacker:
    """Reads a gzip stream exactly so far as it is asked, and never more than MAX_BYTES."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inflate = zlib.decompressobj(_GZIP)
        self._packed = b""
        self._left = MAX_BYTES

    def read(self, count: int) -> bytes:
        """So many bytes; they take memory only as far as they are there."""
        if count > self._left:
            raise ValueError(f"the capture unpacks to more than {MAX_BYTES >> 20} MiB")
        self._left -= count
        out = bytearray()
        while len(out) < count:
            part = self._unpack(count - len(out))
            if not part:
                raise ValueError("the capture ends too early")
            out += part
        return bytes(out)

    def finish(self) -> None:
        """Nothing may follow; the checksum is verified only here."""
        if self._unpack(1) or self._inflate.unused_data or self._stream.read(1):
            raise ValueError("the capture goes on after its end")

    def _unpack(self, most: int) -> bytes:
        """At least one byte, or none at the end of the stream."""
        while not self._inflate.eof:
            out = self._inflate.decompress(self._packed, most)
            self._packed = self._inflate.unconsumed_tail
            if out:
                return out
            if not self._packed and not self._inflate.eof:
                self._packed = self._stream.read(_CHUNK)
                if not self._packed:
                    raise ValueError("the capture is cut off")
        return b""
