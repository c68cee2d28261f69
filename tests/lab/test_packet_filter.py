"""Each filter drops what it says and nothing else, on the real kernel."""

import socket
import time
from contextlib import ExitStack

import pytest

from netns import PrivateNetns
from sockwatch.lab.packet_filter import ALL_BUT_SYNS, BARE_ACKS, EVERYTHING, RESETS, Program, drop, drop_nothing
from sockwatch.lab.witness import count_states, time_wait_seconds
from sockwatch.model.state import State

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
SECONDS = 30.0

families = pytest.mark.parametrize("family", HOSTS, ids=["ipv4", "ipv6"])


def listen(family: socket.AddressFamily) -> socket.socket:
    listener = socket.create_server((HOSTS[family], 0), family=family)
    listener.settimeout(SECONDS)
    return listener


def is_in(state: State) -> bool:
    """Whether a socket gets into this state before the deadline."""
    deadline = time.monotonic() + SECONDS
    while not count_states()[state]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def connect_to_a_closed_port(family: socket.AddressFamily, program: Program | None) -> State | None:
    with socket.socket(family) as client, socket.socket(family) as holder:
        holder.bind((HOSTS[family], 0))
        if program is not None:
            drop(client, program)
        client.settimeout(0)
        client.connect_ex(holder.getsockname())
        refused = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return None if refused else next(iter(count_states()), None)


@families
def test_who_does_not_hear_resets_is_not_refused(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        assert netns.run(connect_to_a_closed_port, family, None) is None
        assert netns.run(connect_to_a_closed_port, family, RESETS) is State.SYN_SENT
        assert netns.run(connect_to_a_closed_port, family, EVERYTHING) is State.SYN_SENT
        assert netns.run(connect_to_a_closed_port, family, BARE_ACKS) is None


def shake_hands(family: socket.AddressFamily) -> dict[State, int]:
    with listen(family) as listener:
        drop(listener, ALL_BUT_SYNS)
        with socket.create_connection(listener.getsockname()[:2]):
            return dict(count_states())


@families
def test_a_listener_that_hears_syns_only_never_gets_the_last_ack(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        assert netns.run(shake_hands, family) == {State.LISTEN: 1, State.SYN_RECV: 1, State.ESTABLISHED: 1}


def send_and_close(family: socket.AddressFamily, program: Program) -> tuple[bool, bool, bytes]:
    """Whether data, then a FIN arrived through the filter, and what could be read when it was gone."""
    with ExitStack() as stack:
        listener = stack.enter_context(listen(family))
        client = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        server = stack.enter_context(listener.accept()[0])
        drop(server, program)
        client.sendall(b"lost")
        server.settimeout(0)
        try:
            heard = bool(server.recv(10))
        except BlockingIOError:
            heard = False
        client.shutdown(socket.SHUT_WR)
        ended = bool(count_states()[State.CLOSE_WAIT])
        drop_nothing(server)
        server.settimeout(SECONDS)
        return heard, ended, b"".join(iter(lambda: server.recv(10), b""))


@families
def test_nothing_arrives_until_the_filter_is_gone(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        assert netns.run(send_and_close, family, EVERYTHING) == (False, False, b"lost")


@families
def test_who_does_not_hear_resets_hears_everything_else(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        assert netns.run(send_and_close, family, RESETS) == (True, True, b"")


def close_without_acks(family: socket.AddressFamily) -> tuple[bool, list[float]]:
    """Whether the passive side, deaf to bare ACKs, hears the FIN and waits for the ACK of its own."""
    with ExitStack() as stack:
        listener = stack.enter_context(listen(family))
        client = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        server = stack.enter_context(listener.accept()[0])
        drop(server, BARE_ACKS)
        client.close()
        server.settimeout(SECONDS)
        server.recv(1)
        server.close()
        return is_in(State.LAST_ACK) and is_in(State.TIME_WAIT), time_wait_seconds()


@families
def test_a_fin_is_no_bare_ack(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        waits, (left,) = netns.run(close_without_acks, family)
        assert waits
        assert 0 < left <= 60
