"""A popular knob at the wrong end: tcp_tw_reuse against TIME_WAIT on a listening port."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Have the server close first, and turn tcp_tw_reuse on."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.client.close()
    stage.await_states(time_wait=COUNT)
    stage.set_sysctl("net.ipv4.tcp_tw_reuse", "1")
    stage.tell(
        "Nothing changes: tcp_tw_reuse lets connect() choose a port that waits. This server does not connect, it "
        "accepts, and its listening port takes new clients all the while."
    )


SCENARIO = Scenario(
    name="tw_reuse_for_a_server",
    story="A server closes 23 connections first. Somebody read that tcp_tw_reuse helps against TIME_WAIT.",
    provoke=provoke,
    expected=(
        Expected(name="time_wait_buildup/server_side", severity=Severity.INFO, by=Role.SERVER),
        Expected(name="sysctl_misfit", severity=Severity.INFO),
    ),
)
