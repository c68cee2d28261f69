"""All that is read of one network namespace, by a thread that is in it; and what need not be read again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sockwatch.clock import Clock
from sockwatch.collect.counters import OF_THE_HOST, parse_counters, read_texts
from sockwatch.collect.dump import Dump, Listeners, dump_sockets, lists_bound, most_established
from sockwatch.collect.idle import Census, count_unread, is_quiet
from sockwatch.collect.mptcp import read_mptcp
from sockwatch.collect.namespaces import is_initial, own_cookie
from sockwatch.collect.sysctls import read_sysctls
from sockwatch.collect.udp import read_udp
from sockwatch.model.snapshot import Asks, Gap
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

BELIEVE_SECONDS = 60.0
"""How old the sysctls of an idle namespace may be."""
_MOVING = frozenset({"net.netfilter.nf_conntrack_count"})
"""Sysctls that are no settings but counts, which move without any socket."""
_SAME = ("snmp", "sockstat6")
"""Files of /proc/net that say the same as long as no packet comes or goes; sockstat also counts the whole host."""
_UNCONNECTED = frozenset({State.LISTEN, State.BOUND, State.CLOSE})
_EMPTY = SocketTable.empty()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What one namespace brought: `netns` is 0 in every row. `read_at` is when the sockets were read."""

    initial: bool
    cookie: int
    lists_bound: bool
    sockets: SocketTable
    udp: SocketTable
    mptcp: SocketTable
    counters: Mapping[str, int]
    sysctls: Mapping[str, str]
    counted: Mapping[State, int | None]
    """Namespace.counted"""
    read_at: float
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Known:
    """What the last look left: the texts of /proc/net that the counters came from, where nothing but listeners was.

    `quiet_since` is as Census.allows_minisockets() takes it.
    """

    initial: bool | None = None
    quiet_since: int | None = None
    idle_texts: Mapping[str, bytes | None] | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    used_mptcp: bool = True
    sysctls: Mapping[str, str] = field(default_factory=dict)
    sysctls_read_at: float = float("-inf")
    sysctl_names: Collection[str] = ()


