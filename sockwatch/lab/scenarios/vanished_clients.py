"""A vanished client, with keepalive and without: one is noticed, the other never."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity


def provoke(stage: Stage) -> None:
    """Take 46 clients away, of which the server asks 23 with keepalive, and wait until the kernel has ended those."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, 2 * COUNT)
    stage.server.accept(2 * COUNT)
    stage.server.keep_alive(COUNT, idle=1, interval=1, probes=2)
    stage.server.be_cut_off()
    stage.client.vanish()
    vanished = stage.clock.monotonic()
    stage.await_states(established=2 * COUNT)
    stage.tell("Not a packet said that the clients are gone. Where keepalive is on, the kernel asks:")
    stage.await_states(established=COUNT)
    stage.tell(
        f"After {stage.clock.monotonic() - vanished:.1f} s, two probes without an answer, it ended 23 connections, and "
        "the server reads ETIMEDOUT from them. With the defaults that takes 2 hours and 11 minutes: 7200 s, then 9 "
        "probes, 75 s apart. The other 23 stay for ever."
    )


SCENARIO = Scenario(
    name="vanished_clients",
    story="46 idle clients lose their power. For 23 of them the server turned on SO_KEEPALIVE, here with 1 s and two "
    "probes. The findings are those after the kernel has ended these.",
    provoke=provoke,
    expected=(Expected(name="idle_without_keepalive", severity=Severity.INFO, by=Role.SERVER),),
)
