import re
from collections.abc import Callable

import pytest

import reports
from builders import process
from sockwatch.export.perfdata import MAX_DETAILS, render, unknown_line
from sockwatch.model.finding import Subject
from sockwatch.model.snapshot import Gap

ITEM = re.compile(r"'([^'=]+)'=(-?[0-9.]+)(s|B|%|c)?;([0-9.]*);([0-9.]*);([0-9.]*)")
"""Monitoring Plugins guidelines: 'label'=value[UOM];warn;crit;min."""


def perfdata(text: str) -> dict[str, str]:
    first = text.splitlines()[0]
    items = first.partition(" | ")[2].split(" ")
    matches = [ITEM.fullmatch(item) for item in items]
    assert all(matches), items
    return {match[1]: match[2] + (match[3] or "") for match in matches if match}


@pytest.mark.parametrize("name", ["sick", "healthy", "failed"])
def test_looks_as_recorded(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"perfdata_{name}.txt", render(getattr(reports, name)()))


def test_the_status_line_says_the_worst_and_how_many_more() -> None:
    first = render(reports.sick()).splitlines()[0]
    assert first.startswith("SOCKWATCH CRITICAL - accept_queue_overflow/somaxconn: nginx[900]")
    assert "(and 1 more)" in first


def test_perfdata_has_counts_findings_and_timings() -> None:
    data = perfdata(render(reports.sick()))
    assert data["close_wait"] == "23"
    assert data["time_wait"] == "200000"
    assert (data["findings_critical"], data["findings_warning"], data["findings_info"]) == ("1", "1", "1")
    assert data["time_collect"] == "0.0123s"


def test_a_state_this_kernel_cannot_tell_is_absent_not_zero() -> None:
    assert "bound" not in perfdata(render(reports.healthy()))
    assert not {"established", "bound"} & perfdata(render(reports.failed())).keys()


def test_an_ok_host_says_so() -> None:
    assert render(reports.healthy()).startswith("SOCKWATCH OK - nothing wrong in 1248 TCP sockets | ")


def test_a_failed_look_says_why() -> None:
    assert render(reports.failed()).startswith("SOCKWATCH UNKNOWN - dump: the kernel refused the dump: Permission")


def test_names_cannot_forge_perfdata_or_lines() -> None:
    name = "a|'established'=0;;;0\nSOCKWATCH OK\x1b[2J"
    hostile = reports.leak(
        subject=Subject(netns="host", process=process(1, name)), summary=name, remedies=(name,), cause=name
    )
    text = render(reports.report(hostile, gaps=[Gap(what=name, why=name)]))
    assert text.count("|") == 1
    assert perfdata(text)["established"] == "812"
    assert all(line.isprintable() for line in text.splitlines())
    assert not any(line.startswith("SOCKWATCH") for line in text.splitlines()[1:])


def test_a_long_answer_is_cut_and_says_so() -> None:
    text = render(reports.report(*[reports.leak()] * (MAX_DETAILS + 7)))
    assert text.splitlines()[-1] == "and 7 more findings"


def test_an_error_is_one_line() -> None:
    assert unknown_line("no | such\noption") == "SOCKWATCH UNKNOWN - no \\x7c such\\noption\n"


def test_a_finding_in_another_namespace_says_so() -> None:
    first, second, *_ = render(
        reports.report(reports.leak(subject=Subject(netns="blue", local="10.0.0.1:8080")))
    ).splitlines()
    assert "never closed them in namespace blue | " in first
    assert second.endswith("(local 10.0.0.1:8080, namespace blue)")
