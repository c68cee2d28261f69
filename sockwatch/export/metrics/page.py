"""The page of one poll."""

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from math import isnan

from prometheus_client.core import Metric

from sockwatch import __version__
from sockwatch.export.metrics import catalog
from sockwatch.export.metrics.exposition import Exposition, expose
from sockwatch.export.metrics.family import Family, Row
from sockwatch.export.metrics.folding import LEAST_CAP, Folded, Labels
from sockwatch.export.metrics.kernel_counters import kernel_counters
from sockwatch.export.metrics.labels import OTHER, label
from sockwatch.export.metrics.namespaces import Namespaces, choose_namespaces
from sockwatch.export.metrics.socket_counts import (
    FAMILIES,
    listener_counts,
    process_counts,
    queue_ratios,
    socket_counts,
    spread,
)
from sockwatch.export.metrics.watched import CLOSING, budget_ratios, peer_counts
from sockwatch.model.effort import Step
from sockwatch.model.finding import Severity
from sockwatch.model.poll import Poll
from sockwatch.model.report import Report, Result
from sockwatch.model.settings import MetricsSettings
from sockwatch.model.snapshot import Namespace, Snapshot
from sockwatch.model.state import State

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def render(poll: Poll, settings: MetricsSettings, more: Iterable[Metric] = ()) -> Exposition:
    """Everything that this poll tells, and `more` after it.

    A poll that failed tells only about itself: what it could not see is absent, and Prometheus marks it stale.
    """
    metrics = [*_about_the_poll(poll), *_verdicts(poll.report, settings)]
    if poll.snapshot is not None:
        metrics += _Look(poll.snapshot, poll.report, settings).metrics()
    return expose([*(metric for metric in metrics if metric.samples), *map(_safe, more)])


def _about_the_poll(poll: Poll) -> Iterator[Metric]:
    yield catalog.BUILD_INFO.fill([((__version__, label(platform.python_version()), label(poll.report.kernel)), 1.0)])
    yield catalog.POLL_SUCCESS.fill([((), float(poll.success))])
    yield catalog.POLL_DURATION.fill([((), poll.took)])
    yield catalog.POLL_STAGE_DURATION.fill(
        ((label(stage),), milliseconds / 1e3) for stage, milliseconds in sorted(poll.report.timings_ms.items())
    )
    yield catalog.POLL_TIMESTAMP.fill([((), poll.time)])
    yield catalog.POLL_INTERVAL.fill([((), poll.interval)])
    yield catalog.POLLS.fill([((), float(poll.number))])
    effort = poll.report.effort
    if effort is not None:
        yield catalog.POLL_CPU.fill([((), effort.cpu_seconds)])
        yield catalog.POLL_REDUCED.fill(((step.label,), float(step in effort.steps)) for step in Step)


def _verdicts(report: Report, settings: MetricsSettings) -> Iterator[Metric]:
    yield catalog.GAPS.fill(_gaps(report, max(settings.max_series, LEAST_CAP)))
    yield catalog.DETECTOR_SUCCESS.fill(
        ((outcome.code,), float(outcome.result is not Result.FAILED)) for outcome in report.outcomes
    )
    judged = [o.code for o in report.outcomes if o.result in {Result.FINDINGS, Result.CLEAN}]
    zero = {(code, severity.value): 0.0 for code in judged for severity in Severity}
    findings, sockets, oldest = dict(zero), dict(zero), dict[Labels, float]()
    for finding in report.findings:
        key = (finding.code, finding.severity.value)
        findings[key] = findings.get(key, 0.0) + 1
        sockets[key] = sockets.get(key, 0.0) + finding.count
        if finding.oldest_seconds is not None:
            oldest[key] = max(oldest.get(key, 0.0), finding.oldest_seconds)
    yield catalog.FINDINGS.fill(findings.items())
    yield catalog.FINDING_SOCKETS.fill(sockets.items())
    yield catalog.FINDING_OLDEST.fill(oldest.items())


def _gaps(report: Report, most: int) -> Iterator[Row]:
    counts: dict[str, int] = {}
    for gap in report.gaps:
        what = label(gap.what)
        if what not in counts and len(counts) >= most - 1:
            what = OTHER
        counts[what] = counts.get(what, 0) + gap.count
    yield from (((what,), float(count)) for what, count in sorted(counts.items()))


