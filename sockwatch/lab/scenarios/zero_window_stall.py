"""A reader that stopped reading: its receive buffer is full, and the writer waits."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Fill the buffers of both ends, small ones so that it takes little memory."""
    stage.set_sysctl("net.ipv4.tcp_rmem", "4096 8192 8192")
    stage.set_sysctl("net.ipv4.tcp_wmem", "4096 16384 16384")
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.fill()
    stage.await_states(established=2 * COUNT)
    stage.tell(
        "The server's receive buffers are full, it advertises a window of zero, and send() blocks. The client's kernel "
        "probes the window after 0.2 s, and each time after twice as long; the answers keep it going for ever."
    )


SCENARIO = Scenario(
    name="zero_window_stall",
    story="A server is stuck and does not read. 23 clients send to it until nothing more fits.",
    provoke=provoke,
    expected=(Expected(name="zero_window_stall", severity=Severity.WARNING, by=Role.CLIENT, other_end=Role.SERVER),),
)
