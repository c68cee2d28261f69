"""Which numbers of a look are kept."""

from dataclasses import replace

from export.history.past import Looks, in_namespaces, many_series
from reports import leak, overflow
from sockwatch.export.history.samples import MOST_NAMESPACES, Kind, Series, samples
from sockwatch.model.report import BudgetUse
from sockwatch.model.state import State


def test_counts_of_states_severities_and_findings() -> None:
    kept = samples(Looks().see(leak(), leak(variant="data_unread"), leak(), overflow()), None)
    assert kept[Series(Kind.STATE, "", "established")] == 812
    assert kept[Series(Kind.STATE, "host", "listen")] == 14
    assert kept[Series(Kind.FINDING, "host", "close_wait_leak/not_closed")] == 46
    assert kept[Series(Kind.FINDING, "host", "close_wait_leak/data_unread")] == 23
    assert [kept[Series(Kind.SEVERITY, "", name)] for name in ("info", "warning", "critical")] == [0, 3, 1]


def test_what_the_kernel_cannot_tell_is_not_zero() -> None:
    look = Looks().see(by_state={State.ESTABLISHED: 7, State.BOUND: None})
    kept = samples(look, None)
    assert Series(Kind.STATE, "", "bound") not in kept
    assert kept[Series(Kind.STATE, "", "established")] == 7


def test_small_namespaces_are_added_up() -> None:
    counts = {f"ns{i}": {State.LISTEN: 1000 - i} for i in range(MOST_NAMESPACES + 3)}
    kept = samples(Looks().see(**in_namespaces(counts)), None)
    assert kept[Series(Kind.STATE, "ns0", "listen")] == 1000
    assert Series(Kind.STATE, "ns20", "listen") not in kept
    assert kept[Series(Kind.STATE, "other", "listen")] == 980 + 979 + 978
    assert kept[Series(Kind.STATE, "", "listen")] == sum(1000 - i for i in range(23))


def test_rates_between_two_looks() -> None:
    looks = Looks()
    first = looks.see(**in_namespaces({"host": {}}, Tcp_ActiveOpens=100, Tcp_OutRsts=7))
    second = looks.see(**in_namespaces({"host": {}}, Tcp_ActiveOpens=150, Tcp_OutRsts=3))
    rates = {series.name: value for series, value in samples(second, first).items() if series.kind is Kind.RATE}
    assert rates == {"Tcp.ActiveOpens": 5.0}  # the other one began anew
    assert not any(series.kind is Kind.RATE for series in samples(second, replace(first, success=False)))


def test_port_budgets() -> None:
    budget = BudgetUse(netns="host", source="10.0.0.1", destination="10.0.0.9:443", used=1, usable=3)
    kept = samples(Looks().see(budgets=(budget,)), None)
    assert kept[Series(Kind.BUDGET, "host", "10.0.0.1 10.0.0.9:443")] == 0.3333


def test_the_example_of_many_has_500_series() -> None:
    looks = Looks()
    first, second = (looks.look(many_series(number), success=True) for number in (1, 2))
    kept = samples(second, first)
    assert len(kept) == 500
    assert sum(samples(first, None).get(series) == value for series, value in kept.items()) < 20
