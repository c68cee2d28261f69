"""The role that one look tells, against what each end really did, on the real kernel."""

import contextlib
import socket
import time

import pytest

from netns import PrivateNetns, keep
from sockwatch.collect.dump import dump_sockets
from sockwatch.diagnose.role import DETAILS, Role, roles
from sockwatch.model.snapshot import Asks
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

COUNT = 23
PORT = 4000
SECONDS = 20.0
ENDS = {"ipv4": (socket.AF_INET, "127.0.0.1"), "ipv6": (socket.AF_INET6, "::1")}
Pair = tuple[socket.socket, socket.socket]


def connect(family: str) -> list[Pair]:
    inet, address = ENDS[family]
    with socket.create_server((address, PORT), family=inet, backlog=COUNT) as listener:
        pairs = []
        for _ in range(COUNT):
            client = keep(socket.socket(inet))
            client.connect((address, PORT))
            pairs.append((client, keep(listener.accept()[0])))
        return pairs


def fill(sender: socket.socket) -> None:
    sender.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            sender.send(b"x" * 65536)


def look() -> SocketTable:
    return dump_sockets(Asks(states=frozenset(State), details=DETAILS)).sockets


def talk(family: str) -> SocketTable:
    for number, (client, server) in enumerate(connect(family)):
        client.sendall(b"x" * number)
        server.sendall(b"x" * 3 * number)
    return look()


def half_close(family: str) -> SocketTable:
    """Even ones from the client, odd ones from the server; some with data that arrives before."""
    for number, ends in enumerate(connect(family)):
        ends[number % 2].sendall(b"x" * number)
        ends[number % 2].shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + SECONDS
    while (seen := look()).count_by_state()[State.FIN_WAIT_2] < COUNT and time.monotonic() < deadline:
        pass  # the ACK of a FIN behind data that nobody reads is delayed
    return seen


def close_with_a_full_queue(family: str) -> SocketTable:
    """A FIN that cannot be sent, since the data before it does not fit: FIN_WAIT_1, or LAST_ACK after the peer's."""
    for number, ends in enumerate(connect(family)[:6]):
        sender, receiver = ends[number % 2], ends[1 - number % 2]
        fill(sender)
        if number > 2:
            receiver.shutdown(socket.SHUT_WR)
            sender.settimeout(5)
            assert not sender.recv(1)
        sender.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + 5
    while (seen := look()).count_by_state()[State.FIN_WAIT_1] > 3 and time.monotonic() < deadline:
        pass  # a receiver waits for the ACK of its own FIN
    return seen


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize(
    ("provoke", "states"),
    [
        (talk, {State.ESTABLISHED: 2 * COUNT}),
        (half_close, {State.CLOSE_WAIT: COUNT, State.FIN_WAIT_2: COUNT}),
        (close_with_a_full_queue, {State.FIN_WAIT_1: 3, State.LAST_ACK: 3}),
    ],
)
def test_each_end_is_told_by_its_byte_counts(provoke: object, states: dict[State, int], family: str) -> None:
    assert callable(provoke)
    with PrivateNetns() as netns:
        seen: SocketTable = netns.run(provoke, family)
    counts = seen.count_by_state()
    assert {state: counts[state] for state in states} == states
    accepted = seen.sport == PORT
    role = roles(seen)
    assert (role[accepted] == Role.ACCEPTED).all()
    assert (role[~accepted] == Role.CONNECTED).all()
