"""A UDP server that does not read: its buffer fills, and the rest is dropped without a word."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

BUFFER = 4096


def provoke(stage: Stage) -> None:
    """Send more datagrams than the buffer holds."""
    stage.server.neglect_datagrams(PORT, BUFFER)
    stage.client.send_datagrams(PORT, COUNT)
    stage.tell(
        "Every sendto() succeeded. Even one byte takes about 800 bytes of the buffer: a few datagrams wait, the rest "
        "is gone, and only a counter of the socket knows."
    )


SCENARIO = Scenario(
    name="udp_receive_drops",
    story="A UDP server is stuck and does not read. A client sends it 23 datagrams of one byte.",
    provoke=provoke,
    expected=(Expected(name="udp_receive_drops", severity=Severity.WARNING, count=1, by=Role.SERVER),),
)
