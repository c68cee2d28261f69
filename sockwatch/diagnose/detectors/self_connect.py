"""A socket that is connected to itself: one address and port at both ends.

What it sees:
    Sockets whose local and remote address and port are the same: alive now (live), or in TIME_WAIT, that is connected
    to themselves within the last minute (time_wait).

Why it matters:
    A client that keeps trying a closed local port inside ip_local_port_range sooner or later gets that very port as
    its source port: its SYN meets itself and the connection opens, without any server. The client then reads back
    what it writes, and the real server cannot bind() the port, not even with SO_REUSEADDR.

Kernel fields:
    idiag_src, idiag_dst, idiag_sport, idiag_dport, idiag_state; idiag_expires dates one in TIME_WAIT.

When it is wrong:
    Never: two ends with the same address and port are the same socket. A test program may do it on purpose, by bind()
    and connect() to one port.

What to do:
    Reserve the port in ip_local_reserved_ports, or move the service out of ip_local_port_range. In the client compare
    getsockname() with getpeername() after connect(), and try again when they are equal.
"""

from collections.abc import Iterator

from sockwatch.diagnose import age
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.lottery import drawn_first_by, tries_on_average
from sockwatch.diagnose.ports import reserve_command
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Asks, Namespace
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "self_connect"
VARIANTS = ("live", "time_wait")

REMEDIES = (
    "Reserve the port: {reserve} (and put it into a file in /etc/sysctl.d).",
    "Or let the service listen on a port outside net.ipv4.ip_local_port_range.",
    "In the client compare both ends after connect() and close and retry when they are equal.",
)
ADVICE = (
    Advice(
        name="net.ipv4.ip_local_reserved_ports",
        effect=Effect.HELPS,
        why="connect() never picks a reserved port as its source port",
    ),
    Advice(
        name="net.ipv4.ip_local_port_range",
        effect=Effect.HELPS,
        why="a service whose port lies outside of it cannot be hit",
    ),
    Advice(
        name="net.ipv4.tcp_tw_reuse",
        effect=Effect.NONE,
        why="the port is taken by a live socket or by chance, not by TIME_WAIT",
    ),
)

BOUND_REMEDIES = (
    "In the program leave the source port to the kernel: connect() without bind().",
    "Or compare both ends after connect(), and close when they are equal.",
)
BOUND_ADVICE = (
    Advice(
        name="net.ipv4.ip_local_reserved_ports",
        effect=Effect.NONE,
        why="it is about the ports that the kernel chooses; the program chose this one",
    ),
)

TELLINGS = {
    "live": Telling(
        summary="{who} is connected to itself on port {port}",
        cause="{how} It talks to itself, and the real service cannot bind the port.",
        remedies=("Close the connection now (restart {who}) so that the service can start.", *REMEDIES),
        advice=ADVICE,
    ),
    "time_wait": Telling(
        summary="a client was connected to itself on port {port} within the last minute",
        cause="{how} The connection is closed; its TIME_WAIT ends by itself. It can happen again.",
        remedies=REMEDIES,
        advice=ADVICE,
    ),
    "live_bound": Telling(
        summary="{who} is connected to itself on port {port}",
        cause="{how} It talks to itself, and no service can bind the port.",
        remedies=("Close the connection now (restart {who}).", *BOUND_REMEDIES),
        advice=BOUND_ADVICE,
    ),
    "time_wait_bound": Telling(
        summary="a client was connected to itself on port {port} within the last minute",
        cause="{how} The connection is closed; its TIME_WAIT ends by itself.",
        remedies=BOUND_REMEDIES,
        advice=BOUND_ADVICE,
    ),
}


def detect(window: Window, settings: Settings) -> Iterator[Finding]:
    """One finding per process, address and port."""
    del settings  # a self-connect is a bug at any age
    sockets = _self_connected(window)
    ages = age.ages(window, sockets)
    gone = sockets.is_in_state(State.TIME_WAIT)
    keys = (window.owners.of(sockets), sockets.src_hi, sockets.src_lo, sockets.sport)
    for rows, folded in split(*keys, apart=(gone, sockets.netns)):
        group = sockets.take(rows)
        name = VARIANTS[int(gone[rows[0]])]
        where = subject(window, group)
        evidence = _evidence(window.namespaces[int(group.netns[0])], int(group.sport[0]))
        port = str(where.local).rpartition(":")[2]
        yield tell(
            window,
            group,
            TELLINGS[f"{name}_bound" if evidence.get("drawn_by") == "nobody" else name],
            code=CODE,
            folded=folded,
            variant=name,
            severity=Severity.WARNING,
            subject=where,
            ages=ages.take(rows),
            evidence=evidence,
            how=_how(evidence).format(port=port),
            port=port,
            reserve=reserve_command(window.namespaces[int(group.netns[0])], group.sport),
        )


def suspects(window: Window, settings: Settings) -> SocketTable:
    """Every one of them."""
    del settings
    return _self_connected(window)


def _evidence(namespace: Namespace, port: int) -> Evidence:
    if namespace.port_range() is None:
        return {}
    average = tries_on_average(namespace, port)
    return {"drawn_by": drawn_first_by(namespace, port) or "nobody"} | (
        {} if average is None else {"tries_on_average": average}
    )


def _how(evidence: Evidence) -> str:
    """How it came about; `drawn_by` is absent where the range is not known."""
    drawn, average = evidence.get("drawn_by"), evidence.get("tries_on_average")
    if drawn == "nobody":
        return "It bound port {port} itself and then connected to it: the kernel gives this port to no client."
    tried = "It tried to reach port {port} on this host while nothing listened there, and the kernel gave it the same "
    if average is not None:
        return f"{tried}port as source port, which happens at one try in {average:,}."
    return f"{tried}port as source port{'' if drawn is None else f'; {drawn} draws it first'}."


def _self_connected(window: Window) -> SocketTable:
    sockets = window.sockets.take(window.sockets.sport == window.sockets.dport)
    same = (sockets.src_lo == sockets.dst_lo) & (sockets.src_hi == sockets.dst_hi) & (sockets.sport != 0)
    return sockets.take(same & ~sockets.is_in_state(State.LISTEN, State.BOUND, State.CLOSE))


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(sysctls=frozenset(a.name for a in ADVICE)),
    rows=frozenset({State.TIME_WAIT, State.ESTABLISHED}),
    partly=True,
    settings=Settings(),
    detect=detect,
    suspects=suspects,
)
