"""shutdown(SHUT_WR) as it is meant: the end of the request, with the answer still to come. Nothing is wrong."""

from sockwatch.errors import ProvokeError
from sockwatch.lab.scenario import COUNT, PORT, Scenario
from sockwatch.lab.stage import Stage

SIZE = 100


def provoke(stage: Stage) -> None:
    """Half-close after a request, answer into the half-closed connection, close at both ends."""
    stage.server.listen(PORT)
    stage.client.connect(PORT, COUNT)
    stage.server.accept(COUNT)
    stage.client.send(SIZE)
    stage.client.half_close()
    requests = stage.server.read_to_end()
    stage.await_states(fin_wait_2=COUNT, close_wait=COUNT)
    stage.tell("The clients have sent their FIN and can send no more; the servers can, and the clients receive it:")
    stage.server.send(SIZE)
    stage.server.close()
    answers = stage.client.read_to_end()
    if (requests, answers) != (COUNT * SIZE, COUNT * SIZE):
        raise ProvokeError(f"{requests} bytes of requests and {answers} bytes of answers arrived")
    stage.client.close()
    stage.await_states(time_wait=COUNT, close_wait=0, fin_wait_2=0)
    stage.tell(
        "Four waves: FIN and ACK each way. TIME_WAIT stays at the end that closed first, for 60 s; that is healthy."
    )


SCENARIO = Scenario(
    name="half_close_done_right",
    story="23 clients send a request and call shutdown(SHUT_WR). The server reads to the end, answers, and closes.",
    provoke=provoke,
    looks=8,  # longer than the age from which on something would be called stuck
    expected=(),
)
