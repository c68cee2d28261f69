"""MPTCP sockets that are never closed, behind TCP connections that look alive."""

from sockwatch.errors import ProvokeError
from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Close the clients' ends of MPTCP connections, and have the server read the end-of-file only."""
    try:
        stage.server.use_multipath()
        stage.client.use_multipath()
    except OSError as error:
        raise ProvokeError(f"this kernel has no MPTCP (CONFIG_MPTCP, net.mptcp.enabled): {error.strerror}") from error
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.server.read_to_end()
    stage.await_states(established=2 * COUNT, close_wait=0)
    stage.tell(
        "read() returned 0 and close() was forgotten, and yet every list of TCP sockets shows established connections: "
        "MPTCP closes the connection first, and its subflows when both sides are done. The leak is at the MPTCP level:"
    )


SCENARIO = Scenario(
    name="close_wait_of_mptcp",
    story="A server serves 23 clients over MPTCP. They close, the server reads end-of-file and forgets to close. The "
    "TCP connections below stay established.",
    provoke=provoke,
    expected=(Expected(name="close_wait_leak/not_closed", severity=Severity.WARNING, by=Role.SERVER),),
)
