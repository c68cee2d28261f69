"""What was written as JSON is read back."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

import reports
from sockwatch.export.json_reader import read_finding, read_report
from sockwatch.export.json_report import finding_object, report_object, report_text
from sockwatch.model.state import State


@pytest.mark.parametrize("report", [reports.sick(), reports.healthy(), reports.failed()], ids=str)
def test_a_report_says_the_same_after_it_was_read(report: Any) -> None:
    read = read_report(report_text(report).encode())
    lost = {"what_if", "timings_ms"}
    assert {k: v for k, v in report_object(read).items() if k not in lost} == {
        k: v for k, v in report_object(report).items() if k not in lost
    }


def test_a_finding_says_the_same_after_it_was_read() -> None:
    several = reports.leak(count=360, by_state={State.ESTABLISHED: 60, State.TIME_WAIT: 300})
    assert read_finding(json.loads(json.dumps(finding_object(several)))).by_state == several.by_state
    for finding in (reports.leak(), reports.overflow(), reports.note(), several):
        assert finding_object(read_finding(json.loads(json.dumps(finding_object(finding))))) == finding_object(finding)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": 3},
        {"severity": "worst"},
        {"count": "many"},
        {"sockets": [{"state": "nowhere"}]},
        {"by_state": {"nowhere": 3}},
        {"other_end": {"state": [], "process": None}},
        {"evidence": {"x": {"y": {"z": {}}}}},
        {"remedies": None},
    ],
    ids=str,
)
def test_what_is_no_finding_is_a_value_error(change: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_finding(finding_object(reports.leak()) | change)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_it_is_the_only_error_is_a_value_error(told: Any) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_finding(told)
    with pytest.raises(ValueError, match=r"\S"):
        read_report(json.dumps(told).encode())
