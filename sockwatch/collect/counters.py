"""The kernel's TCP counters of one network namespace, from /proc/net/{snmp,netstat,sockstat,sockstat6}."""

from collections.abc import Callable, Iterator
from pathlib import Path

from sockwatch.model.printable import printable
from sockwatch.model.snapshot import Gap


def read_counters(proc: Path) -> tuple[dict[str, int], tuple[Gap, ...]]:
    """`{"TcpExt.ListenOverflows": 3, "sockstat.TCP.tw": 12, ...}` of the calling thread's namespace, and what was odd.

    A file that is not there is no gap: without IPv6 there is no sockstat6. The counters belong to the namespace, but
    for `sockstat.TCP.orphan`, `.alloc` and `.mem`, which count the whole host (net/ipv4/proc.c, sockstat_seq_show).
    """
    # /proc/net is /proc/self/net: the main thread's namespace, not that of the thread that reads it.
    folder = proc / "thread-self" / "net"
    counters: dict[str, int] = {}
    gaps: list[Gap] = []
    for name, parse in _PARSERS.items():
        try:
            counters.update(parse((folder / name).read_text("ascii")))
        except FileNotFoundError:
            continue
        except OSError as error:
            gaps.append(Gap(what="counters", why=f"/proc/net/{name}: {error.strerror}"))
        except ValueError as error:
            gaps.append(Gap(what="counters", why=f"/proc/net/{name}: {printable(str(error))[:120]}"))
    return counters, tuple(gaps)


def _parse_header_pairs(text: str) -> Iterator[tuple[str, int]]:
    """Snmp and netstat: a line of names, then a line of values, both led by the protocol."""
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol, *keys = names.split()
        again, *numbers = values.split()
        if protocol != again:
            raise ValueError(f"{protocol!r} is followed by {again!r}")
        for key, number in zip(keys, numbers, strict=True):
            yield f"{protocol.removesuffix(':')}.{key}", int(number)


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
