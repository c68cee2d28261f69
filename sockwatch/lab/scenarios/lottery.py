"""A client that keeps trying a closed local port sooner or later connects to itself."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

LOCAL_PORT = 40014


def provoke(stage: Stage) -> None:
    """Draw source ports from a small range until the port that is tried comes up."""
    stage.set_sysctl("net.ipv4.ip_local_port_range", "40000 40021")
    tries = stage.client.keep_trying(LOCAL_PORT, tries=100_000)
    stage.await_states(established=1, listen=0)
    stage.tell(
        f"It took {tries} tries. connect() first draws ports of the parity of the range's lower end: 11 here, so "
        "11 tries on average. By default there are 14116: four hours at one try a second, and never for an odd port."
    )
    stage.tell("The server that the client waited for now cannot start:")
    with stage.refused(errno.EADDRINUSE):
        stage.server.listen(LOCAL_PORT)


SCENARIO = Scenario(
    name="lottery",
    story="A client waits for a server on its own host and tries its port again and again. The port is in "
    "ip_local_port_range, where the kernel also draws the client's own port from.",
    provoke=provoke,
    expected=(Expected(name="self_connect/live", severity=Severity.WARNING, count=1, by=Role.CLIENT),),
)
