"""A range widened for more source ports, over the port of a service."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Widen ip_local_port_range while somebody listens in what is added."""
    stage.server.listen(PORT)
    stage.set_sysctl("net.ipv4.ip_local_port_range", "1024 65535")
    stage.await_states(listen=1)
    stage.tell(
        "While the server restarts, the kernel may give its port to a client, and bind() fails. Ports in "
        "ip_local_reserved_ports are never given away."
    )


SCENARIO = Scenario(
    name="port_range_over_a_service",
    story="Somebody needs more source ports and widens ip_local_port_range to 1024-65535. A service listens on 9100.",
    provoke=provoke,
    expected=(
        Expected(name="port_theft_risk/listener", severity=Severity.INFO, count=1, by=Role.SERVER),
        Expected(name="sysctl_misfit", severity=Severity.INFO, count=1),
    ),
)
