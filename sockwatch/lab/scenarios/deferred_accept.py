"""TCP_DEFER_ACCEPT keeps finished handshakes half-open until data comes: it looks like a SYN flood and is none."""

from sockwatch.lab.scenario import COUNT, PORT, Scenario
from sockwatch.lab.stage import Stage

SECONDS = 60


def provoke(stage: Stage) -> None:
    """Connect to a listener that waits for data, as often as half-open handshakes fit, and send none."""
    stage.server.listen(PORT, backlog=COUNT)
    stage.server.defer_accept(SECONDS)
    stage.client.connect(PORT, COUNT)
    stage.await_states(established=COUNT, syn_recv=COUNT)
    stage.tell(
        "The clients are connected. At the server their handshakes count as half-open although the last ACK has come: "
        "the kernel hides them from accept() until there is something to read. No SYN-ACK is repeated for them, and "
        "that tells them from a flood."
    )


SCENARIO = Scenario(
    name="deferred_accept",
    story="23 clients connect and send nothing yet. The server has set TCP_DEFER_ACCEPT, as some HTTP servers do.",
    provoke=provoke,
    looks=8,  # longer than the age from which on something would be called stuck
    expected=(),
)
