"""Listening sockets from addresses as people write them: HOST:PORT, [HOST]:PORT, or :PORT for all of this host."""

import errno
import os
import socket
from collections.abc import Iterable, Sequence

import psutil

from sockwatch.errors import UsageError

_BACKLOG = 1024
_MAX_PORT = 65535
_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
"""What a name with several addresses may lack one of: a host without IPv6 still has localhost."""


def listen(addresses: Iterable[str]) -> list[socket.socket]:
    """Non-blocking sockets that listen, one or more for each address.

    Raises UsageError that names the address, and who holds it where that can be seen; then none is left open.
    """
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            sockets += _listen(address)
    except UsageError:
        for listener in sockets:
            listener.close()
        raise
    return sockets


def shown(listener: socket.socket) -> str:
    """The address that a socket listens on, as people write it."""
    name = listener.getsockname()
    if not isinstance(name, tuple):
        return str(name)
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def parse(address: str) -> tuple[str, int]:
    """Host and port; the host is empty for all addresses of this host. Raises UsageError."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= len(str(_MAX_PORT)) else -1
    if not colon or not 0 <= number <= _MAX_PORT or (":" in host and not bracketed):
        raise UsageError(f'"{address}" is no address to listen on: HOST:PORT, [HOST]:PORT or :PORT')
    return host.strip("[]"), number


def _listen(address: str) -> list[socket.socket]:
    host, port = parse(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}") from None
    sockets: list[socket.socket] = []
    failures: list[OSError] = []
    for family, _, _, _, name in found:
        # All addresses of one name get the same port, the kernel's choice where it is 0.
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_bind(family, (name[0], chosen, *name[2:])))
        except OSError as error:
            failures.append(error)
    fatal = [error for error in failures if error.errno not in _ABSENT] or (failures if not sockets else [])
    if fatal:
        for listener in sockets:
            listener.close()
        raise UsageError(f"cannot listen on {address}: {_why(fatal[0], port)}") from None
    return sockets


def _bind(family: int, name: Sequence[object]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # so that "::" and "0.0.0.0" stand side by side
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(tuple(name))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _why(error: OSError, port: int) -> str:
    reason = os.strerror(error.errno or 0)
    if error.errno == errno.EADDRINUSE and (holder := _holder(port)):
        return f"{reason}, by {holder}"
    if error.errno == errno.EACCES:
        return f"{reason} (ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE)"
    return reason


def _holder(port: int) -> str | None:
    """`NAME[PID]` of a process that listens on the port, where it can be seen."""
    try:
        rows = [row for row in psutil.net_connections("tcp") if row.status == psutil.CONN_LISTEN and row.pid]
        pid = next((row.pid for row in rows if row.laddr and row.laddr.port == port), None)
        return None if pid is None else f"{psutil.Process(pid).name()}[{pid}]"
    except (psutil.Error, OSError):
        return None
