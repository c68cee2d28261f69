"""close() and a peer that never closes: the kernel keeps the rest for tcp_fin_timeout."""

from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close the clients' ends, and take the server away without a packet, where 100 source ports are all there is."""
    stage.set_sysctl("net.ipv4.ip_local_port_range", "40000 40099")
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.server.vanish()
    stage.await_states(fin_wait_2=COUNT, close_wait=0)
    stage.tell(
        "No process has these sockets any more. The kernel drops each 60 s (tcp_fin_timeout) after its close(), "
        "without TIME_WAIT; until then it holds a source port, and tcp_tw_reuse does not free that."
    )


SCENARIO = Scenario(
    name="fin_wait_2_stuck/orphaned",
    story="23 clients close. The server's machine loses its power before it closes its ends.",
    provoke=provoke,
    expected=(Expected(name="fin_wait_2_stuck/orphaned", severity=Severity.WARNING),),
)
