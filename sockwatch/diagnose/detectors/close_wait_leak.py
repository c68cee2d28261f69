"""The peer closed its end, and the application on this host has not closed its own.

What it sees:
    Sockets in CLOSE_WAIT that have been there longer than min_age, per process and service. The receive queue tells
    what the application did: Recv-Q 1 is the FIN alone, so it never noticed it (fin_not_seen); 0 means that it read the
    end of the stream and kept the descriptor (not_closed); more than 1 is data it never read (data_unread); a socket
    without an inode was never accepted (never_accepted).

Why it matters:
    CLOSE_WAIT has no timer. Each such socket keeps a file descriptor and its buffers until the process closes it or
    ends; at the descriptor limit accept() and open() fail. With two looks the finding says when that is, while both
    the leak and the open files of the process grow, and is critical from five minutes before. The peer waits in
    FIN_WAIT_2 meanwhile.

Kernel fields:
    idiag_state, idiag_rqueue (the FIN counts 1), idiag_inode; tcpi_last_ack_recv and tcpi_last_data_recv bound the age;
    a FIN_WAIT_2 socket on this host that mirrors the connection narrows it. MPTCP sockets are read as well (Linux 5.9;
    their ages since 6.10): there the TCP subflows stay established. Descriptors and their limit: /proc/PID.

When it is wrong:
    An application may use the half-closed connection on purpose and still send: the ACKs it receives keep the lower
    bound of the age low, so that is info at most. An idle pool that will notice the FIN at its next use looks like
    fin_not_seen; it holds descriptors all the same. A SHUT_RD by the application looks like a FIN it did not see.
    Two looks alone cannot tell a single burst from growth: the forecast may be too short until the next look.
    Keepalive removes the socket from the kernel's tables once the peer's end is gone, while the application still
    holds the descriptor: such a leak is not visible here. What the application of an MPTCP socket has read of the end
    of the stream is not visible either: not_closed and fin_not_seen are both called not_closed there.

What to do:
    Fix the application: close the socket when a read returns 0 bytes, on every path, errors included. Restarting the
    process closes them all. No sysctl ends CLOSE_WAIT.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import age, role
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import Ends, describe_ends, find_ends, join_ends, peer_is_local
from sockwatch.diagnose.multipath import multipath as of_multipath
from sockwatch.diagnose.ports import SOON_SECONDS
from sockwatch.diagnose.runtimes import leak_hint
from sockwatch.diagnose.verdict import (
    Advice,
    Evidence,
    Telling,
    age_evidence,
    need_a_bound,
    service_end,
    settle,
    severity,
    split,
    subject,
    tell,
)
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.grouping import Column
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "close_wait_leak"
VARIANTS = ("not_closed", "fin_not_seen", "data_unread", "never_accepted")
NEVER_ACCEPTED = VARIANTS.index("never_accepted")

PART = 0.1
"""Of the descriptors of a process that has none left: from there on the leak is why."""

NO_SYSCTL_HELPS = (
    Advice(
        name="net.ipv4.tcp_fin_timeout",
        effect=Effect.NONE,
        why="it bounds FIN_WAIT_2 of closed sockets, that is the other end; CLOSE_WAIT has no timer",
    ),
    Advice(
        name="net.ipv4.tcp_keepalive_time",
        effect=Effect.NONE,
        why="keepalive detects dead peers; this peer is not dead, it has closed, and the descriptor stays open anyway",
    ),
)

TELLINGS = {
    "fin_not_seen": Telling(
        summary="{who} has not noticed that the peer closed {how_many}{forecast}",
        cause="The FIN lies unread in the receive queue (Recv-Q 1): the application neither reads nor polls these "
        "sockets. Typical: a connection pool that does not watch its idle connections, or a worker that is blocked.",
        remedies=(
            "Let the application watch idle connections for readability, or check one before it is used again.",
            "If it is a pool: set a maximum idle time that is shorter than the peer's.",
            "If the process hangs: take a stack dump to see where, then restart it.",
        ),
        advice=NO_SYSCTL_HELPS,
    ),
    "not_closed": Telling(
        summary="{who} read the end of {how_many} and never closed them{forecast}",
        cause="The application has read up to the end of the stream (Recv-Q 0) and keeps the descriptors: a close() is "
        "missing, often on an error path, or a child process inherited the descriptor.",
        remedies=(
            "Fix the application: close the socket when a read returns 0 bytes, on every path.",
            "If it only inherited them: let its parent open sockets with SOCK_CLOEXEC, or close them after fork().",
            "Until then restart {all_holders}: that frees the descriptors.",
        ),
        advice=NO_SYSCTL_HELPS,
    ),
    "not_closed_multipath": Telling(
        summary="{who} has not closed {how_many} of MPTCP that the peer closed{forecast}",
        cause="MPTCP has these in CLOSE_WAIT while their TCP subflows stay established, so that no list of TCP sockets "
        "shows the leak. Either the application read the end of the stream and kept the descriptors, or it does not "
        "look; for MPTCP the kernel does not tell which.",
        remedies=(
            "Fix the application: close the socket when a read returns 0 bytes, on every path.",
            "Until then restart {all_holders}: that frees the descriptors.",
        ),
        advice=NO_SYSCTL_HELPS,
    ),
    "data_unread": Telling(
        summary="{who} stopped reading {how_many} that the peer has since closed{forecast}",
        cause="Data and the FIN wait in the receive queue: the application stopped reading. Typical: a stuck worker "
        "or a full thread pool. When it closes such a socket unread, the kernel sends RST instead of FIN.",
        remedies=(
            "Find out where the application is stuck: take a stack dump.",
            "Restart {all_holders} if it does not recover; the unread data is lost.",
        ),
        advice=NO_SYSCTL_HELPS,
    ),
    "never_accepted": Telling(
        summary="{who} never accepted {how_many} that the peer has already closed",
        cause="The kernel completed the handshakes and the peers gave up waiting: the connections stand in the accept "
        "queue, because the application calls accept() too rarely or not at all.",
        remedies=(
            "Find out why the application does not accept: blocked, out of file descriptors, out of worker threads.",
            "Restart it if it hangs; closing the listener resets the connections in its queue.",
        ),
        advice=(
            *NO_SYSCTL_HELPS,
            Advice(
                name="net.core.somaxconn",
                effect=Effect.NONE,
                why="a longer accept queue only holds more connections that nobody accepts",
            ),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Stuck:
    """Old sockets in CLOSE_WAIT, row by row with what is known of them."""

    sockets: SocketTable
    ages: Ages
    ends: Ends
    serving: NDArray[np.bool_]
    peer_gone: NDArray[np.bool_]
    multipath: NDArray[np.bool_]


def detect(window: Window, settings: Settings) -> Iterator[Finding]:
    """One finding per variant, process and service end; one per listener for what was never accepted.

    Raises NoDataError where none is old and no age is known.
    """
    stuck = _stuck(window, settings)
    if not len(stuck.sockets):
        _need_a_bound(window)
    sockets, ages = stuck.sockets, stuck.ages
    variant = _variants(sockets)
    queued = variant == NEVER_ACCEPTED
    keys = (*service_end(sockets, stuck.serving | queued), *_listener(window, sockets, queued))
    every = window.sockets.in_state(State.CLOSE_WAIT)
    for rows, folded in split(window.owners.of(sockets), *keys, apart=(variant, sockets.netns)):
        counted, certain = settle(ages.take(rows), settings.min_age)
        chosen = rows[counted]
        name = VARIANTS[variant[rows[0]]]
        group = sockets.take(chosen)
        held = role.listeners_of(window.current, group) if name == "never_accepted" else group
        told = f"{name}_multipath" if stuck.multipath[chosen].all() else name
        left = None if name == "never_accepted" else _seconds_to_fd_limit(window, stuck, chosen)
        in_all = len(chosen) if folded else _in_all(stuck, rows, chosen, every)
        soon = certain and left is not None and left < SOON_SECONDS
        yield tell(
            window,
            group,
            TELLINGS.get(told, TELLINGS[name]),
            code=CODE,
            folded=folded,
            variant=name,
            severity=Severity.CRITICAL if soon else severity(certain=certain),
            subject=subject(window, group),
            held=held,
            other_end=describe_ends(stuck.ends.take(chosen), window.owners),
            ages=ages.take(chosen),
            evidence=_evidence(window, stuck, chosen, held)
            | ({} if left is None else {"seconds_to_fd_limit": round(left, 1)})
            | ({"in_state": in_all} if in_all > len(chosen) else {})
            | age_evidence(ages.take(chosen), certain=certain),
            hint=leak_hint,
            forecast=_younger(len(chosen), in_all, settings) + _forecast(left if soon else None),
        )


def suspects(window: Window, settings: Settings) -> SocketTable:
    """The old sockets, their other ends, and the listeners of those that were never accepted."""
    stuck = _stuck(window, settings)
    queued = stuck.sockets.take(_variants(stuck.sockets) == NEVER_ACCEPTED)
    return SocketTable.concatenate([stuck.sockets, stuck.ends.sockets, role.listeners_of(window.current, queued)])


def _stuck(window: Window, settings: Settings) -> _Stuck:
    """Of TCP, and of MPTCP where a TCP socket does not show it as well."""
    ours = _stuck_in(window, window, settings)
    if not len(window.current.mptcp):
        return ours
    theirs = _stuck_in(window, of_multipath(window), settings)
    both = (ours, theirs)
    return _Stuck(
        sockets=SocketTable.concatenate([s.sockets for s in both]),
        ages=Ages(
            lower=np.concatenate([s.ages.lower for s in both]), upper=np.concatenate([s.ages.upper for s in both])
        ),
        ends=join_ends(ours.ends, theirs.ends),
        serving=np.concatenate([s.serving for s in both]),
        peer_gone=np.concatenate([s.peer_gone for s in both]),
        multipath=np.concatenate([s.multipath for s in both]),
    )


def _need_a_bound(window: Window) -> None:
    looks = (window, of_multipath(window)) if len(window.current.mptcp) else (window,)
    sockets = [look.sockets.in_state(State.CLOSE_WAIT) for look in looks]
    ages = [age.ages(look, table) for look, table in zip(looks, sockets, strict=True)]
    every = Ages(lower=np.concatenate([a.lower for a in ages]), upper=np.concatenate([a.upper for a in ages]))
    need_a_bound(SocketTable.concatenate(sockets), every, age.DETAILS)


def _stuck_in(whole: Window, window: Window, settings: Settings) -> _Stuck:
    sockets = window.sockets.in_state(State.CLOSE_WAIT)
    ages = age.ages(window, sockets)
    old = ages.possibly(settings.min_age)
    sockets = sockets.take(old)
    ends = find_ends(window.current, sockets)
    return _Stuck(
        sockets=sockets,
        ages=ages.take(old),
        ends=ends,
        serving=role.serves(whole.current, sockets, role.lasting_roles(window, sockets)),
        peer_gone=peer_is_local(window.current, sockets) & ~ends.here,
        multipath=np.full(len(sockets), window is not whole),
    )


def _variants(sockets: SocketTable) -> NDArray[np.int8]:
    """Each socket's variant, by its number: the queue holds the unread bytes and 1 for the FIN."""
    variant = np.minimum(sockets.recv_q, 2).astype(np.int8)
    variant[sockets.inode == 0] = NEVER_ACCEPTED
    return variant


