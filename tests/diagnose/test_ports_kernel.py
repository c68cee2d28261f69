"""The free source ports that one look predicts, against what connect() still finds on the real kernel."""

import contextlib
import errno
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from netns import PrivateNetns
from sockwatch.clock import SystemClock
from sockwatch.collect.live import LiveSource
from sockwatch.diagnose.bind_budget import BIND_ADDRESS_NO_PORT, bind_budgets
from sockwatch.diagnose.ports import SYSCTLS, PortBudget, port_budgets
from sockwatch.diagnose.role import DETAILS
from sockwatch.diagnose.window import Window
from sockwatch.model.snapshot import Asks, FollowUp, Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

MIXES = 36
IP_BIND_ADDRESS_NO_PORT = 24
SECONDS = 20.0
FAMILIES = ("ipv4", "ipv6", "mapped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    predicted: int
    exact: bool
    found: int
    error: int


class Mix:
    """Sockets of every kind that has a port, drawn from a range that no mix before has used."""

    def __init__(self, seed: int, family: str, *, odd_size: bool = False) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - it must be the same at each run
        self.family = family
        self.inet = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        self.address = {"ipv4": "127.0.0.1", "ipv6": "::1", "mapped": "::ffff:127.0.0.1"}[family]
        self.low = 10_000 + 300 * seed + self.draw.randrange(2)
        self.high = self.low + 2 * self.draw.randrange(40, 60) - (0 if odd_size else 1)
        self.reserved = sorted(self.draw.sample(range(self.low, self.high), self.draw.randrange(6)))
        self.reuse = self.draw.randrange(3)
        self.kept: list[socket.socket] = []
        self.target, self.other = 2000 + 2 * seed, 2001 + 2 * seed
        self.listeners = {port: self.listen(port) for port in (self.target, self.other)}

    def open(self) -> socket.socket:
        inet = self.draw.choice((socket.AF_INET, socket.AF_INET6)) if self.family == "mapped" else self.inet
        opened = socket.socket(inet)
        opened.settimeout(SECONDS)
        return opened

    def name(self, opened: socket.socket, address: str | None = None) -> str:
        address = address or self.address
        mapped = self.family == "mapped"
        return address.removeprefix("::ffff:") if mapped and opened.family == socket.AF_INET else address

    def elsewhere(self) -> str:
        last = self.draw.randrange(2, 9)
        return {"ipv4": f"127.0.0.{last}", "ipv6": "::1", "mapped": f"::ffff:127.0.0.{last}"}[self.family]

    def listen(self, port: int) -> socket.socket:
        listener = socket.socket(self.inet)
        listener.bind((self.address, port))
        listener.listen(4000)
        return listener

    def connect(self, port: int, *, bind: str | None = None, own: int = 0, late: bool = False) -> socket.socket:
        client = self.open()
        try:
            if late:
                client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            if bind is not None:
                client.bind((self.name(client, bind), own))
            client.connect((self.name(client), port))
        except OSError:
            client.close()
            raise
        self.kept.append(client)
        return client

    def attempt(self, at_most: int, do: Callable[[], object]) -> None:
        """Fewer times than that; where a port is taken or none is left, nothing happens."""
        for _ in range(self.draw.randrange(at_most)):
            with contextlib.suppress(OSError):
                do()

    def make(self) -> None:
        here = self.address
        self.connect(self.target)
        self.attempt(20, lambda: self.connect(self.target))
        self.attempt(20, lambda: self.connect(self.other))
        self.attempt(8, lambda: self.connect(self.other, bind=here))
        self.attempt(5, lambda: self.connect(self.target, bind=here))
        self.attempt(8, lambda: self.connect(self.other, bind=here, late=True))
        self.attempt(5, lambda: self.connect(self.other, bind=here, own=self.draw.randint(self.low, self.high)))
        self.attempt(8, self.bind_only)
        self.attempt(8, lambda: self.bind_only().listen())
        self.attempt(2, self.leave_children)
        for port in (self.target, self.other):
            self.attempt(8, partial(self.orphan, port))
        self.accept_all()
        for port in (self.target, self.other):
            self.attempt(6, partial(self.wait, port))
            self.attempt(3, partial(self.wait, port, bind=here))

    def bind_only(self) -> socket.socket:
        bound = self.open()
        self.kept.append(bound)
        bound.bind((self.name(bound, self.elsewhere()), 0))
        return bound

    def orphan(self, port: int) -> None:
        """One in FIN_WAIT_2: the server's end stays."""
        self.close(self.connect(port))

    def close(self, kept: socket.socket) -> None:
        self.kept.remove(kept)
        kept.close()

    def leave_children(self) -> None:
        """Accepted connections whose listener is gone."""
        listener = self.listen(port := self.draw.randint(self.low, self.high))
        for _ in range(3):
            self.connect(port)
            self.kept.append(listener.accept()[0])
        listener.close()

    def wait(self, port: int, *, bind: str | None = None) -> None:
        """One in TIME_WAIT whose port connect() chose, or bind()."""
        client = self.connect(port, bind=bind)
        served, _ = self.listeners[port].accept()
        self.close(client)
        assert not served.recv(1)
        served.close()

    def accept_all(self) -> None:
        for listener in self.listeners.values():
            listener.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.kept.append(listener.accept()[0])
            listener.settimeout(SECONDS)

    def set_sysctls(self) -> None:
        ipv4 = Path("/proc/sys/net/ipv4")
        (ipv4 / "ip_local_port_range").write_text(f"{self.low} {self.high}")
        (ipv4 / "ip_local_reserved_ports").write_text(",".join(map(str, self.reserved)) + "\n")
        (ipv4 / "tcp_tw_reuse").write_text(str(self.reuse))
        with contextlib.suppress(FileNotFoundError):  # v6.14
            (ipv4 / "tcp_tw_reuse_delay").write_text("1")

    def count_what_connects(self) -> tuple[int, int]:
        for found in range(1000):
            try:
                self.connect(self.target)
            except OSError as error:
                return found, error.errno or 0
        return 1000, 0

    def end(self) -> None:
        for opened in (*self.kept, *self.listeners.values()):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            opened.close()


def look() -> Snapshot:
    source = LiveSource(clock=SystemClock())
    asks = Asks(states=frozenset({State.ESTABLISHED, State.CLOSE_WAIT}), details=DETAILS, sysctls=SYSCTLS)
    return source.follow_up(source.look(asks), FollowUp(suspects=SocketTable.empty(), autobound=True))


def predict(mix: Mix) -> PortBudget:
    """The budget, once what is in TIME_WAIT is old enough for tcp_tw_reuse, if it applies."""
    deadline = time.monotonic() + SECONDS
    while True:
        mine = [b for b in port_budgets(Window(current=look()), 0.0) if b.sockets.dport[0] == mix.target]
        [budget] = mine
        young = budget.sockets.in_state(State.TIME_WAIT).expires_ms > 59_980
        if mix.reuse == 0 or not young.any() or time.monotonic() > deadline:
            return budget


def play(seed: int, family: str, *, odd_size: bool = False) -> Outcome:
    mix = Mix(seed, family, odd_size=odd_size)
    try:
        mix.set_sysctls()
        mix.make()
        budget = predict(mix)
        found, error = mix.count_what_connects()
        return Outcome(predicted=budget.free, exact=budget.exact, found=found, error=error)
    finally:
        mix.end()


def play_binding(seed: int, family: str) -> tuple[int, int, int]:
    """What is predicted for bind() to port 0, what it then finds, and its errno; with others on other addresses."""
    mix = Mix(seed, family)
    listeners = [mix.listen(1000 + 10 * seed + i) for i in range(7)]
    try:
        mix.set_sysctls()
        mix.attempt(8, mix.bind_only)
        mix.attempt(8, lambda: mix.bind_only().listen())
        ports = [listener.getsockname()[1] for listener in listeners]
        for _ in range(40):
            mix.connect(mix.draw.choice(ports), bind=mix.address)
        mix.attempt(6, lambda: mix.connect(mix.other))
        mix.attempt(3, partial(mix.wait, mix.target, bind=mix.address))
        while not (budgets := bind_budgets(Window(current=look()))):
            mix.connect(mix.draw.choice(ports), bind=mix.address)
        [budget] = budgets
        for found in range(1000):
            try:
                mix.connect(mix.draw.choice(ports), bind=mix.address)
            except OSError as error:
                return budget.free, found, error.errno or 0
        return budget.free, 1000, 0
    finally:
        mix.kept += listeners
        mix.end()


@pytest.mark.parametrize("family", FAMILIES)
def test_so_many_ports_are_free_as_bind_then_finds(family: str) -> None:
    with PrivateNetns() as netns:
        outcomes = [netns.run(play_binding, seed, family) for seed in range(4)]
    assert [error for _, _, error in outcomes] == [errno.EADDRINUSE] * 4
    assert [predicted for predicted, _, _ in outcomes] == [found for _, found, _ in outcomes]


def bind_late() -> list[int]:
    mix = Mix(1, "ipv4")
    for late in (False, True):
        mix.connect(mix.target, bind=mix.address, late=late)
    sockets = look().sockets
    return [int(sockopt) for sockopt in sockets.sockopt[sockets.dport == mix.target]]


def test_who_lets_connect_choose_the_port_is_seen() -> None:
    with PrivateNetns() as netns:
        assert sorted(bool(sockopt & BIND_ADDRESS_NO_PORT) for sockopt in netns.run(bind_late)) == [False, True]


@pytest.mark.parametrize("family", FAMILIES)
def test_so_many_ports_are_free_as_connect_then_finds(family: str) -> None:
    seeds = range(FAMILIES.index(family), MIXES, len(FAMILIES))
    with PrivateNetns() as netns:
        outcomes = [netns.run(play, seed, family) for seed in seeds]
    exact = [outcome for outcome in outcomes if outcome.exact]
    assert [outcome.error for outcome in outcomes] == [errno.EADDRNOTAVAIL] * len(seeds)
    assert [outcome.predicted for outcome in exact] == [outcome.found for outcome in exact]
    assert all(outcome.predicted >= outcome.found for outcome in outcomes)
    assert len(exact) >= len(seeds) * 5 / 6


def test_of_an_odd_number_of_ports_connect_may_overlook_one() -> None:
    with PrivateNetns() as netns:
        outcomes = [netns.run(play, seed, "ipv4", odd_size=True) for seed in range(3)]
    assert {outcome.predicted - outcome.found for outcome in outcomes if outcome.exact} <= {0, 1}
