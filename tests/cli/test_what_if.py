"""`check --what-if`: the verdict before and after, and one clear line for what cannot be supposed."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from builders import later, namespace, process, snapshot, socket
from cli.conftest import healthy_look, leaking_look
from reports import VALIDATOR
from sockwatch.cli import check
from sockwatch.model.snapshot import Asks, FollowUp, Gap, Snapshot
from sockwatch.model.state import State, Timer

if TYPE_CHECKING:
    from sockwatch.model.sockets import SocketTable

Run = Callable[..., tuple[int, str, str]]
Captured = Callable[..., str]

PORTS = 23
REUSE = "net.ipv4.tcp_tw_reuse"


def exhausted_look(**sysctls: Any) -> Snapshot:
    """Every source port towards one service is in TIME_WAIT, and another service is leaking."""
    waiting = [
        socket(State.TIME_WAIT, f"10.0.0.1:{40_000 + i}", "10.0.0.9:443", timer=Timer.TIME_WAIT, expires_ms=30_000)
        for i in range(PORTS)
    ]
    return snapshot(*waiting, namespaces=[namespace(**{"ip_local_port_range": "40000\t40022", **sysctls})])


def judged(run: Run, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report, which is as the schema says."""
    code, out, err = run("check", "--json", *options)
    assert not err
    report: dict[str, Any] = json.loads(out)
    VALIDATOR.validate(report)
    return code, report


def names(report: dict[str, Any]) -> list[str]:
    return [f"{found['severity']} {found['code']}/{found['variant']}" for found in report["findings"]]


def test_the_report_is_that_of_after_and_tells_what_was_before(run: Run, captured: Captured) -> None:
    path = captured(exhausted_look())
    code, before = judged(run, "--from", path)
    assert (code, before["status"], "what_if" in before) == (2, "critical", False)
    code, after = judged(run, "--from", path, "--what-if", f"{REUSE}=1")
    assert (code, after["status"]) == (0, "ok")
    what_if = after["what_if"]
    assert (what_if["sysctls"], what_if["before"]["sysctls"]) == ({REUSE: "1"}, {REUSE: "2"})
    assert after["sysctls"][REUSE] == "1"
    assert what_if["before"]["status"] == "critical"
    assert names(what_if["before"]) == names(before) != names(after)
    assert "critical port_exhaustion/connect_budget" in names(before)
    for told, real in zip(what_if["before"]["findings"], before["findings"], strict=True):
        assert told == {key: real[key] for key in told}


def test_a_person_sees_both_verdicts_and_what_changes(run: Run, captured: Captured) -> None:
    code, out, _ = run("check", "--from", captured(exhausted_look()), "--what-if", "tcp_tw_reuse=1")
    words = " ".join(out.split())
    assert code == 0
    assert f"what if {REUSE} = 1 (is 2) At once, for every connect()" in words
    assert "before critical: 1 critical finding" in words
    assert "after ok: " in words
    assert "vanishes critical port_exhaustion/connect_budget: " in words
    assert "appears" not in words


def test_several_sysctls_are_supposed_together(run: Run, captured: Captured) -> None:
    path = captured(exhausted_look(tcp_tw_reuse="0"))
    options = ("--what-if", "tcp_tw_reuse=1", "--what-if", "tcp_tw_reuse_delay=60000")
    assert judged(run, "--from", path, *options[:2])[0] == 0
    assert judged(run, "--from", path, *options)[0] == 2


def test_a_wider_range_ends_the_critical_finding(run: Run, captured: Captured) -> None:
    path = captured(exhausted_look())
    assert judged(run, "--from", path, "--what-if", "ip_local_port_range=32768 60999")[0] == 0


def test_a_knob_that_does_nothing_changes_no_finding(run: Run, captured: Captured) -> None:
    options = ("--from", captured(leaking_look()), "--what-if", "tcp_fin_timeout=10")
    code, after = judged(run, *options)
    assert (code, names(after)) == (1, names(after["what_if"]["before"]))
    code, out, _ = run("check", *options)
    assert "It changes no finding." in out
    assert "those that are in FIN_WAIT_2 keep their timer. The verdicts about these stay." in " ".join(out.split())


def test_what_was_chosen_with_only_ignore_and_listen_is_compared(run: Run, captured: Captured) -> None:
    path = captured(exhausted_look())
    for options in (("--only", "self_connect"), ("--ignore", "port_exhaustion"), ("--listen", "443")):
        _, after = judged(run, "--from", path, "--what-if", f"{REUSE}=1", *options)
        assert not [name for name in names(after["what_if"]["before"]) if "port_exhaustion" in name]


