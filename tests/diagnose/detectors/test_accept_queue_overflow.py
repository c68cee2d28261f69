from dataclasses import replace
from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors.accept_queue_overflow import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.state import State

SERVER = process(812, "orders-api")
OVERFLOWS = "TcpExt.ListenOverflows"


def listener(queue: int, limit: int = 511, local: str = "0.0.0.0:8080", **columns: Any) -> dict[str, Any]:
    return socket(State.LISTEN, local, recv_q=queue, send_q=limit, **({"inode": 1, "cookie": 7} | columns))


def looks(before: dict[str, Any], now: dict[str, Any], *, overflows: tuple[int | None, int | None] = (5, 6)) -> Window:
    spaces = [namespace(counters={} if count is None else {OVERFLOWS: count}) for count in overflows]
    first = snapshot(before, namespaces=[spaces[0]])
    return Window(current=later(snapshot(now, namespaces=[spaces[1]]), 10.0), previous=first)


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_a_full_queue_is_critical_and_names_the_listener() -> None:
    [finding] = detect(window(listener(512), holders={1: [SERVER]}))
    assert (finding.name, finding.severity) == ("accept_queue_overflow/application_backlog", Severity.CRITICAL)
    assert (finding.count, finding.subject.process) == (1, SERVER)
    assert (finding.subject.local, finding.subject.remote) == ("0.0.0.0:8080", None)
    assert finding.evidence == {"accept_queue": 512, "backlog": 511}
    assert finding.summary == "orders-api[812] lets its accept queue on 0.0.0.0:8080 overflow: 512 wait, 511 fit"


@pytest.mark.parametrize(("queue", "count"), [(510, 0), (511, 0), (512, 1)])
def test_a_queue_overflows_above_its_limit_not_at_it(queue: int, count: int) -> None:
    assert len(detect(window(listener(queue)))) == count


@pytest.mark.parametrize(
    ("limit", "variant", "effect"),
    [
        (4095, "application_backlog", Effect.NONE),
        (4096, "somaxconn", Effect.HELPS),
        (4097, "somaxconn", Effect.HELPS),
    ],
)
def test_who_caps_the_queue_is_told_by_somaxconn(limit: int, variant: str, effect: Effect) -> None:
    [finding] = detect(window(listener(limit + 1, limit)))
    assert finding.variant == variant
    assert [a.effect for a in finding.sysctls if a.name == "net.core.somaxconn"] == [effect]


def test_an_unreadable_somaxconn_is_nobodys_fault() -> None:
    bare = replace(namespace(), sysctls={})
    [finding] = detect(window(listener(512), namespaces=[bare]))
    assert (finding.variant, finding.sysctls) == ("application_backlog", ())
    assert finding.evidence["confidence"] == "low"
    assert "(or net.core.somaxconn, which could not be read, cut it to that)" in finding.cause
    [known] = detect(window(listener(512)))
    assert "confidence" not in known.evidence
    assert "a backlog of 511 and does not" in known.cause


def test_what_was_dropped_between_two_looks_is_a_warning() -> None:
    [finding] = detect(looks(listener(0, skmem_drops=100.0), listener(3, skmem_drops=123.0)))
    assert finding.severity is Severity.WARNING
    assert finding.evidence == {"accept_queue": 3, "backlog": 511, "dropped": 23}
    assert finding.summary.endswith("overflow: 23 dropped since the last look, 511 fit")


def test_totals_since_boot_are_no_finding() -> None:
    assert not detect(window(listener(0, skmem_drops=1e6), namespaces=[namespace(counters={OVERFLOWS: 10**6})]))
    assert not detect(looks(listener(0, skmem_drops=100.0), listener(0, skmem_drops=100.0)))


def test_drops_while_no_accept_queue_overflowed_had_another_reason() -> None:
    assert not detect(looks(listener(0, skmem_drops=100.0), listener(0, skmem_drops=123.0), overflows=(5, 5)))


def test_where_the_counter_is_missing_the_drops_prove_nothing() -> None:
    assert not detect(looks(listener(0, skmem_drops=1.0), listener(0, skmem_drops=3.0), overflows=(None, None)))


def test_a_listener_of_another_cookie_has_no_drops_before() -> None:
    assert not detect(looks(listener(0, skmem_drops=1.0), listener(0, skmem_drops=9.0, cookie=8)))


def test_without_skmeminfo_only_the_queue_counts_and_nothing_is_said_about_drops() -> None:
    assert not detect(looks(listener(0), listener(0)))
    [finding] = detect(looks(listener(0), listener(512)))
    assert "dropped" not in finding.evidence


def test_a_burst_that_drains_clears() -> None:
    assert not detect(looks(listener(512, skmem_drops=9.0), listener(2, skmem_drops=9.0)))


def test_listeners_of_one_port_by_reuseport_are_one_finding_and_ports_are_several() -> None:
    rows = [listener(512, cookie=i, inode=i) for i in (1, 2, 3)] + [listener(512, local="0.0.0.0:9090", cookie=4)]
    assert sorted(f.count for f in detect(window(*rows))) == [1, 3]


def test_families_and_namespaces_are_told_apart() -> None:
    rows = [listener(512), listener(512, local="[::]:8080", cookie=8), listener(512, netns=1, cookie=9)]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert {(f.subject.netns, f.subject.local) for f in found} == {
        ("host", "0.0.0.0:8080"),
        ("host", "[::]:8080"),
        ("web", "0.0.0.0:8080"),
    }


def test_each_namespace_has_its_own_somaxconn() -> None:
    rows = [listener(129, 128), listener(129, 128, netns=1, cookie=8)]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web", somaxconn="128")]))
    assert {(f.subject.netns, f.variant) for f in found} == {("host", "application_backlog"), ("web", "somaxconn")}


def test_many_full_listeners_are_not_mixed_over_variants() -> None:
    rows = [
        listener(99_999, 4096 if i % 2 else 100, f"0.0.0.0:{9000 + i}", cookie=i + 1, inode=i + 1) for i in range(60)
    ]
    found = detect(window(*rows))
    counts = {v: sum(f.count for f in found if f.variant == v) for v in ("somaxconn", "application_backlog")}
    assert counts == {"somaxconn": 30, "application_backlog": 30}


def test_established_sockets_with_a_full_receive_queue_are_no_listeners() -> None:
    assert not detect(window(socket(State.ESTABLISHED, "10.0.0.1:80", "10.0.0.2:5", recv_q=999)))


def test_the_overflowing_listeners_are_suspects() -> None:
    seen = window(listener(512), listener(0, local="0.0.0.0:81", inode=2))
    assert DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist() == [1]


def test_a_listener_that_drops_at_its_limit_is_a_warning_and_above_it_critical() -> None:
    for queue, severity in ((511, Severity.WARNING), (512, Severity.CRITICAL)):
        [finding] = detect(looks(listener(0, skmem_drops=1.0), listener(queue, skmem_drops=3.0)))
        assert finding.severity is severity


def test_one_full_listener_of_a_group_is_enough_and_unknown_drops_are_left_out() -> None:
    before = [listener(0, skmem_drops=1.0), listener(0, cookie=8)]
    now = [listener(0, skmem_drops=3.0), listener(512, cookie=8)]
    first, grown = (namespace(counters={OVERFLOWS: count}) for count in (5, 6))
    current = later(snapshot(*now, namespaces=[grown]), 10.0)
    [finding] = detect(Window(current=current, previous=snapshot(*before, namespaces=[first])))
    assert (finding.severity, finding.count, finding.evidence["dropped"]) == (Severity.CRITICAL, 2, 2)
