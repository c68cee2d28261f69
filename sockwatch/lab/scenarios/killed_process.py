"""A process that is killed closes its sockets all the same: the kernel sends the FINs."""

from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import COUNT, PORT, Scenario
from sockwatch.lab.stage import Stage


def provoke(stage: Stage) -> None:
    """Kill the client, and have the server do what is right."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.kill(Role.CLIENT)
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT, established=0)
    stage.tell(
        "The process had no chance to close anything, and still each connection got its FIN: the kernel closes what an "
        "ending process held. Only a machine that loses its power or its network says nothing. The server closes too:"
    )
    stage.server.read_to_end()
    stage.server.close()
    stage.await_states(time_wait=COUNT, close_wait=0, fin_wait_2=0)
    stage.tell("TIME_WAIT belongs to no process. Had there been unread data, the kernel would have sent RST instead.")


SCENARIO = Scenario(
    name="killed_process",
    story="A client with 23 open connections is killed with SIGKILL.",
    provoke=provoke,
    looks=8,  # longer than the age from which on something would be called stuck
    expected=(),
)
