"""nginx, as a server and as a proxy, with ab as its clients."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from corpus.host import Host, Program, Scene

PORT, UPSTREAM = 8080, 8081
URL = f"http://127.0.0.1:{PORT}/"
HELLO = 'return 200 "hello";'
PROXY_CLOSES_FIRST = f'proxy_pass http://127.0.0.1:{UPSTREAM}; proxy_http_version 1.1; proxy_set_header Connection "";'
CONFIGURATION = """
daemon off;
user root;
worker_processes 2;
worker_shutdown_timeout 60s;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    {http}
}}
"""


def server(inside: str = HELLO, *, listen: str = f"127.0.0.1:{PORT} backlog=511") -> str:
    """A server block that answers, or does something else."""
    return f"server {{ listen {listen}; location / {{ {inside} }} }}"


def start(host: Host, *blocks: str) -> Program:
    """nginx with these blocks in its http block."""
    configuration = host.write("nginx.conf", CONFIGURATION.format(folder=host.folder, http="\n".join(blocks)))
    return host.start("nginx", "-p", str(host.folder), "-c", str(configuration), listens=PORT)


@contextmanager
def load(host: Host, *options: str, requests: int, clients: int = 23) -> Iterator[None]:
    """ab in the meantime."""
    load = host.start("ab", "-q", "-r", *options, "-c", str(clients), "-n", str(requests), URL)
    yield
    load.wait()


def idle(host: Host) -> None:
    """Nobody there."""
    start(host, server())
    host.look()
    host.look()


def short_connections(host: Host) -> None:
    """One connection a request; the server closes."""
    start(host, server())
    with load(host, requests=4001):
        for _ in range(3):
            host.look()
    host.look()


def keepalive(host: Host) -> None:
    """Clients that keep their connections."""
    start(host, server(), "keepalive_requests 100000;")
    idle_ones = host.connect(PORT, 97)
    with load(host, "-k", requests=20_011):
        for _ in range(3):
            host.look()
    for one in idle_ones:
        one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    host.look()


def proxy(host: Host) -> None:
    """A connection to the upstream server for each request, and nothing is wrong with that on loopback."""
    upstream = server(listen=f"127.0.0.1:{UPSTREAM} backlog=511")
    start(host, upstream, server(PROXY_CLOSES_FIRST))
    with load(host, requests=4001):
        for _ in range(4):
            host.look()
    host.look()


def proxy_with_pool(host: Host) -> None:
    """Connections to the upstream server are kept."""
    pool = f"upstream app {{ server 127.0.0.1:{UPSTREAM}; keepalive 32; }}"
    inside = 'proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";'
    start(host, server(listen=f"127.0.0.1:{UPSTREAM} backlog=511"), pool, server(inside))
    with load(host, "-k", requests=20_011):
        for _ in range(4):
            host.look()
    host.look()


def deferred(host: Host) -> None:
    """`listen ... deferred`: connections that do not speak stay in SYN_RECV."""
    start(host, server(listen=f"127.0.0.1:{PORT} deferred"))
    host.connect(PORT, 97)
    host.until_states(syn_recv=97)
    with load(host, requests=2003):
        host.look()
    host.look()


def reload(host: Host) -> None:
    """The configuration is read again; old workers serve the connections they have."""
    process = start(host, server())
    clients = host.connect(PORT, 97)
    for client in clients:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")  # not complete: the worker waits for the rest
    with load(host, requests=5003):
        process.send_signal(signal.SIGHUP)
        host.look()
    host.rest()
    host.look()
    for client in clients:
        client.sendall(b"\r\n")
        client.recv(1)
    host.look()


def restart(host: Host) -> None:
    """Stopped under load and started again, as an update does it."""
    process = start(host, server())
    with load(host, requests=4001):
        host.look()
        process.send_signal(signal.SIGTERM)
        process.wait()
        start(host, server())
        host.look()
    host.look()


def stopped_workers(host: Host) -> None:
    """Workers that hang do not accept; the backlog is small."""
    process = start(host, server(listen=f"127.0.0.1:{PORT} backlog=22"))
    os.killpg(process.pid, signal.SIGSTOP)
    host.connect(PORT, 23)
    for _ in range(7):
        late = socket.socket()
        late.settimeout(0)
        late.connect_ex(("127.0.0.1", PORT))
        host.keep(late)
    host.until_found("accept_queue_overflow/application_backlog", "connect_unanswered")


def proxy_out_of_ports(host: Host) -> None:
    """Each request costs a source port for a minute where tcp_tw_reuse is off, and there are 97 of them."""
    host.sysctl("net.ipv4.tcp_tw_reuse", "0")
    host.sysctl("net.ipv4.ip_local_port_range", "20000 20096")
    upstream = server(listen=f"127.0.0.1:{UPSTREAM} backlog=511")
    start(host, upstream, server(PROXY_CLOSES_FIRST))
    answer = b""
    while b"502 Bad Gateway" not in answer:
        with socket.create_connection(("127.0.0.1", PORT)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(partial(client.recv, 1000), b""))  # to the end: nginx closes first
    host.until_found("port_exhaustion/connect_budget", "time_wait_buildup/client_ports")


def stale_pool(host: Host) -> None:
    """nginx closes idle connections after a second; the client's pool does not notice."""
    start(host, server(), "keepalive_timeout 1s;")
    for client in host.connect(PORT, 23):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while not received.endswith(b"hello"):
            received += client.recv(1000)
    host.until_states(close_wait=23)
    time.sleep(1)
    host.until_found("close_wait_leak/fin_not_seen")


NGINX, AB = ("nginx",), ("nginx", "ab")
SCENES = (
    Scene(name="nginx_idle", play=idle, programs=NGINX),
    Scene(name="nginx_short_connections", play=short_connections, programs=AB),
    Scene(name="nginx_keepalive", play=keepalive, programs=AB),
    Scene(name="nginx_proxy", play=proxy, programs=AB),
    Scene(name="nginx_proxy_with_pool", play=proxy_with_pool, programs=AB),
    Scene(name="nginx_deferred", play=deferred, programs=AB),
    Scene(name="nginx_reload", play=reload, programs=AB),
    Scene(name="nginx_restart", play=restart, programs=AB),
    Scene(name="nginx_stopped_workers", play=stopped_workers, programs=NGINX),
    Scene(name="nginx_proxy_out_of_ports", play=proxy_out_of_ports, programs=NGINX),
    Scene(name="nginx_stale_pool", play=stale_pool, programs=NGINX),
)
