"""A new SYN meets a CLOSE_WAIT that the server forgot to close: challenge ACK, RST, and a second try."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.lab.witness import count_states
from sockwatch.model.finding import Severity
from sockwatch.model.state import State


def provoke(stage: Stage) -> None:
    """Leave 23 sockets in CLOSE_WAIT whose clients are gone."""
    stage.set_sysctl("net.ipv4.tcp_fin_timeout", "1")
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    _leave(stage)


def _leave(stage: Stage) -> None:
    stage.server.accept(COUNT)
    stage.client.close()
    stage.await_states(close_wait=COUNT, fin_wait_1=0, fin_wait_2=0, established=0)
    stage.tell("The clients' half was over after tcp_fin_timeout, here 1 s. Only the server knows the connections now.")


def _meet(stage: Stage) -> None:
    """Connect with the same addresses and ports; before a third look leave CLOSE_WAIT behind again."""
    if count_states()[State.CLOSE_WAIT] != COUNT:
        _leave(stage)
        return
    stage.client.connect_again(PORT)
    stage.await_states(established=2 * COUNT, close_wait=0)
    stage.tell(
        "The old socket answered the SYN with an ACK of its own (RFC 5961). The client knew nothing of that connection "
        "and sent RST, which ended it, and repeated its SYN one second later. The server's old descriptors are dead."
    )


SCENARIO = Scenario(
    name="tuple_clash",
    story="23 clients closed, and the server did not. Later they connect again, each from the source port it had.",
    provoke=provoke,
    meanwhile=_meet,
    looks=2,
    expected=(Expected(name="tuple_clash", severity=Severity.WARNING, by=Role.SERVER, other_end=Role.CLIENT),),
)
