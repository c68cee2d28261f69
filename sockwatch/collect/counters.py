"""The kernel's TCP counters of one network namespace, from /proc/net/{snmp,netstat,sockstat,sockstat6}."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Gap

OF_THE_HOST = frozenset({"sockstat.TCP.orphan", "sockstat.TCP.alloc", "sockstat.TCP.mem", "sockstat.UDP.mem"})
"""What counts the whole host, whichever namespace is asked (net/ipv4/proc.c, sockstat_seq_show)."""
_MOST_BYTES = 1 << 17
"""Netstat has 4 KiB."""

Texts = Mapping[str, bytes]
"""Files of /proc/net by name, as far as they could be read."""


def read_counters(proc: Path) -> tuple[dict[str, int], tuple[Gap, ...]]:
    """`{"TcpExt.ListenOverflows": 3, "sockstat.TCP.tw": 12, ...}` of the calling thread's namespace, and what was odd.

    A file that is not there is no gap: without IPv6 there is no sockstat6. The counters belong to the namespace, but
    for those OF_THE_HOST.
    """
    texts, unread = read_texts(proc, _PARSERS)
    counters, odd = parse_counters(texts)
    return counters, unread + odd


def read_texts(proc: Path, names: Iterable[str]) -> tuple[dict[str, bytes], tuple[Gap, ...]]:
    """Files of /proc/net of the calling thread's namespace, and those that could not be read."""
    texts: dict[str, bytes] = {}
    gaps: list[Gap] = []
    for name in names:
        try:
            texts[name] = _read(f"{proc}/thread-self/net/{name}")
        except FileNotFoundError:
            continue
        except OSError as error:
            gaps.append(Gap(what="counters", why=f"/proc/net/{name}: {error.strerror}"))
    return texts, tuple(gaps)


def parse_counters(texts: Texts) -> tuple[dict[str, int], tuple[Gap, ...]]:
    """What these files say, and which of them are not as they should be."""
    counters: dict[str, int] = {}
    gaps: list[Gap] = []
    for name, content in texts.items():
        try:
            counters.update(_PARSERS[name](content.decode("ascii")))
        except ValueError as error:
            gaps.append(Gap(what="counters", why=f"/proc/net/{name}: {printable(str(error))[:120]}"))
    return counters, tuple(gaps)


def _read(path: str) -> bytes:
    # /proc/net is /proc/self/net: the main thread's namespace, not that of the thread that reads it.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = [os.read(fd, _MOST_BYTES)]
        while parts[-1]:
            parts.append(os.read(fd, _MOST_BYTES))
    finally:
        os.close(fd)
    return b"".join(parts)


def _parse_header_pairs(text: str) -> Iterator[tuple[str, int]]:
    """Snmp and netstat: a line of names, then a line of values, both led by the protocol."""
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol, keys = _keys(names)
        again, *numbers = values.split()
        if protocol != again:
            raise ValueError(f"{protocol!r} is followed by {again!r}")
        yield from zip(keys, map(int, numbers), strict=True)


@lru_cache(maxsize=32)
def _keys(line: str) -> tuple[str, tuple[str, ...]]:
    """The protocol and the full names in a line of names, which is the same in every namespace."""
    protocol, *keys = line.split()
    return protocol, tuple(f"{protocol.removesuffix(':')}.{key}" for key in keys)


def _parse_sockstat(text: str) -> Iterator[tuple[str, int]]:
    """Sockstat and sockstat6: `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 165`."""
    for line in text.splitlines():
        protocol, *pairs = line.split()
        for key, number in zip(pairs[::2], pairs[1::2], strict=True):
            yield f"sockstat.{protocol.removesuffix(':')}.{key}", int(number)


_PARSERS: dict[str, Callable[[str], Iterator[tuple[str, int]]]] = {
    "snmp": _parse_header_pairs,
    "netstat": _parse_header_pairs,
    "sockstat": _parse_sockstat,
    "sockstat6": _parse_sockstat,
}
