"""From a finding to what makes it the same alert at the next look.

A finding's subject names both ends as far as its sockets agree, so the end that is no part of the group changes with
the sockets: one connection shows its client's port, two show `*`. An identity has only what the finding is grouped by
(one line a kind below, as the detectors group), and `*` for the rest.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto

from sockwatch.model.alert import AlertIdentity
from sockwatch.model.finding import Finding

ANY = "*:*"
_PORT_OF_CLIENTS = 32768
"""From here on systems choose ports for their clients (the default of ip_local_port_range)."""
_LAST_PORT = 65535

PortRange = tuple[int, int] | None


class _Grouped(Enum):
    SERVICE = auto()
    """By the service end: the local port of a server, the remote ADDR:PORT of a client."""
    SERVICE_AND_SOURCE = auto()
    """Likewise, and by the local address."""
    SOURCE_AND_REMOTE = auto()
    """By the local address and the remote ADDR:PORT."""
    SOURCE = auto()
    """By the local address."""
    REMOTE = auto()
    """By the remote ADDR:PORT, if there is one."""
    BOTH = auto()
    """By all that the subject says: listeners, and what only counters show."""


_GROUPED: Mapping[tuple[str, str | None], _Grouped] = {
    ("close_wait_leak", None): _Grouped.SERVICE,
    ("fin_wait_2_stuck", "held"): _Grouped.SERVICE,
    ("idle_without_keepalive", None): _Grouped.SERVICE,
    ("simultaneous_close", None): _Grouped.SERVICE,
    ("tuple_clash", None): _Grouped.SERVICE,
    ("closing_stuck", None): _Grouped.SERVICE_AND_SOURCE,
    ("dead_peer", None): _Grouped.SERVICE_AND_SOURCE,
    ("fin_wait_2_stuck", "orphaned"): _Grouped.SERVICE_AND_SOURCE,
    ("zero_window_stall", None): _Grouped.SERVICE_AND_SOURCE,
    ("connect_unanswered", None): _Grouped.SOURCE_AND_REMOTE,
    ("port_exhaustion", "connect_budget"): _Grouped.SOURCE_AND_REMOTE,
    ("time_wait_buildup", "client_ports"): _Grouped.SOURCE_AND_REMOTE,
    ("port_exhaustion", "bind_budget"): _Grouped.SOURCE,
    ("bound_unconnected", None): _Grouped.REMOTE,
    ("port_theft_risk", "target"): _Grouped.REMOTE,
    ("udp_receive_drops", None): _Grouped.REMOTE,
}
"""By code and variant, or by code alone; what is not here is BOTH."""


def identity_of(finding: Finding, ports: PortRange = None) -> AlertIdentity:
    """The identity; `ports` is the namespace's ip_local_port_range, which tells a client's port from a service's.

    What was folded has no ends and no process: those that it shows are of one of many, and of another one soon.
    """
    subject = finding.subject
    process = subject.process
    if finding.folded:
        return AlertIdentity(
            code=finding.code, variant=finding.variant or "", netns=subject.netns, local=ANY, remote=ANY
        )
    local, remote = _ends(finding, ports)
    return AlertIdentity(
        code=finding.code,
        variant=finding.variant or "",
        netns=subject.netns,
        local=local,
        remote=remote,
        process="" if process is None else process.name,
        unit="" if process is None else process.unit or "",
        container="" if process is None else process.container or "",
    )


def without_process(identity: AlertIdentity) -> AlertIdentity:
    """The place alone, for a look that could not name the process."""
    return replace(identity, process="", unit="", container="")


def port_of(endpoint: str) -> int | None:
    """The port of ADDR:PORT; None where it is `*` or there is none."""
    port = endpoint.rpartition(":")[2]
    return int(port) if port.isascii() and port.isdigit() else None


def _ends(finding: Finding, ports: PortRange) -> tuple[str, str]:
    local, remote = finding.subject.local, finding.subject.remote
    grouped = _GROUPED.get((finding.code, finding.variant)) or _GROUPED.get((finding.code, None), _Grouped.BOTH)
    if grouped is _Grouped.REMOTE:
        # A UDP socket without a remote end is grouped by its own.
        return (local or "" if finding.code == "udp_receive_drops" else ANY, "") if remote is None else (ANY, remote)
    if local is None or remote is None or grouped is _Grouped.BOTH:
        return local or "", remote or ""
    if grouped is _Grouped.SOURCE:
        return _any_port(local), ANY
    if grouped is _Grouped.SOURCE_AND_REMOTE:
        return _any_port(local), remote
    serves = _serves(port_of(local), port_of(remote), ports)
    if grouped is _Grouped.SERVICE:
        return (f"*:{port_of(local)}" if serves else ANY), (remote if serves is False else ANY)
    return (local if serves else _any_port(local)), (remote if serves is False else ANY)


def _any_port(endpoint: str) -> str:
    return f"{endpoint.rpartition(':')[0]}:*"


def _serves(local: int | None, remote: int | None, ports: PortRange) -> bool | None:
    """Whether the local end is the service's; None where the ports do not tell.

    Where sockets differ in the port of one end, that end is the client's. Else the port that a system would choose for
    a client is: a high one, or one in this namespace's range.
    """
    if local is None or remote is None:
        return None if local == remote else local is not None
    low, high = ports or (_PORT_OF_CLIENTS, _LAST_PORT)
    for first, last in ((_PORT_OF_CLIENTS, _LAST_PORT), (low, high)):
        clients = (first <= local <= last, first <= remote <= last)
        if any(clients):
            return None if all(clients) else clients[1]
    return local < remote
