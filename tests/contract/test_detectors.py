"""What holds for every detector, whatever it detects."""

import re
from dataclasses import replace

import numpy as np
import pytest

from builders import namespace, snapshot, socket, window
from contract.repository import DETECTOR_CODES, ROOT
from sockwatch.cli.glossary.sysctls import SYSCTLS
from sockwatch.collect.attributes import FIELDS
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.misfits.gone import GONE
from sockwatch.diagnose.registry import codes, explanation, load_detectors
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding
from sockwatch.model.snapshot import Namespace
from sockwatch.model.sockets import COLUMN_TYPES
from sockwatch.model.state import State

SECTIONS = ("What it sees", "Why it matters", "Kernel fields", "When it is wrong", "What to do")

every_detector = pytest.mark.parametrize("code", DETECTOR_CODES)


def result(code: str, seen: Window) -> tuple[Finding, ...] | str:
    """The findings, or why there are none to be had."""
    detector = load_detectors()[code]
    detector.suspects(seen, detector.settings)
    try:
        return tuple(detector.detect(seen, detector.settings))
    except NoDataError as error:
        return str(error)


def crowd(**fields: object) -> Window:
    """A host on which much goes wrong: 23 old sockets in every state, and a port range that is used up."""
    rows = [
        socket(
            state,
            f"10.0.0.1:{80 if i % 2 else 40_000 + i}",
            "0.0.0.0:0"
            if state in {State.LISTEN, State.BOUND}
            else f"10.0.0.{2 + i % 2}:{443 if i % 3 else 50_000 + i}",
            inode=1000 * state + i,
            recv_q=i,
            **fields,
        )
        for state in State
        for i in range(23)
    ]
    rows += [socket(State.TIME_WAIT, f"10.0.0.1:{40_022 + i}", "10.0.0.9:443", expires_ms=100) for i in range(31)]
    rows += [socket(State.TIME_WAIT, "10.0.0.1:80", f"10.0.0.8:{40_000 + i}", expires_ms=100) for i in range(23)]
    rows += [socket(State.ESTABLISHED, f"10.0.0.1:{40_022 + i}", "10.0.0.7:443") for i in range(31)]
    rows += [socket(State.FIN_WAIT_2, f"10.0.0.1:{40_022 + i}", "10.0.0.6:443", expires_ms=100) for i in range(31)]
    rows += [socket(State.ESTABLISHED, "10.0.0.1:40099", "10.0.0.1:40099")]
    return window(*rows, namespaces=[namespace(ip_local_port_range="40022\t40052", tcp_fin_timeout="120")])


def documented() -> list[dict[str, str]]:
    """The rows of the table in the docs, by the headings of its columns."""
    lines = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8").splitlines()
    heading, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|"))
    return [dict(zip(heading, row, strict=True)) for row in rows]


def columns(seen: Window) -> dict[str, bytes]:
    """Everything of the table, to see whether it changed."""
    table = seen.sockets
    base = {name: getattr(table, name).tobytes() for name in COLUMN_TYPES}
    return base | {name: column.tobytes() for name, column in table.details.items()}


def test_the_registry_finds_every_file() -> None:
    assert list(codes()) == DETECTOR_CODES


@every_detector
def test_a_detector_explains_itself(code: str) -> None:
    first, blank, *rest = explanation(code).splitlines()
    assert first.endswith(".")
    assert not blank
    assert tuple(line.removesuffix(":") for line in rest if re.match(r"\w", line)) == SECTIONS


@every_detector
def test_a_detector_has_its_own_tests(code: str) -> None:
    assert (ROOT / "tests" / "diagnose" / "detectors" / f"test_{code}.py").is_file()


def test_every_detector_has_one_row_in_the_docs_with_its_variants() -> None:
    rows = [(cells["detector"].strip("`"), set(re.findall(r"\w+", cells["variants"]))) for cells in documented()]
    assert sorted(rows) == [(code, set(detector.variants)) for code, detector in load_detectors().items()]


def test_the_docs_tell_the_evidence_the_blind_spots_and_the_kernels_of_each() -> None:
    empty = [(cells["detector"], column) for cells in documented() for column, text in cells.items() if not text]
    assert [place for place in empty if place[1] != "variants"] == []
    without_kernel = [
        cells["detector"] for cells in documented() if not re.match(r"any\b|\d\.\d", cells["kernels it needs"])
    ]
    assert not without_kernel


@every_detector
def test_a_detector_asks_for_what_exists(code: str) -> None:
    asks = load_detectors()[code].asks
    assert asks.details <= FIELDS.keys()
    assert asks.sysctls <= SYSCTLS.keys() | GONE.keys()  # the glossary's: not every kernel and namespace has them


@every_detector
def test_nothing_to_see_is_nothing_found(code: str) -> None:
    found = result(code, window())
    assert isinstance(found, str) or not found


@every_detector
def test_a_host_without_sysctls_and_counters_is_no_crash(code: str) -> None:
    bare = Namespace(name="net:[1]", inode=1, initial=False, lists_bound=False)
    seen = crowd()
    result(code, replace(seen, current=replace(seen.current, namespaces=(bare,))))


@every_detector
def test_details_that_this_kernel_lacks_are_no_crash(code: str) -> None:
    unread = dict.fromkeys(sorted(load_detectors()[code].asks.details), np.nan)
    result(code, crowd(**unread))


@every_detector
def test_the_same_window_gives_the_same_findings(code: str) -> None:
    assert result(code, crowd()) == result(code, crowd())


@every_detector
def test_a_detector_leaves_its_window_as_it_was(code: str) -> None:
    seen = crowd(last_data_recv=100_000.0)
    before = columns(seen)
    result(code, seen)
    assert columns(seen) == before


@every_detector
def test_two_looks_at_an_empty_host_find_nothing(code: str) -> None:
    found = result(code, window(previous=snapshot(monotonic=99_990.0)))
    assert isinstance(found, str) or not found


@every_detector
def test_a_finding_names_a_declared_variant(code: str) -> None:
    declared = load_detectors()[code].variants
    found = result(code, crowd(last_data_recv=100_000.0, last_ack_recv=100_000.0, last_data_sent=100_000.0))
    if not isinstance(found, str):
        assert {finding.code for finding in found} <= {code}
        assert {finding.variant for finding in found} <= set(declared or (None,))
