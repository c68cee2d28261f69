"""Clients that keep trying a closed local port which the kernel also gives to clients."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

CLOSED = 40001


def provoke(stage: Stage) -> None:
    """Connect to a closed port, deaf to the refusals, so that the attempts go on."""
    stage.client.start_connecting(CLOSED, COUNT, deaf=True)
    stage.await_states(syn_sent=COUNT, listen=0)
    stage.tell(
        "Each attempt draws a source port from the range that the tried port lies in. The one that draws that very "
        "port connects to itself, and the service cannot start."
    )


SCENARIO = Scenario(
    name="port_theft_risk/target",
    story="23 clients try port 40001 of their own host, inside ip_local_port_range. Nothing listens there, and a "
    "packet filter hides the refusals from them.",
    provoke=provoke,
    expected=(
        Expected(name="port_theft_risk/target", severity=Severity.WARNING, by=Role.CLIENT),
        Expected(name="connect_unanswered", severity=Severity.WARNING, by=Role.CLIENT),
    ),
)
