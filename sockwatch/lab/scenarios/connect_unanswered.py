"""connect() towards a service that a firewall hides: no answer, not even a refusal."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Connect to a port without a listener, deaf to the refusals as behind a firewall that drops them."""
    stage.client.start_connecting(PORT, COUNT, deaf=True)
    stage.await_states(syn_sent=COUNT, listen=0)
    stage.tell(
        "The kernel repeats each SYN after 1, 2, 3, 4 and 5 s, then doubles the interval (tcp_syn_linear_timeouts), "
        "and gives up after 131 s (tcp_syn_retries). A refusal would have ended connect() at once."
    )


SCENARIO = Scenario(
    name="connect_unanswered",
    story="23 clients connect to a service behind a firewall that drops every packet. A packet filter on their "
    "sockets plays the firewall.",
    provoke=provoke,
    expected=(Expected(name="connect_unanswered", severity=Severity.WARNING, by=Role.CLIENT),),
)
