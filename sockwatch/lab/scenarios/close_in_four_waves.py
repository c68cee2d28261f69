"""The close of the textbooks: a FIN and an ACK from each side."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close from the server's side, and from the client's when the first FIN is acknowledged."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.server.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.tell(
        "Two waves: the kernel of the client acknowledged the FIN by itself. The program has not closed yet, and until "
        "it does the server's end stays in FIN_WAIT_2 and the client's in CLOSE_WAIT."
    )
    stage.client.read_to_end()
    stage.client.close()
    stage.await_states(time_wait=COUNT, fin_wait_2=0, close_wait=0, last_ack=0)
    stage.tell("Two more. TIME_WAIT, 60 s, stays with the side that closed first; the other side is done at once.")


SCENARIO = Scenario(
    name="close_in_four_waves",
    story="A server closes 23 connections. The clients read the end of file and close theirs.",
    provoke=provoke,
    expected=(Expected(name="time_wait_buildup/server_side", severity=Severity.INFO, by=Role.SERVER),),
)
