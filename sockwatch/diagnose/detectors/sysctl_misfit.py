"""A sysctl that does nothing for what this host is doing, or hurts it, or is gone.

What it sees:
    Sysctls with another value than the kernel starts with, each held against what the sockets do now: tcp_fin_timeout,
    tcp_tw_reuse and its delay, tcp_max_tw_buckets and tcp_rfc1337 against TIME_WAIT and FIN_WAIT_2;
    ip_local_port_range and ip_local_reserved_ports against the port budgets and the listeners; somaxconn,
    tcp_abort_on_overflow, tcp_max_syn_backlog and tcp_syncookies against the listeners' queues; tcp_keepalive_*,
    tcp_retries2, tcp_orphan_retries and tcp_max_orphans against the connections without an answer. And lines of sysctl
    files that set what the kernel no longer has, as tcp_tw_recycle.

Why it matters:
    These are the knobs that a search turns up, and they are often turned for the wrong reason. The finding that the
    setting harms carries the warning; this one says why the knob is to blame, or why it did not help.

Kernel fields:
    /proc/sys/net; states, queues and timers of the sockets; port budgets as in port_exhaustion; sockstat,
    TcpExt.TCPTimeWaitOverflow; net.ipv4.tcp_ehash_entries (since 6.1), from which the kernel computes the defaults that
    depend on memory: without it a lowered tcp_max_tw_buckets, tcp_max_orphans or tcp_max_syn_backlog is not noticed.

When it is wrong:
    A setting may have been chosen for a load that is not there at the moment. Kernels before 4.19 have tcp_tw_reuse=0
    by themselves. A process may have overridden a sysctl for its own sockets.

What to do:
    Set it back to the default, or to what the finding says, also in the sysctl file that sets it at boot.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from sockwatch.diagnose.detector import Detector
from sockwatch.diagnose.misfits import lifetimes, queues, source_ports, time_wait
from sockwatch.diagnose.misfits.gone import GONE, gone
from sockwatch.diagnose.misfits.misfit import DEFAULTS, EHASH_ENTRIES, Host, Misfit, MisfitSettings, last_part
from sockwatch.diagnose.ports import SYSCTLS, PortBudget, port_budgets
from sockwatch.diagnose.verdict import Telling, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity, Subject, SysctlAdvice
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "sysctl_misfit"

CHECKS: tuple[Callable[[Host], Iterator[Misfit]], ...] = (
    time_wait.fin_timeout,
    time_wait.tw_reuse,
    time_wait.tw_reuse_delay,
    time_wait.max_tw_buckets,
    time_wait.rfc1337,
    source_ports.port_range,
    source_ports.reserved_ports,
    queues.somaxconn,
    queues.abort_on_overflow,
    queues.max_syn_backlog,
    queues.syncookies,
    lifetimes.keepalive,
    lifetimes.retries2,
    lifetimes.orphan_retries,
    lifetimes.max_orphans,
    gone,
)
"""In the order in which a finding tells them."""


def detect(window: Window, settings: MisfitSettings) -> Iterator[Finding]:
    """One finding per namespace, with every setting that does not fit."""

    @cache
    def every_budget() -> tuple[PortBudget, ...]:
        return tuple(port_budgets(window, settings.used))

    for index in range(len(window.namespaces)):
        host = Host(window=window, netns=index, settings=settings, every_budget=every_budget)
        misfits = [misfit for check in CHECKS for misfit in check(host)]
        if misfits:
            yield _tell(host, misfits)


def _tell(host: Host, misfits: list[Misfit]) -> Finding:
    sockets = SocketTable.concatenate([m.sockets for m in misfits])
    if len(misfits) > 1:  # they may concern the same sockets
        sockets = sockets.take(np.unique(sockets.cookie, return_index=True)[1])
    # Values and paths are somebody else's text, in which a brace is a brace.
    telling = Telling(
        summary="sysctl " + "; ".join(_literal(m.summary) for m in misfits),
        cause=" ".join(f"{', '.join(map(last_part, m.values))}: {_literal(m.why)}." for m in misfits),
        remedies=tuple(_literal(m.remedy) for m in misfits),
    )
    finding = tell(
        host.window,
        sockets,
        telling,
        code=CODE,
        variant=None,
        severity=Severity.INFO,
        subject=Subject(netns=host.namespace.name),
        netns=host.netns,
        held=SocketTable.empty(),
    )
    advice = tuple(
        SysctlAdvice(name=name, value=value, effect=m.effect, why=m.why)
        for m in misfits
        for name, value in m.values.items()
    )
    return replace(finding, sysctls=advice)


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


DETECTOR = Detector(
    asks=Asks(
        sysctls=SYSCTLS
        | DEFAULTS.keys()
        | GONE.keys()
        | {EHASH_ENTRIES, time_wait.MAX_TW_BUCKETS, queues.MAX_SYN_BACKLOG, lifetimes.MAX_ORPHANS},
        sysctl_files=True,
    ),
    rows=frozenset({State.TIME_WAIT, State.ESTABLISHED}),
    settings=MisfitSettings(),
    detect=detect,
)
