"""A service that listens where the kernel draws the ports of clients."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

INSIDE = 40001


def provoke(stage: Stage) -> None:
    """Listen inside ip_local_port_range."""
    stage.server.listen(INSIDE)
    stage.await_states(listen=1)
    stage.tell("While it listens the port is its own. While it restarts, any client may be given it.")


SCENARIO = Scenario(
    name="port_theft_risk/listener",
    story="A server listens on port 40001, inside ip_local_port_range (32768 to 60999).",
    provoke=provoke,
    expected=(Expected(name="port_theft_risk/listener", severity=Severity.INFO, count=1, by=Role.SERVER),),
)
