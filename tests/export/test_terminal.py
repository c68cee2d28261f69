import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

import reports
from builders import namespace, process
from sockwatch.export.terminal import MAX_NAMESPACES, MAX_SHORT, SCREEN_LINES, render_finding, render_report
from sockwatch.model.finding import OtherEnd, Severity, Subject
from sockwatch.model.report import NamespaceCounts, Report
from sockwatch.model.snapshot import Gap
from sockwatch.model.state import State

SGR = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "\x1b[2J\n\r\x07\u202e\u2028\x9b31m\udcff\u200f"


@pytest.mark.parametrize("name", ["sick", "healthy", "failed"])
def test_looks_as_recorded(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"terminal_{name}.txt", render_report(getattr(reports, name)()))


def test_colours_as_recorded(golden: Callable[[str, str], None]) -> None:
    golden("terminal_colour.txt", render_report(reports.sick(), colour=True, width=100, one_screen=True))


def test_colour_adds_nothing_but_colour() -> None:
    assert SGR.sub("", render_report(reports.sick(), colour=True)) == render_report(reports.sick())


def test_a_healthy_host_takes_four_lines_at_most() -> None:
    lines = render_report(reports.healthy()).splitlines()
    assert lines[0].startswith("ok")
    assert len(lines) <= 4


def test_a_state_this_kernel_cannot_tell_is_a_question_mark() -> None:
    assert "bound ?" in render_report(reports.healthy())


def test_a_state_without_sockets_is_left_out() -> None:
    assert "syn_sent" not in render_report(reports.healthy())


def test_the_worst_finding_comes_first_and_advice_that_helps_before_advice_that_does_not() -> None:
    text = render_report(reports.sick())
    assert text.index("accept_queue_overflow") < text.index("close_wait_leak") < text.index("time_wait_buildup")
    assert text.index("helps") < text.index("no help")


def many(count: int, severity: Severity = Severity.WARNING) -> Report:
    return reports.report(
        *(reports.leak(severity=severity, summary=f"finding number {i} of many") for i in range(count)),
        gaps=[reports.OWNERS_GAP],
    )


@pytest.mark.parametrize("count", [2, 5, 60])
@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.INFO])
def test_on_a_terminal_all_stays_on_one_screen(count: int, severity: Severity) -> None:
    assert len(render_report(many(count, severity), one_screen=True).splitlines()) <= SCREEN_LINES


@pytest.mark.parametrize(
    ("why", "line"),
    [
        ("2 processes: no permission", "owners: 2 processes: no permission"),
        ("no permission", "owners (2): no permission"),
    ],
)
def test_a_gap_says_its_count_once(why: str, line: str) -> None:
    assert f"not seen    {line}\n" in render_report(reports.report(gaps=[Gap(what="owners", why=why, count=2)]))


def test_on_a_terminal_many_gaps_are_counted() -> None:
    gaps = [Gap(what=f"detector_{i}", why="KeyError: 'x'", fatal=True) for i in range(23)]
    text = render_report(reports.report(gaps=gaps), one_screen=True)
    assert text.startswith("unknown  web1: detector_0: KeyError: 'x'; nothing else in 826 TCP sockets")
    assert "and 17 more" in text
    assert render_report(reports.report(gaps=gaps)).count("KeyError") == 23


def test_on_a_terminal_the_worst_is_told_in_full_and_the_rest_is_counted() -> None:
    text = render_report(many(60), one_screen=True)
    assert "1. Fix the application" in text
    assert "finding number 0 of many" in text
    shown = len(re.findall(r"finding number \d+", text))
    assert f"and {60 - shown} more" in text
    assert MAX_SHORT <= shown < 60


def test_in_a_pipe_every_warning_is_told_in_full() -> None:
    assert render_report(many(60)).count("1. Fix the application") == 60


def test_nothing_on_one_screen_is_lost_when_it_fits() -> None:
    small = reports.report(reports.note(), reports.note())
    assert render_report(small, one_screen=True) == render_report(small)


@pytest.mark.parametrize(
    ("least", "most", "text"),
    [
        (312.25, 7384.5, "at least 5 min, at most 2 h 3 min"),
        (312.25, 318.0, "5 min"),
        (45.0, None, "at least 45 s"),
        (None, 90.0, "at most 90 s"),
        (float("nan"), 90.0, "at most 90 s"),
        (200_000.0, 200_000.0, "2 d 7 h"),
    ],
)
def test_says_since_when(least: float | None, most: float | None, text: str) -> None:
    evidence = {} if most is None else {"oldest_seconds_max": most}
    finding = reports.leak(oldest_seconds=least, evidence=evidence)
    assert f"  oldest    {text}\n" in render_finding(finding)


def test_an_age_that_is_not_known_is_not_mentioned() -> None:
    assert "oldest" not in render_finding(reports.leak(oldest_seconds=None, evidence={}))


def test_low_confidence_says_how_to_make_sure() -> None:
    assert "--sample" in render_finding(reports.leak(evidence={"confidence": "low"}))


def test_names_the_holders_and_the_other_end() -> None:
    holders = tuple(process(pid, "worker") for pid in range(812, 818))
    subject = Subject(netns="net:[4026532281]", local="[::1]:80", process=holders[0])
    other = OtherEnd(state=State.FIN_WAIT_2, process=process(77, "client", container="0123456789ab"))
    text = render_finding(reports.leak(subject=subject, holders=holders, other_end=other), width=200)
    assert "worker[812]; also held by worker[813], worker[814], worker[815] and 2 more" in text
    assert "local [::1]:80 in namespace net:[4026532281]" in text
    assert "on this host, fin_wait_2, held by client[77] (container 0123456789ab)" in text


