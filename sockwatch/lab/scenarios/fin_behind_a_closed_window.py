"""close() with data that the peer does not read: the FIN waits behind it, until the kernel loses patience."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Fill the buffers of both ends, small ones so that it takes little memory, and close the sender's."""
    stage.set_sysctl("net.ipv4.tcp_rmem", "4096 8192 8192")
    stage.set_sysctl("net.ipv4.tcp_wmem", "4096 16384 16384")
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.fill()
    stage.client.close()
    stage.await_states(fin_wait_1=COUNT, established=COUNT)
    stage.tell(
        "close() returned, and the data is still in the send buffer, the FIN behind it. The server's kernel answers "
        "every probe of its closed window. Without a descriptor the kernel gives up all the same, when the probes are "
        "two minutes apart, after some five minutes; the data is lost, and the server is not told."
    )


SCENARIO = Scenario(
    name="fin_behind_a_closed_window",
    story="A server is stuck and does not read. 23 clients send until nothing more fits, and close.",
    provoke=provoke,
    expected=(Expected(name="closing_stuck/fin_wait_1", severity=Severity.WARNING, other_end=Role.SERVER),),
)
