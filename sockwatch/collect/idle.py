"""Which sockets a network namespace can have at all, by the kernel's own counts.

A dump of connections walks the hash tables of the whole machine, however few of them are in the namespace
(inet_diag_dump_icsk, net/ipv4/inet_diag.c); listeners have a table that costs next to nothing. So where the counts say
that there are only listeners, only those are asked for:

- `sockstat.TCP.inuse` and `.TCP6.inuse` count every full socket that is in a table: listeners and connections, with a
  process or without (sock_prot_inuse_add in inet_hashtables.c). `sockstat.TCP.tw` counts the minisockets: TIME_WAIT,
  and FIN_WAIT_2 without a process.
- Half-open handshakes are in neither. They need a segment to come in, which `Tcp.InSegs` counts (tcp_v4_rcv, and
  tcp_v6_rcv with it): there is none as long as that is 0, or what it was before a dump that showed none.
- A socket that is bound and not connected is in no count but `sockstat.sockets.used`, of sockets of all kinds. Those
  that are known are taken off: listeners, and the kinds of ELSEWHERE in /proc/net/protocols.

The counts are sums over the CPUs that are read microseconds apart. What a kernel does not count so, an old one or none,
makes a sum too large, and then everything is asked for.
"""

from collections.abc import Mapping, Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from sockwatch.collect.counters import read_texts
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

ELSEWHERE = frozenset({"UNIX", "UNIX-STREAM", "NETLINK", "PACKET"})
"""Kinds of sockets that are never TCP's; the kernel's own are not among these counts, which would make them too large
(as those of UDP are, for a tunnel)."""
PROTOCOLS = "protocols"
_IN_TABLE = (
    State.SYN_SENT,
    State.FIN_WAIT_1,
    State.FIN_WAIT_2,
    State.CLOSE_WAIT,
    State.LAST_ACK,
    State.LISTEN,
    State.CLOSING,
)
"""The states but ESTABLISHED in which `sockstat.TCP.inuse` counts full sockets, as it does in SYN_RECV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """How many sockets of which kind there are in a namespace, and the segments that it received since it exists."""

    tcp: int
    time_wait: int
    udp: int
    used: int
    segments: int
    open: int
    """ESTABLISHED, and on some kernels CLOSE_WAIT: with any of them there are more than listeners for sure."""

    @classmethod
    def of(cls, counters: Mapping[str, int]) -> Self | None:
        """From what read_counters() gives; None where something is missing."""
        try:
            return cls(
                tcp=counters["sockstat.TCP.inuse"] + counters.get("sockstat.TCP6.inuse", 0),
                time_wait=counters["sockstat.TCP.tw"],
                udp=counters["sockstat.UDP.inuse"] + counters.get("sockstat.UDP6.inuse", 0),
                used=counters["sockstat.sockets.used"],
                segments=counters["Tcp.InSegs"],
                open=counters.get("Tcp.CurrEstab", 0),
            )
        except KeyError:
            return None

    def allows_minisockets(self, quiet_since: int | None) -> bool:
        """Whether there can be any in TIME_WAIT, SYN_RECV, or FIN_WAIT_2 without a process.

        `quiet_since` is `segments` before a dump that showed no half-open handshake, None where there was no such dump.
        """
        return self.time_wait > 0 or self.segments not in {0, quiet_since}

    def allows_bound(self, known: int, proc: Path) -> bool:
        """Whether there can be sockets that are bound and not connected, where so many others are known.

        The known ones have an inode, since `used` does not count the kernel's own. Reads a file of the calling thread's
        namespace.
        """
        unknown = self.used - known
        return unknown > 0 and unknown > _elsewhere(proc)


def is_quiet(sockets: SocketTable) -> bool:
    """Whether no handshake is half-open, which Census.allows_minisockets() then remembers."""
    return not sockets.is_in_state(State.SYN_RECV).any()


def count_unread(
    states: AbstractSet[State], counters: Mapping[str, int], sockets: SocketTable
) -> Mapping[State, int | None]:
    """How many sockets there are in states that were not read; None where the kernel's counts do not tell.

    What was read is taken off `sockstat.TCP.tw` and `.TCP.inuse` (above); Tcp.CurrEstab has CLOSE_WAIT on some kernels
    and not on others (a46d0ea5c942). That was read a moment later: this may be off by what changed in between.
    """
    if not states:
        return {}
    census = Census.of(counters)
    minisockets = sockets.timer == Timer.TIME_WAIT
    half_closed = np.count_nonzero(minisockets & sockets.is_in_state(State.FIN_WAIT_2))
    in_table = sockets.is_in_state(*_IN_TABLE) | (sockets.is_in_state(State.SYN_RECV) & (sockets.inode != 0))
    others = np.count_nonzero(in_table & ~minisockets)
    counted: dict[State, int | None] = dict.fromkeys(sorted(states))
    if census is not None:
        known = {State.TIME_WAIT: census.time_wait - half_closed, State.ESTABLISHED: census.tcp - others}
        counted |= {state: max(int(known[state]), 0) for state in states & known.keys()}
    return counted


def _elsewhere(proc: Path) -> int:
    texts, _ = read_texts(proc, (PROTOCOLS,))
    try:
        # protocol  size sockets  memory ...
        rows = [line.split()[:3] for line in texts.get(PROTOCOLS, b"").decode("ascii").splitlines()[1:]]
        return sum(int(sockets) for name, _, sockets in rows if name in ELSEWHERE)
    except ValueError:
        return 0
