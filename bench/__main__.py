"""Measurements against limits, as a Markdown table.

    python -m bench [--write FILE] [--rounds N] [--sockets FEW MANY] [--held PROCESSES SOCKETS]
                    [--namespaces N] [--scrapes N] [--history LOOKS] [--daemon SECONDS INTERVAL]

All run in one private network namespace and in turns (A B A B), so that what disturbs one disturbs the other; each line
shows the turn with the median ratio. Times are CPU times, user and system, since waiting for a CPU measures others;
only a scrape's is the time that its client waits.
Exit 0 if all are within their limits, 1 if not, 3 if it could not be measured.
"""

import argparse
import compileall
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import sockwatch
from bench.load import Load
from sockwatch.errors import ProvokeError
from sockwatch.lab.namespace import enter_private_network

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
SOCKWATCH = str(Path(sys.executable).with_name("sockwatch"))
CHECK = (SOCKWATCH, "check", "--json")
SS = ("ss", "-Htan")
TENTH = 0.01
"""Seconds below which a tenth of a millisecond is shown."""
NUMPY = (sys.executable, "-c", "import numpy")
PSUTIL = (sys.executable, "-c", "import psutil; psutil.net_connections('tcp')")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a ratio (or an amount) and the most it may be, None where it is only for comparison."""

    what: str
    ours: str
    theirs: str
    ratio: float | None
    shown: str
    limit: float | None

    @property
    def over(self) -> bool:
        """Whether the limit is exceeded."""
        return self.limit is not None and self.ratio is not None and self.ratio > self.limit

    def markdown(self) -> str:
        """The line."""
        limit = "" if self.limit is None else f"{self.limit:g}"
        verdict = "" if self.limit is None else "**over**" if self.over else "ok"
        return f"| {self.what} | {self.ours} | {self.theirs} | {self.shown} | {limit} | {verdict} |"


def compare(
    what: str, ours: Sequence[float], other: str, theirs: Sequence[float], *, limit: float | None = None
) -> Row:
    """The turn whose ratio is the median: what disturbs a turn disturbs both of it. Seconds of each turn are given."""
    turns = sorted(zip(ours, theirs, strict=True), key=lambda turn: turn[0] / turn[1])
    a, b = turns[(len(turns) - 1) // 2]
    return Row(
        what=what,
        ours=f"{a * 1e3:,.0f} ms" if a >= TENTH else f"{a * 1e3:,.1f} ms",
        theirs=f"{other} {b * 1e3:,.0f} ms",
        ratio=a / b,
        shown=f"{a / b:.2f}",
        limit=limit,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ran: seconds of CPU time, and peak resident memory in MB (of 10^6 bytes)."""

    seconds: float
    megabytes: float


def run(command: Sequence[str]) -> Ran:
    """Run a program to its end, with its output thrown away. Raises ProvokeError if it fails.

    The peak counts what the process was before exec as well (exec_mmap, fs/exec.c), so this one must stay small: it
    imports no numpy and keeps no output.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ProvokeError(f"{' '.join(command)}: exit {process.returncode}")
    return Ran(seconds=usage.ru_utime + usage.ru_stime, megabytes=usage.ru_maxrss * 1024 / 1e6)


def answer(*command: str) -> Any:
    """What a program says as JSON. Raises ProvokeError if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise ProvokeError(f"{' '.join(command)}: exit {done.returncode}")
    return json.loads(done.stdout)


def in_turns(rounds: int, *commands: Sequence[str]) -> list[list[Ran]]:
    """Run the commands one after the other, so many times; for each command its runs."""
    runs = [[run(command) for command in commands] for _ in range(rounds)]
    return [list(turn) for turn in zip(*runs, strict=True)]


def turns_of(module: str, rounds: int, number: int) -> dict[str, list[float]]:
    """Seconds of CPU time of each way that a module measures, with so many sockets or namespaces."""
    turns = answer(sys.executable, "-m", module, str(rounds), str(number))
    return {name: [turn[name] for turn in turns] for name in turns[0]}


