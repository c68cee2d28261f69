"""A reader that is slow and does read: its window closes and opens again. Nothing is wrong."""

from sockwatch.lab.scenario import COUNT, PORT, Scenario
from sockwatch.lab.stage import Stage

READ_BYTES = 8192


def provoke(stage: Stage) -> None:
    """Fill the buffers of both ends, small ones so that they fill again at once."""
    stage.set_sysctl("net.ipv4.tcp_rmem", "4096 8192 8192")
    stage.set_sysctl("net.ipv4.tcp_wmem", "4096 16384 16384")
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.fill()
    stage.await_states(established=2 * COUNT)
    stage.tell(
        "The windows are closed and data waits, but the server empties its receive buffers four times a second: each "
        "time the windows open, data flows, and they close again. Only a window that stays closed is a stall."
    )


def read_and_fill(stage: Stage) -> None:
    """Empty the receive buffers, and write what fits then."""
    stage.server.read(READ_BYTES)
    stage.client.fill()


SCENARIO = Scenario(
    name="slow_reader",
    story="23 clients send more than their server reads; it reads all the same.",
    provoke=provoke,
    meanwhile=read_and_fill,
    looks=8,  # longer than the age from which on something would be called stuck
    expected=(),
)
