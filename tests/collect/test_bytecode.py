"""Programs are held against the kernel's own checks, written down here, and on the kernel in test_dump_kernel.py."""

import struct

import pytest
from hypothesis import given, strategies as st

from sockwatch.collect.bytecode import NAMED_PORT, in_ports

JMP, S_GE, S_LE, D_GE, D_LE, AUTO = range(1, 7)
COMPARISONS = (S_GE, S_LE, D_GE, D_LE)

ports = st.integers(0, 65535)
ranges = st.lists(st.tuples(ports, ports).map(lambda ends: (min(ends), max(ends))), min_size=1, max_size=16)


def operation(program: bytes, at: int) -> tuple[int, int, int]:
    code, yes, no = struct.unpack_from("=BBH", program, at)
    return code, yes, no


def audit(program: bytes) -> bool:
    """inet_diag_bc_audit() and valid_cc(): the yes-jumps are a path to the end, and every no-jump lands on it."""
    path, at = [], 0
    while at < len(program):
        path.append(at)
        code, yes, no = operation(program, at)
        shortest, left = 8 if code in COMPARISONS else 4, len(program) - at
        if code not in (JMP, AUTO, *COMPARISONS) or left < shortest:
            return False
        if any(jump < shortest or jump > left + 4 or jump % 4 for jump in (yes, no) if (code, jump) != (JMP, yes)):
            return False
        if yes < 4:
            return False
        at += yes
    landings = [at + operation(program, at)[2] for at in path]
    return at == len(program) and all(landing >= len(program) or landing in path for landing in landings)


def accepts(program: bytes, sport: int = 0, dport: int = 0, *, autobound: bool = False) -> bool:
    """inet_diag_bc_run()"""
    at = 0
    while at < len(program):
        code, yes, no = operation(program, at)
        operand = operation(program, at + 4)[2] if code in COMPARISONS else 0
        holds = {
            JMP: False,
            S_GE: sport >= operand,
            S_LE: sport <= operand,
            D_GE: dport >= operand,
            D_LE: dport <= operand,
            AUTO: autobound,
        }[code]
        at += yes if holds else no
    return at == len(program)


@given(ranges, ports, ports)
def test_a_socket_passes_if_either_port_is_in_a_range(chosen: list[tuple[int, int]], sport: int, dport: int) -> None:
    program = in_ports(chosen)
    assert audit(program)
    edges = [edge for low, high in chosen for edge in (low - 1, low, high, high + 1) if edge in range(65536)]
    for source, destination in [(sport, dport), *((edge, dport) for edge in edges), *((sport, edge) for edge in edges)]:
        inside = any(low <= port <= high for low, high in chosen for port in (source, destination))
        assert accepts(program, source, destination) == inside


@pytest.mark.parametrize("autobound", [False, True])
def test_a_named_port_is_one_that_was_not_autobound(autobound: bool) -> None:  # noqa: FBT001 - pytest passes it
    assert audit(NAMED_PORT)
    assert accepts(NAMED_PORT, autobound=autobound) is not autobound