def measure(rounds: int, few: int, many: int, processes: int, held: int) -> Iterable[Row]:
    """Every line of the table, in the order in which it is measured."""
    yield from compare_owners(rounds, processes, held)
    check, numpy = in_turns(3 * rounds, CHECK, NUMPY)
    yield compare(
        "`sockwatch check`, no sockets", seconds(check), "`python3 -c 'import numpy'`", seconds(numpy), limit=2
    )
    with Load() as load:
        load.grow(few)
        yield from compare_ways(few, turns_of("bench.dump", rounds, few))
        total = answer(*CHECK)["sockets"]["total"]
        if total != few:
            raise ProvokeError(f"the check counts {total} sockets, {few} were opened")
        check, ss = in_turns(rounds, CHECK, SS)
        yield compare(f"`sockwatch check`, {few:,} sockets", seconds(check), "`ss -Htan`", seconds(ss), limit=1.5)
        check, psutil = in_turns(min(rounds, 3), CHECK, PSUTIL)
        yield compare(
            f"`sockwatch check`, {few:,} sockets", seconds(check), "`psutil.net_connections()`", seconds(psutil)
        )
        load.grow(many)
        yield from compare_ways(many, turns_of("bench.dump", rounds, many), judging=0.33, rendering=0.25)
        check, ss = in_turns(min(rounds, 3), CHECK, SS)
        yield compare(f"`sockwatch check`, {many:,} sockets", seconds(check), "`ss -Htan`", seconds(ss))
        peak = max(ran.megabytes for ran in check)
        yield Row(
            what=f"`sockwatch check`, {many:,} sockets: peak memory, MB",
            ours="",
            theirs="",
            ratio=peak,
            shown=f"{peak:.0f}",
            limit=250,
        )


def seconds(runs: Iterable[Ran]) -> list[float]:
    """Their CPU times."""
    return [ran.seconds for ran in runs]


def compare_ways(
    sockets: int, ways: dict[str, list[float]], *, judging: float | None = None, rendering: float | None = None
) -> Iterable[Row]:
    """Reading into columns with counts, against the kernel alone and ss; judging, and metrics, against reading."""
    what = f"read {sockets:,} sockets into columns, count by state, port and peer"
    yield compare(what, ways["dump"], "receive the same dump and drop it", ways["drain"], limit=1.25)
    yield compare(what, ways["dump"], "`ss -Htan`", ways["ss"], limit=1)
    what = f"judge {sockets:,} sockets, all detectors, details of 30,000"
    yield compare(what, ways["judge"], "read them", ways["dump"], limit=judging)
    what = f"make the metrics of {sockets:,} sockets"
    yield compare(what, ways["render"], "read them", ways["dump"], limit=rendering)


def compare_owners(rounds: int, processes: int, held: int) -> Iterable[Row]:
    """Naming holders, against what else does, and a later look against the first (bench.owners)."""
    turns = answer(sys.executable, "-m", "bench.owners", str(rounds), str(processes), str(held))
    ways = {name: [turn[name] for turn in turns] for name in turns[0]}
    there = f"{held:,} sockets of {processes:,} processes"
    pids = f"read {there}, find the pid of each"
    yield compare(pids, ways["pids"], "`psutil.net_connections()`, which gives the same", ways["psutil"], limit=0.5)
    first = f"read {there}, name who holds those of one service"
    yield compare(first, ways["first"], "`ss -Htanp`", ways["ss"])
    yield compare(first, ways["first"], "`lsof -nP -iTCP`", ways["lsof"])
    every = f"read {there}, name who holds each"
    yield compare(every, ways["all"], "`psutil.net_connections()`, pids only", ways["psutil"])
    yield compare(
        "name them at the next look, nothing changed", ways["steady"], "the first walk", ways["walk"], limit=0.05
    )
    yield compare("name them at the next look, with a new socket", ways["new"], "the first walk", ways["walk"])


def compare_namespaces(rounds: int, count: int) -> Iterable[Row]:
    """A look at idle namespaces, against all that is read of others, and against a dump of TCP alone."""
    ways = turns_of("bench.namespaces", min(rounds, 3), count)
    what = f"look at {count:,} idle network namespaces"
    yield compare(f"{what}, as the daemon", ways["poll"], "read them in full", ways["full"], limit=0.2)
    yield compare(f"{what}, as the daemon", ways["poll"], "dump their TCP sockets", ways["dump"])
    yield compare(f"{what} for the first time", ways["first"], "read them in full", ways["full"])


def compare_scrapes(rounds: int, scrapes: int) -> Iterable[Row]:
    """How long 99 % of the scrapes take at most, against node_exporter; and what they leave behind (bench.scrapes)."""
    measured = answer(sys.executable, "-m", "bench.scrapes", str(rounds), str(scrapes))
    what = f"{scrapes:,} scrapes of `sockwatch run` by 4 clients"
    ours, theirs = ([turn[name] for turn in measured["times"]] for name in ("sockwatch", "node_exporter"))
    yield compare(f"{what}: the slowest 1 %", ours, "node_exporter, default collectors", theirs, limit=1)
    for name, unit, limit in (("megabytes", "resident memory, MB", 5.0), ("files", "open descriptors", 0.0)):
        first, last = measured[name]
        yield Row(
            what=f"{what}: growth of {unit}",
            ours=f"{last:.0f}",
            theirs=f"after half of them {first:.0f}",
            ratio=last - first,
            shown=f"{last - first:.1f}",
            limit=limit,
        )


