"""Run as a program: keep looks with 500 series, one every 10 s, as fast as it goes; what that takes, as JSON.

Argument: how many looks. Nearly all values differ from look to look, which is the most that can be to keep. `bytes` is
the store with all that SQLite has beside it, `write` and `chart` are seconds of CPU time: for one look, rollups and
bounds included, and for a chart of all of it.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sockwatch.export.history.database import Database
from sockwatch.export.history.reader import History
from sockwatch.export.history.samples import RATES, Look, samples
from sockwatch.model.report import BudgetUse, NamespaceCounts, Report, Status
from sockwatch.model.settings import HistorySettings
from sockwatch.model.snapshot import Namespace
from sockwatch.model.state import State

SERIES = 500
INTERVAL = 10.0
BEGAN = 1_700_000_000.0
NAMESPACES, BUDGETS = 20, 65
_DIFFERENT = 64


def reports() -> Iterator[Report]:
    """Without end: counts, counters and budgets that wander."""
    wander = random.Random(23)  # noqa: S311 - any numbers will do
    names = ["host", *(f"net:[{4026532000 + i}]" for i in range(1, NAMESPACES))]
    counters = {name: dict.fromkeys(RATES, 0) for name in names}
    while True:
        spaces: list[NamespaceCounts] = []
        for name in names:
            counters[name] = {counter: value + wander.randrange(5_000) for counter, value in counters[name].items()}
            namespace = Namespace(
                name=name, inode=len(spaces), initial=name == "host", lists_bound=True, counters=counters[name]
            )
            by_state = {state: wander.randrange(20_000) for state in State}
            spaces.append(NamespaceCounts(namespace=namespace, total=sum(by_state.values()), by_state=by_state))
        total = {state: sum(space.by_state[state] or 0 for space in spaces) for state in State}
        yield Report(
            time=BEGAN,
            host="bench",
            kernel="bench",
            status=Status.OK,
            total=sum(total.values()),
            by_state=total,
            namespaces=tuple(spaces),
            budgets=tuple(
                BudgetUse(
                    netns="host",
                    source="10.0.0.1",
                    destination=f"10.0.1.{i}:443",
                    used=wander.randrange(28_232),
                    usable=28_232,
                )
                for i in range(BUDGETS)
            ),
        )


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1])
    made = reports()
    several = [next(made) for _ in range(_DIFFERENT)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        database = Database(path, HistorySettings(max_bytes=1 << 40))
        spent = 0.0
        look = None
        for number in range(count):
            before = look
            passed = number * INTERVAL
            report = several[number % _DIFFERENT]
            look = Look(time=BEGAN + passed, monotonic=passed, interval=INTERVAL, success=True, report=report)
            if number == 1 and len(samples(look, before)) != SERIES:
                sys.exit(f"{len(samples(look, before))} series, not {SERIES}")
            began = time.process_time()
            database.write(look)
            database.tidy(look)
            spent += time.process_time() - began
        taken = database.bytes_used()
        began = time.process_time()
        History(path).counts(BEGAN, BEGAN + count * INTERVAL)
        chart = time.process_time() - began
        database.close()
    print(json.dumps({"bytes": taken, "write": spent / count, "chart": chart}))


if __name__ == "__main__":
    main()