def _listener(window: Window, sockets: SocketTable, queued: NDArray[np.bool_]) -> tuple[Column, Column]:
    """Columns that keep the accept queues of a port apart where it has several listeners: the local address."""
    several = np.bincount(window.sockets.in_state(State.LISTEN).sport, minlength=65536) > 1
    apart = queued & several[sockets.sport]
    return np.where(apart, sockets.src_hi, 0), np.where(apart, sockets.src_lo, 0)


def _evidence(window: Window, stuck: _Stuck, chosen: NDArray[np.intp], held: SocketTable) -> Evidence:
    sockets, multipath = stuck.sockets.take(chosen), stuck.multipath[chosen]
    evidence: Evidence = {"recv_q_max": int(sockets.recv_q.max())}
    if not multipath.all():
        evidence["unread_bytes"] = int(np.maximum(sockets.recv_q[~multipath].astype(np.int64) - 1, 0).sum())
    counts = {"mptcp": int(multipath.sum()), "peer_gone": int(stuck.peer_gone[chosen].sum())}
    evidence |= {name: count for name, count in counts.items() if count}
    holders = window.owners.holders(held)
    if len(holders) == 1 and holders[0].fds is not None and holders[0].fd_limit is not None:
        evidence |= {"fds": holders[0].fds, "fd_limit": holders[0].fd_limit}
    return evidence


