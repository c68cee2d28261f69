"""A sysctl that does nothing for what this host is doing, or hurts it.

What it sees:
    net.ipv4.tcp_fin_timeout above 60 while closed sockets wait in FIN_WAIT_2: they live 2 x (T - 60) s, not T. The same
    sysctl lowered while it is TIME_WAIT that piles up, for which it does nothing. net.ipv4.ip_local_port_range narrower
    than the kernel's default while a port budget is half used.

Why it matters:
    Both are the first knobs that a search turns up, and both are often turned for the wrong reason. The finding that
    the setting harms carries the warning; this one says why the knob is to blame, or why it did not help.

Kernel fields:
    /proc/sys/net/ipv4; sockets in FIN_WAIT_2 and TIME_WAIT by state; port budgets as in port_exhaustion.

When it is wrong:
    A setting may have been chosen for a load that is not there at the moment.

What to do:
    Set it back to the default, or to what the finding says.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sockwatch.diagnose.age import TIME_WAIT_SECONDS
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ports import SYSCTLS, PortBudget, port_budgets
from sockwatch.diagnose.verdict import Telling, plural, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity, SysctlAdvice
from sockwatch.model.snapshot import Asks, Namespace
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "sysctl_misfit"
FIN_TIMEOUT = "net.ipv4.tcp_fin_timeout"
PORT_RANGE = "net.ipv4.ip_local_port_range"
DEFAULT_PORTS = 60999 - 32768 + 1
"""How many ports the kernel's default range has (inet_net_init in net/ipv4/af_inet.c)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MisfitSettings(Settings):
    """From where on a host does what a setting does not fit."""

    time_wait_sockets: int = 20
    """A lowered tcp_fin_timeout: sockets in TIME_WAIT."""
    time_wait_share: float = 0.25
    """A lowered tcp_fin_timeout: their share of all sockets."""
    used: float = 0.5
    """A narrow ip_local_port_range: the used share of a port budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One setting that does not fit, with the sockets it concerns."""

    sysctl: str
    value: str
    effect: Effect
    summary: str
    why: str
    remedy: str
    sockets: SocketTable


def detect(window: Window, settings: MisfitSettings) -> Iterator[Finding]:
    """One finding per namespace, with every setting that does not fit."""
    narrow = any(_is_narrow(namespace) for namespace in window.namespaces)
    budgets = tuple(port_budgets(window, settings.used)) if narrow else ()
    for index, namespace in enumerate(window.namespaces):
        misfits = [*_fin_timeout(window, index, settings), *_port_range(namespace, budgets)]
        if not misfits:
            continue
        sockets = SocketTable.concatenate([m.sockets for m in misfits])
        _, once = np.unique(sockets.cookie, return_index=True)
        sockets = sockets.take(once)
        telling = Telling(
            summary="sysctl " + "; ".join(m.summary for m in misfits),
            cause=" ".join(f"{m.sysctl.rpartition('.')[2]}: {m.why}." for m in misfits),
            remedies=tuple(m.remedy for m in misfits),
        )
        finding = tell(
            window,
            sockets,
            telling,
            code=CODE,
            variant=None,
            severity=Severity.INFO,
            subject=subject(window, sockets, local=False, remote=False),
            held=SocketTable.empty(),
        )
        advice = tuple(SysctlAdvice(name=m.sysctl, value=m.value, effect=m.effect, why=m.why) for m in misfits)
        yield replace(finding, sysctls=advice)


def _fin_timeout(window: Window, netns: int, settings: MisfitSettings) -> Iterator[Misfit]:
    timeout = window.namespaces[netns].number(FIN_TIMEOUT)
    if timeout is None or timeout == TIME_WAIT_SECONDS:
        return
    here = window.sockets.netns == netns
    orphaned = here & window.sockets.is_in_state(State.FIN_WAIT_2) & (window.sockets.inode == 0)
    orphans = window.sockets.take(orphaned)
    waits = here & window.sockets.is_in_state(State.TIME_WAIT)
    if timeout > TIME_WAIT_SECONDS and len(orphans):
        yield Misfit(
            sysctl=FIN_TIMEOUT,
            value=str(timeout),
            effect=Effect.HELPS,
            summary=f"tcp_fin_timeout={timeout} keeps {plural(len(orphans), 'closed socket')} in FIN_WAIT_2 for "
            f"{2 * (timeout - int(TIME_WAIT_SECONDS))} s",
            why="above 60 the kernel keeps the full socket for T - 60 s and then a small one for as long again, which "
            "makes 2 x (T - 60) s; at 60 or below it is T",
            remedy="Set it to 60 or less: sysctl -w net.ipv4.tcp_fin_timeout=60.",
            sockets=orphans,
        )
    least = max(settings.time_wait_sockets, settings.time_wait_share * int(here.sum()))
    if timeout < TIME_WAIT_SECONDS and waits.sum() >= least:
        waiting = window.sockets.take(waits)
        yield Misfit(
            sysctl=FIN_TIMEOUT,
            value=str(timeout),
            effect=Effect.NONE,
            summary=f"tcp_fin_timeout={timeout} does nothing for {plural(len(waiting))} in TIME_WAIT",
            why="it ends FIN_WAIT_2 of closed sockets; TIME_WAIT is 60 s, compiled in",
            remedy="Leave it at 60: a short value only gives slow peers less time to close.",
            sockets=waiting,
        )


def _is_narrow(namespace: Namespace) -> bool:
    ends = namespace.port_range()
    return ends is not None and ends[1] - ends[0] + 1 < DEFAULT_PORTS


def _port_range(namespace: Namespace, budgets: tuple[PortBudget, ...]) -> Iterator[Misfit]:
    ends = namespace.port_range()
    fullest = next((budget for budget in budgets if budget.namespace is namespace), None)
    if ends is None or fullest is None or not _is_narrow(namespace):
        return
    yield Misfit(
        sysctl=PORT_RANGE,
        value=" ".join(map(str, ends)),
        effect=Effect.HELPS,
        summary=f"ip_local_port_range has {ends[1] - ends[0] + 1:,} ports and one destination uses "
        f"{fullest.used:,} of them",
        why=f"the kernel's default has {DEFAULT_PORTS:,} ports for each destination; this range was made narrower",
        remedy="Widen it: sysctl -w net.ipv4.ip_local_port_range='32768 60999'.",
        sockets=fullest.sockets,
    )


DETECTOR = Detector(
    asks=Asks(sysctls=SYSCTLS | {FIN_TIMEOUT}),
    settings=MisfitSettings(),
    detect=detect,
)
