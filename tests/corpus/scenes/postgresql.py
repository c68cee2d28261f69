"""PostgreSQL, pgbench and psql."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from corpus.host import Host, Program, Scene

PORT = 5432
NOBODY = 65534
SERVERS = "/usr/lib/postgresql/*/bin/"
"""Debian has a folder for each version."""
ADDRESS = ("-h", "127.0.0.1", "-p", str(PORT), "-U", "postgres")


def _program(name: str) -> str:
    return str(max(Path("/").glob(f"{SERVERS[1:]}{name}")))


def start(host: Host) -> Program:
    """A server with an empty database, run by nobody where the scene is run by root, whom it refuses."""
    data = host.folder / "data"
    data.mkdir()
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        host.folder.chmod(0o755)
        os.chown(data, NOBODY, NOBODY)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    host.run(_program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", **user)
    options = ("-k", "", "-h", "127.0.0.1", "-p", str(PORT))
    return host.start(_program("postgres"), "-D", str(data), *options, listens=PORT, **user)


def _psql(host: Host, count: int) -> None:
    """Clients that are connected and wait for somebody to type."""
    for _ in range(count):
        host.start("psql", *ADDRESS, "-q", "postgres", stdin=subprocess.PIPE)
    host.until_states(established=2 * count)


def idle_pool(host: Host) -> None:
    """Connections that do nothing."""
    start(host)
    _psql(host, 11)
    host.look()
    host.rest()
    host.look()


def benchmark(host: Host) -> None:
    """pgbench on kept connections, then with a connection a transaction."""
    start(host)
    host.run("pgbench", *ADDRESS, "-i", "-q", "-s", "1", "postgres")
    for options in ((), ("-C",)):
        load = host.start("pgbench", *ADDRESS, "-S", "-n", "-c", "7", "-T", "2", *options, "postgres")
        host.until_states(established=2)
        host.look()
        host.look()
        load.wait()
    host.look()


def stopped_under_clients(host: Host) -> None:
    """A fast shutdown sends a farewell and a FIN; psql reads neither while it waits for somebody to type."""
    server = start(host)
    _psql(host, 3)
    server.send_signal(signal.SIGINT)  # the fast way; SIGTERM waits for the clients
    host.until_states(close_wait=3)
    time.sleep(1)
    host.until_found("close_wait_leak/data_unread")


PROGRAMS = (f"{SERVERS}postgres", "psql", "pgbench")
SCENES = (
    Scene(name="postgresql_idle_pool", play=idle_pool, programs=PROGRAMS),
    Scene(name="postgresql_benchmark", play=benchmark, programs=PROGRAMS),
    Scene(name="postgresql_stopped_under_clients", play=stopped_under_clients, programs=PROGRAMS),
)
