"""Vanished clients of a server that uses keepalive: the kernel asks, and nobody answers."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Turn on a fast keepalive, cut the server off, and take the clients away without a packet."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.keep_alive(idle=1, interval=1, probes=100)
    stage.server.be_cut_off()
    stage.client.vanish()
    stage.await_states(established=COUNT)
    stage.tell(
        "After 1 s of silence the kernel sends the first probe, then one a second; after 100 it would end the "
        "connections. By default these are 2 hours (tcp_keepalive_time), 75 s (_intvl) and 9 probes (_probes)."
    )


SCENARIO = Scenario(
    name="dead_peer/keepalive_probing",
    story="23 idle clients of a server with SO_KEEPALIVE lose their power. A packet filter on its sockets drops "
    "the RST with which this host answers in their place.",
    provoke=provoke,
    expected=(Expected(name="dead_peer/keepalive_probing", severity=Severity.WARNING, by=Role.SERVER),),
)