class NamespaceReader:
    """Reads the namespace of the calling thread: sockets, counters, sysctls.

    An idle one is read in little more than the time that its counters take (idle.py). What is remembered of a
    namespace goes by its cookie, so that nothing is taken for another one's.
    """

    def __init__(self, *, clock: Clock, proc: Path) -> None:
        self._clock = clock
        self._proc = proc
        self._known: dict[int, _Known] = {}
        self._listeners: tuple[Asks, Listeners] | None = None

    def keep(self, cookies: Collection[int]) -> None:
        """Forget all namespaces but these."""
        self._known = {cookie: self._known[cookie] for cookie in cookies if cookie in self._known}

    def read(self, asks: Asks) -> Reading:
        """All that is asked for, but the sysctl files. Raises DumpError."""
        cookie = own_cookie()
        known = self._known.get(cookie, _Known())
        texts, odd = read_texts(self._proc, ("sockstat", *_SAME))
        unchanged = known.idle_texts is not None and known.idle_texts == {name: texts.get(name) for name in _SAME}
        counters, odd_counters = self._count(texts, known if unchanged else None)
        used_mptcp = known.used_mptcp if unchanged else _used_mptcp(counters)
        census = Census.of(counters)
        udp, no_udp = read_udp() if asks.udp and (census is None or census.udp) else (_EMPTY, ())
        dump, idle = self._dump(asks, census, known.quiet_since, _held(udp))
        read_at = self._clock.monotonic()
        # Where there never was a segment of MPTCP, there are no connections of it; some kernels do not count them.
        mptcp, no_mptcp = (
            read_mptcp(counters)
            if asks.mptcp and (used_mptcp or not (idle or _counts_mptcp(counters)))
            else (_EMPTY, ())
        )
        sysctls, odd_sysctls, sysctls_read_at = self._read_sysctls(asks.sysctls, known, read_at, idle=idle)
        initial = is_initial(self._proc) if known.initial is None else known.initial
        if not initial:  # what counts the whole host is nobody's but the host's
            for name in OF_THE_HOST:
                counters.pop(name, None)
        if cookie:
            self._known[cookie] = _Known(
                initial=initial,
                quiet_since=census.segments if census is not None and is_quiet(dump.sockets) else None,
                idle_texts={name: texts.get(name) for name in _SAME} if idle else None,
                counters=counters,
                used_mptcp=used_mptcp,
                sysctls=sysctls,
                sysctls_read_at=sysctls_read_at,
                sysctl_names=asks.sysctls,
            )
        return Reading(
            initial=initial,
            cookie=cookie,
            lists_bound=dump.lists_bound,
            sockets=dump.sockets,
            udp=udp,
            mptcp=mptcp,
            counters=counters,
            sysctls=sysctls,
            counted=count_unread(asks.unread, counters, dump.sockets),
            read_at=read_at,
            gaps=dump.gaps + no_udp + no_mptcp + odd + odd_counters + odd_sysctls,
        )

    def _count(self, texts: dict[str, bytes], before: _Known | None) -> tuple[dict[str, int], tuple[Gap, ...]]:
        """The counters; with `before`, when no packet had come or gone since, all but sockstat are as they were."""
        if before is not None:
            counters, odd = parse_counters({name: texts[name] for name in texts if name == "sockstat"})
            return {**before.counters, **counters}, odd
        more, unread = read_texts(self._proc, ("netstat",))
        counters, odd = parse_counters(texts | more)
        return counters, unread + odd

    def _dump(self, asks: Asks, census: Census | None, quiet_since: int | None, known: int) -> tuple[Dump, bool]:
        """The TCP sockets, and whether there are only listeners, or none; `known` sockets are in other tables."""
        few: int | None = None
        if census is not None and max(census.tcp, census.time_wait) < most_established(asks):
            few = census.tcp
        if census is None or census.open > 0 or census.allows_minisockets(quiet_since):
            return dump_sockets(asks, few=few), False
        listening, gaps = self._listen(asks) if census.tcp else (_EMPTY, [])
        if len(listening) != census.tcp:
            return dump_sockets(asks, few=few), False
        if census.allows_bound(known + _held(listening), self._proc):
            return dump_sockets(asks, states=_UNCONNECTED), False
        return Dump(sockets=listening, gaps=tuple(gaps), lists_bound=lists_bound(listening)), True

    def _listen(self, asks: Asks) -> tuple[SocketTable, list[Gap]]:
        if self._listeners is None or self._listeners[0] != asks:
            self._listeners = asks, Listeners(asks)
        return self._listeners[1].read()

    def _read_sysctls(
        self, names: frozenset[str], known: _Known, now: float, *, idle: bool
    ) -> tuple[Mapping[str, str], tuple[Gap, ...], float]:
        """The sysctls, those of an idle namespace from memory, and when they were read."""
        if idle and known.sysctl_names == names and now - known.sysctls_read_at < BELIEVE_SECONDS:
            moving, gaps = read_sysctls(names & _MOVING & known.sysctls.keys(), self._proc)
            return {**known.sysctls, **moving}, gaps, known.sysctls_read_at
        values, gaps = read_sysctls(names, self._proc)
        return values, gaps, float("-inf") if gaps else now


def _used_mptcp(counters: Mapping[str, int]) -> bool:
    return any(count for name, count in counters.items() if name.startswith("MPTcpExt."))


def _counts_mptcp(counters: Mapping[str, int]) -> bool:
    return any(name.startswith("MPTcpExt.") for name in counters)


def _held(sockets: SocketTable) -> int:
    """How many have an inode, as the kernel's own sockets have not."""
    return int(np.count_nonzero(sockets.inode))