def test_a_sysctl_that_only_other_detectors_read_may_be_supposed(run: Run, captured: Captured) -> None:
    assert run("check", "--from", captured(healthy_look()), "--only", "self_connect", "--what-if", f"{REUSE}=1")[0] == 0


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("tcp_tw_resue=1", 'unknown sysctl "tcp_tw_resue"; did you mean tcp_tw_reuse?'),
        (
            "net.ipv4.tcp_fin_timeot=1",
            'unknown sysctl "net.ipv4.tcp_fin_timeot"; did you mean net.ipv4.tcp_fin_timeout?',
        ),
        ("vm.swappiness=1", 'unknown sysctl "vm.swappiness"'),
        ("=1", 'unknown sysctl ""'),
        ("tcp_tw_reuse", '"tcp_tw_reuse": give a sysctl and a value'),
        ("tcp_tw_reuse=3", f'{REUSE}: the kernel refuses "3": it takes a number from 0 to 2'),
        ("tcp_tw_reuse=", f'{REUSE}: the kernel refuses "": it takes a number from 0 to 2'),
        ("tcp_tw_reuse=1\x1b[2J", 'the kernel refuses "1\\x1b[2J"'),
        ("ip_local_port_range=1024", 'refuses "1024": it takes two ports from 1024 to 65535'),
        ("ip_local_port_range=60999 32768", "its first port is above its last"),
        ("ip_local_reserved_ports=90-80", 'refuses "90-80": it takes ports and ranges of ports'),
        ("tcp_tw_recycle=1", "net.ipv4.tcp_tw_recycle: nobody can set it: removed in Linux 4.12"),
        ("nf_conntrack_count=1", "net.netfilter.nf_conntrack_count: nobody can set it: it is what the kernel counts"),
        ("tcp_rmem=1 2 3", "net.ipv4.tcp_rmem: there is no such sysctl where it was looked"),
    ],
)
def test_what_cannot_be_supposed_is_one_clear_line(word: str, line: str, run: Run, captured: Captured) -> None:
    code, out, err = run("check", "--from", captured(exhausted_look()), "--what-if", word)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith("sockwatch: --what-if")
    assert line in err


def test_the_same_sysctl_twice_is_no_supposition(run: Run, captured: Captured) -> None:
    words = ("--what-if", "tcp_tw_reuse=1", "--what-if", "net/ipv4/tcp_tw_reuse=0")
    assert run("check", "--from", captured(healthy_look()), *words)[::2] == (
        3,
        f"sockwatch: --what-if {REUSE}: given twice\n",
    )


def test_a_plugin_says_what_is(run: Run, captured: Captured) -> None:
    code, out, _ = run("check", "--perfdata", "--from", captured(healthy_look()), "--what-if", "tcp_tw_reuse=1")
    assert (code, out.startswith("SOCKWATCH UNKNOWN - --what-if and --perfdata")) == (3, True)


class Watched:
    """Two looks at a host whose client has churned through its ports since; it notes whose holders were asked for."""

    def __init__(self) -> None:
        self.looks = [exhausted_look(), later(exhausted_look(), 5.0)]
        self.asked: list[SocketTable] = []
        self.asks = Asks()

    def look(self, asks: Asks) -> Snapshot:
        self.asks = asks
        return self.looks.pop(0)

    def follow_up(self, look: Snapshot, wanted: FollowUp) -> Snapshot:
        self.asked.append(wanted.suspects)
        return look


def test_with_sample_both_looks_are_supposed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Watched()
    monkeypatch.setattr(check, "open_source", lambda _options, _clock: (source, None))
    code, report = judged(run, "--sample", "0.001", "--what-if", f"{REUSE}=1")
    assert (code, report["what_if"]["before"]["status"]) == (0, "critical")
    assert REUSE in source.asks.sysctls


def test_holders_of_what_only_the_supposition_makes_suspect_are_looked_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = process(812, "client")
    rows = [socket(State.ESTABLISHED, f"10.0.0.1:{40_000 + i}", "10.0.0.9:443", inode=7 + i) for i in range(PORTS)]
    look = snapshot(*rows, holders={7 + i: [client] for i in range(PORTS)})
    source = Watched()
    source.looks = [look]
    monkeypatch.setattr(check, "open_source", lambda _options, _clock: (source, None))
    code, report = judged(run, "--what-if", "ip_local_port_range=40000 40022")
    assert (code, report["what_if"]["before"]["findings"]) == (2, [])
    assert [f["subject"]["process"]["pid"] for f in report["findings"] if f["code"] == "port_exhaustion"] == [812]
    assert {len(suspects) for suspects in source.asked} == {PORTS}


def test_a_fatal_gap_stays_fatal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Watched()
    source.looks = [replace(healthy_look(), gaps=(Gap(what="dump", why="cut short", fatal=True),))]
    monkeypatch.setattr(check, "open_source", lambda _options, _clock: (source, None))
    code, out, _ = run("check", "--what-if", "tcp_tw_reuse=1")
    assert code == 3
    assert "cut short" in out
