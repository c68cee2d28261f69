"""Events a second from two reports."""

from dataclasses import replace

from builders import namespace
from reports import report
from sockwatch.export.rates import rates
from sockwatch.model.report import Report

NAMES = ("Tcp.ActiveOpens", "Tcp.PassiveOpens")


def test_rates_add_up_over_namespaces_that_both_reports_know() -> None:
    def at(time: float, *opens: int) -> Report:
        seen = [namespace(f"n{i}", counters={"Tcp.ActiveOpens": count}) for i, count in enumerate(opens)]
        return report(time=time, namespaces=seen)

    assert rates(at(110.0, 30, 7, 999), at(100.0, 10, 2), NAMES) == {"Tcp.ActiveOpens": 2.5}


def test_there_is_no_rate_without_time_or_when_a_counter_began_anew() -> None:
    before = report(time=100.0, namespaces=[namespace(counters={"Tcp.ActiveOpens": 10})])
    assert rates(before, before, NAMES) == {}
    anew = report(time=101.0, namespaces=[namespace(counters={"Tcp.ActiveOpens": 9})])
    assert rates(anew, before, NAMES) == {}
    same = replace(before, time=102.0)
    assert rates(same, before, NAMES) == {"Tcp.ActiveOpens": 0.0}
