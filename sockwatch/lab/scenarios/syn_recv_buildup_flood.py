"""A SYN flood: half-open handshakes fill a listener that may not send cookies."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

SURPLUS = 14


def provoke(stage: Stage) -> None:
    """Send 37 SYNs that nobody stands behind where 23 half-open handshakes fit."""
    stage.set_sysctl("net.ipv4.tcp_syncookies", "0")
    stage.set_sysctl("net.ipv4.tcp_max_syn_backlog", "29")  # a quarter is kept for clients known before: 29 - 7 + 1
    stage.server.listen(PORT)
    stage.server.lose_last_acks()
    stage.client.start_connecting(PORT, COUNT + SURPLUS, deaf=True)
    stage.client.close()
    stage.await_states(syn_recv=COUNT, syn_sent=0)
    stage.tell(
        "The client has forgotten its sockets, as one does that sends SYNs from addresses which are not its own. The "
        "server keeps 23 half-open handshakes and repeats its SYN-ACK for each, for 63 s. The other 14 SYNs it "
        "dropped, and it drops those of honest clients as well."
    )


SCENARIO = Scenario(
    name="syn_recv_buildup/flood",
    story="37 SYNs arrive and no ACK ever follows. The server has room for 23 half-open handshakes, and syncookies are "
    "off.",
    provoke=provoke,
    expected=(
        Expected(name="syn_recv_buildup/flood", severity=Severity.CRITICAL, by=Role.SERVER),
        Expected(name="sysctl_misfit", severity=Severity.INFO, count=1),
    ),
)