class _Look:
    """What the sockets, counters and sysctls of one look tell."""

    def __init__(self, snapshot: Snapshot, report: Report, settings: MetricsSettings) -> None:
        self._snapshot = snapshot
        self._report = report
        self._settings = settings
        self._folded: dict[str, int] = {}
        width = len(FAMILIES) * len(State)
        most = min(settings.namespaces, max(settings.max_series, LEAST_CAP) // width - 1)
        self._namespaces = choose_namespaces(snapshot, most)

    def metrics(self) -> Iterator[Metric]:
        snapshot, namespaces, settings = self._snapshot, self._namespaces, self._settings
        yield catalog.NAMESPACES.fill([((), float(len(snapshot.namespaces)))])
        yield catalog.SOCKETS.fill(socket_counts(snapshot, namespaces).items())
        self._folded[catalog.SOCKETS.name] = namespaces.others * len(FAMILIES) * len(State)
        yield self._by_state(catalog.LISTENER_SOCKETS, listener_counts(snapshot, namespaces, settings))
        yield self._single(catalog.LISTENER_QUEUE_RATIO, queue_ratios(snapshot, namespaces, settings))
        yield self._by_state(catalog.PROCESS_SOCKETS, process_counts(snapshot, settings))
        used, left = budget_ratios(self._report.budgets, namespaces, settings)
        yield self._single(catalog.PORT_BUDGET_USED_RATIO, used)
        yield self._single(catalog.PORT_BUDGET_LEFT, left)
        yield self._by_state(catalog.PEER_SOCKETS, peer_counts(self._report.peers, namespaces, settings), CLOSING)
        yield from kernel_counters(namespaces)
        yield from _host_figures(snapshot)
        yield from _limits(namespaces)
        yield catalog.SERIES_FOLDED.fill(((name,), float(count)) for name, count in sorted(self._folded.items()))

    def _by_state(self, family: Family, folded: Folded, states: Iterable[State] = State) -> Metric:
        self._folded[family.name] = folded.series
        return family.fill(spread(folded.shown, states).items())

    def _single(self, family: Family, folded: Folded) -> Metric:
        self._folded[family.name] = folded.series
        rows = ((labels, float(numbers[0])) for labels, numbers in folded.shown)
        return family.fill((labels, number) for labels, number in rows if not isnan(number))


def _host_figures(snapshot: Snapshot) -> Iterator[Metric]:
    """What the kernel counts once for all namespaces, and shows in each (sockstat_seq_show, net/ipv4/proc.c)."""
    every = sorted(snapshot.namespaces, key=lambda namespace: not namespace.initial)
    if not every:
        return
    host = every[0]
    counters = host.counters
    most_memory = [int(pages) for pages in host.sysctls.get("net.ipv4.tcp_mem", "").split()[2:] if pages.isdecimal()]
    figures = {
        catalog.TCP_ORPHANS: counters.get("sockstat.TCP.orphan"),
        catalog.TCP_SOCKETS_ALLOCATED: counters.get("sockstat.TCP.alloc"),
        catalog.TCP_MEMORY: _bytes(counters.get("sockstat.TCP.mem")),
        catalog.TCP_ORPHANS_LIMIT: host.number("net.ipv4.tcp_max_orphans"),
        catalog.TCP_MEMORY_LIMIT: _bytes(next(iter(most_memory), None)),
    }
    for family, value in figures.items():
        if value is not None:
            yield family.fill([((), float(value))])


def _bytes(pages: int | None) -> int | None:
    return None if pages is None else pages * _PAGE_BYTES


_SYSCTLS: Mapping[str, Family] = {
    "net.ipv4.tcp_max_tw_buckets": catalog.TIME_WAIT_LIMIT,
    "net.netfilter.nf_conntrack_count": catalog.CONNTRACK_ENTRIES,
    "net.netfilter.nf_conntrack_max": catalog.CONNTRACK_LIMIT,
}


def _limits(namespaces: Namespaces) -> Iterator[Metric]:
    def number(namespace: Namespace, sysctl: str) -> Iterator[float]:
        value = namespace.number(sysctl)
        if value is not None:
            yield float(value)

    for sysctl, family in _SYSCTLS.items():
        rows = [((name,), value) for name, n in namespaces.shown for value in number(n, sysctl)]
        if rows:
            yield family.fill(rows)


def _safe(metric: Metric) -> Metric:
    """The same with label values as label() makes them."""
    samples = [
        sample._replace(labels={name: label(value) for name, value in sample.labels.items()})
        for sample in metric.samples
    ]
    if samples != metric.samples:
        metric = Metric(metric.name, metric.documentation, metric.type, metric.unit)
        metric.samples = samples
    return metric
