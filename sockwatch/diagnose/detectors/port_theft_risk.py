"""The kernel may hand a service's port to a client.

What it sees:
    A listening port inside ip_local_port_range that is not reserved (listener). A local port of that range that nobody
    listens on while clients keep trying it (target): repeated SYNs towards it, or, with two looks, what earlier
    connections left behind while attempts to connect keep failing.

Why it matters:
    While the service is down, for a restart for example, any client may get its port as source port; the service then
    cannot bind it. A client that keeps trying the closed port may get that port itself and connect to itself.

Kernel fields:
    idiag_sport, idiag_dport, idiag_state, idiag_retrans; net.ipv4.ip_local_port_range and ip_local_reserved_ports;
    Tcp.AttemptFails.

When it is wrong:
    A service that let the kernel choose its port (bind() to port 0) does not mind losing it. connect() tries ports of
    the parity of the range's low end first, bind() to port 0 the others: the evidence says who takes this one first,
    and how many tries a client of a closed port needs on average to get that very port (one for each port of its half).
    That attempts fail is counted for the namespace, not for the port, so target without SYN_SENT is only a guess.

What to do:
    Reserve the port in net.ipv4.ip_local_reserved_ports, or move the service out of the range.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.diagnose.ends import peer_is_local
from sockwatch.diagnose.lottery import CONNECT, chance, drawn_first_by, tries_on_average
from sockwatch.diagnose.ports import SYSCTLS, ranges, reserve_command
from sockwatch.diagnose.role import is_listened
from sockwatch.diagnose.verdict import Advice, Evidence, Telling, split, subject, tell
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.grouping import group
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

CODE = "port_theft_risk"
VARIANTS = ("listener", "target")

REMEDIES = (
    "Reserve it: {reserve} (and put it into a file in /etc/sysctl.d).",
    "Or move the service to a port outside net.ipv4.ip_local_port_range.",
)
ADVICE = (
    Advice(
        name="net.ipv4.ip_local_reserved_ports",
        effect=Effect.HELPS,
        why="neither connect() nor bind() to port 0 picks a reserved port",
    ),
    Advice(
        name="net.ipv4.ip_local_port_range",
        effect=Effect.LIMITS,
        why="only ports inside of it can be taken",
    ),
)

DRAWN = {
    True: "connect() draws ports of this parity first.",
    False: "connect() draws ports of the other parity first; bind() to port 0 draws this one.",
}

TELLINGS = {
    "listener": Telling(
        summary="{who} listens on port {port}, which the kernel also gives to clients",
        cause="The port lies in net.ipv4.ip_local_port_range and is not reserved. While the service is down a client "
        "may get it as source port, and the service cannot start again until that client is gone.",
        remedies=REMEDIES,
        advice=ADVICE,
    ),
    "target": Telling(
        summary="clients on this host keep trying port {port}, where nothing listens: one may connect to itself",
        cause="The port lies in net.ipv4.ip_local_port_range and is not reserved. Each attempt draws a source port "
        "from the same range; when it draws {port} itself, the socket connects to itself and blocks the service. "
        "{drawn}",
        remedies=("Start the service, or stop its clients.", *REMEDIES),
        advice=ADVICE,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TheftSettings(Settings):
    """When a closed port counts as tried."""

    remains: int = 3
    """target, without SYN_SENT: sockets of earlier connections to the port that are still there."""


def detect(window: Window, settings: TheftSettings) -> Iterator[Finding]:
    """One finding per listening port; one per address and port that clients try."""
    yield from _listeners(window)
    yield from _targets(window, settings)


def suspects(window: Window, settings: TheftSettings) -> SocketTable:
    """The listeners inside the range, and the clients of closed ports."""
    return SocketTable.concatenate([_listening_in_range(window), _tried(window, settings)])


def _listeners(window: Window) -> Iterator[Finding]:
    listeners = _listening_in_range(window)
    for rows, folded in split(listeners.sport, window.owners.of(listeners), apart=(listeners.netns,)):
        in_range = listeners.take(rows)
        where = subject(window, in_range, remote=False)
        yield tell(
            window,
            in_range,
            TELLINGS["listener"],
            code=CODE,
            folded=folded,
            variant="listener",
            severity=Severity.INFO,
            subject=where,
            evidence={
                "taken_first_by": drawn_first_by(window.namespaces[int(in_range.netns[0])], int(in_range.sport[0]))
                or ""
            },
            port=str(where.local).rpartition(":")[2],
            reserve=reserve_command(window.namespaces[int(in_range.netns[0])], in_range.sport),
        )


def _targets(window: Window, settings: TheftSettings) -> Iterator[Finding]:
    tried = _tried(window, settings)
    for rows, folded in split(tried.dst_hi, tried.dst_lo, tried.dport, apart=(tried.netns,)):
        clients = tried.take(rows)
        certain = bool(clients.is_in_state(State.SYN_SENT).any())
        where = subject(window, clients)
        evidence = _odds(window, int(clients.netns[0]), int(clients.dport[0]))
        if not certain:
            evidence["confidence"] = "low"
        yield tell(
            window,
            clients,
            TELLINGS["target"],
            code=CODE,
            folded=folded,
            variant="target",
            severity=Severity.WARNING if certain else Severity.INFO,
            subject=where,
            evidence=evidence,
            drawn=DRAWN[evidence["drawn_by"] == CONNECT],
            port=str(where.remote).rpartition(":")[2],
            reserve=reserve_command(window.namespaces[int(clients.netns[0])], clients.dport),
        )


def _listening_in_range(window: Window) -> SocketTable:
    listeners = window.sockets.in_state(State.LISTEN)
    return listeners.take(ranges(window.current)[listeners.netns, listeners.sport])


def _tried(window: Window, settings: TheftSettings) -> SocketTable:
    """Clients of a port of this host in the range that nobody listens on: those that try it, and what others left.

    Connections that live on after their listener closed are no attempts, and neither is a SYN that has only just been
    sent: what listens may be behind a redirection (DNAT) that no socket shows, and answers.
    """
    in_range, every = ranges(window.current), window.sockets
    chosen = in_range[every.netns, every.dport] & in_range[every.netns, every.sport] & (every.sport != every.dport)
    for port in (every.dport, every.sport):
        chosen &= ~is_listened(window.current, every.netns, port)
    clients = every.take(chosen & ~every.is_in_state(State.LISTEN, State.BOUND, State.ESTABLISHED))
    clients = clients.take(peer_is_local(window.current, clients))
    groups = group(clients.netns, clients.dst_hi, clients.dst_lo, clients.dport)
    refused = np.array([(window.increase(i, "Tcp.AttemptFails") or 0) > 0 for i in range(len(window.namespaces))])
    left_behind = (groups.count >= settings.remains)[groups.index] & refused[clients.netns]
    unanswered = clients.is_in_state(State.SYN_SENT) & (clients.retransmits > 0)
    return clients.take(unanswered | (left_behind & ~clients.is_in_state(State.SYN_SENT)))


def _odds(window: Window, netns: int, port: int) -> Evidence:
    """How soon a client of this closed port gets the port itself; at the rate of failing attempts, with two looks."""
    namespace = window.namespaces[netns]
    average = tries_on_average(namespace, port)
    if average is None:
        return {"drawn_by": drawn_first_by(namespace, port) or ""}
    odds: Evidence = {"drawn_by": CONNECT, "tries_on_average": average}
    failed = window.increase(netns, "Tcp.AttemptFails") or 0
    if failed > 0 and window.elapsed:
        odds["chance_within_an_hour"] = round(chance(namespace, port, failed / window.elapsed * 3600), 3)
    return odds


DETECTOR = Detector(
    variants=VARIANTS,
    asks=Asks(sysctls=SYSCTLS),
    rows=frozenset({State.TIME_WAIT, State.ESTABLISHED}),
    partly=True,
    settings=TheftSettings(),
    detect=detect,
    suspects=suspects,
)
