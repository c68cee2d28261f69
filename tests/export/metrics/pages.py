"""Polls with plausible defaults, and their pages read back by the library's own parsers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from builders import namespace, process, snapshot, socket
from reports import OWNERS_GAP, effort, failed as failed_report, leak, note, overflow, report
from sockwatch.export.metrics.exposition import Exposition
from sockwatch.export.metrics.kernel_counters import COUNTERS
from sockwatch.export.metrics.page import render
from sockwatch.model.poll import Poll
from sockwatch.model.report import BudgetUse, Outcome, PeerCount, Report, Result
from sockwatch.model.settings import MetricsSettings
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.state import State

Series = dict[tuple[tuple[str, str], ...], float]
"""By the sorted labels."""

CLEAN = ("accept_queue_overflow", "close_wait_leak", "time_wait_buildup", "self_connect")


def outcomes(**others: Result) -> tuple[Outcome, ...]:
    """How some detectors ended."""
    every = dict.fromkeys(CLEAN, Result.CLEAN) | others
    return tuple(Outcome(code=code, result=result) for code, result in every.items())


def poll(look: Snapshot | None, said: Report | None = None, **fields: Any) -> Poll:
    """One poll of 0.25 s, every 10 s."""
    defaults: dict[str, Any] = {
        "number": 7,
        "time": 1_700_000_000.5,
        "monotonic": 5000.0,
        "ended": 5000.25,
        "interval": 10.0,
        "report": report(outcomes=outcomes()) if said is None else said,
        "snapshot": look,
    }
    return Poll(**(defaults | fields))


def failed() -> Poll:
    """The kernel refused the dump."""
    return poll(None, failed_report())


def page(look: Snapshot, said: Report | None = None, **settings: int) -> Exposition:
    """The page of one poll."""
    return render(poll(look, said), MetricsSettings(**settings))


def read_openmetrics(openmetrics: bytes) -> list[Metric]:
    """What the library's OpenMetrics parser finds."""
    return list(parse_openmetrics(openmetrics.decode()))  # type: ignore[no-untyped-call] # it has no types


@lru_cache(maxsize=4)
def families(exposition: Exposition) -> Mapping[str, Metric]:
    """The page as the text parser reads it; the OpenMetrics parser must read the same."""
    text = {metric.name: metric for metric in parse_text(exposition.text.decode())}
    openmetrics = {metric.name: metric for metric in read_openmetrics(exposition.openmetrics)}
    assert {name: metric.samples for name, metric in text.items()} == {
        name: metric.samples for name, metric in openmetrics.items()
    }
    return text


def series(exposition: Exposition, name: str) -> Series:
    """Every series of one metric by its labels; empty where the metric is absent."""
    found: Series = {}
    for metric in families(exposition).values():
        for sample in metric.samples:
            if sample.name == name:
                labels = tuple(sorted(sample.labels.items()))
                assert labels not in found, f"{name}{sample.labels} twice"
                found[labels] = sample.value
    return found


def value(exposition: Exposition, name: str, **labels: str) -> float | None:
    """One series; None where it is absent."""
    return series(exposition, name).get(tuple(sorted(labels.items())))


def counted(exposition: Exposition, name: str) -> int:
    """How many series a metric has."""
    return len(series(exposition, name))


def total(exposition: Exposition, name: str, **labels: str) -> float:
    """The sum over the series with these labels."""
    wanted = set(labels.items())
    return sum(number for found, number in series(exposition, name).items() if wanted <= set(found))


def every_counter() -> Mapping[str, int]:
    """Each counter that is exported, each with a value of its own, and those of the whole host."""
    host = {"sockstat.TCP.orphan": 3, "sockstat.TCP.alloc": 29, "sockstat.TCP.mem": 2}
    return {key: 100 + number for number, key in enumerate(COUNTERS)} | host


def rich() -> Poll:
    """Something of everything: two namespaces, both families, each kind of finding, budgets and peers."""
    nginx = process(900, "nginx", unit="nginx.service")
    app = process(812, "app", unit="app.service")
    rows = [
        socket(State.LISTEN, "0.0.0.0:80", recv_q=129, send_q=128, inode=1),
        socket(State.LISTEN, "[::]:443", recv_q=0, send_q=511, inode=2),
        *(socket(State.CLOSE_WAIT, "10.0.0.1:8080", f"10.0.0.9:{40001 + i}", inode=10 + i) for i in range(23)),
        *(socket(State.TIME_WAIT, "10.0.0.1:80", f"10.0.0.9:{50001 + i}") for i in range(5)),
        socket(State.ESTABLISHED, "[2001:db8::1]:443", "[2001:db8::2]:50000", inode=3),
        socket(State.BOUND, "10.0.0.1:7000", inode=4),
        socket(State.ESTABLISHED, "10.1.0.1:80", "10.1.0.9:40000", inode=5, netns=1),
    ]
    counters = every_counter()
    inside = replace(namespace("web", counters=counters), inode=4026532281, initial=False)
    host = namespace(counters=counters, tcp_max_orphans="131072", tcp_mem="1 2 300")
    look = snapshot(
        *rows,
        namespaces=[host, inside],
        holders={1: [nginx], 2: [nginx], 3: [nginx], **{10 + i: [app] for i in range(23)}},
    )
    said = report(
        overflow(),
        leak(),
        note(),
        gaps=[OWNERS_GAP],
        effort=effort(),
        by_state={State.CLOSE_WAIT: 23},
        outcomes=outcomes(conntrack_pressure=Result.NO_DATA, dead_peer=Result.FAILED),
        budgets=(
            BudgetUse(
                netns="host",
                source="10.0.0.1",
                destination="10.0.0.9:5432",
                used=21174,
                usable=28232,
                seconds_left=240.5,
            ),
            BudgetUse(netns="web", source="10.1.0.1", destination="*", used=7058, usable=28232),
        ),
        peers=(
            PeerCount(netns="host", local="10.0.0.1:8080", peer="10.0.0.9:*", state=State.CLOSE_WAIT, count=23),
            PeerCount(netns="host", local="10.0.0.1:8080", peer="10.0.0.9:*", state=State.LAST_ACK, count=2),
        ),
    )
    return poll(look, said)


def namespaces(count: int) -> Sequence[Namespace]:
    """The initial one, and others named n001 and so on."""
    others = (replace(namespace(f"n{i:03}"), inode=i, initial=False) for i in range(1, count))
    return (namespace(), *others)
