"""close() towards peers that are gone: nobody acknowledges the FIN."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Take the clients away without a packet, cut the server off, and have it close."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.be_cut_off()
    stage.client.vanish()
    stage.server.close()
    stage.await_states(fin_wait_1=COUNT, established=0)
    stage.tell(
        "close() returned at once and no process holds these sockets any more. The kernel repeats the FIN and gives "
        "up after some 102 s (tcp_orphan_retries = 0 means 8). tcp_fin_timeout does nothing here."
    )


SCENARIO = Scenario(
    name="closing_stuck/fin_wait_1",
    story="23 clients lose their power, and the server closes their connections. A packet filter on its sockets drops "
    "the RST with which this host answers in their place.",
    provoke=provoke,
    expected=(Expected(name="closing_stuck/fin_wait_1", severity=Severity.WARNING, by=Role.SERVER),),
)
