"""What a player can do with sockets: the small vocabulary that scenarios are told in."""

import ctypes
import functools
import inspect
import socket
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

TIMEOUT_SECONDS = 5.0
"""Of every socket call: nothing in the lab waits for long."""
TCP_REPAIR = 19
SO_ATTACH_FILTER = 26
BPF_RET = 0x06
READ_BYTES = 65536

_SWITCH = {False: "off", True: "on"}

P = ParamSpec("P")
T = TypeVar("T")


class Role(StrEnum):
    """Which part an actor plays."""

    SERVER = "server"
    CLIENT = "client"


class Family(StrEnum):
    """How the ends speak: IPv4, IPv6, or IPv4 towards a server that listens on `::`."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    MAPPED = "mapped"

    @property
    def loopback(self) -> str:
        """Where clients are and connect to."""
        return "::1" if self is Family.IPV6 else "127.0.0.1"

    @property
    def listening(self) -> str:
        """Where servers listen."""
        return "::" if self is Family.MAPPED else self.loopback


class Link(Protocol):
    """The way to the process that plays an actor."""

    def ask(self, verb: str, arguments: dict[str, Any], telling: str) -> Any:
        """Have the verb done there, tell of it, and return its result or raise its OSError."""
        ...


def verb(telling: str) -> Callable[[Callable[Concatenate["Actor", P], T]], Callable[Concatenate["Actor", P], T]]:
    """Make a method a verb: where the actor has a link, the process behind it does the work.

    `telling` is the verb's line in the story, with its parameters in braces; `{times}` and `{which}`
    are the count in words.
    """

    def mark(body: Callable[Concatenate["Actor", P], T]) -> Callable[Concatenate["Actor", P], T]:
        signature = inspect.signature(body)

        @functools.wraps(body)
        def do(self: "Actor", /, *args: P.args, **kwargs: P.kwargs) -> T:
            if self.link is None:
                return body(self, *args, **kwargs)
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            arguments = {name: value for name, value in bound.arguments.items() if name != "self"}
            result: T = self.link.ask(body.__name__, arguments, _tell(telling, arguments))
            return result

        return do

    return mark


def _deafen(opened: socket.socket) -> None:
    """Drop whatever arrives for the socket: a filter (socket(7)) of one instruction, `ret 0`."""
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", BPF_RET, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(instruction))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _tell(telling: str, arguments: dict[str, Any]) -> str:
    shown = {name: _SWITCH[value] if isinstance(value, bool) else value for name, value in arguments.items()}
    count = arguments.get("count")
    times = "once" if count == 1 else f"{count} times"
    which = "each connection" if count is None else f"{count} connections"
    return telling.format(**shown, times=times, which=which)


class Actor:
    """A server or a client with its sockets. Every verb raises OSError with the errno that the kernel gave.

    The same class works at both ends: the stage's actor has a `link` and sends its verbs there, the one in the
    process behind it has none and holds the sockets.
    """

    def __init__(self, family: Family, link: Link | None = None) -> None:
        self.link = link
        self._family = family
        self._listeners: list[socket.socket] = []
        self._connections: list[socket.socket] = []

    @verb("listens on port {port} (backlog {backlog}, SO_REUSEADDR {reuse_address})")
    def listen(self, port: int, *, backlog: int = 128, reuse_address: bool = True) -> None:
        """Open a listener; `reuse_address` sets SO_REUSEADDR before bind(), as servers should."""
        listener = self._open(dual_stack=self._family is Family.MAPPED)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse_address)
            listener.bind((self._family.listening, port))
            listener.listen(backlog)
        except OSError:
            listener.close()
            raise
        self._listeners.append(listener)

    @verb("stops listening")
    def stop_listening(self) -> None:
        """Close the listeners; accepted connections stay."""
        while self._listeners:
            self._listeners.pop().close()

    @verb("accepts {times}")
    def accept(self, count: int) -> None:
        """Take connections out of the accept queue."""
        for _ in range(count):
            connection, _ = self._listeners[0].accept()
            connection.settimeout(TIMEOUT_SECONDS)
            self._connections.append(connection)

    @verb("connects to port {port}, {times}")
    def connect(self, port: int, count: int = 1) -> None:
        """Open connections and wait for their handshakes; the kernel picks the source ports."""
        for _ in range(count):
            connection = self._open()
            try:
                connection.connect((self._family.loopback, port))
            except OSError:
                connection.close()
                raise
            self._connections.append(connection)

    @verb("starts to connect to port {port}, {times}, and does not wait")
    def start_connecting(self, port: int, count: int, *, deaf: bool = False) -> None:
        """Send SYNs from non-blocking sockets and keep these; `deaf` ones drop every answer, a refusal as well."""
        for _ in range(count):
            connection = self._open()
            if deaf:
                _deafen(connection)
            connection.settimeout(0)
            connection.connect_ex((self._family.loopback, port))
            self._connections.append(connection)

    @verb("binds its own port {port} and connects to that same port")
    def connect_to_itself(self, port: int) -> None:
        """One socket that becomes both ends of its connection."""
        connection = self._open()
        connection.bind((self._family.loopback, port))
        connection.connect((self._family.loopback, port))
        self._connections.append(connection)

    @verb("tries to connect to port {port}, at most {tries} times")
    def keep_trying(self, port: int, tries: int) -> int:
        """Connect until it works and keep that connection; how many tries that took. Raises ETIMEDOUT if none did."""
        for attempt in range(1, tries + 1):
            connection = self._open()
            try:
                connection.connect((self._family.loopback, port))
            except ConnectionRefusedError:
                connection.close()
                continue
            self._connections.append(connection)
            return attempt
        raise TimeoutError

    @verb("sends {size} bytes on each connection")
    def send(self, size: int) -> None:
        """Write to every connection."""
        for connection in self._connections:
            connection.sendall(b"x" * size)

    @verb("reads each connection to its end of file")
    def read_to_end(self) -> int:
        """Read everything that comes before the FIN; how many bytes that were."""
        size = 0
        for connection in self._connections:
            while data := connection.recv(READ_BYTES):
                size += len(data)
        return size

    @verb("calls shutdown(SHUT_WR) on {which} and keeps the sockets")
    def half_close(self, count: int | None = None) -> None:
        """Send a FIN and go on receiving, on every connection or on the `count` oldest."""
        for connection in self._connections[:count]:
            connection.shutdown(socket.SHUT_WR)

    @verb("calls close() on {which}")
    def close(self, count: int | None = None) -> None:
        """Close every connection or the `count` newest; listeners stay."""
        for _ in range(len(self._connections) if count is None else count):
            self._connections.pop().close()

    @verb("vanishes from its connections without a packet, as a machine does that loses its power")
    def vanish(self) -> None:
        """Destroy the connections silently; listeners stay.

        close() of a socket in repair mode sends nothing (tcp_close and tcp_disconnect in net/ipv4/tcp.c).
        """
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        while self._connections:
            self._connections.pop().close()

    def _open(self, *, dual_stack: bool = False) -> socket.socket:
        family = socket.AF_INET6 if dual_stack or self._family is Family.IPV6 else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.settimeout(TIMEOUT_SECONDS)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        return opened
