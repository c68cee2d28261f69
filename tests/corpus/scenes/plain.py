"""Nothing but sockets: what healthy hosts do and dashboards alarm about."""

import itertools
import socket

from corpus.host import Host, Scene

PORT = 8080
HOST = "127.0.0.1"
TCP_DEFER_ACCEPT = socket.TCP_DEFER_ACCEPT
DEFER_SECONDS = 30
HALF_OF_TIME_WAIT = 31.0
"""Seconds; from then on it is old enough for a word."""


def _listener(host: Host, *, backlog: int = 4096, address: str = HOST) -> socket.socket:
    listener = socket.create_server((address, PORT), backlog=backlog)
    host.keep(listener)
    return listener


def _pairs(host: Host, listener: socket.socket, count: int) -> list[tuple[socket.socket, socket.socket]]:
    """Clients and their server ends."""
    made = []
    for client in host.connect(PORT, count):
        server, _ = listener.accept()
        host.keep(server)
        made.append((client, server))
    return made


def server_closes_first(host: Host) -> None:
    """Thousands of TIME_WAIT on a listening port."""
    listener = _listener(host)
    for _ in range(3001):
        with socket.create_connection((HOST, PORT)) as client:
            listener.accept()[0].close()
            client.recv(1)
    host.until_states(time_wait=3001)
    host.look()
    host.rest(at_most=HALF_OF_TIME_WAIT)
    host.look()


def many_destinations(host: Host) -> None:
    """As many connections as ports, each to another address: no port budget is touched."""
    listener = _listener(host, address="")
    for number in range(997):
        host.connect(PORT, address=f"127.1.{number >> 8}.{number & 255}")
        host.keep(listener.accept()[0])
    host.look()
    host.look()


def idle_pool(host: Host) -> None:
    """A pool of connections with keepalive on which nothing happens."""
    for pair in _pairs(host, _listener(host), 97):
        for end in pair:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    host.look()
    host.rest()
    host.look()


def closed_listener(host: Host) -> None:
    """A server that was told to stop serves the connections it has."""
    listener = _listener(host)
    pairs = _pairs(host, listener, 97)
    listener.close()
    host.look()
    host.rest()
    for client, server in pairs:
        client.sendall(b"x")
        server.recv(1)
    host.look()


def deferred_accept(host: Host) -> None:
    """TCP_DEFER_ACCEPT: clients that are connected and have not spoken wait in SYN_RECV, on purpose."""
    listener = socket.socket()
    host.keep(listener)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, TCP_DEFER_ACCEPT, DEFER_SECONDS)
    listener.bind((HOST, PORT))
    listener.listen(128)
    clients = host.connect(PORT, 97)
    host.until_states(syn_recv=97)
    host.look()
    host.rest()
    for client in clients[:23]:
        client.sendall(b"x")
        host.keep(listener.accept()[0])
    host.look()


def short_half_closes(host: Host) -> None:
    """shutdown(SHUT_WR) after each request, and the answer comes."""
    listener = _listener(host)
    for _ in range(3):
        pairs = _pairs(host, listener, 97)
        for client, server in pairs:
            client.sendall(b"request")
            client.shutdown(socket.SHUT_WR)
            server.recv(100)
        host.until_states(close_wait=97)
        host.look()
        for client, server in pairs:
            server.recv(100)
            server.sendall(b"answer")
            server.close()
            client.recv(100)
            client.close()
    host.until_states(close_wait=0)
    host.look()


def burst_that_drains(host: Host) -> None:
    """A full accept queue which the application then empties, again and again."""
    listener = _listener(host, backlog=127)
    for _ in range(3):
        clients = host.connect(PORT, 127)
        host.look()
        for client in clients:
            server, _ = listener.accept()
            client.close()
            server.close()
        host.look()


def short_connections_that_the_client_closes(host: Host) -> None:
    """TIME_WAIT at the client, a small part of its ports."""
    listener = _listener(host)
    for number in itertools.count():
        with socket.create_connection((HOST, PORT)):
            server, _ = listener.accept()
        server.close()
        if number == 997:
            break
    host.look()
    host.look()


SCENES = (
    Scene(name="server_closes_first", play=server_closes_first),
    Scene(name="many_destinations", play=many_destinations),
    Scene(name="idle_pool", play=idle_pool),
    Scene(name="closed_listener", play=closed_listener),
    Scene(name="deferred_accept", play=deferred_accept),
    Scene(name="short_half_closes", play=short_half_closes),
    Scene(name="burst_that_drains", play=burst_that_drains),
    Scene(name="client_closes_first", play=short_connections_that_the_client_closes),
)
