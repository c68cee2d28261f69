from collections.abc import Mapping
from typing import Any

import pytest

import reports
from builders import process, snapshot, socket
from sockwatch.cli.selection import Kinds, Service, known_kinds, select_kinds, select_service, wanted_detectors
from sockwatch.diagnose.detector import Detector, Settings
from sockwatch.errors import UsageError
from sockwatch.model.finding import Finding, OtherEnd, Severity, Subject
from sockwatch.model.report import Report, Status
from sockwatch.model.snapshot import Asks, Gap, Process, Snapshot
from sockwatch.model.state import State

APP = process(812, "app", unit="app.service")
CHILD = process(900, "worker", unit="app.service")
OTHER = process(77, "client")


def detector(*variants: str) -> Detector[Any]:
    return Detector(variants=variants, asks=Asks(), settings=Settings(), detect=lambda _w, _s: iter(()))


DETECTORS: Mapping[str, Detector[Any]] = {"leak": detector("held", "lost"), "plain": detector()}


@pytest.mark.parametrize(
    ("only", "ignore", "left"),
    [
        ([], [], ["leak", "plain"]),
        (["leak"], [], ["leak"]),
        (["leak/held"], [], ["leak"]),
        (["plain"], [], ["plain"]),
        ([], ["leak"], ["plain"]),
        ([], ["leak/held"], ["leak", "plain"]),
        ([], ["leak/held", "leak/lost"], ["plain"]),
        (["leak/held"], ["leak/lost"], ["leak"]),
    ],
)
def test_a_detector_without_a_wanted_variant_does_not_run(only: list[str], ignore: list[str], left: list[str]) -> None:
    kinds = Kinds(only=known_kinds(only, DETECTORS), ignore=known_kinds(ignore, DETECTORS))
    assert sorted(wanted_detectors(DETECTORS, kinds)) == left


@pytest.mark.parametrize("word", ["lek", "leak/hold", "plain/x", "", "leak/"])
def test_an_unknown_kind_is_an_error(word: str) -> None:
    with pytest.raises(UsageError, match="unknown finding"):
        known_kinds([word], DETECTORS)


def test_the_status_follows_from_the_kinds_that_are_left() -> None:
    sick = reports.sick()
    assert sick.status is Status.CRITICAL
    assert select_kinds(sick, Kinds(ignore=frozenset({"accept_queue_overflow"}))).status is Status.WARNING
    assert select_kinds(sick, Kinds(only=frozenset({"time_wait_buildup"}))).status is Status.OK


def finding(who: Process | None = None, local: str | None = "10.0.0.1:40000", **fields: Any) -> Finding:
    return reports.leak(subject=Subject(netns="host", local=local, remote="10.0.0.9:5432", process=who), **fields)


def look() -> Snapshot:
    """app[812] listens on 8080 and 8443 and has a connection to a database; somebody else listens on 9090."""
    return snapshot(
        socket(State.LISTEN, "0.0.0.0:8080", inode=1),
        socket(State.LISTEN, "[::]:8443", inode=2),
        socket(State.LISTEN, "0.0.0.0:9090", inode=3),
        socket(State.ESTABLISHED, "10.0.0.1:40000", "10.0.0.9:5432", inode=4),
        socket(State.TIME_WAIT, "10.0.0.1:7070", "10.0.0.9:5432"),
        holders={1: [APP], 2: [APP, CHILD], 3: [OTHER], 4: [APP]},
    )


def ask(report: Report, **service: Any) -> Report:
    return select_service(report, look(), Service(**{k: frozenset(v) for k, v in service.items()}))


@pytest.mark.parametrize(
    "found",
    [
        finding(local="0.0.0.0:8080"),
        finding(local="[::]:8080"),
        finding(local="*:8080"),
        finding(APP),
        finding(OTHER, other_end=OtherEnd(state=State.CLOSE_WAIT, process=APP)),
        finding(OTHER, holders=(OTHER, APP)),
    ],
)
@pytest.mark.parametrize(
    "service", [{"ports": [8080]}, {"processes": ["app"]}, {"units": ["app"]}, {"units": ["app.service"]}]
)
def test_a_finding_concerns_a_service_by_its_port_or_its_process(found: Finding, service: dict[str, list[Any]]) -> None:
    answer = ask(reports.report(found), **service)
    assert answer.findings == (found,)
    assert answer.status is Status.WARNING


@pytest.mark.parametrize(
    "found",
    [
        finding(OTHER),
        finding(OTHER, local="0.0.0.0:9090"),
        finding(OTHER, local="10.0.0.1:*"),
        finding(OTHER, local=None),
        finding(local="0.0.0.0:18080"),
    ],
)
@pytest.mark.parametrize("service", [{"ports": [8080]}, {"processes": ["app"]}, {"units": ["app"]}])
def test_what_concerns_others_is_left_out(found: Finding, service: dict[str, list[Any]]) -> None:
    answer = ask(reports.report(found), **service)
    assert (answer.findings, answer.status) == ((), Status.OK)


