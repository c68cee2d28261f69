"""Filters that the kernel applies to a dump, so that it builds only what is wanted (INET_DIAG_REQ_BYTECODE).

A program is a row of instructions struct inet_diag_bc_op: a code, and how many bytes to go on by if the condition holds
and if not. Ending exactly behind the last byte accepts a socket, four bytes further refuses it. The kernel takes a
program only if its yes-jumps alone lead through it to its end (inet_diag_bc_audit, net/ipv4/inet_diag.c).
"""

import struct
from collections.abc import Sequence

_JMP, _S_GE, _S_LE, _D_GE, _D_LE, _AUTO = 1, 2, 3, 4, 5, 6
"""INET_DIAG_BC_* (include/uapi/linux/inet_diag.h); a jump goes where its condition would not hold."""
_OP = struct.Struct("=BBH")
_REFUSE = _OP.size
_COMPARISON = 2 * _OP.size
"""A comparison has its port in a second instruction."""
_RANGE = 2 * _COMPARISON + _OP.size
"""Two comparisons, and the jump to the end."""

Ports = Sequence[tuple[int, int]]
"""Ranges, both ends inclusive."""

NAMED_PORT = _OP.pack(_AUTO, _OP.size, 2 * _OP.size) + _OP.pack(_JMP, _OP.size, _OP.size + _REFUSE)
"""Sockets whose local port the program named (SOCK_BINDPORT_LOCK). Minisockets and requests never count as such."""


def in_ports(ports: Ports) -> bytes:
    """Sockets with their local or their remote port in one of these ranges; there is at least one."""
    tests = [codes + ends for ends in ports for codes in ((_S_GE, _S_LE), (_D_GE, _D_LE))]
    program = b""
    for at_least, at_most, low, high in reversed(tests):
        left = len(program)
        # The last test refuses what it does not match, the others go on to the next one.
        no = _RANGE if left else _COMPARISON + _COMPARISON + _REFUSE
        accept = _OP.pack(_JMP, _OP.size, _OP.size + left) if left else b""
        program = (
            _OP.pack(at_least, _COMPARISON, no)
            + _OP.pack(0, 0, low)
            + _OP.pack(at_most, _COMPARISON, no - _COMPARISON)
            + _OP.pack(0, 0, high)
            + accept
            + program
        )
    return program
