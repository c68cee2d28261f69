from typing import Any

import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.fin_wait_2_stuck import DETECTOR
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.state import State, Timer

CLIENT = process(812, "gateway")
SERVER = process(900, "orders-api")
REMOTE = "10.0.0.9:8080"


def held(number: int, seconds: float = 61.0, remote: str = REMOTE, **columns: Any) -> dict[str, Any]:
    """One connection that this side half-closed so long ago."""
    silence = {"last_ack_recv": seconds * 1e3, "last_data_sent": seconds * 1e3 + 500}
    return socket(
        State.FIN_WAIT_2, f"10.0.0.1:{40000 + number}", remote, **({"inode": 100 + number} | silence | columns)
    )


def orphan(number: int, seconds: float = 31.0, remote: str = REMOTE, **columns: Any) -> dict[str, Any]:
    """One connection that this side closed so long ago, with 60 s to live."""
    life: dict[str, Any] = {"timer": Timer.TIME_WAIT, "expires_ms": int(60_000 - seconds * 1e3)}
    return socket(State.FIN_WAIT_2, f"10.0.0.1:{40000 + number}", remote, **(life | columns))


def pair(*, here_inode: int, age: float) -> list[dict[str, Any]]:
    """Both ends of one connection on this host, the other in CLOSE_WAIT for `age` seconds."""
    expires = 0 if here_inode else int(60_000 - age * 1e3)
    return [
        socket(
            State.FIN_WAIT_2,
            "127.0.0.1:40000",
            "127.0.0.1:8080",
            inode=here_inode,
            timer=Timer.OFF if here_inode else Timer.TIME_WAIT,
            expires_ms=expires,
            last_ack_recv=age * 1e3,
            last_data_sent=age * 1e3,
        ),
        socket(
            State.CLOSE_WAIT,
            "127.0.0.1:8080",
            "127.0.0.1:40000",
            inode=900,
            last_ack_recv=age * 1e3,
            last_data_recv=age * 1e3,
        ),
    ]


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_the_other_end_is_said_to_sit_in_close_wait_only_where_it_is_seen_to() -> None:
    for inode, age in ((100, 61.0), (0, 31.0)):
        [here] = detect(window(*pair(here_inode=inode, age=age)))
        assert here.remedies[0].startswith("Fix the other end, on this host: it sits in CLOSE_WAIT")
    for row in (held(0), orphan(0)):
        [elsewhere] = detect(window(row))
        assert elsewhere.remedies[0].startswith("Look for the other end: if it is in CLOSE_WAIT there")
        assert "It may also be gone" in elsewhere.remedies[0]


def test_an_orphan_whose_holder_was_seen_before_it_closed_is_told_with_its_holder() -> None:
    live = snapshot(held(0, cookie=7), holders={100: [CLIENT]})
    history = remember(Window(current=live), live.sockets)
    [finding] = detect(Window(current=later(snapshot(orphan(0, cookie=7)), 40.0), history=history))
    assert (finding.name, finding.subject.process) == ("fin_wait_2_stuck/orphaned", CLIENT)
    assert (finding.evidence["confidence"], finding.evidence["process_from"]) == ("medium", "an earlier look")
    [unknown] = detect(Window(current=later(snapshot(orphan(0, cookie=8)), 40.0), history=history))
    assert unknown.subject.process is None
    assert "confidence" not in unknown.evidence


def test_held_fires_with_process_end_age_and_evidence() -> None:
    rows = [held(i) for i in range(23)]
    [finding] = detect(window(*rows, holders={row["inode"]: [CLIENT] for row in rows}))
    assert (finding.name, finding.severity, finding.count) == ("fin_wait_2_stuck/held", Severity.WARNING, 23)
    assert finding.subject.process == CLIENT
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:*", REMOTE)
    assert finding.oldest_seconds == 61.0
    assert finding.evidence == {"other_ends_here": 0, "oldest_seconds_max": 61.5}
    assert (
        finding.summary == "gateway[812] half-closed 23 connections and waits for the other end to close the other half"
    )


def test_orphaned_fires_as_info_at_half_of_its_life() -> None:
    [finding] = detect(window(*(orphan(i) for i in range(23))))
    assert (finding.name, finding.severity, finding.count) == ("fin_wait_2_stuck/orphaned", Severity.INFO, 23)
    assert finding.subject.process is None
    assert (finding.oldest_seconds, finding.evidence["oldest_seconds_max"]) == (31.0, 31.0)
    assert finding.summary == "23 connections closed on this side wait for the other end to close"


