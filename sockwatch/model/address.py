"""IP addresses as two 64-bit columns, IPv4 in its v4-mapped form so that both families compare alike."""

import ipaddress

import numpy as np
from numpy.typing import NDArray

V4_MAPPED = np.uint64(0xFFFF_0000_0000)
"""::ffff:0.0.0.0, the low half of every IPv4 address in the table."""
_V4_MASK = np.uint64(0xFFFF_FFFF)
_PREFIX_MASK = np.uint64(0xFFFF_FFFF_0000_0000)
_LOOPBACK_V4 = 127


def address_text(hi: int, lo: int) -> str:
    """The address as people write it, without brackets; a v4-mapped one as IPv4."""
    if hi == 0 and lo >> 32 == 0xFFFF:  # noqa: PLR2004 - ::ffff:0:0/96
        return str(ipaddress.IPv4Address(lo & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Address(hi << 64 | lo))


def endpoint_text(address: str, port: str) -> str:
    """`ADDR:PORT`, IPv6 in brackets; either part may be `*`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def is_v4(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows are IPv4, v4-mapped included."""
    mapped: NDArray[np.bool_] = np.equal(hi, 0) & np.equal(lo & _PREFIX_MASK, V4_MAPPED)
    return mapped


def is_any(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows are the unspecified address, 0.0.0.0 or `::`."""
    return np.equal(hi, 0) & (np.equal(lo, 0) | np.equal(lo, V4_MAPPED))


def is_loopback(hi: NDArray[np.uint64], lo: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which rows are in 127.0.0.0/8 or are ::1."""
    v4 = is_v4(hi, lo) & np.equal((lo & _V4_MASK) >> np.uint64(24), _LOOPBACK_V4)
    loopback: NDArray[np.bool_] = v4 | (np.equal(hi, 0) & np.equal(lo, 1))
    return loopback
