"""More TIME_WAIT than tcp_max_tw_buckets: the kernel drops the rest at once."""

from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

SURPLUS = 7


def provoke(stage: Stage) -> None:
    """Close 30 connections where the kernel keeps 23."""
    stage.set_sysctl("net.ipv4.tcp_max_tw_buckets", str(COUNT))
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT + SURPLUS)
    stage.server.accept(COUNT + SURPLUS)
    stage.client.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT + SURPLUS)
    stage.tell(
        "The table also holds what is left of closed sockets in FIN_WAIT_2. It was full at once: seven of them "
        "vanished (TCPTimeWaitOverflow), and the server's FIN will find nobody."
    )
    stage.server.close()
    stage.await_states(time_wait=COUNT, close_wait=0)
    stage.tell("Without TIME_WAIT a late segment of an old connection may hit a new one.")


def _one_more(stage: Stage) -> None:
    """Open and close another connection."""
    stage.client.connect(PORT)
    stage.server.accept(1)
    stage.client.close()
    stage.server.close()


SCENARIO = Scenario(
    name="time_wait_buildup/table_full",
    story="30 connections end where tcp_max_tw_buckets is 23, and more of them come and go.",
    provoke=provoke,
    meanwhile=_one_more,
    looks=2,
    expected=(
        Expected(name="time_wait_buildup/table_full", severity=Severity.WARNING),
        Expected(name="sysctl_misfit", severity=Severity.INFO),
    ),
)
