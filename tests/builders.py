"""Sockets, namespaces and windows with plausible defaults: a test says only what it is about."""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sockwatch.diagnose.window import Window
from sockwatch.model.snapshot import UNKNOWN, Gap, Namespace, Owners, Process, Snapshot, SysctlSetting
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, COLUMN_TYPES, NO_DETAIL, SHUTDOWN_UNKNOWN, SocketTable
from sockwatch.model.state import State

SYSCTLS: Mapping[str, str] = {
    "net.core.somaxconn": "4096",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.ip_local_reserved_ports": "",
    "net.ipv4.tcp_abort_on_overflow": "0",
    "net.ipv4.tcp_fin_timeout": "60",
    "net.ipv4.tcp_max_tw_buckets": "131072",
    "net.ipv4.tcp_tw_reuse": "2",
    "net.ipv4.tcp_tw_reuse_delay": "1000",
    "net.netfilter.nf_conntrack_buckets": "262144",
    "net.netfilter.nf_conntrack_count": "0",
    "net.netfilter.nf_conntrack_max": "262144",
    "net.netfilter.nf_conntrack_tcp_timeout_established": "432000",
    "net.netfilter.nf_conntrack_tcp_timeout_time_wait": "120",
}
"""What Linux 6.18 has after boot, with connection tracking."""


def halves(address: str) -> tuple[int, int]:
    """The two columns of an address, IPv4 v4-mapped."""
    parsed = ipaddress.ip_address(address)
    number = int(parsed) | 0xFFFF_0000_0000 if parsed.version == 4 else int(parsed)
    return number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF


def split(endpoint: str) -> tuple[str, int]:
    """`10.0.0.1:80` or `[::1]:80` in two."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def socket(state: State, local: str, remote: str = "0.0.0.0:0", **columns: Any) -> dict[str, Any]:
    """One row. Further columns by name; a name that is no column is a detail (`last_ack_recv=2000`)."""
    (source, sport), (destination, dport) = split(local), split(remote)
    src_hi, src_lo = halves(source)
    dst_hi, dst_lo = halves(destination)
    row = dict.fromkeys(COLUMN_TYPES, 0) | {
        "family": 2 if src_hi == 0 and src_lo >> 32 == 0xFFFF else 10,
        "state": state,
        "sport": sport,
        "dport": dport,
        "src_hi": src_hi,
        "src_lo": src_lo,
        "dst_hi": dst_hi,
        "dst_lo": dst_lo,
        "shutdown": SHUTDOWN_UNKNOWN,
        "autobound": AUTOBOUND_UNKNOWN,
    }
    return row | columns


def table(rows: Sequence[Mapping[str, Any]]) -> SocketTable:
    """Rows of socket() as a table; cookies are numbered where a row has none."""
    columns: dict[str, Any] = {
        name: np.array([row[name] for row in rows], dtype) for name, dtype in COLUMN_TYPES.items()
    }
    columns["cookie"] = np.array([row["cookie"] or 1000 + i for i, row in enumerate(rows)], np.uint64)
    names = sorted({name for row in rows for name in row} - set(COLUMN_TYPES))
    detailed = [i for i, row in enumerate(rows) if any(name in row for name in names)]
    columns["detail_row"] = np.full(len(rows), NO_DETAIL, np.int32)
    columns["detail_row"][detailed] = np.arange(len(detailed))
    details = {name: np.array([rows[i].get(name, np.nan) for i in detailed], np.float64) for name in names}
    return SocketTable(**columns, details=details)


def process(pid: int, name: str = "app", **fields: Any) -> Process:
    """A process that started `pid` seconds after 1970, so that lower pids are older."""
    return Process(pid=pid, name=name, **({"started": float(pid)} | fields))


def owners(holders: Mapping[int, Sequence[Process]]) -> Owners:
    """inode -> its holders, oldest first."""
    processes = tuple(sorted({p for held in holders.values() for p in held}, key=lambda p: p.started))
    inodes = sorted(holders)
    return Owners(
        processes=processes,
        inodes=np.array(inodes, np.uint32),
        first=np.array([processes.index(holders[i][0]) if holders[i] else UNKNOWN for i in inodes], np.int32),
        others={i: tuple(map(processes.index, held[1:])) for i, held in holders.items() if len(held) > 1},
    )


def namespace(name: str = "host", *, counters: Mapping[str, int] | None = None, **sysctls: str) -> Namespace:
    """A namespace with default sysctls; give others without their prefix (`tcp_fin_timeout="30"`)."""
    given = {(f"net.core.{k}" if k == "somaxconn" else f"net.ipv4.{k}"): v for k, v in sysctls.items()}
    return Namespace(
        name=name,
        inode=4026531840,
        initial=name == "host",
        lists_bound=True,
        counters=counters or {},
        sysctls={**SYSCTLS, **given},
    )


def snapshot(
    *rows: Mapping[str, Any],
    namespaces: Sequence[Namespace] | None = None,
    holders: Mapping[int, Sequence[Process]] | None = None,
    monotonic: float = 100_000.0,
    gaps: Sequence[Gap] = (),
    udp: Sequence[Mapping[str, Any]] = (),
    mptcp: Sequence[Mapping[str, Any]] = (),
    sysctl_files: Sequence[SysctlSetting] = (),
) -> Snapshot:
    """One look at a host in its initial namespace."""
    return Snapshot(
        time=1_700_000_000.0 + monotonic,
        monotonic=monotonic,
        host="web1",
        kernel="6.18.44",
        namespaces=tuple(namespaces or (namespace(),)),
        sockets=table(rows),
        owners=owners(holders or {}),
        gaps=tuple(gaps),
        udp=table(udp),
        mptcp=table(mptcp),
        sysctl_files=tuple(sysctl_files),
    )


def window(*rows: Mapping[str, Any], previous: Snapshot | None = None, **fields: Any) -> Window:
    """A window whose current look has these rows."""
    return Window(current=snapshot(*rows, **fields), previous=previous)


def later(first: Snapshot, seconds: float) -> Snapshot:
    """The same look, so many seconds later."""
    return replace(first, time=first.time + seconds, monotonic=first.monotonic + seconds)
