"""Every source port towards one server is in use: connect() fails."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Use all 23 source ports: of 24, because connect() may overlook one where the range has an odd number of ports.

    It walks every second port and wraps at an even length (__inet_hash_connect in net/ipv4/inet_hashtables.c).
    """
    stage.set_sysctl("net.ipv4.ip_local_port_range", "40000 40023")
    stage.set_sysctl("net.ipv4.ip_local_reserved_ports", "40011")
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.await_states(established=2 * COUNT)
    stage.tell(
        "The budget is for one source, one destination and its port. The next connect() fails, and counts nowhere:"
    )
    with stage.refused(errno.EADDRNOTAVAIL):
        stage.client.connect(PORT)
    stage.tell("Another port of the same server has a budget of its own:")
    stage.server.listen(PORT + 1)
    stage.client.connect(PORT + 1)


SCENARIO = Scenario(
    name="port_exhaustion/connect_budget",
    story="A client keeps 23 connections to one server, where ip_local_port_range has 24 ports, one of them reserved.",
    provoke=provoke,
    expected=(
        Expected(name="port_exhaustion/connect_budget", severity=Severity.CRITICAL, by=Role.CLIENT),
        Expected(name="sysctl_misfit", severity=Severity.INFO),
    ),
)
