"""This end has sent its FIN, and the peer never closes its own end.

What it sees:
    Sockets that stay in FIN_WAIT_2. With a descriptor (held) the application called shutdown() and waits for the peer;
    without one (orphaned) it called close(), and the kernel keeps what is left for tcp_fin_timeout.

Why it matters:
    The guilty end is the other one: it sits in CLOSE_WAIT and does not call close(), or it is gone. A held socket has
    no timeout at all. An orphaned one is gone after tcp_fin_timeout, without TIME_WAIT, and uses a source port until
    then.

Kernel fields:
    idiag_state, idiag_inode, idiag_timer and idiag_expires: an orphan's age is its life minus what is left of it.
    tcpi_last_ack_recv and tcpi_last_data_sent bound the age of a held one. The socket that mirrors the connection,
    where it is on this host, names the guilty process.

When it is wrong:
    A client may close its sending direction on purpose and wait long for an answer. Orphans are ordinary on servers
    whose clients vanish, so they are info unless they use up something. TCP_LINGER2 gives a socket a life of its own,
    which makes its orphan look older than it is; so does a tcp_fin_timeout that was raised since.

What to do:
    Fix the other end: it has to close. If it is out of reach, set a timeout on the wait after shutdown(), or call
    close(), for which the kernel has one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose import age, role
from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import Ends, describe_ends, find_ends
from sockwatch.diagnose.ports import SYSCTLS as PORT_SYSCTLS, usable_ports
from sockwatch.diagnose.runtimes import half_close_hint, leak_hint
from sockwatch.diagnose.verdict import (
    Advice,
    Telling,
    age_evidence,
    named,
    need_a_bound,
    service_end,
    settle,
    severity as severity_of,
    split,
    subject,
    tell,
)
from sockwatch.diagnose.window import Window
from sockwatch.model.constraint import Share
from sockwatch.model.finding import Effect, Finding, OtherEnd, Severity
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Asks, Process
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "fin_wait_2_stuck"
VARIANTS = ("held", "orphaned")

FIX_HERE = "Fix the other end, on this host: it sits in CLOSE_WAIT and has to call close()."
FIX_ELSEWHERE = (
    "Look for the other end: if it is in CLOSE_WAIT there, its application has to call close(). It may also be gone "
    "(crashed, or cut off by a firewall or NAT), which nothing here shows."
)

TELLINGS = {
    "held": Telling(
        summary="{who} half-closed {how_many} and waits for {guilty} to close the other half",
        cause="The application called shutdown() and keeps the descriptor; {guilty} received the FIN and has not "
        "closed. Nothing ends this wait but the other end.",
        remedies=(
            "{fix}",
            "In this application set a timeout on the wait after shutdown(), and close() when it is over.",
        ),
        advice=(
            Advice(
                name="net.ipv4.tcp_fin_timeout",
                effect=Effect.NONE,
                why="it counts from close(); a half-closed socket whose descriptor is open waits for ever",
            ),
        ),
    ),
    "orphaned": Telling(
        summary="{how_many} closed on this side wait for {guilty} to close",
        cause="This end called close(); {guilty} received the FIN and has not closed. The kernel drops each of them "
        "after tcp_fin_timeout, without TIME_WAIT; the other end keeps its socket until it closes it.",
        remedies=("{fix}",),
        advice=(
            Advice(
                name="net.ipv4.tcp_fin_timeout",
                effect=Effect.HELPS,
                why="it bounds how long these stay on this side; it does nothing for the other end's CLOSE_WAIT",
            ),
            Advice(
                name="net.ipv4.tcp_tw_reuse",
                effect=Effect.NONE,
                why="it takes over ports in TIME_WAIT, never those in FIN_WAIT_2",
            ),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckSettings(Settings):
    """When orphans are more than ordinary."""

    share: Share = 0.1
    """Orphans are a warning from this share of their port budget, or of tcp_max_tw_buckets, on."""


def detect(window: Window, settings: StuckSettings) -> Iterator[Finding]:
    """One finding per process and service end for held sockets; per source and remote end for orphans.

    Raises NoDataError where nothing is old and held sockets have no known age.
    """
    sockets, ages = _old(window, settings)
    if not len(sockets):
        held = window.sockets.in_state(State.FIN_WAIT_2)
        held = held.take(held.inode != 0)
        need_a_bound(held, age.ages(window, held), age.DETAILS)
    orphaned = sockets.inode == 0
    serving = role.serves(window.current, sockets, role.lasting_roles(window, sockets))
    source = tuple(np.where(orphaned, column, 0) for column in (sockets.src_hi, sockets.src_lo))
    keys = (window.owners.of(sockets), *service_end(sockets, serving), *source)
    for rows, folded in split(*keys, apart=(orphaned, sockets.netns)):
        counted, certain = settle(ages.take(rows), _min_ages(window, sockets.take(rows), settings))
        stuck, stuck_ages = sockets.take(rows[counted]), ages.take(rows[counted])
        name = VARIANTS[int(orphaned[rows[0]])]
        ends = find_ends(window.current, stuck)
        other_end = _other_end(window, ends)
        severity = severity_of(certain=certain)
        if _blamed_elsewhere(window, ends.sockets, name) if ends.here.any() else name == "orphaned":
            severity = Severity.INFO
        if name == "orphaned" and certain and _share(window, stuck) >= settings.share:
            severity = Severity.WARNING
        yield tell(
            window,
            stuck,
            TELLINGS[name],
            code=CODE,
            folded=folded,
            variant=name,
            severity=severity,
            subject=subject(window, stuck),
            other_end=other_end,
            ages=stuck_ages,
            evidence={"other_ends_here": int(ends.here.sum())} | age_evidence(stuck_ages, certain=certain),
            hint=partial(_hint, other_end),
            guilty=_guilty(other_end),
            fix=FIX_HERE if ends.here.any() else FIX_ELSEWHERE,
        )


def suspects(window: Window, settings: StuckSettings) -> SocketTable:
    """The old sockets that have a descriptor, and the other ends of all."""
    sockets, _ = _old(window, settings)
    ends = find_ends(window.current, sockets).sockets
    return SocketTable.concatenate([sockets, ends, _listeners(window, ends)])


def _old(window: Window, settings: StuckSettings) -> tuple[SocketTable, Ages]:
    sockets = window.sockets.in_state(State.FIN_WAIT_2)
    ages = age.ages(window, sockets)
    old = ages.possibly(_min_ages(window, sockets, settings))
    return sockets.take(old), ages.take(old)


def _min_ages(window: Window, sockets: SocketTable, settings: StuckSettings) -> NDArray[np.float64]:
    """min_age, and for orphans, which the kernel itself ends, half their life if that is less."""
    half_life = age.orphan_life(age.fin_timeouts(window.current, sockets)) / 2
    return np.where(sockets.inode == 0, np.minimum(settings.min_age, half_life), settings.min_age)


def _blamed_elsewhere(window: Window, ends: SocketTable, variant: str) -> bool:
    """Whether close_wait_leak carries the warning: the other ends are old enough in CLOSE_WAIT for it, or may be.

    Orphans are gone at the age at which it begins to judge by default: of theirs the other ends only have to get there.
    """
    judge = window.settings_of("close_wait_leak", Settings())
    if judge is None:
        return False
    if variant == "orphaned":
        return bool(ends.is_in_state(State.CLOSE_WAIT).all())
    young = age.ages(window, ends).upper < judge.min_age
    return bool((ends.is_in_state(State.CLOSE_WAIT) & ~young).all())


def _share(window: Window, orphans: SocketTable) -> float:
    """What part of their port budget, or of tcp_max_tw_buckets, the orphans take: the larger of both."""
    netns = int(orphans.netns[0])
    usable = usable_ports(window.current, netns)
    keys = (orphans.src_hi, orphans.src_lo, orphans.dst_hi, orphans.dst_lo, orphans.dport)
    one_budget = len(group(*keys)) == 1 and usable.any()
    buckets = window.namespaces[netns].number("net.ipv4.tcp_max_tw_buckets")
    return max(
        usable[orphans.sport].sum() / usable.sum() if one_budget else 0.0,
        len(orphans) / buckets if buckets else 0.0,
    )


def _other_end(window: Window, ends: Ends) -> OtherEnd | None:
    """The other ends; of those that were never accepted the holder of their listener is to blame."""
    other_end = describe_ends(ends, window.owners)
    if other_end is None or other_end.process is not None:
        return other_end
    holders = window.owners.holders(_listeners(window, ends.sockets))
    return replace(other_end, process=holders[0]) if holders else other_end


def _listeners(window: Window, ends: SocketTable) -> SocketTable:
    """The listeners in whose accept queues these stand: CLOSE_WAIT without a descriptor."""
    return role.listeners_of(window.current, ends.take(ends.is_in_state(State.CLOSE_WAIT) & (ends.inode == 0)))


def _hint(other_end: OtherEnd | None, holder: Process) -> str | None:
    """What is usual in the program that has to act: the other end where it is here, else this one."""
    guilty = other_end.process if other_end else None
    return half_close_hint(holder) if guilty is None else leak_hint(guilty)


def _guilty(other_end: OtherEnd | None) -> str:
    return named(other_end.process) if other_end and other_end.process else "the other end"


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(
        states=frozenset({State.CLOSE_WAIT, State.FIN_WAIT_2}),
        details=age.DETAILS | role.DETAILS,
        sysctls=PORT_SYSCTLS | {"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_max_tw_buckets"},
    ),
    settings=StuckSettings(),
    detect=detect,
    suspects=suspects,
)
