import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from prometheus_client.core import GaugeMetricFamily

from builders import namespace, process, snapshot, socket
from export.metrics.pages import (
    CLEAN,
    counted,
    failed,
    families,
    namespaces,
    outcomes,
    page,
    poll,
    rich,
    series,
    total,
    value,
)
from reports import leak, report
from sockwatch.export.metrics import catalog
from sockwatch.export.metrics.exposition import Exposition
from sockwatch.export.metrics.family import Family
from sockwatch.export.metrics.kernel_counters import COUNTERS
from sockwatch.export.metrics.labels import MOST_CHARACTERS
from sockwatch.export.metrics.page import render
from sockwatch.model.address import address_text
from sockwatch.model.finding import Severity, Subject
from sockwatch.model.report import BudgetUse, PeerCount, Result
from sockwatch.model.settings import MetricsSettings
from sockwatch.model.snapshot import Gap
from sockwatch.model.state import State

DECLARED = {f.name: f for f in [*vars(catalog).values(), *COUNTERS.values()] if isinstance(f, Family)}
NASTY = ('a\nb"} 1', "\x1b[2J", "\udcff\udcfe", "<script>", "\u202e", "|perf=1", "$(id)", "other", "", "\0", "=,{}\\")


def promtool(text: bytes) -> tuple[int, bytes]:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


def full() -> Exposition:
    return render(rich(), MetricsSettings())


def test_the_page_is_the_golden_one(golden: Callable[[str, str], None]) -> None:
    text = re.sub(r'python="[^"]*"', 'python="3"', full().text.decode())
    golden("metrics.txt", re.sub(r'build_info\{(.*)version="[^"]*"', r'build_info{\1version="0"', text))


def test_every_declared_metric_is_there_with_its_labels_and_no_other() -> None:
    found = {
        metric.name + "_total" * (metric.type == "counter"): ({*metric.samples[0].labels}, metric.documentation)
        for metric in families(full()).values()
    }
    assert found == {name: ({*f.labels}, f.help) for name, f in DECLARED.items()}


@pytest.mark.needs_program("promtool")
def test_promtool_finds_nothing_to_say() -> None:
    assert promtool(full().text) == (0, b"")


def test_help_is_one_sentence_that_names_its_source() -> None:
    for family in DECLARED.values():
        assert re.fullmatch(r"[A-Z1][^\n]+ \([^\n]+\)\.", family.help), family.name


@pytest.mark.needs_program("promtool")
def test_a_failed_poll_says_so_and_nothing_of_sockets() -> None:
    exposition = render(failed(), MetricsSettings())
    assert value(exposition, "sockwatch_poll_success") == 0
    assert value(exposition, "sockwatch_poll_timestamp_seconds") == 1_700_000_000.5
    assert value(exposition, "sockwatch_poll_duration_seconds") == 0.25
    assert value(exposition, "sockwatch_gaps", what="dump") == 1
    assert {name for name in families(exposition) if not name.startswith("sockwatch_poll")} == {
        "sockwatch_build_info",
        "sockwatch_gaps",
    }
    assert promtool(exposition.text) == (0, b"")


def test_every_known_finding_is_there_at_every_severity_also_at_zero() -> None:
    exposition = page(snapshot())
    assert series(exposition, "sockwatch_findings") == {
        (("code", code), ("severity", severity.value)): 0.0 for code in CLEAN for severity in Severity
    }
    assert series(exposition, "sockwatch_finding_sockets").keys() == series(exposition, "sockwatch_findings").keys()


def test_findings_are_counted_and_so_are_their_sockets() -> None:
    elsewhere = Subject(netns="host", local="10.0.0.1:9090")
    said = report(leak(), leak(count=5, oldest_seconds=400.0, subject=elsewhere), outcomes=outcomes())
    exposition = page(snapshot(), said)
    assert value(exposition, "sockwatch_findings", code="close_wait_leak", severity="warning") == 2
    assert value(exposition, "sockwatch_findings", code="close_wait_leak", severity="critical") == 0
    assert value(exposition, "sockwatch_finding_sockets", code="close_wait_leak", severity="warning") == 28
    assert series(exposition, "sockwatch_finding_oldest_seconds") == {
        (("code", "close_wait_leak"), ("severity", "warning")): 400.0
    }


