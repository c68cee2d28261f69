"""Redis and its clients."""

import time

from corpus.host import Host, Scene

PORT = 6379


def start(host: Host, *options: str) -> None:
    """redis-server that saves nothing."""
    host.start("redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--save", "", *options, listens=PORT)


def idle_pool(host: Host) -> None:
    """A pool that has said something once."""
    start(host)
    for client in host.connect(PORT, 53):
        client.sendall(b"PING\r\n")
        client.recv(100)
    host.look()
    host.rest()
    host.look()


def benchmark(host: Host) -> None:
    """Many requests on few connections, then a connection a request."""
    start(host)
    for options in (("-n", "100003"), ("-n", "2003", "-k", "0")):
        load = host.start("redis-benchmark", "-p", str(PORT), "-q", "-c", "23", "-t", "get", *options)
        host.look()
        host.look()
        load.wait()
    host.look()


def stale_pool(host: Host) -> None:
    """`timeout 1`: the server closes idle clients, whose pool does not notice."""
    start(host, "--timeout", "1")
    host.connect(PORT, 23)
    host.until_states(close_wait=23)
    time.sleep(1)
    host.until_found("close_wait_leak/fin_not_seen")


SCENES = (
    Scene(name="redis_idle_pool", play=idle_pool, programs=("redis-server",)),
    Scene(name="redis_benchmark", play=benchmark, programs=("redis-server", "redis-benchmark")),
    Scene(name="redis_stale_pool", play=stale_pool, programs=("redis-server",)),
)
