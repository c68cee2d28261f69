"""Which alert explains which: of a cause and its consequence only the cause is told.

A rule holds between two alerts of one network namespace, and only where addresses, ports or processes show that they
are about the same connections. The explaining alert must fire, or be about to (pending), and be at least as severe:
what is critical is never kept quiet by a warning.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sockwatch.export.alerts.identity import port_of
from sockwatch.model.alert import Alert, AlertIdentity, AlertState

Relation = Callable[[Alert, Alert], bool]
"""Of the cause and the consequence: whether both are about the same."""


def same_local_port(cause: Alert, consequence: Alert) -> bool:
    """Both are about one listening port."""
    return _equal(port_of(cause.identity.local), port_of(consequence.identity.local))


def same_ends(cause: Alert, consequence: Alert) -> bool:
    """Both are about one port budget: a local address and a remote ADDR:PORT."""
    return cause.identity.local == consequence.identity.local and same_remote(cause, consequence)


def same_remote(cause: Alert, consequence: Alert) -> bool:
    """Both are about one destination."""
    return port_of(cause.identity.remote) is not None and cause.identity.remote == consequence.identity.remote


def listener_of_remote(cause: Alert, consequence: Alert) -> bool:
    """The consequence's remote end is on this host, and its port is the cause's local one."""
    here = consequence.finding is not None and consequence.finding.other_end is not None
    return here and _equal(port_of(cause.identity.local), port_of(consequence.identity.remote))


def own_port(cause: Alert, consequence: Alert) -> bool:
    """The port that the cause has taken is the one that the consequence is about, whichever end has it."""
    taken = port_of(cause.identity.local)
    return any(_equal(taken, port_of(end)) for end in (consequence.identity.local, consequence.identity.remote))


def other_end(cause: Alert, consequence: Alert) -> bool:
    """The cause is the other end of the consequence's connections, on this host, and in the process that this names."""
    end = None if consequence.finding is None else consequence.finding.other_end
    if end is None:
        return False
    named = end.process is None or not cause.identity.process or end.process.name == cause.identity.process
    mine, theirs = cause.identity, consequence.identity
    return named and (
        _equal(port_of(mine.local), port_of(theirs.remote)) or _equal(port_of(mine.remote), port_of(theirs.local))
    )


def same_service(cause: Alert, consequence: Alert) -> bool:
    """Both are about one destination, or about one local port that serves."""
    return same_remote(cause, consequence) or same_local_port(cause, consequence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`cause` and `consequence` are CODE or CODE/VARIANT."""

    cause: str
    consequence: str
    when: Relation
    why: str


RULES = (
    Rule(
        cause="accept_queue_overflow",
        consequence="close_wait_leak/never_accepted",
        when=same_local_port,
        why="what is never accepted waits in the queue that overflows",
    ),
    Rule(
        cause="accept_queue_overflow",
        consequence="syn_recv_buildup/unacknowledged",
        when=same_local_port,
        why="a full queue drops the last ACK of a handshake, which then stays half-open",
    ),
    Rule(
        cause="accept_queue_overflow",
        consequence="connect_unanswered",
        when=listener_of_remote,
        why="a full queue drops the SYNs of clients, here of clients on the same host",
    ),
    Rule(
        cause="close_wait_leak",
        consequence="fin_wait_2_stuck",
        when=other_end,
        why="the end that has to close is the one in CLOSE_WAIT",
    ),
    Rule(
        cause="port_exhaustion/connect_budget",
        consequence="time_wait_buildup/client_ports",
        when=same_ends,
        why="it is the same port budget, with what happens when it is used up",
    ),
    Rule(
        cause="self_connect/live",
        consequence="port_theft_risk/target",
        when=own_port,
        why="the risk has come true: a client has taken the port",
    ),
    Rule(
        cause="self_connect/live",
        consequence="self_connect/time_wait",
        when=own_port,
        why="the next client has connected to itself on the port already",
    ),
    Rule(
        cause="connect_unanswered",
        consequence="dead_peer/retransmitting",
        when=same_remote,
        why="the destination is gone for new connections and for old ones",
    ),
    Rule(
        cause="connect_unanswered",
        consequence="closing_stuck",
        when=same_remote,
        why="the destination is gone, and with it the end that had to acknowledge the FIN",
    ),
    Rule(
        cause="dead_peer/retransmitting",
        consequence="closing_stuck",
        when=same_service,
        why="the peer is gone, whichever of its connections were being closed",
    ),
)


def explained(alerts: Iterable[Alert]) -> Mapping[AlertIdentity, AlertIdentity]:
    """Each alert that another one explains, with the one that does."""
    found: dict[AlertIdentity, AlertIdentity] = {}
    by_netns: dict[str, list[Alert]] = {}
    for alert in alerts:
        by_netns.setdefault(alert.identity.netns, []).append(alert)
    for together in by_netns.values():
        for rule in RULES:
            causes = [one for one in together if one.state is not AlertState.RESOLVED and _is(rule.cause, one)]
            for consequence in together if causes else ():
                if not _is(rule.consequence, consequence) or consequence.identity in found:
                    continue
                worse = (cause for cause in causes if cause.severity.rank >= consequence.severity.rank)
                cause = next((cause for cause in worse if rule.when(cause, consequence)), None)
                if cause is not None:
                    found[consequence.identity] = cause.identity
    return found


def _is(name: str, alert: Alert) -> bool:
    return name in {alert.identity.code, alert.name}


def _equal(one: int | None, other: int | None) -> bool:
    return one is not None and one == other
