"""The peer closed its end, and the application on this host has not closed its own.

What it sees:
    Sockets in CLOSE_WAIT that have been there longer than min_age, per process and service. The receive queue tells
    what the application did: Recv-Q 1 is the FIN alone, so it never noticed it (fin_not_seen); 0 means that it read the
    end of the stream and kept the descriptor (not_closed); more than 1 is data it never read (data_unread); a socket
    without an inode was never accepted (never_accepted).

Why it matters:
    CLOSE_WAIT has no timer. Each such socket keeps a file descriptor and its buffers until the process closes it or
    ends; at the descriptor limit accept() and open() fail. The peer waits in FIN_WAIT_2 meanwhile.

Kernel fields:
    idiag_state, idiag_rqueue (the FIN counts 1), idiag_inode; tcpi_last_ack_recv and tcpi_last_data_recv bound the age;
    a FIN_WAIT_2 socket on this host that mirrors the connection narrows it.

When it is wrong:
    An application may use the half-closed connection on purpose and still send: the ACKs it receives keep the lower
    bound of the age low, so that is info at most. An idle pool that will notice the FIN at its next use looks like
    fin_not_seen; it holds descriptors all the same. A SHUT_RD by the application looks like a FIN it did not see.
    Keepalive removes the socket from the kernel's tables once the peer's end is gone, while the application still
    holds the descriptor: such a leak is not visible here.

What to do:
    Fix the application: close the socket when a read returns 0 bytes, on every path, errors included. Restarting the
    process closes them all. No sysctl ends CLOSE_WAIT.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import age, role
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import describe_ends, find_ends, peer_is_local
from sockwatch.diagnose.verdict import (
    Advice,
    Evidence,
    Telling,
    age_evidence,
    service_end,
    settle,
    severity,
    split,
    subject,
    tell,
)
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "close_wait_leak"
VARIANTS = ("not_closed", "fin_not_seen", "data_unread", "never_accepted")
NEVER_ACCEPTED = VARIANTS.index("never_accepted")

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
        summary="{who} has not noticed that the peer closed {how_many}",
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
        summary="{who} read the end of {how_many} and never closed them",
        cause="The application has read up to the end of the stream (Recv-Q 0) and keeps the descriptors: a close() is "
        "missing, often on an error path, or a child process inherited the descriptor.",
        remedies=(
            "Fix the application: close the socket when a read returns 0 bytes, on every path.",
            "Until then restart the process: that frees the descriptors.",
        ),
        advice=NO_SYSCTL_HELPS,
    ),
    "data_unread": Telling(
        summary="{who} stopped reading {how_many} that the peer has since closed",
        cause="Data and the FIN wait in the receive queue: the application stopped reading. Typical: a stuck worker "
        "or a full thread pool. When it closes such a socket unread, the kernel sends RST instead of FIN.",
        remedies=(
            "Find out where the application is stuck: take a stack dump.",
            "Restart the process if it does not recover; the unread data is lost.",
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


def detect(window: Window, settings: Settings) -> Iterator[Finding]:
    """One finding per variant, process and service end; one per listener for what was never accepted."""
    sockets, ages = _old(window, settings)
    variant = _variants(sockets)
    serving = role.serves(window.current, sockets, role.lasting_roles(window, sockets)) | (variant == NEVER_ACCEPTED)
    ends = find_ends(window.current, sockets)
    peer_gone = peer_is_local(window.current, sockets) & ~ends.here
    for rows in split(window.owners.of(sockets), *service_end(sockets, serving), apart=(variant, sockets.netns)):
        counted, certain = settle(ages.take(rows), settings.min_age)
        chosen = rows[counted]
        name = VARIANTS[variant[rows[0]]]
        group = sockets.take(chosen)
        held = role.listeners_of(window.current, group) if name == "never_accepted" else group
        yield tell(
            window,
            group,
            TELLINGS[name],
            code=CODE,
            variant=name,
            severity=severity(certain=certain),
            subject=subject(window, group),
            held=held,
            other_end=describe_ends(ends.take(chosen), window.owners),
            ages=ages.take(chosen),
            evidence=_evidence(window, group, held, int(peer_gone[chosen].sum()))
            | age_evidence(ages.take(chosen), certain=certain),
        )


def suspects(window: Window, settings: Settings) -> SocketTable:
    """The old sockets, their other ends, and the listeners of those that were never accepted."""
    sockets, _ = _old(window, settings)
    queued = sockets.take(_variants(sockets) == NEVER_ACCEPTED)
    ends = find_ends(window.current, sockets)
    return SocketTable.concatenate([sockets, ends.sockets, role.listeners_of(window.current, queued)])


def _old(window: Window, settings: Settings) -> tuple[SocketTable, Ages]:
    sockets = window.sockets.in_state(State.CLOSE_WAIT)
    ages = age.ages(window, sockets)
    old = ages.possibly(settings.min_age)
    return sockets.take(old), ages.take(old)


def _variants(sockets: SocketTable) -> NDArray[np.int8]:
    """Each socket's variant, by its number: the queue holds the unread bytes and 1 for the FIN."""
    variant = np.minimum(sockets.recv_q, 2).astype(np.int8)
    variant[sockets.inode == 0] = NEVER_ACCEPTED
    return variant


def _evidence(window: Window, sockets: SocketTable, held: SocketTable, peer_gone: int) -> Evidence:
    evidence: Evidence = {
        "recv_q_max": int(sockets.recv_q.max()),
        "unread_bytes": int(np.maximum(sockets.recv_q.astype(np.int64) - 1, 0).sum()),
    }
    if peer_gone:
        evidence["peer_gone"] = peer_gone
    holders = window.owners.holders(held)
    if len(holders) == 1 and holders[0].fds is not None and holders[0].fd_limit is not None:
        evidence |= {"fds": holders[0].fds, "fd_limit": holders[0].fd_limit}
    return evidence


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(
        states=frozenset({State.CLOSE_WAIT, State.FIN_WAIT_2}),
        details=age.DETAILS | role.DETAILS,
        sysctls=frozenset(a.name for t in TELLINGS.values() for a in t.advice),
    ),
    settings=Settings(),
    detect=detect,
    suspects=suspects,
)
