"""Settings that say which source ports the kernel chooses."""

from collections.abc import Iterator

import numpy as np

from sockwatch.diagnose.misfits.misfit import Host, Misfit
from sockwatch.diagnose.ports import port_range_mask, reserve_command
from sockwatch.diagnose.verdict import plural
from sockwatch.model.finding import Effect

PORT_RANGE = "net.ipv4.ip_local_port_range"
RESERVED_PORTS = "net.ipv4.ip_local_reserved_ports"
DEFAULT_LOW, DEFAULT_HIGH = 32768, 60999
"""The kernel's default range (inet_init_net in net/ipv4/af_inet.c)."""
DEFAULT_PORTS = DEFAULT_HIGH - DEFAULT_LOW + 1
MOST_PORTS = 5
"""How many ports a summary names."""


def port_range(host: Host) -> Iterator[Misfit]:
    """Narrow, or odd, while a budget needs its ports; or wide over ports where services listen."""
    ends = host.namespace.port_range()
    if ends is None or ends == (DEFAULT_LOW, DEFAULT_HIGH):
        return
    low, high = ends
    ports = high - low + 1
    if ports < DEFAULT_PORTS and host.budgets:
        fullest = host.budgets[0]
        yield Misfit(
            values=host.values(PORT_RANGE),
            effect=Effect.HELPS,
            summary=f"ip_local_port_range has {ports:,} ports and one destination uses {fullest.used:,} of them",
            why=f"the kernel's default has {DEFAULT_PORTS:,} ports for each destination; this range was made narrower",
            remedy=f"Widen it: sysctl -w net.ipv4.ip_local_port_range='{DEFAULT_LOW} {DEFAULT_HIGH}'.",
            sockets=fullest.sockets,
        )
    elif ports % 2 and host.budgets:
        yield Misfit(
            values=host.values(PORT_RANGE),
            effect=Effect.HELPS,
            summary=f"ip_local_port_range={low} {high} has an odd number of ports, of which connect() overlooks one",
            why="connect() walks the ports of one parity and then those of the other, in steps of two over an even "
            "length; the kernel logs that it prefers ends of different parity",
            remedy=f"Move one end by one: sysctl -w net.ipv4.ip_local_port_range='{low} {high - 1}'.",
            sockets=host.budgets[0].sockets,
        )
    yield from _covers_services(host)


def _covers_services(host: Host) -> Iterator[Misfit]:
    """What listens in the range because it was widened: in the default range nobody has turned a knob."""
    chosen = port_range_mask(host.namespace)
    if chosen is None:
        return
    chosen[DEFAULT_LOW : DEFAULT_HIGH + 1] = False
    covered = host.listeners.take(chosen[host.listeners.sport])
    if not len(covered):
        return
    ports = np.unique(covered.sport)
    named = ", ".join(map(str, ports[:MOST_PORTS].tolist()))
    more = f" and {len(ports) - MOST_PORTS} more" if len(ports) > MOST_PORTS else ""
    yield Misfit(
        values=host.values(PORT_RANGE),
        effect=Effect.HELPS,
        summary=f"ip_local_port_range was widened over {'port' if len(ports) == 1 else 'ports'} {named}{more}, where "
        "services listen",
        why="while such a service restarts, the kernel may give its port to a client, and bind() fails",
        remedy=f"Reserve what is listened on: {reserve_command(host.namespace, ports)}.",
        sockets=covered,
    )


def reserved_ports(host: Host) -> Iterator[Misfit]:
    """Reserved where the kernel would never choose, or so many that those left are short."""
    ends = host.namespace.port_range()
    reserved = np.flatnonzero(host.namespace.reserved_ports())
    if ends is None or not len(reserved):
        return
    inside = int(((reserved >= ends[0]) & (reserved <= ends[1])).sum())
    ports = ends[1] - ends[0] + 1
    exposed = host.listeners.take((host.listeners.sport >= ends[0]) & (host.listeners.sport <= ends[1]))
    if not inside and len(exposed):
        wanted = np.unique(exposed.sport)
        yield Misfit(
            values=host.values(RESERVED_PORTS),
            effect=Effect.NONE,
            summary=f"ip_local_reserved_ports does nothing: none of its ports is in ip_local_port_range, while "
            f"{plural(len(wanted), 'port')} of services in there",
            why=f"the kernel chooses from {ends[0]} to {ends[1]} only; what lies outside needs no reserving",
            remedy=f"Reserve what is listened on: {reserve_command(host.namespace, wanted)}.",
            sockets=exposed,
        )
    elif inside >= host.settings.reserved_share * ports and host.budgets:
        yield Misfit(
            values=host.values(RESERVED_PORTS),
            effect=Effect.LIMITS,
            summary=f"ip_local_reserved_ports takes {inside:,} of the {ports:,} ports of ip_local_port_range",
            why="a reserved port is never chosen, whether something listens there or not, and a port budget is short",
            remedy="Reserve only what services listen on.",
            sockets=host.budgets[0].sockets,
        )