def test_a_process_is_told_with_its_place_its_user_and_its_command_line() -> None:
    pod = "72f7f152-440c-66ac-9084-e0fc1d8a910c"
    place = {
        "unit": f"docker-0123456789ab{'0' * 52}.scope",
        "container": "0123456789ab",
        "runtime": "docker",
        "pod": pod,
    }
    who = process(812, "app", command="app " + "x" * 300, user="33", **place)
    text = render_finding(reports.leak(subject=Subject(netns="host", process=who)), width=300)
    assert f"app[812] (docker 0123456789ab, pod {pod}, user 33)" in text
    assert f"command   app {'x' * 193}...\n" in text
    by_user = process(812, "app", unit="app.service", unit_manager="user@1000.service", command="app")
    text = render_finding(reports.leak(subject=Subject(netns="host", process=by_user)), width=300)
    assert "app[812] (app.service, of user@1000.service)" in text
    assert "command" not in text


def test_who_is_a_guess_is_said_to_be_one() -> None:
    evidence = {"confidence": "medium", "process_from": "the listener on this port"}
    subject = Subject(netns="host", process=process(812, "app"))
    text = render_finding(reports.leak(subject=subject, evidence=evidence), width=200)
    assert "app[812], by the listener on this port; likely, not certain" in text


@pytest.mark.parametrize(
    ("held", "words"), [(True, "held by a process that could not be seen"), (False, "held by no process")]
)
def test_nobody_is_not_the_same_as_nobody_seen(held: bool, words: str) -> None:  # noqa: FBT001 - a parameter
    other = OtherEnd(state=State.FIN_WAIT_2, held=held)
    assert words in " ".join(render_finding(reports.leak(other_end=other)).split())


def test_a_leak_too_young_for_a_verdict_is_not_read_as_health() -> None:
    leaking = {state: 20 if state is State.CLOSE_WAIT else 0 for state in State}
    hint = "not yet     20 in close_wait"
    assert hint in render_report(replace(reports.report(), by_state=leaking))
    assert hint not in render_report(replace(reports.report(reports.leak()), by_state=leaking))
    assert "not yet" not in render_report(reports.healthy())


def test_a_holder_that_was_not_seen_is_said_to_be_unknown() -> None:
    subject = Subject(netns="host", local="10.0.0.1:80")
    assert "not known" in render_finding(reports.leak(subject=subject, sockets=(reports.row(pid=None),)))


def test_a_socket_that_nobody_can_hold_says_so() -> None:
    subject = Subject(netns="host", local="10.0.0.1:80")
    gone = reports.row(pid=None, inode=0, state=State.TIME_WAIT)
    text = render_finding(reports.leak(subject=subject, sockets=(gone,)))
    assert "who       no process any more: the kernel keeps these sockets" in text


def hostile_report(text: str) -> Report:
    names = ("unit", "unit_manager", "container", "runtime", "pod", "command", "user")
    who = process(812, text, **dict.fromkeys(names, text))
    subject = Subject(netns=text, local=text, remote=text, process=who)
    finding = reports.leak(
        subject=subject,
        holders=(who, process(813, text)),
        other_end=OtherEnd(state=State.FIN_WAIT_2, process=who),
        summary=text + " leaks",
        cause=text,
        remedies=(text,),
        evidence={text: text, "process_from": text},
    )
    return reports.report(
        finding, reports.leak(severity=Severity.INFO, summary=text), gaps=[Gap(what=text, why=text)], host=text
    )


@pytest.mark.parametrize("colour", [False, True])
def test_nothing_from_outside_acts_on_the_terminal(*, colour: bool) -> None:
    text = SGR.sub("", render_report(hostile_report(HOSTILE), colour=colour))
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"\x1b[2J" in text
    assert text.encode()


@given(name=st.text(), width=st.integers(60, 100))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_printable_lines_of_the_width(name: str, width: int) -> None:
    lines = render_report(hostile_report(name), width=width, one_screen=True).split("\n")
    assert all(line.isprintable() and len(line) <= width for line in lines)


def several(names: list[str]) -> Report:
    """Namespaces with 1, 2, 3 ... sockets, and a leak in the first one."""
    counted = [
        NamespaceCounts(
            namespace=namespace(name), total=n, by_state={**reports.ZERO, State.LISTEN: 1, State.ESTABLISHED: n - 1}
        )
        for n, name in enumerate(names, 1)
    ]
    leak = reports.leak(subject=Subject(netns=names[0], local="10.0.0.1:8080"))
    return replace(reports.report(leak), namespaces=tuple(counted))


def test_several_namespaces_are_a_short_list_those_with_findings_first() -> None:
    text = render_report(several(["blue", "host", "green"]))
    assert text.splitlines()[-3:] == [
        "namespaces  blue: listen 1; 1 finding",
        "            green: established 2, listen 1",
        "            host: listen 1, established 1",
    ]
    assert "in namespace blue" in text


def test_of_many_namespaces_the_rest_is_counted() -> None:
    lines = render_report(several([f"net-{n:03}" for n in range(500)]), one_screen=True).splitlines()
    shown = lines[lines.index("namespaces  net-000: listen 1; 1 finding") :]
    assert len(shown) == MAX_NAMESPACES + 1
    others = sum(range(2, 501)) - sum(range(501 - (MAX_NAMESPACES - 1), 501))
    assert shown[-1].strip() == f"and {500 - MAX_NAMESPACES} more with {others:,} sockets"
    assert len(lines) <= SCREEN_LINES


def test_one_namespace_is_no_list() -> None:
    assert "namespaces" not in render_report(several(["host"]))