def test_what_no_detector_could_tell_is_absent_and_a_gap() -> None:
    said = report(
        outcomes=outcomes(dead_peer=Result.FAILED, conntrack_pressure=Result.NO_DATA),
        gaps=[
            Gap(what="dead_peer", why="KeyError", fatal=True),
            Gap(what="conntrack_pressure", why="no table"),
            Gap(what="owners", why="no permission", count=3),
            Gap(what="owners", why="no time", count=2),
        ],
    )
    exposition = page(snapshot(), said)
    codes = {dict(labels)["code"] for labels in series(exposition, "sockwatch_findings")}
    assert codes == set(CLEAN)
    assert value(exposition, "sockwatch_detector_success", code="dead_peer") == 0
    assert value(exposition, "sockwatch_detector_success", code="conntrack_pressure") == 1
    assert value(exposition, "sockwatch_detector_success", code="self_connect") == 1
    assert series(exposition, "sockwatch_gaps") == {
        (("what", "conntrack_pressure"),): 1,
        (("what", "dead_peer"),): 1,
        (("what", "owners"),): 5,
    }


def test_gaps_do_not_exceed_the_cap_either() -> None:
    said = report(gaps=[Gap(what=f"namespace {i}", why="gone") for i in range(300)])
    exposition = page(snapshot(), said, max_series=120)
    assert counted(exposition, "sockwatch_gaps") == 120
    assert total(exposition, "sockwatch_gaps") == 300


def test_what_other_exporters_say_comes_after_it_with_safe_labels() -> None:
    more = GaugeMetricFamily("sockwatch_sink_queue", "Waiting alerts.", labels=["sink"])
    more.add_metric(["to\nme\x1b"], 5)
    plain = GaugeMetricFamily("sockwatch_alerts", "Alerts.", value=1)
    exposition = render(poll(snapshot()), MetricsSettings(), (more, plain))
    assert value(exposition, "sockwatch_sink_queue", sink="to\\nme\\x1b") == 5
    assert [*families(exposition)][-2:] == ["sockwatch_sink_queue", "sockwatch_alerts"]
    assert more.samples[0].labels == {"sink": "to\nme\x1b"}


def test_the_same_poll_makes_the_same_page() -> None:
    assert render(rich(), MetricsSettings()) == render(rich(), MetricsSettings())


def test_nothing_has_more_series_than_the_cap_and_what_is_folded_is_said() -> None:
    rows, held = [], {}
    for i in range(400):
        rows += [
            socket(State.LISTEN, f"10.0.0.1:{1000 + i}", recv_q=i, send_q=400, inode=1 + i, netns=i % 150),
            *(socket(State.CLOSE_WAIT, f"10.0.0.1:{1000 + i}", f"10.0.0.9:{9 + n}", netns=i % 150) for n in range(2)),
        ]
        held[1 + i] = [process(100 + i, f"app{i:03}")]
    look = snapshot(*rows, namespaces=namespaces(150), holders=held)
    said = report(
        outcomes=outcomes(),
        budgets=[
            BudgetUse(netns=f"n{1 + i % 140:03}", source=f"10.0.0.{i}", destination="10.0.1.1:80", used=i, usable=250)
            for i in range(250)
        ],
        peers=[
            PeerCount(netns="host", local=f"10.0.0.1:{i}", peer="10.0.0.9:*", state=State.CLOSE_WAIT, count=1 + i)
            for i in range(300)
        ],
    )
    exposition = page(look, said, max_series=120, top=50, namespaces=140)
    assert max(counted(exposition, name) for name in DECLARED) <= 120
    assert total(exposition, "sockwatch_sockets") == 1200
    assert total(exposition, "sockwatch_listener_sockets", state="close_wait") == 800
    assert total(exposition, "sockwatch_process_sockets", state="listen") == 400
    assert total(exposition, "sockwatch_peer_sockets") == sum(range(1, 301))
    assert max(series(exposition, "sockwatch_port_budget_used_ratio").values()) == 249 / 250
    folded = {
        dict(labels)["metric"]: number for labels, number in series(exposition, "sockwatch_series_folded").items()
    }
    assert {name for name, number in folded.items() if number} == {
        "sockwatch_sockets",
        "sockwatch_listener_sockets",
        "sockwatch_listener_queue_ratio",
        "sockwatch_process_sockets",
        "sockwatch_port_budget_used_ratio",
        "sockwatch_peer_sockets",
    }
    own = counted(exposition, "sockwatch_process_sockets") // 12 - 2  # without "" and other
    assert folded["sockwatch_process_sockets"] == (400 - own) * 12


