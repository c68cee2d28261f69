"""More TIME_WAIT than tcp_max_tw_buckets: the kernel drops the rest at once."""

from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close 30 connections where the kernel keeps 23."""
    stage.set_sysctl("net.ipv4.tcp_max_tw_buckets", str(COUNT))
    stage.server.listen(PORT)
    _come_and_go(stage, COUNT + 7)
    stage.await_states(time_wait=COUNT)
    stage.tell(
        "Seven vanished without TIME_WAIT (TCPTimeWaitOverflow): a late segment of theirs may now hit a new one."
    )


def _come_and_go(stage: Stage, count: int = 1) -> None:
    stage.client.connect(PORT, count)
    stage.server.accept(count)
    stage.client.close()
    stage.server.close()


SCENARIO = Scenario(
    name="time_wait_buildup/table_full",
    story="30 connections end one after another, where tcp_max_tw_buckets is 23, and more of them come and go.",
    provoke=provoke,
    meanwhile=_come_and_go,
    expected=(Expected(name="time_wait_buildup/table_full", severity=Severity.WARNING),),
)
