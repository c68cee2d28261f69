"""A client that closes first, again and again, towards one server: TIME_WAIT eats its source ports."""

from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Open and close from the client's side, where 42 source ports are all there is."""
    stage.set_sysctl("net.ipv4.ip_local_port_range", "40000 40041")
    stage.set_sysctl("net.ipv4.tcp_tw_reuse", "0")  # by default loopback takes ports over after one second
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.close()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.server.close()
    stage.await_states(time_wait=COUNT)
    stage.tell(
        "Whoever closes first keeps TIME_WAIT, 60 s (compiled in, no sysctl), and with it the source port: "
        "23 of 42 ports towards this server are gone, and no connection is open."
    )


SCENARIO = Scenario(
    name="time_wait_buildup/client_ports",
    story="A client talks to one server over short connections and closes first.",
    provoke=provoke,
    expected=(
        Expected(name="time_wait_buildup/client_ports", severity=Severity.WARNING),
        Expected(name="sysctl_misfit", severity=Severity.INFO),
    ),
)