def compare_daemons(rounds: int, seconds: float, interval: float) -> Iterable[Row]:
    """What the daemon takes all the time, against node_exporter (bench.daemon)."""
    measured = answer(sys.executable, "-m", "bench.daemon", str(rounds), f"{seconds:g}", f"{interval:g}")
    ours, theirs = ([turn[name] for turn in measured["times"]] for name in ("sockwatch", "node_exporter"))
    what = f"`sockwatch run`, 10,000 sockets, a look and a scrape every {interval:g} s"
    yield compare(f"{what}: CPU time in {measured['seconds']:g} s", ours, "node_exporter with tcpstat", theirs, limit=1)
    memory = measured["megabytes"]
    yield Row(
        what=f"{what}: resident memory, MB",
        ours=f"most {memory['most']:.0f}",
        theirs=f"node_exporter with tcpstat {memory['node_exporter']:.0f}",
        ratio=memory["sockwatch"],
        shown=f"{memory['sockwatch']:.0f}",
        limit=80,
    )


def measure_history(looks: int) -> Iterable[Row]:
    """What the history takes on the disk, and what keeping one look costs (bench.history)."""
    measured = answer(sys.executable, "-m", "bench.history", str(looks))
    megabytes, write = measured["bytes"] / 1e6, measured["write"]
    yield Row(
        what=f"{looks * 10 / 3600:g} hours of history, 500 series every 10 s: MB on the disk",
        ours="",
        theirs="",
        ratio=megabytes,
        shown=f"{megabytes:.0f}",
        limit=100,
    )
    chart = f"chart the states over all of it {measured['chart'] * 1e3:,.0f} ms"
    yield Row(
        what="keep one look of 500 series", ours=f"{write * 1e3:.1f} ms", theirs=chart, ratio=None, shown="", limit=None
    )


def machine() -> str:
    """What it was measured on, in one sentence."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return (
        f"Measured {time.strftime('%Y-%m-%d')} on {model[1] if model else platform.machine()}, {os.cpu_count()} CPUs, "
        f"Linux {os.uname().release}, Python {platform.python_version()}, numpy {version('numpy')}."
    )


def write(path: Path, table: str) -> None:
    """Put the table between the markers of a file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Measure, print, and say whether all is within its limits."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure sockwatch against its limits.")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the table between the markers of this file, too"
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each is run (default 7)")
    parser.add_argument("--sockets", type=int, nargs=2, metavar=("FEW", "MANY"), default=(200_000, 1_000_000))
    parser.add_argument("--held", type=int, nargs=2, metavar=("PROCESSES", "SOCKETS"), default=(500, 20_000))
    parser.add_argument("--namespaces", type=int, default=500, help="how many network namespaces (default 500)")
    parser.add_argument("--scrapes", type=int, default=10_000, help="how many of each server (default 10,000)")
    parser.add_argument("--history", type=int, default=8640, metavar="LOOKS", help="how many (default 8640, 24 hours)")
    parser.add_argument(
        "--daemon", type=float, nargs=2, metavar=("SECONDS", "INTERVAL"), default=(60.0, 10.0), help="default 60 10"
    )
    options = parser.parse_args()
    table = [machine(), "", "| measured | sockwatch | compared with | ratio | limit | |", "|---|---|---|---|---|---|"]
    print("\n".join(table))
    over = False
    compileall.compile_dir(Path(sockwatch.__file__).parent, quiet=1)  # as an installed package is
    try:
        enter_private_network()
        rows = measure(options.rounds, *options.sockets, *options.held)
        scrapes = compare_scrapes(options.rounds, options.scrapes)
        history = measure_history(options.history)
        namespaces = compare_namespaces(options.rounds, options.namespaces)
        daemons = compare_daemons(min(options.rounds, 2), *options.daemon)
        for row in chain(namespaces, scrapes, daemons, history, rows):
            print(row.markdown(), flush=True)
            table.append(row.markdown())
            over = over or row.over
    except (ProvokeError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    if options.write:
        write(options.write, "\n".join(table))
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
