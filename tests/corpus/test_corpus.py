"""Every detector over every capture: the sick get their finding and the healthy no warning."""

import re
from functools import cache
from pathlib import Path

import pytest

from contract.repository import ROOT
from corpus.derived import DERIVED
from corpus.manifest import CAPTURES, LAB, Wanted, kinds, load_manifest, recorded
from corpus.recording import HOST
from corpus.replay import Comparison, alarms, compare, replay
from corpus.scenes import load_scenes
from corpus.score import Score
from reports import leak, note
from sockwatch.collect.capture import ReplaySource
from sockwatch.diagnose.registry import load_detectors
from sockwatch.model.finding import Severity
from sockwatch.model.report import Result
from sockwatch.model.snapshot import Asks

MOST_BYTES = 300_000
ENTRIES = recorded()

replayed = cache(lambda name: replay(ENTRIES[name]))
every_capture = pytest.mark.parametrize("name", ENTRIES)


@every_capture
def test_a_capture_finds_what_the_manifest_says(name: str) -> None:
    entry = ENTRIES[name]
    last = replayed(name)[-1]
    assert compare(entry.findings, last.findings).differences == []
    assert {outcome.code for outcome in last.outcomes} == set(load_detectors())
    assert [outcome for outcome in last.outcomes if outcome.result is Result.FAILED] == []


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.healthy])
def test_no_look_at_a_healthy_host_gives_a_warning(name: str) -> None:
    assert alarms(replayed(name)) == []


def test_precision_and_recall_over_the_corpus_are_100_percent() -> None:
    score = Score()
    for name, entry in ENTRIES.items():
        score.add(compare(entry.findings, replayed(name)[-1].findings))
    assert (score.precision(score.names), score.recall(score.names)) == (1.0, 1.0)


def test_every_code_and_variant_is_in_the_corpus() -> None:
    wanted = {finding.name for entry in ENTRIES.values() for finding in entry.findings}
    assert wanted == kinds(), "make corpus NAMES=lab/CODE/VARIANT records a scenario"


def test_every_scene_is_recorded_and_every_capture_is_listed() -> None:
    scenes = {name for name in load_manifest() if not name.startswith(LAB)}
    assert scenes == {*load_scenes(), *DERIVED}
    assert scenes <= set(ENTRIES)
    assert {path for path in CAPTURES.rglob("*") if path.is_file()} == {entry.path for entry in ENTRIES.values()}


@every_capture
def test_a_capture_is_small_and_names_nobody(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.path.stat().st_size < MOST_BYTES
    source = ReplaySource.open(entry.path)
    for _ in range(source.looks):
        look = source.look(Asks())
        assert look.host == HOST
        assert look.sysctl_files == ()
        assert {(process.unit, process.container) for process in look.owners.processes} <= {(None, None)}
        assert [namespace.initial for namespace in look.namespaces] == [name in DERIVED]


@pytest.mark.parametrize("kind", ["healthy", "sick"])
def test_both_kinds_come_from_real_programs(kind: str) -> None:
    names = {name.partition("_")[0] for name, entry in ENTRIES.items() if entry.healthy is (kind == "healthy")}
    assert {"nginx", "redis", "postgresql", "node", "java"} <= names


def test_a_difference_in_kind_severity_count_process_or_other_end_is_seen() -> None:
    found = (leak(), note())
    right = [
        Wanted(name="close_wait_leak/not_closed", severity=Severity.WARNING, count=23, by="app"),
        Wanted(name="time_wait_buildup/server_side", severity=Severity.INFO, other_end="client"),
    ]
    assert compare(right, found).right == ("close_wait_leak/not_closed", "time_wait_buildup/server_side")
    for wrong in (
        Wanted(name="close_wait_leak/fin_not_seen", severity=Severity.WARNING),
        Wanted(name="close_wait_leak/not_closed", severity=Severity.CRITICAL),
        Wanted(name="close_wait_leak/not_closed", severity=Severity.WARNING, count=24),
        Wanted(name="close_wait_leak/not_closed", severity=Severity.WARNING, by="nobody"),
        Wanted(name="close_wait_leak/not_closed", severity=Severity.WARNING, other_end="client"),
    ):
        comparison = compare([wrong, right[1]], found)
        assert (len(comparison.right), len(comparison.missed), len(comparison.surplus)) == (1, 1, 1)


def test_one_finding_does_not_count_for_two() -> None:
    wanted = Wanted(name="close_wait_leak/not_closed", severity=Severity.WARNING)
    assert compare([wanted, wanted], [leak()]).missed == (wanted,)
    assert len(compare([wanted], [leak(), leak()]).surplus) == 1


def test_precision_and_recall_count_what_is_too_much_and_what_is_missing() -> None:
    a, b = Wanted(name="a", severity=Severity.INFO), Wanted(name="b", severity=Severity.INFO)
    score = Score()
    score.add(Comparison(right=("a", "a", "a"), missed=(b,), surplus=()))
    score.add(Comparison(right=(), missed=(), surplus=(a,)))
    assert (score.precision(["a"]), score.recall(["a"])) == (0.75, 1.0)
    assert (score.precision(["b"]), score.recall(["b"])) == (1.0, 0.0)
    lines = [" ".join(line.split()) for line in score.table(["c"])]
    assert lines[1:] == ["a 3 4 75% 100%", "b 1 0 100% 0%", "c - - - -", "total 4 4 75% 75%"]


def test_programs_to_record_with_are_listed_with_their_packages() -> None:
    listed = (Path(__file__).with_name("debian-packages.txt")).read_text(encoding="utf-8")
    listed += (ROOT / "tests" / "debian-packages.txt").read_text(encoding="utf-8")
    provided = {word for line in listed.splitlines() if line[:1] != "#" for word in line.split()[1:]}
    assert {program for scene in load_scenes().values() for program in scene.programs} <= provided


def test_the_makefile_records_and_scores() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^(corpus|score):", makefile, re.MULTILINE) == ["corpus", "score"]
