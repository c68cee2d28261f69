"""What a player can do with sockets: the small vocabulary that scenarios are told in."""

import contextlib
import errno
import functools
import inspect
import os
import resource
import socket
import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sockwatch.lab.packet_filter import ALL_BUT_SYNS, BARE_ACKS, EVERYTHING, RESETS, drop, drop_nothing

TIMEOUT_SECONDS = 5.0
"""Of every socket call: nothing in the lab waits for long."""
TCP_REPAIR = 19
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
        self._stream_protocol = socket.IPPROTO_TCP
        self._own_ports: list[int] = []

    @verb("speaks MPTCP from now on")
    def use_multipath(self) -> None:
        """Open every further connection and listener with MPTCP; where the kernel has none that is an OSError."""
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP).close()
        self._stream_protocol = socket.IPPROTO_MPTCP

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

    @verb("may open {limit} files, and opens what is left of these")
    def use_up_descriptors(self, limit: int) -> None:
        """Lower RLIMIT_NOFILE, and open files until there are no descriptors left."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
        try:
            while True:
                os.open(os.devnull, os.O_RDONLY)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise

    @verb("stops listening")
    def stop_listening(self) -> None:
        """Close the listeners; accepted connections stay."""
        while self._listeners:
            self._listeners.pop().close()

    @verb("sets TCP_DEFER_ACCEPT on its listeners: a connection is worth a word when its first data comes")
    def defer_accept(self, seconds: int) -> None:
        """Keep connections half-open until they have data, or for so long."""
        for listener in self._listeners:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, seconds)

    @verb("does not get the last ACK of any handshake: a packet filter drops it")
    def lose_last_acks(self) -> None:
        """Hear only SYNs on the listeners."""
        for listener in self._listeners:
            drop(listener, ALL_BUT_SYNS)

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
            self._own_ports.append(connection.getsockname()[1])

    @verb("connects to port {port} again, from each source port that it had, and does not wait")
    def connect_again(self, port: int) -> None:
        """Send SYNs with the four-tuples of all connections so far."""
        for own in self._own_ports:
            connection = self._open()
            connection.bind((self._family.loopback, own))
            connection.settimeout(0)
            connection.connect_ex((self._family.loopback, port))
            connection.settimeout(TIMEOUT_SECONDS)
            self._connections.append(connection)

    @verb("binds its address with port 0 and then connects to port {port}, {times}")
    def bind_and_connect(self, port: int, count: int = 1) -> None:
        """As connect, but bind() picks the source ports, before the destination is known."""
        for _ in range(count):
            connection = self._open()
            try:
                connection.bind((self._family.loopback, 0))
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
                drop(connection, EVERYTHING)
            connection.settimeout(0)
            connection.connect_ex((self._family.loopback, port))
            self._connections.append(connection)

    @verb(
        "connects from ports {first} to {last} to ports {peer} and up, and does not wait (deaf to resets: {undaunted})"
    )
    def connect_from(self, first: int, last: int, peer: int, *, undaunted: bool) -> None:
        """Connect each own port to a port of the peer; who is undaunted does not hear that it is refused."""
        for number, port in enumerate(range(first, last + 1)):
            connection = self._open()
            if undaunted:
                drop(connection, RESETS)
            connection.bind((self._family.loopback, port))
            connection.settimeout(0)
            connection.connect_ex((self._family.loopback, peer + number))
            connection.settimeout(TIMEOUT_SECONDS)
            self._connections.append(connection)

    @verb("binds ports {first} to {last}, and neither listens nor connects")
    def bind(self, first: int, last: int) -> None:
        """Take ports and do nothing with them."""
        for port in range(first, last + 1):
            connection = self._open()
            connection.bind((self._family.loopback, port))
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

    @verb("binds UDP port {port} with a receive buffer of {buffer} bytes, and does not read")
    def neglect_datagrams(self, port: int, buffer: int) -> None:
        """Open a UDP socket that nobody reads; the kernel doubles what is asked for as its buffer (socket(7))."""
        opened = self._open(kind=socket.SOCK_DGRAM, dual_stack=self._family is Family.MAPPED)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        opened.bind((self._family.listening, port))
        self._connections.append(opened)

    @verb("sends {count} datagrams to UDP port {port}")
    def send_datagrams(self, port: int, count: int) -> None:
        """Send small datagrams, from a socket of their own."""
        with self._open(kind=socket.SOCK_DGRAM) as sender:
            for _ in range(count):
                sender.sendto(b"x", (self._family.loopback, port))

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

    @verb("reads up to {size} bytes from each connection")
    def read(self, size: int) -> None:
        """Make some room in every receive queue; there must be something in it."""
        for connection in self._connections:
            connection.recv(size)

    @verb("will close each connection as soon as it reads its end of file")
    def close_after_the_peer(self) -> None:
        """Leave the connections to a thread that reads them to their ends, one after the other, and closes them."""
        connections, self._connections = self._connections, []

        def follow() -> None:
            for connection in connections:
                with contextlib.suppress(OSError), connection:
                    while connection.recv(READ_BYTES):
                        pass

        threading.Thread(target=follow, daemon=True).start()

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

    @verb("writes to each connection until nothing more fits")
    def fill(self) -> None:
        """Fill the send queue of every connection, and through it the peer's receive queue."""
        for connection in self._connections:
            connection.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.send(b"x" * READ_BYTES)
            connection.settimeout(TIMEOUT_SECONDS)

    @verb("turns on SO_KEEPALIVE for {which}: {probes} probes, the first after {idle} s, then every {interval} s")
    def keep_alive(self, count: int | None = None, *, idle: int, interval: int, probes: int) -> None:
        """Have the kernel ask silent peers whether they are there, on every connection or on the `count` oldest."""
        for connection in self._connections[:count]:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)

    @verb("is cut off: a filter drops whatever arrives for its connections")
    def be_cut_off(self) -> None:
        """Hear nothing more on the connections, refusals included; what they send still leaves."""
        for connection in self._connections:
            drop(connection, EVERYTHING)

    @verb("does not get bare ACKs on its connections: a packet filter drops them")
    def lose_acks(self) -> None:
        """Hear on the connections only what has SYN, FIN or RST; data is lost as well."""
        for connection in self._connections:
            drop(connection, BARE_ACKS)

    @verb("hears everything again")
    def hear_again(self) -> None:
        """End every filter on the connections."""
        for connection in self._connections:
            drop_nothing(connection)

    @verb("vanishes from its connections without a packet, as a machine does that loses its power")
    def vanish(self) -> None:
        """Destroy the connections silently; listeners stay.

        close() of a socket in repair mode sends nothing (tcp_close and tcp_disconnect in net/ipv4/tcp.c).
        """
        for connection in self._connections:
            connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        while self._connections:
            self._connections.pop().close()

    def _open(self, *, kind: socket.SocketKind = socket.SOCK_STREAM, dual_stack: bool = False) -> socket.socket:
        family = socket.AF_INET6 if dual_stack or self._family is Family.IPV6 else socket.AF_INET
        opened = socket.socket(family, kind, self._stream_protocol if kind is socket.SOCK_STREAM else 0)
        opened.settimeout(TIMEOUT_SECONDS)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        return opened
