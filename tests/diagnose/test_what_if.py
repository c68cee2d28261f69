"""What the kernel takes for a sysctl, asked of the kernel itself; and what a supposition leaves as it is."""

from itertools import chain
from pathlib import Path

import pytest

from builders import namespace, snapshot, socket, window
from netns import PrivateNetns
from sockwatch.diagnose.age import ages
from sockwatch.diagnose.ports import port_budgets
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.what_if import READ_ONLY, rule, ruled, suppose
from sockwatch.diagnose.window import Window
from sockwatch.model.snapshot import Asks, Namespace
from sockwatch.model.state import State, Timer

FIN_TIMEOUT, SOMAXCONN = "net.ipv4.tcp_fin_timeout", "net.core.somaxconn"
NUMBERS = [-1, 0, 1, 2, 3, 127, 128, 255, 256, 60_000, 60_001, 65_535, 65_536, 2_147_483, 2**31 - 1, 2**31, 2**63]
WORDS = ["", "x", "1.5", "0x10x", "1 2 3", "0 2 3", "1 2 2147483648", "1024 1024", "1023 5000", "2000 1024"]
WORDS += ["1024 65536", "80,443", "80-90,443", "90-80", "65536", "80, 443", "80 443", "-5"]
A_MONTH_AND_MORE = 2_147_483
"""Seconds; times above are taken or refused according to CONFIG_HZ."""
SAMPLES = [*map(str, NUMBERS), *WORDS]


def refused(name: str, values: list[str]) -> set[str]:
    """Which of the values the kernel refuses; empty if the namespace does not have the sysctl or it is read-only."""
    path = Path("/proc/sys", *name.split("."))
    wrong = set()
    for value in values:
        try:
            path.write_text(f"{value}\n")
        except FileNotFoundError:
            return set()
        except OSError:
            wrong.add(value)
    return wrong


def test_the_kernel_takes_what_a_rule_takes() -> None:
    with PrivateNetns() as netns:
        tried = 0
        for name in ruled():
            known = rule(name)
            taken = {value for value in SAMPLES if not known.refusal(value)}
            taken |= {" ".join([str(end)] * known.parts) for end in (known.low, known.high)}
            wrong = netns.run(refused, name, sorted(taken))
            tried += wrong != taken
            assert wrong in (set(), taken), f"{name}: the kernel refuses {wrong}"
    assert tried > 15


def test_a_rule_takes_what_the_kernel_takes_and_people_mean() -> None:
    with PrivateNetns() as netns:
        for name in ruled():
            plain = [str(number) for number in NUMBERS if 0 <= number <= A_MONTH_AND_MORE]
            plain += ["1024 2000", "5000 5000", "1 2 3", "80,443", "80-90,443"]
            spared = {value for value in plain if rule(name).parts == len(value.split()) and rule(name).refusal(value)}
            assert netns.run(refused, name, sorted(spared)) in (spared, set()), name


def test_every_rule_is_about_a_sysctl_that_a_detector_reads() -> None:
    asked = Asks.union(detector.asks for detector in load_detectors().values()).sysctls
    assert {*ruled(), *READ_ONLY} - asked == set()


def test_a_sysctl_without_a_rule_takes_numbers() -> None:
    assert [not rule("net.x.y").refusal(value) for value in ("1", "1 2\t3", "", "x", "-1")] == [True, True] + [
        False
    ] * 3


def test_each_rule_says_what_it_means_for_sockets_that_are_there() -> None:
    assert all(rule(name).takes_effect.endswith(".") for name in (*ruled(), "net.x.y"))


def test_only_namespaces_that_have_the_sysctl_get_the_value() -> None:
    bare = Namespace(name="web", inode=2, initial=False, lists_bound=True)
    seen = suppose(snapshot(namespaces=[namespace(), bare]), {"net.ipv4.tcp_tw_reuse": "1"})
    assert [n.sysctls.get("net.ipv4.tcp_tw_reuse") for n in seen.namespaces] == ["1", None]
    assert seen.namespaces[0].number("net.ipv4.tcp_fin_timeout") == 60


def test_a_closed_socket_keeps_its_timer_and_so_its_age() -> None:
    row = socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.9:40000", timer=Timer.TIME_WAIT, expires_ms=20_000)
    seen = window(row)
    supposed = Window(current=suppose(seen.current, {FIN_TIMEOUT: "5"}))
    assert supposed.namespaces[0].number(FIN_TIMEOUT) == 5
    assert ages(supposed, supposed.sockets).lower.tolist() == ages(seen, seen.sockets).lower.tolist() == [40.0]


@pytest.mark.parametrize("code", ["accept_queue_overflow", "fin_wait_2_stuck"])
@pytest.mark.parametrize(("sysctl", "value"), [(FIN_TIMEOUT, "5"), (SOMAXCONN, "65535")])
def test_what_is_inferred_from_sockets_that_are_there_stays(code: str, sysctl: str, value: str) -> None:
    rows = [
        socket(State.LISTEN, "0.0.0.0:80", inode=9, recv_q=4097, send_q=4096),
        socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.9:40000", timer=Timer.TIME_WAIT, expires_ms=1_000),
    ]
    detector = load_detectors()[code]
    found = [
        [(f.name, f.severity, f.count, f.oldest_seconds) for f in detector.detect(seen, detector.settings)]
        for seen in (window(*rows), Window(current=suppose(snapshot(*rows), {sysctl: value})))
    ]
    assert found[0] == found[1] != []


def test_what_connect_reads_anew_changes_at_once() -> None:
    rows = [
        socket(State.TIME_WAIT, f"10.0.0.1:{40_000 + i}", "10.0.0.9:443", timer=Timer.TIME_WAIT, expires_ms=30_000)
        for i in range(23)
    ]
    seen = snapshot(*rows, namespaces=[namespace(ip_local_port_range="40000\t40022")])
    changes = [{}, {"net.ipv4.tcp_tw_reuse": "1"}, {"net.ipv4.ip_local_port_range": "40000\t40045"}]
    budgets = chain(*(port_budgets(Window(current=suppose(seen, values)), 0.0) for values in changes))
    assert [(b.used, b.usable) for b in budgets] == [(23, 23), (0, 23), (23, 46)]
