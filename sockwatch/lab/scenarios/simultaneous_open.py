"""SYN_SENT meets a SYN: two clients connect to each other, and nobody listens."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

CLIENTS, SERVERS = 9200, 9300
LAST = COUNT - 1


def provoke(stage: Stage) -> None:
    """Connect from fixed ports to fixed ports, from both sides; the first side does not hear that it is refused."""
    stage.client.connect_from(CLIENTS, CLIENTS + LAST, SERVERS, undaunted=True)
    stage.await_states(syn_sent=COUNT, listen=0)
    stage.tell(
        "Nothing listens there, and the kernel answers RST. The client does not hear that and stays in SYN_SENT."
    )
    stage.server.connect_from(SERVERS, SERVERS + LAST, CLIENTS, undaunted=False)
    stage.await_states(established=2 * COUNT, syn_sent=0, listen=0)
    stage.tell(
        "The SYN of the other side met SYN_SENT: it went to SYN_RECV and answered SYN ACK, and one ACK later both ends "
        "are connected. Four packets, besides the RST; six if the SYNs cross on the way. Nobody called listen()."
    )


SCENARIO = Scenario(
    name="simultaneous_open",
    story="Two programs connect to each other 23 times, each from the port that the other connects to. Nobody listens.",
    provoke=provoke,
    expected=(Expected(name="simultaneous_open", severity=Severity.INFO, by=Role.CLIENT, other_end=Role.SERVER),),
)