def _seconds_to_fd_limit(window: Window, stuck: _Stuck, chosen: NDArray[np.intp]) -> float | None:
    """Until the holder has no descriptor left, if this leak and its open files go on growing as they do.

    The leak is counted by age, so that a burst that grows old looks like growth: the open files tell that it is none.
    0 where no descriptor is left now, and the sockets have a good part of them; None where nothing is known to grow.
    """
    holders = window.owners.holders(stuck.sockets.take(chosen))
    limited = [(p.fd_limit - p.fds, p) for p in holders if p.fds is not None and p.fd_limit is not None]
    if not limited:
        return None
    left, first_full = min(limited, key=lambda one: one[0])
    if left <= 0:
        return 0.0 if len(chosen) >= PART * min(p.fd_limit for p in holders if p.fd_limit is not None) else None
    files = window.history.files_slope(first_full, window.current.monotonic)
    growth = None if files is None else window.history.slope(holders[0], State.CLOSE_WAIT)
    if growth is None:
        growth = _growth_of_service(window, stuck, chosen)
    if growth is not None and files is not None:
        growth = min(growth, files)
    return left / growth if growth is not None and growth > 0 else None


def _growth_of_service(window: Window, stuck: _Stuck, chosen: NDArray[np.intp]) -> float | None:
    """Sockets a second, the chosen ones' share, by which CLOSE_WAIT of any age grew in their service since a look."""
    netns = int(stuck.sockets.netns[chosen[0]])
    number = window.number_before(netns)
    if window.previous is None or number is None or window.elapsed is None:
        return None
    share = len(chosen) / int(_same_service(stuck, chosen, stuck.sockets, netns).sum())
    now, then = (
        int(_same_service(stuck, chosen, table.in_state(State.CLOSE_WAIT), index).sum())
        for look, index in ((window.current, netns), (window.previous, number))
        for table in (look.mptcp if stuck.multipath[chosen].all() else look.sockets,)
    )
    return (now - then) * share / window.elapsed


