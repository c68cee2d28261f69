"""A client that binds its address before it connects uses up the ports of that address for every destination."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

TO_EACH = (5, 5, 5, 4, 4)


def provoke(stage: Stage) -> None:
    """Take five ports, to five destinations."""
    stage.set_sysctl("net.ipv4.ip_local_port_range", "40000 40023")
    stage.set_sysctl("net.ipv4.ip_local_reserved_ports", "40011")
    for port in range(PORT, PORT + len(TO_EACH)):
        stage.server.listen(port)
        stage.client.bind_and_connect(port)
    stage.await_states(established=2 * len(TO_EACH))
    stage.tell("connect() takes the even ports first, bind() the odd ones. One look at odd ones proves nothing.")


def _the_rest(stage: Stage) -> None:
    """Take the other 18 ports; none of the five destinations alone needs many."""
    for port, count in enumerate(TO_EACH, PORT):
        stage.client.bind_and_connect(port, count - 1)
    stage.await_states(established=2 * sum(TO_EACH))
    stage.tell(
        "bind() with port 0 picks a port that no other socket of the address has: it cannot know the destination. "
        "The next one fails, and counts nowhere, although no destination has more than 5 connections:"
    )
    with stage.refused(errno.EADDRINUSE):
        stage.client.bind_and_connect(PORT)
    stage.tell("Nor does connect() alone find a port: it passes over those that bind() took, for every destination:")
    with stage.refused(errno.EADDRNOTAVAIL):
        stage.client.connect(PORT)


SCENARIO = Scenario(
    name="port_exhaustion/bind_budget",
    story="A client binds its source address before it connects, as proxies do. It has 5 connections to 5 services, "
    "soon 23, where ip_local_port_range has 24 ports, one of them reserved.",
    provoke=provoke,
    meanwhile=_the_rest,
    looks=2,
    expected=(Expected(name="port_exhaustion/bind_budget", severity=Severity.CRITICAL, by=Role.CLIENT),),
)
