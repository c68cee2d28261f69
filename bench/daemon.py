"""Run as a program: what `sockwatch run` and node_exporter with tcpstat cost over the same time, as JSON.

Both run in a private network namespace with 10,000 sockets and are scraped every INTERVAL seconds, which is how often
sockwatch looks. Both look at this namespace alone, as node_exporter always does; otherwise they have their defaults.
Arguments: turns, seconds of each, INTERVAL. The daemon asks for holders once a minute, so a turn should be a multiple
of that. CPU times are those of all threads (utime and stime of /proc/PID/stat), from one scrape to the last, after both
have run for a look or two. `megabytes` is the daemon's resident memory at the end, the most that it ever was, and
node_exporter's.
"""

import http.client
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.load import Load
from bench.scrapes import ADDRESS, EXPORTER_PORT, READY_SECONDS, SOCKETS, SOCKWATCH_PORT, megabytes, scrape, server
from sockwatch.errors import ProvokeError
from sockwatch.lab.namespace import enter_private_network

WARM_LOOKS = 2
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, in the kernel's ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main(turns: int, seconds: float, interval: float) -> None:
    """Measure and print."""
    enter_private_network()
    sockwatch = str(Path(sys.executable).with_name("sockwatch"))
    theirs = (
        "prometheus-node-exporter",
        "--collector.tcpstat",
        f"--web.listen-address={ADDRESS}:{EXPORTER_PORT}",
    )
    with Load() as load, tempfile.TemporaryDirectory() as state:
        load.grow(SOCKETS)
        config = Path(state, "config.toml")
        config.write_text(f'[poll]\ninterval = {interval}\nnamespaces = "current"\n', encoding="ascii")
        ours = (
            sockwatch,
            "run",
            f"--config={config}",
            f"--web.listen-address={ADDRESS}:{SOCKWATCH_PORT}",
        )
        with (
            server(ours, SOCKWATCH_PORT, "/-/ready", state) as daemon,
            server(theirs, EXPORTER_PORT, "/metrics", state) as exporter,
        ):
            pids = {"sockwatch": daemon, "node_exporter": exporter}
            clients = [
                http.client.HTTPConnection(ADDRESS, port, timeout=READY_SECONDS)
                for port in (SOCKWATCH_PORT, EXPORTER_PORT)
            ]

            def scrape_for(looks: int) -> dict[str, float]:
                """Seconds of CPU time of each, while it is scraped so many times."""
                before = {name: cpu_seconds(pid) for name, pid in pids.items()}
                for _ in range(looks):
                    time.sleep(interval)
                    for client in clients:
                        scrape(client)
                return {name: max(cpu_seconds(pid) - before[name], 1 / TICKS) for name, pid in pids.items()}

            scrape_for(WARM_LOOKS)
            looks = round(seconds / interval)
            times = [scrape_for(looks) for _ in range(turns)]
            memory = {
                "sockwatch": megabytes(daemon),
                "most": megabytes(daemon, "VmHWM"),
                "node_exporter": megabytes(exporter),
            }
    print(json.dumps({"times": times, "seconds": looks * interval, "megabytes": memory}))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
    except (ProvokeError, OSError) as error:
        raise SystemExit(f"bench.daemon: {error}") from None
