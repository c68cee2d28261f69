"""bind() and connect() with one port: the socket is both ends of its connection."""

import errno

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Connect a socket to itself."""
    stage.client.connect_to_itself(PORT)
    stage.await_states(established=1, listen=0)
    stage.tell(
        "Three packets, no listener: the SYN met the socket that sent it (simultaneous open, RFC 9293 3.5). "
        "The client will read back what it writes, and no server can bind the port:"
    )
    with stage.refused(errno.EADDRINUSE):
        stage.server.listen(PORT)


SCENARIO = Scenario(
    name="self_connect/live",
    story="A client binds a port and connects to the same port. Nobody listens there, and it works.",
    provoke=provoke,
    expected=(Expected(name="self_connect/live", severity=Severity.WARNING, count=1, by=Role.CLIENT),),
)
