"""bind() and nothing after it: the port is gone, and no listing says where."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

FIRST = 40000


def provoke(stage: Stage) -> None:
    """Take 23 of 460 ports, a twentieth, and have the server want one of them."""
    stage.set_sysctl("net.ipv4.ip_local_port_range", f"{FIRST} {FIRST + 459}")
    stage.server.listen(PORT)
    stage.client.bind(FIRST, FIRST + COUNT - 1)
    stage.await_states(listen=1)
    stage.tell("/proc/net/tcp lists the listener and nothing else. Yet the ports are taken:")
    with stage.refused(errno.EADDRINUSE):
        stage.server.listen(FIRST)
    stage.tell("connect() passes over them as well, towards every destination. Only TCPF_BOUND_INACTIVE shows them.")


SCENARIO = Scenario(
    name="bound_unconnected",
    story="A client binds 23 ports, a twentieth of ip_local_port_range, and forgets the sockets.",
    provoke=provoke,
    expected=(Expected(name="bound_unconnected", severity=Severity.WARNING, by=Role.CLIENT),),
)
