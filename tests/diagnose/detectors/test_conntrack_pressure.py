from dataclasses import replace

import pytest

from builders import later, namespace, snapshot, window
from sockwatch.diagnose.detectors.conntrack_pressure import COUNT, DETECTOR, MAX
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.snapshot import Namespace, Snapshot


def host(entries: object, limit: object = 1000, name: str = "host") -> Namespace:
    bare = namespace(name)
    return replace(bare, sysctls={**bare.sysctls, COUNT: str(entries), MAX: str(limit)})


def look(entries: int) -> Snapshot:
    return snapshot(namespaces=[host(entries)])


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def two(before: int, now: int, seconds: float = 10.0) -> list[Finding]:
    return detect(Window(current=later(look(now), seconds), previous=look(before)))


def test_fires_for_the_namespace_without_a_socket_in_it() -> None:
    [finding] = detect(window(namespaces=[host(870)]))
    assert (finding.name, finding.severity, finding.count) == ("conntrack_pressure", Severity.WARNING, 0)
    assert (finding.subject.netns, finding.subject.local, finding.subject.process) == ("host", None, None)
    assert finding.evidence == {"entries": 870, "limit": 1000, "used_ratio": 0.87}
    assert finding.summary == "Connection tracking uses 870 of 1,000 entries (87%)"
    advice = {a.name: (a.value, a.effect) for a in finding.sysctls}
    assert advice[MAX] == ("1000", Effect.HELPS)
    assert advice["net.ipv4.tcp_fin_timeout"] == ("60", Effect.NONE)


@pytest.mark.parametrize(
    ("entries", "severities"),
    [(799, []), (800, [Severity.WARNING]), (999, [Severity.WARNING]), (1000, [Severity.CRITICAL])],
)
def test_the_edges_are_four_fifths_and_full(entries: int, severities: list[Severity]) -> None:
    assert [f.severity for f in detect(window(namespaces=[host(entries)]))] == severities


def test_a_full_table_says_what_happens_now() -> None:
    assert detect(window(namespaces=[host(1000)]))[0].summary.endswith("(100%): new connections are dropped now")


@pytest.mark.parametrize(
    ("before", "severity"), [(895, Severity.WARNING), (894, Severity.CRITICAL), (893, Severity.CRITICAL)]
)
def test_full_within_five_minutes_is_critical(before: int, severity: Severity) -> None:
    [finding] = two(before, 900, seconds=15.0)
    assert finding.severity is severity
    assert finding.evidence["seconds_left"] == round(100 / ((900 - before) / 15), 1)


def test_a_burst_far_from_the_limit_is_silent_whatever_its_slope() -> None:
    assert not two(0, 799, seconds=1.0)


def test_clears_when_entries_expire() -> None:
    assert not two(1000, 700)


@pytest.mark.parametrize("before", [900, 1000])
def test_standing_still_or_shrinking_is_no_forecast(before: int) -> None:
    assert "seconds_left" not in two(before, 900)[0].evidence


def test_a_full_table_has_no_time_left() -> None:
    assert two(900, 1000)[0].evidence["seconds_left"] == 0


def test_a_namespace_that_is_new_has_no_forecast() -> None:
    [finding] = detect(Window(current=later(snapshot(namespaces=[host(950, name="web")]), 5), previous=look(1)))
    assert "seconds_left" not in finding.evidence


def test_the_ratio_has_three_decimals() -> None:
    assert detect(window(namespaces=[host(87_654, 100_000)]))[0].evidence["used_ratio"] == 0.877


def test_what_it_reads_is_asked_for() -> None:
    assert {COUNT, MAX} <= DETECTOR.asks.sysctls


@pytest.mark.parametrize("bare", [namespace(), host("", 1000), host(5, ""), host(10**6, 0)])
def test_without_a_table_or_a_limit_there_is_nothing_to_find(bare: Namespace) -> None:
    assert not detect(window(namespaces=[bare]))


def test_each_namespace_has_a_table_of_its_own() -> None:
    found = detect(window(namespaces=[host(10), host(950, name="web")]))
    assert [f.subject.netns for f in found] == ["web"]
