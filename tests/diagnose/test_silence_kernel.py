"""What the real kernel's timers show, against a clock that was read when the silence began."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from netns import PrivateNetns, keep
from sockwatch.collect.dump import dump_sockets
from sockwatch.diagnose import silence
from sockwatch.lab.namespace import write_sysctl
from sockwatch.lab.packet_filter import EVERYTHING, drop, drop_nothing
from sockwatch.model.snapshot import Asks
from sockwatch.model.state import State, Timer

STATES = (State.SYN_SENT, State.ESTABLISHED, State.FIN_WAIT_1)
ENOUGH_TRIES = 4
SECONDS = 30.0

Seen = tuple[float, float, float, float]
"""Seconds since the silence began, before and after the look, and the bounds that the look gave."""


def connected() -> tuple[socket.socket, socket.socket]:
    """A client and the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = keep(socket.create_connection(listener.getsockname()))
        return client, keep(listener.accept()[0])


def unanswered_syn() -> None:
    connecting = keep(socket.socket())
    drop(connecting, EVERYTHING)
    connecting.settimeout(0)
    connecting.connect_ex(("127.0.0.1", 9100))


def unanswered_data() -> None:
    client, server = connected()
    drop(server, EVERYTHING)
    client.send(b"x")


def unanswered_fin() -> None:
    client, server = connected()
    drop(server, EVERYTHING)
    client.shutdown(socket.SHUT_WR)


def closed_window() -> Callable[[], object]:
    write_sysctl("net.ipv4.tcp_rmem", "4096 8192 8192")
    write_sysctl("net.ipv4.tcp_wmem", "4096 16384 16384")
    client, server = connected()
    client.settimeout(0)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += client.send(b"x" * 4096)
    return lambda: read_all(server, sent)


def read_all(reader: socket.socket, size: int) -> None:
    while size:
        size -= len(reader.recv(size))


def look(began: float) -> list[tuple[State, Timer, int, Seen]]:
    """Every socket that waits: its state, its timer, how often it tried, and what is known of its silence."""
    before = time.monotonic() - began
    every = dump_sockets(Asks(states=frozenset(STATES), details=silence.DETAILS)).sockets
    after = time.monotonic() - began
    waits = every.take((every.timer == Timer.PROBE) | (every.retransmits > 0))
    ages = silence.silences(waits)
    backoff = waits.detail("backoff")
    return [
        (
            State(int(waits.state[i])),
            Timer(int(waits.timer[i])),
            int(max(waits.retransmits[i], backoff[i])),
            (before, after, float(ages.lower[i]), float(ages.upper[i])),
        )
        for i in range(len(waits))
    ]


def watch() -> dict[tuple[State, Timer], list[Seen]]:
    """What each of the four kinds of silence showed until each had tried often enough."""
    began = time.monotonic()
    for begin in (unanswered_syn, unanswered_data, unanswered_fin, closed_window):
        begin()
    seen: dict[tuple[State, Timer], list[Seen]] = {}
    done: set[tuple[State, Timer]] = set()
    while len(done) < 4:
        assert time.monotonic() - began < SECONDS, done
        for state, timer, tries, bounds in look(began):
            seen.setdefault((state, timer), []).append(bounds)
            if tries >= ENOUGH_TRIES:
                done.add((state, timer))
        time.sleep(0.05)
    return seen


def test_every_look_bounds_the_silence_from_below_and_nearly_all_of_it() -> None:
    with PrivateNetns() as netns:
        seen = netns.run(watch)
    assert set(seen) == {
        (State.SYN_SENT, Timer.RETRANSMIT),
        (State.ESTABLISHED, Timer.RETRANSMIT),
        (State.FIN_WAIT_1, Timer.RETRANSMIT),
        (State.ESTABLISHED, Timer.PROBE),
    }
    for looks in seen.values():
        for _, after, lower, _ in looks:
            assert lower <= after + 0.01  # jiffies
        before, _, lower, upper = looks[-1]
        assert lower > before / 2
        assert not upper < before - 1


def interrupted_syn() -> Callable[[], object]:
    listener = keep(socket.create_server(("127.0.0.1", 0)))
    connecting = keep(socket.socket())
    drop(connecting, EVERYTHING)
    connecting.settimeout(0)
    connecting.connect_ex(listener.getsockname())
    return lambda: drop_nothing(connecting)


def interrupted_data() -> Callable[[], object]:
    client, server = connected()
    drop(server, EVERYTHING)
    client.send(b"x")
    return lambda: drop_nothing(server)


def interrupted_keepalive() -> Callable[[], object]:
    client, server = connected()
    drop(server, EVERYTHING)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    return lambda: drop_nothing(server)


def wait_for(count: int) -> None:
    """Return when so many sockets are silent."""
    deadline = time.monotonic() + SECONDS
    while sum(tries > 0 for _, _, tries, _ in look(0)) != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def be_silent_and_answer() -> list[tuple[State, Timer, int, Seen]]:
    answers = [begin() for begin in (interrupted_syn, interrupted_data, interrupted_keepalive, closed_window)]
    wait_for(len(answers))
    for answer in answers:
        answer()
    wait_for(0)
    return look(0)


def test_an_answer_ends_the_silence() -> None:
    with PrivateNetns() as netns:
        assert netns.run(be_silent_and_answer) == []
