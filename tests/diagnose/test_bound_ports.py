"""What one look tells about ports, against a small model of how the kernel gives them away."""

import copy
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st

from builders import namespace, socket, window
from sockwatch.diagnose.bind_budget import bind_budgets
from sockwatch.diagnose.bound_ports import crowded
from sockwatch.diagnose.ports import port_budgets
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

ADDRESSES = ("10.0.0.1", "10.0.0.2")
DESTINATIONS = ("10.0.0.9:80", "10.0.0.9:443", "[fd00::9]:80")


class Kernel:
    """net/ipv4/inet_hashtables.c and inet_connection_sock.c, as far as they choose ports; nothing is ever closed."""

    def __init__(self, low: int, size: int, reserved: set[int]) -> None:
        self.low = low
        self.ports = [port for port in range(low, low + size) if port not in reserved]
        self.bound: set[int] = set()
        self.rows: list[dict[str, Any]] = []
        self.used: set[tuple[str, int, str]] = set()

    @property
    def space(self) -> Namespace:
        reserved = set(range(self.low, max(self.ports))) - set(self.ports)
        return namespace(
            ip_local_port_range=f"{self.low} {max(self.ports)}",
            ip_local_reserved_ports=",".join(map(str, sorted(reserved))),
            tcp_tw_reuse="0",
        )

    def connect(self, source: str, destination: str, state: State = State.ESTABLISHED) -> bool:
        for port in sorted(self.ports, key=lambda port: (port - self.low) % 2):
            if port not in self.bound and (source, port, destination) not in self.used:
                waits = {"autobound": 255, "expires_ms": 9} if state == State.TIME_WAIT else {"autobound": 1}
                self.add(state, source, port, destination, **waits)
                return True
        return False

    def bind(self, source: str, destination: str | None) -> bool:
        taken = {port for address, port, _ in self.used if address == source}
        for port in sorted(self.ports, key=lambda port: (port - self.low + 1) % 2):
            if port not in taken:
                self.bound.add(port)
                state = State.BOUND if destination is None else State.ESTABLISHED
                self.add(state, source, port, destination or "0.0.0.0:0", autobound=1)
                return True
        return False

    def name(self, source: str, port: int, destination: str | None) -> None:
        if port in self.ports and not any(key[:2] == (source, port) for key in self.used):
            self.bound.add(port)
            state = State.LISTEN if destination is None else State.ESTABLISHED
            self.add(state, source, port, destination or "0.0.0.0:0", autobound=0)

    def add(self, state: State, source: str, port: int, destination: str, **columns: Any) -> None:
        self.used.add((source, port, destination))
        self.rows.append(socket(state, f"{source}:{port}", destination, **columns))


SOURCES, TARGETS = st.sampled_from(ADDRESSES), st.sampled_from(DESTINATIONS)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), SOURCES, TARGETS, st.sampled_from((State.ESTABLISHED, State.TIME_WAIT))),
        st.tuples(st.just("bind"), SOURCES, st.one_of(st.none(), TARGETS)),
        st.tuples(st.just("name"), SOURCES, st.integers(0, 20), st.one_of(st.none(), TARGETS)),
    ),
    max_size=30,
)
KERNELS = st.builds(
    Kernel,
    st.sampled_from((40000, 40001)),
    st.integers(2, 10).map(lambda half: 2 * half),
    st.sets(st.integers(40002, 40004), max_size=2),
)


def play(kernel: Kernel, steps: list[tuple[Any, ...]]) -> None:
    for step in steps:
        match step:
            case ("connect", source, destination, state):
                kernel.connect(source, destination, state)
            case ("bind", source, destination):
                kernel.bind(source, destination)
            case ("name", source, number, destination):
                kernel.name(source, kernel.low + number, destination)
            case _:
                raise AssertionError(step)


@given(KERNELS, STEPS)
@settings(max_examples=300)
def test_the_free_ports_of_a_destination_are_those_that_connect_would_find(
    kernel: Kernel, steps: list[tuple[Any, ...]]
) -> None:
    play(kernel, steps)
    for budget in port_budgets(window(*kernel.rows, namespaces=[kernel.space]), 0.0):
        [key] = {
            (source, destination)
            for source, port, destination in kernel.used
            for row in [socket(State.ESTABLISHED, f"{source}:{port}", destination)]
            if all(row[name] == getattr(budget.sockets, name)[0] for name in ("src_lo", "dst_hi", "dst_lo", "dport"))
        }
        trial, found = copy.deepcopy(kernel), 0
        while trial.connect(*key):
            found += 1
        assert found <= budget.free
        assert found == budget.free or not budget.exact


@given(KERNELS, STEPS)
def test_the_free_ports_of_an_address_are_those_that_bind_would_find(
    kernel: Kernel, steps: list[tuple[Any, ...]]
) -> None:
    play(kernel, steps)
    for budget in bind_budgets(window(*kernel.rows, namespaces=[kernel.space])):
        [source] = {address for address in ADDRESSES if f"{address}:1" in str(endpoint(budget.sockets.src_lo[0]))}
        trial, found = copy.deepcopy(kernel), 0
        while trial.bind(source, None):
            found += 1
        assert found == budget.free


def endpoint(low: int) -> str:
    return next(f"{a}:1" for a in ADDRESSES if socket(State.LISTEN, f"{a}:1")["src_lo"] == low)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40), st.integers(1, 9))
def test_no_row_of_a_large_group_is_missed(rows: list[tuple[int, int]], least: int) -> None:
    columns = [np.array([row[i] for row in rows], np.uint64) for i in (0, 1)]
    enough = crowded(least, *columns)
    assert all(enough[i] for i, row in enumerate(rows) if rows.count(row) >= least)


def test_of_many_small_groups_few_rows_are_left() -> None:
    many = np.arange(100_000, dtype=np.uint64)
    assert crowded(5, many % np.uint64(4), many).sum() < 1_000