@pytest.mark.parametrize("family", [f for f in DECLARED.values() if "netns" in f.labels], ids=lambda f: f.name)
def test_every_metric_of_a_namespace_folds_namespaces_alike(family: Family) -> None:
    every = rich()
    assert every.snapshot is not None
    exposition = render(every, MetricsSettings(namespaces=1))
    shown = {dict(labels)["netns"] for labels in series(exposition, family.name)}
    assert shown <= {"host", "other"}


names = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=()), max_size=300))


@st.composite
def hostile(draw: st.DrawFn) -> Any:
    """A poll in which whatever others may choose is random."""
    called = draw(st.lists(names, min_size=1, max_size=8))
    inside = [
        replace(namespace(name), inode=number, initial=False)
        for number, name in enumerate(draw(st.lists(names, max_size=4)))
    ]
    rows = [
        socket(State.CLOSE_WAIT, f"10.0.0.1:{80 + i}", "10.0.0.9:9", inode=1 + i, netns=i % (1 + len(inside)))
        for i in range(len(called))
    ]
    holders = {1 + i: [process(100 + i, name, unit=draw(st.none() | names))] for i, name in enumerate(called)}
    look = snapshot(*rows, namespaces=[namespace(), *inside], holders=holders)
    said = report(
        outcomes=outcomes(),
        gaps=[Gap(what=draw(names), why="")],
        kernel=draw(names),
        budgets=[BudgetUse(netns=draw(names), source=draw(names), destination=draw(names), used=1, usable=2)],
        peers=[PeerCount(netns=draw(names), local=draw(names), peer=draw(names), state=State.CLOSE_WAIT, count=23)],
        timings_ms={draw(names): 1.0},
    )
    return poll(replace(look, kernel=draw(names)), said)


@given(hostile())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_hostile_names_do_no_harm(every: Any) -> None:
    exposition = render(every, MetricsSettings(top=5, namespaces=3))
    read = families(exposition)
    for metric in read.values():
        seen = set()
        for sample in metric.samples:
            assert all(len(text) <= MOST_CHARACTERS and text.isprintable() for text in sample.labels.values())
            seen.add(tuple(sorted(sample.labels.items())))
        assert len(seen) == len(metric.samples)
    rows = len(every.snapshot.sockets)
    assert total(exposition, "sockwatch_process_sockets") == total(exposition, "sockwatch_sockets") == rows


@pytest.mark.needs_program("promtool")
@given(hostile())
@settings(max_examples=20, deadline=None)
def test_promtool_reads_hostile_names(every: Any) -> None:
    assert promtool(render(every, MetricsSettings()).text) == (0, b"")


def test_addresses_are_only_where_the_contract_has_them() -> None:
    exposition = full()
    peer = re.compile(r"10\.0\.0\.9|2001:db8::2|10\.1\.0\.9")
    shown = {
        name for name in DECLARED for labels in series(exposition, name) if any(peer.search(text) for _, text in labels)
    }
    assert shown == {
        "sockwatch_port_budget_used_ratio",
        "sockwatch_port_budget_left_seconds",
        "sockwatch_peer_sockets",
    }
    assert address_text(0, 0xFFFF_0A00_0009) == "10.0.0.9"
