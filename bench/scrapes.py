"""Run as a program: 4 clients scrape `sockwatch run` and node_exporter in turns; the time of the slowest 1 % as JSON.

Each client is a process with one connection that it keeps, and asks with the headers of Prometheus. Both servers run in
a private network namespace with 10,000 sockets, node_exporter with its default collectors, sockwatch with its default
config, so that looks fall between scrapes. Arguments: turns, scrapes of each in all. Any answer but 200 ends it.
`megabytes` and `files` are the daemon's resident memory and descriptors after half of the turns and at the end: in its
first minutes it grows without any scrape, as its history does.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.load import Load
from sockwatch.errors import ProvokeError
from sockwatch.lab.namespace import enter_private_network

CLIENTS = 4
SOCKETS = 10_000
ADDRESS = "127.0.0.1"
SOCKWATCH_PORT, EXPORTER_PORT = 10147, 9100
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
READY_SECONDS = 60.0


def scrape(connection: http.client.HTTPConnection) -> float:
    """Seconds from the request to the last byte of the page. Raises ProvokeError if there is none."""
    began = time.perf_counter()
    connection.request("GET", "/metrics", headers=HEADERS)
    answer = connection.getresponse()
    page = answer.read()
    took = time.perf_counter() - began
    if answer.status != http.HTTPStatus.OK or not page:
        raise ProvokeError(f"port {connection.port} answered {answer.status}")
    return took


def client(port: int, scrapes: int, results: int) -> None:
    """So many scrapes over one connection."""
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=READY_SECONDS)
    times = [scrape(connection) for _ in range(scrapes)]
    with os.fdopen(results, "w", encoding="ascii") as file:
        json.dump(times, file)


def slowest(port: int, scrapes: int) -> float:
    """Seconds that 99 % of so many scrapes by all clients together do not exceed."""
    times: list[float] = []
    started: list[tuple[int, int]] = []
    for _ in range(CLIENTS):
        theirs, results = os.pipe()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                client(port, scrapes // CLIENTS, results)
                code = 0
            finally:
                os._exit(code)
        os.close(results)
        started.append((pid, theirs))
    for pid, theirs in started:
        with os.fdopen(theirs, encoding="ascii") as file:
            said = file.read()
        if os.waitpid(pid, 0)[1]:
            raise ProvokeError(f"a client of port {port} failed")
        times += json.loads(said)
    return sorted(times)[int(len(times) * 0.99)]


@contextmanager
def server(command: Sequence[str], port: int, path: str, state: str) -> Iterator[int]:
    """Its pid, once it is ready."""
    environment = os.environ | {"STATE_DIRECTORY": state}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            wait_for(process, port, path)
            yield process.pid
        finally:
            process.terminate()


def wait_for(process: subprocess.Popen[bytes], port: int, path: str) -> None:
    """Return as soon as it is answered with 200. Raises ProvokeError."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection(ADDRESS, port, timeout=READY_SECONDS)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise ProvokeError(f"{process.args!r} does not answer on port {port}")


def megabytes(pid: int, field: str = "VmRSS") -> float:
    """Resident memory, in MB of 10^6 bytes; with VmHWM the most that it ever was."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith(field))
    return int(kilobytes) * 1024 / 1e6


def files(pid: int) -> int:
    """Open descriptors."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main(turns: int, scrapes: int) -> None:
    """Measure and print."""
    enter_private_network()
    sockwatch = str(Path(sys.executable).with_name("sockwatch"))
    ours = (sockwatch, "run", f"--web.listen-address={ADDRESS}:{SOCKWATCH_PORT}")
    theirs = ("prometheus-node-exporter", f"--web.listen-address={ADDRESS}:{EXPORTER_PORT}")
    times: list[dict[str, float]] = []
    memory: list[float] = []
    opened: list[int] = []
    with Load() as load, tempfile.TemporaryDirectory() as state:
        load.grow(SOCKETS)
        with (
            server(ours, SOCKWATCH_PORT, "/-/ready", state) as pid,
            server(theirs, EXPORTER_PORT, "/metrics", state),
        ):
            for _ in range(turns):
                each = scrapes // turns
                times.append(
                    {"sockwatch": slowest(SOCKWATCH_PORT, each), "node_exporter": slowest(EXPORTER_PORT, each)}
                )
                memory.append(megabytes(pid))
                opened.append(files(pid))
    half = (turns - 1) // 2
    print(json.dumps({"times": times, "megabytes": [memory[half], memory[-1]], "files": [opened[half], opened[-1]]}))


if __name__ == "__main__":
    try:
        main(*(int(argument) for argument in sys.argv[1:]))
    except (ProvokeError, OSError) as error:
        raise SystemExit(f"bench.scrapes: {error}") from None