def _same_service(stuck: _Stuck, chosen: NDArray[np.intp], sockets: SocketTable, netns: int) -> NDArray[np.bool_]:
    """Which sockets have a descriptor and the service of the chosen ones."""
    one, row = stuck.sockets, chosen[0]
    same: NDArray[np.bool_] = (sockets.netns == netns) & (sockets.inode != 0)
    for column in ("sport",) if stuck.serving[row] else ("dport", "dst_hi", "dst_lo"):
        same &= getattr(sockets, column) == getattr(one, column)[row]
    return same


def _in_all(stuck: _Stuck, rows: NDArray[np.intp], chosen: NDArray[np.intp], every: SocketTable) -> int:
    """How many TCP sockets of the chosen ones' service and variant are in CLOSE_WAIT, the young ones included.

    Whose the young ones are is not known: where the service's old ones are not all of one finding, only those count.
    """
    netns, variant = int(stuck.sockets.netns[chosen[0]]), _variants(stuck.sockets)
    if variant[chosen[0]] == NEVER_ACCEPTED or stuck.multipath[rows].any():
        return len(chosen)
    of_service = _same_service(stuck, chosen, stuck.sockets, netns) & (variant == variant[chosen[0]])
    if int(of_service.sum()) != len(rows):
        return len(chosen)
    young_too = _same_service(stuck, chosen, every, netns) & (_variants(every) == variant[chosen[0]])
    return max(int(young_too.sum()), len(chosen))


def _younger(old: int, in_all: int, settings: Settings) -> str:
    return f"; {old:,} for more than {settings.min_age:g} s, {in_all:,} in all" if in_all > old else ""


def _forecast(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if not seconds:
        return "; it has no file descriptor left"
    return f"; at this rate its file descriptors last {seconds:,.0f} s"


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(
        mptcp=True,
        states=frozenset({State.CLOSE_WAIT, State.FIN_WAIT_2}),
        details=age.DETAILS | role.DETAILS,
        sysctls=frozenset(a.name for t in TELLINGS.values() for a in t.advice),
    ),
    settings=Settings(),
    detect=detect,
    suspects=suspects,
)