@pytest.mark.parametrize("service", [{"ports": [8080]}, {"processes": ["app"]}, {"units": ["app"]}])
def test_what_the_whole_namespace_suffers_from_concerns_every_service(service: dict[str, list[Any]]) -> None:
    pressure = reports.leak(subject=Subject(netns="host"))
    assert ask(reports.report(pressure), **service).findings == (pressure,)


def test_whoever_has_the_port_of_a_service_that_is_down_is_named() -> None:
    (gap,) = ask(reports.report(), ports=[40000]).gaps
    assert gap.why == "nothing listens on this port; a socket in established has it, held by app[812]"
    (gap,) = ask(reports.report(), ports=[7070]).gaps
    assert gap.why == "nothing listens on this port; a socket in time_wait has it"


def test_the_far_end_of_a_known_process_is_not_left_out_unsaid() -> None:
    far = finding(local="10.0.0.1:*", other_end=OtherEnd(state=State.CLOSE_WAIT, process=OTHER))
    assert ask(reports.report(far), ports=[8080]).gaps == ()


def test_a_finding_without_a_process_is_said_to_be_left_out() -> None:
    (gap,) = ask(reports.report(finding(local="0.0.0.0:18080")), ports=[8080]).gaps
    assert (gap.what, gap.count, gap.fatal) == ("findings", 1, False)


def test_a_process_is_asked_about_with_every_port_it_listens_on() -> None:
    queue = finding(local="[::]:8443")
    assert ask(reports.report(queue), processes=["worker"]).findings == ()
    assert ask(reports.report(queue), processes=["app"]).findings == (queue,)
    assert ask(reports.report(queue), ports=[8080]).findings == (queue,)


@pytest.mark.parametrize(
    ("service", "what"),
    [
        ({"ports": [8081]}, "--listen 8081"),
        ({"ports": [7070]}, "--listen 7070"),
        ({"ports": [40000]}, "--listen 40000"),
        ({"processes": ["ap"]}, "--process ap"),
        ({"units": ["ap"]}, "--unit ap"),
        ({"ports": [8080], "processes": ["ap"]}, "--process ap"),
    ],
)
def test_a_service_that_is_not_there_is_not_fine(service: dict[str, list[Any]], what: str) -> None:
    answer = ask(reports.report(), **service)
    assert [(gap.what, gap.fatal) for gap in answer.gaps] == [(what, True)]
    assert answer.status is Status.UNKNOWN


def test_the_nearest_process_is_named() -> None:
    assert ask(reports.report(), processes=["ap"]).gaps[0].why.endswith("; did you mean app?")


def test_a_long_process_name_is_known_by_what_the_kernel_keeps_of_it() -> None:
    cut = snapshot(socket(State.LISTEN, "0.0.0.0:80", inode=1), holders={1: [process(5, "a-very-long-nam")]})
    named = Service(processes=frozenset({"a-very-long-name-indeed"}))
    assert select_service(reports.report(), cut, named).status is Status.OK


def test_findings_whose_process_is_unknown_are_counted_and_not_dropped_in_silence() -> None:
    unknown = [finding(), finding(local="10.0.0.1:41000"), finding(APP), finding(OTHER)]
    answer = ask(reports.report(*unknown), processes=["app"])
    assert [(gap.what, gap.count, gap.fatal) for gap in answer.gaps] == [("findings", 2, False)]


def test_what_is_matched_by_its_port_needs_no_process() -> None:
    assert ask(reports.report(finding(local="0.0.0.0:8080")), processes=["app"]).gaps == ()


def test_what_nobody_can_hold_is_no_unknown_process() -> None:
    counters = reports.leak(subject=Subject(netns="host"))
    assert ask(reports.report(counters), processes=["app"]).gaps == ()


def test_fatal_gaps_of_the_report_stay() -> None:
    broken = reports.report(gaps=[Gap(what="self_connect", why="KeyError", fatal=True)])
    assert ask(broken, ports=[8080]).status is Status.UNKNOWN


def test_info_does_not_count() -> None:
    assert ask(reports.report(finding(APP, severity=Severity.INFO)), ports=[8080]).status is Status.OK


def test_holders_are_looked_up_for_what_the_question_needs() -> None:
    table = look().sockets
    assert Service(ports=frozenset({8080})).sockets(table).inode.tolist() == [1, 2, 3]
    assert Service(units=frozenset({"app"})).sockets(table).inode.tolist() == [1, 2, 3, 4]