@pytest.mark.parametrize(("age", "count"), [(59.9, 0), (60.0, 1)])
def test_held_is_stuck_from_min_age_on(age: float, count: int) -> None:
    assert len(detect(window(held(0, age, last_data_sent=age * 1e3)))) == count


@pytest.mark.parametrize(("age", "count"), [(29.9, 0), (30.0, 1)])
def test_an_orphan_is_stuck_from_half_of_its_life_on(age: float, count: int) -> None:
    assert len(detect(window(orphan(0, age)))) == count


@pytest.mark.parametrize(("left", "count"), [(7.1, 0), (6.0, 1)])
def test_half_of_a_life_above_60_s_is_what_the_kernel_makes_of_it(left: float, count: int) -> None:
    row = orphan(0, timer=Timer.TIME_WAIT, expires_ms=int(left * 1e3))  # tcp_fin_timeout=66 makes 2 x 6 s
    assert len(detect(window(row, namespaces=[namespace(tcp_fin_timeout="66")]))) == count


def test_a_short_half_close_is_silent_and_a_long_answer_is_a_guess() -> None:
    assert not detect(window(held(0, 5.0)))
    [finding] = detect(window(held(0, 1.0, last_data_sent=3_600e3)))
    assert (finding.severity, finding.evidence["confidence"]) == (Severity.INFO, "low")


def test_a_second_look_settles_a_guess_and_a_gone_one_clears() -> None:
    first = snapshot(held(0, 1.0, cookie=7, last_data_sent=3_600e3))
    second = later(first, 60.0)
    [finding] = detect(Window(current=second, previous=first))
    assert finding.severity is Severity.WARNING
    assert not detect(Window(current=later(snapshot(), 60.0), previous=first))


def test_the_guilty_process_at_the_other_end_is_named_and_the_leak_carries_the_warning() -> None:
    [finding] = detect(window(*pair(here_inode=100, age=61.0), holders={100: [CLIENT], 900: [SERVER]}))
    assert finding.severity is Severity.INFO
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.CLOSE_WAIT, SERVER)
    assert finding.evidence["other_ends_here"] == 1
    assert "waits for orders-api[900] to close" in finding.summary


def test_an_orphan_whose_other_end_is_too_young_for_a_diagnosis_leaves_the_warning_to_it() -> None:
    seen = window(*pair(here_inode=0, age=31.0), holders={900: [SERVER]})
    [finding] = detect(seen)
    assert (finding.variant, finding.severity) == ("orphaned", Severity.INFO)
    assert "orders-api[900]" in finding.summary
    here, there = pair(here_inode=0, age=31.0)
    [finding] = detect(window(here, there | {"state": State.ESTABLISHED}))
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(("count", "severity"), [(9, Severity.INFO), (10, Severity.WARNING)])
def test_orphans_that_take_a_tenth_of_their_port_budget_are_a_warning(count: int, severity: Severity) -> None:
    spaces = [namespace(ip_local_port_range="40000 40099")]
    [finding] = detect(window(*(orphan(i) for i in range(count)), namespaces=spaces))
    assert finding.severity is severity


@pytest.mark.parametrize(("count", "severity"), [(9, Severity.INFO), (10, Severity.WARNING)])
def test_orphans_that_take_a_tenth_of_the_table_are_a_warning(count: int, severity: Severity) -> None:
    spaces = [namespace(tcp_max_tw_buckets="100")]
    [finding] = detect(window(*(orphan(i) for i in range(count)), namespaces=spaces))
    assert finding.severity is severity


def test_orphans_of_a_server_take_no_port_budget() -> None:
    spaces = [namespace(ip_local_port_range="40000 40099")]
    listener = socket(State.LISTEN, "0.0.0.0:40050", inode=1)
    rows = [
        socket(State.FIN_WAIT_2, "10.0.0.1:40050", f"10.0.0.9:{5000 + i}", timer=Timer.TIME_WAIT, expires_ms=20_000)
        for i in range(50)
    ]
    [finding] = detect(window(listener, *rows, namespaces=spaces))
    assert (finding.severity, finding.count, finding.subject.remote) == (Severity.INFO, 50, "10.0.0.9:*")


