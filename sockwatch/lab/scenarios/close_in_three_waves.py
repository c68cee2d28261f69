"""Who closes as soon as the FIN arrives sends its own FIN with the ACK: three packets instead of four."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close from the server's side, with clients that close at once."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close_after_the_peer()
    stage.server.close()
    stage.await_states(time_wait=COUNT, fin_wait_2=0, close_wait=0, last_ack=0)
    stage.tell(
        "FIN, FIN with the ACK of the first, ACK: the kernel holds an ACK back for up to 40 ms, and a close() in that "
        "time takes it along. FIN_WAIT_2 is passed over; TIME_WAIT stays where the first FIN came from, as ever."
    )


SCENARIO = Scenario(
    name="close_in_three_waves",
    story="A server closes 23 connections, and their clients close at the moment at which they read the end of file.",
    provoke=provoke,
    expected=(Expected(name="time_wait_buildup/server_side", severity=Severity.INFO, by=Role.SERVER),),
)
