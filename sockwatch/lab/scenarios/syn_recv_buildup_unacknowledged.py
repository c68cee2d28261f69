"""The last ACK of the handshake is lost: the client is connected, the server is not."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Connect where the server hears SYNs only."""
    stage.server.listen(PORT)
    stage.server.lose_last_acks()
    stage.client.connect(PORT, COUNT)
    stage.await_states(established=COUNT, syn_recv=COUNT)
    stage.tell(
        "connect() worked: for the clients the handshake ended with the SYN-ACK. The server waits for the ACK, keeps "
        "the handshakes half-open, repeats its SYN-ACK after 1, 3, 7, 15 and 31 s, and forgets them after 63 s."
    )


SCENARIO = Scenario(
    name="syn_recv_buildup/unacknowledged",
    story="23 clients connect. Their packets to the server take a way on which all but the SYN is lost.",
    provoke=provoke,
    expected=(
        Expected(
            name="syn_recv_buildup/unacknowledged", severity=Severity.WARNING, by=Role.SERVER, other_end=Role.CLIENT
        ),
    ),
)