def test_what_is_left_over_many_destinations_is_no_share_of_one_budget() -> None:
    spaces = [namespace(ip_local_port_range="40000 40099")]
    rows = [orphan(i, remote=f"10.0.{i}.9:443") for i in range(60)]
    assert {f.severity for f in detect(window(*rows, namespaces=spaces))} == {Severity.INFO}


def test_held_and_orphaned_are_told_apart_also_when_there_are_too_many_to_name() -> None:
    rows = [
        *(held(i, remote=f"10.1.{i}.1:80", inode=500 + i) for i in range(30)),
        *(orphan(i, remote=f"10.2.{i}.1:80") for i in range(30)),
    ]
    found = detect(window(*rows))
    counts = {name: sum(f.count for f in found if f.variant == name) for name in ("held", "orphaned")}
    assert counts == {"held": 30, "orphaned": 30}
    assert all((row.inode == 0) == (f.variant == "orphaned") for f in found for row in f.sockets)


def test_namespaces_families_and_v4_mapped_addresses() -> None:
    rows = [
        held(0),
        held(1, netns=1),
        held(2, family=10),
        socket(State.FIN_WAIT_2, "[::1]:4000", "[::1]:80", inode=1, last_ack_recv=7e4, last_data_sent=7e4),
    ]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert {(f.subject.netns, f.subject.remote, f.count) for f in found} == {
        ("host", REMOTE, 2),
        ("web", REMOTE, 1),
        ("host", "[::1]:80", 1),
    }


def test_without_details_or_sysctls_there_is_a_gap_and_no_crash() -> None:
    bare = namespace(tcp_fin_timeout="", ip_local_port_range="", tcp_max_tw_buckets="")
    with pytest.raises(NoDataError, match="takes last_ack_recv and last_data_recv and last_data_sent"):
        detect(window(socket(State.FIN_WAIT_2, "10.0.0.1:5", REMOTE, inode=1), namespaces=[bare]))
    [finding] = detect(window(orphan(0), namespaces=[bare]))
    assert finding.severity is Severity.INFO


def test_the_stuck_and_their_other_ends_are_suspects() -> None:
    young = held(1, 1.0, last_data_sent=1_000.0)
    suspects = DETECTOR.suspects(window(*pair(here_inode=100, age=61.0), young), DETECTOR.settings)
    assert sorted(suspects.inode.tolist()) == [100, 900]


def test_only_where_every_other_end_is_blamed_the_leak_carries_the_warning() -> None:
    remote = pair(here_inode=100, age=61.0)[0] | {"sport": 40001, "inode": 101}  # its other end is gone
    [finding] = detect(window(*pair(here_inode=100, age=61.0), remote))
    assert (finding.count, finding.evidence["other_ends_here"], finding.severity) == (2, 1, Severity.INFO)
    here, there = pair(here_inode=101, age=61.0)
    young = there | {"dport": 40001, "last_ack_recv": 1.0, "last_data_recv": 1.0}
    [finding] = detect(window(*pair(here_inode=100, age=61.0), here | {"sport": 40001}, young))
    assert (finding.count, finding.evidence["other_ends_here"], finding.severity) == (2, 2, Severity.WARNING)


def test_of_what_was_never_accepted_the_holder_of_the_listener_is_guilty() -> None:
    here, there = pair(here_inode=100, age=61.0)
    listener = socket(State.LISTEN, "127.0.0.1:8080", inode=1)
    holders = {1: [SERVER], 100: [CLIENT]}
    seen = window(listener, here, there | {"inode": 0, "recv_q": 1}, holders=holders)
    [finding] = detect(seen)
    assert finding.other_end is not None
    assert finding.other_end.process == SERVER
    assert sorted(DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist()) == [0, 1, 100]
    [finding] = detect(window(listener, here, there, holders=holders))
    assert finding.other_end is not None
    assert finding.other_end.process is None  # accepted, by somebody who cannot be seen


def test_an_end_in_close_wait_of_unknown_age_is_not_called_blameless() -> None:
    here, there = pair(here_inode=100, age=61.0)
    unknown = there | {"last_ack_recv": float("nan"), "last_data_recv": 30_000.0}
    [finding] = detect(window(here, unknown | {"last_data_recv": float("nan")}))
    assert (finding.name, finding.severity) == ("fin_wait_2_stuck/held", Severity.INFO)
    [finding] = detect(window(here, unknown))
    assert (finding.name, finding.severity) == ("fin_wait_2_stuck/held", Severity.WARNING)
