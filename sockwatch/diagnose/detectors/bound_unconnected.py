"""Sockets that hold a local port without listening or being connected: no listing shows them, and nobody gets the port.

What it sees:
    Sockets that called bind() and neither listen() nor connect(), and sockets whose connection failed or ended while
    bind() keeps the port, per process and remote end. Ports that somebody listens on are left out: they are taken
    anyway.

Why it matters:
    The port is gone for bind(), and in ip_local_port_range for connect() as well, towards every destination. Neither
    /proc/net/tcp, netstat nor an ss without --bound-inactive lists the socket, so that "Address already in use" finds
    no culprit.

Kernel fields:
    The rows of TCPF_BOUND_INACTIVE (Linux 6.8); idiag_dport tells a failed or finished connection from a socket that
    never had one. One look cannot tell their age; idiag_cookie shows which were there at the looks before.

When it is wrong:
    A program may reserve a port on purpose, or be about to call listen() or connect(); therefore this is info unless
    one process holds a twentieth of the port range, or many sockets for long.

What to do:
    In the program close sockets whose connect() or listen() failed. For a client that binds its source address set
    IP_BIND_ADDRESS_NO_PORT before bind(), so that connect() chooses the port.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sockwatch.diagnose.age import Ages, remembered
from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.role import is_listened
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, plural, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import UNKNOWN, Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "bound_unconnected"

TELLING = Telling(
    summary="{who} holds {ports} on {held_by} that {neither}",
    cause="bind() took the ports, and no listen() or connect() that worked came after it. Such sockets appear in no "
    "ordinary listing (ss shows them with --bound-inactive), and nobody else can bind their ports.",
    remedies=(
        "Close the socket in the program when connect() or listen() fails, and on every path that gives it up.",
        "In a client that only wants to choose its source address: set IP_BIND_ADDRESS_NO_PORT before bind().",
        "Until then restart the process: that frees the ports.",
    ),
    advice=(
        Advice(
            name="net.ipv4.ip_local_port_range",
            effect=Effect.LIMITS,
            why="a wider range has more ports to lose",
        ),
        Advice(
            name="net.ipv4.tcp_fin_timeout",
            effect=Effect.NONE,
            why="these sockets wait for nothing; they have no timer",
        ),
        Advice(
            name="net.ipv4.tcp_tw_reuse",
            effect=Effect.NONE,
            why="it is about ports in TIME_WAIT; these have an open descriptor",
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSettings(Settings):
    """From where on it is a warning."""

    range_share: Share = 0.05
    """The share of ip_local_port_range that one process holds."""
    old_sockets: int = 64
    """Sockets of one process that are older than min_age."""


def detect(window: Window, settings: BoundSettings) -> Iterator[Finding]:
    """One finding per process and remote end, if any. Raises NoDataError where the kernel lists no such sockets."""
    if not any(namespace.lists_bound for namespace in window.namespaces):
        raise NoDataError("this kernel lists no sockets that are bound and not connected (Linux 6.8 does)")
    sockets = suspects(window, settings)
    ages = _ages(window, sockets)
    holders = window.owners.of(sockets)
    remote = sockets.dport != 0
    ends = (np.where(remote, sockets.dst_hi, 0), np.where(remote, sockets.dst_lo, 0), sockets.dport)
    for rows, folded in split(holders, *ends, apart=(remote, sockets.netns)):
        group = sockets.take(rows)
        evidence: Evidence = {"ports": len(np.unique(group.sport))}
        many = False
        if holders[rows[0]] != UNKNOWN and (holders[rows] == holders[rows[0]]).all():
            of_process = (holders == holders[rows[0]]) & (sockets.netns == group.netns[0])
            old = int(ages.take(of_process).surely(settings.min_age).sum())
            share = _share_of_range(window, sockets.take(of_process))
            many = share >= settings.range_share or old >= settings.old_sockets
            if window.elapsed is not None:
                evidence["older_than_min_age"] = old
            if not np.isnan(share):
                evidence["percent_of_port_range"] = 100 * share
        yield tell(
            window,
            group,
            TELLING,
            code=CODE,
            folded=folded,
            variant=None,
            severity=Severity.WARNING if many else Severity.INFO,
            subject=subject(window, group, remote=bool(remote[rows[0]])),
            ages=ages.take(rows),
            evidence=evidence,
            ports=plural(int(evidence["ports"]), "port"),
            held_by=plural(len(group)),
            neither="were not connected, or no longer are" if remote[rows[0]] else "neither listen nor are connected",
        )


def suspects(window: Window, settings: BoundSettings) -> SocketTable:
    """Every such socket, but for those on a port that is listened on."""
    del settings
    sockets = window.sockets.in_state(State.BOUND, State.CLOSE)
    return sockets.take(~is_listened(window.current, sockets.netns, sockets.sport))


def _ages(window: Window, sockets: SocketTable) -> Ages:
    """A socket that was bound at the looks before has been so all the while, but for the time a look takes."""
    lower = remembered(window, sockets)
    if window.previous is not None and window.elapsed is not None:
        before = window.previous.sockets.in_state(State.BOUND, State.CLOSE)
        same = np.isin(sockets.cookie, before.cookie)
        lower[same] = np.fmax(lower[same], max(window.elapsed - window.previous.took, 0.0))
    return Ages(lower=lower, upper=np.full(len(sockets), np.nan))


def _share_of_range(window: Window, sockets: SocketTable) -> float:
    """How much of ip_local_port_range the sockets of one namespace hold; NaN where it is not known."""
    ports = window.namespaces[int(sockets.netns[0])].port_range()
    if ports is None:
        return float("nan")
    low, high = ports
    held = np.unique(sockets.sport)
    return float(((held >= low) & (held <= high)).sum() / max(high - low + 1, 1))


DETECTOR = Detector(
    asks=Asks(sysctls=frozenset(a.name for a in TELLING.advice)),
    settings=BoundSettings(),
    detect=detect,
    suspects=suspects,
)
