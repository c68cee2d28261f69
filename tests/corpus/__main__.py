"""`make corpus` records the captures, `make score` prints precision and recall over the lab and the captures.

python -m corpus record [NAME...]    scenes and lab scenarios (lab/NAME), all without a name; in private namespaces
python -m corpus play NAME...        scenes without a capture and without long rests; only a warning is a difference
python -m corpus score [--corpus]    the lab is run for real; with --corpus only captures are replayed
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from corpus.derived import BASE, DERIVED
from corpus.host import Host, private_host
from corpus.manifest import Entry, Wanted, kinds, load_manifest, recorded
from corpus.recording import RecordingSource, anonymous
from corpus.replay import Comparison, alarms, compare, replay
from corpus.scenes import load_scenes, missing_programs
from corpus.score import Score
from sockwatch.cli.output import emit
from sockwatch.clock import SystemClock
from sockwatch.collect.capture import ReplaySource, save_capture
from sockwatch.errors import ProvokeError
from sockwatch.lab.actor import Family
from sockwatch.lab.isolation import isolated
from sockwatch.lab.performance import perform
from sockwatch.lab.registry import load_scenarios
from sockwatch.lab.scenario import Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.snapshot import Asks

REST_SECONDS = 65.0
"""Longer than what is called stuck by default."""
SHORT_REST_SECONDS = 1.0
"""For tests, which play scenes to see that nothing is alarmed about."""
LEAST_LOOKS = 2
READABLE = 0o644


def main() -> int:
    """0 done and as it must be, 1 something differs."""
    parser = argparse.ArgumentParser(prog="python -m corpus", description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("record", "play", "score"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--corpus", action="store_true", help="score captures only")
    options = parser.parse_args()
    match options.action:
        case "record":
            return record(options.names)
        case "play":
            return play(options.names)
        case _:
            return score(with_lab=not options.corpus)


def record(names: list[str]) -> int:
    """Record these entries of the manifest, or all; what cannot be recorded here keeps its capture."""
    worst = 0
    for entry in [entry for name, entry in load_manifest().items() if not names or name in names]:
        said = _record(entry)
        worst = max(worst, bool(said))
        emit(f"{entry.name}: {'; '.join(said) or 'as it must be'}\n")
    return worst


def _record(entry: Entry) -> list[str]:
    """What differs from the manifest, or why it was not recorded."""
    scene = load_scenes().get(entry.name)
    if scene and (missing := missing_programs(scene)):
        return [f"not recorded: needs {', '.join(missing)}"]
    entry.path.parent.mkdir(parents=True, exist_ok=True)
    if entry.name in DERIVED:
        _derive(entry)
    else:
        try:
            isolated(partial(_play_lab if entry.is_lab else _play_scene, entry))
        except ProvokeError as error:
            return [f"not recorded: {error}"]
    entry.path.chmod(READABLE)
    reports = replay(entry)
    return [*compare(entry.findings, reports[-1].findings).differences, *(alarms(reports) if entry.healthy else [])]


def _play_lab(entry: Entry) -> dict[str, Any]:
    scenario = load_scenarios()[entry.name.removeprefix("lab/")]
    with _stage() as stage:
        source = RecordingSource(stage.clock)
        perform(scenario, stage, source)
        save_capture(entry.path, anonymous(source.looks[-max(LEAST_LOOKS, scenario.looks) :]))
    return {}


def _play_scene(entry: Entry) -> dict[str, Any]:
    with _played(entry, REST_SECONDS) as host:
        looks = host.source.looks if entry.healthy else host.source.looks[-LEAST_LOOKS:]
        save_capture(entry.path, anonymous(looks))
    return {}


def _derive(entry: Entry) -> None:
    source = ReplaySource.open(load_manifest()[BASE].path)
    save_capture(entry.path, [DERIVED[entry.name].of(source.look(Asks())) for _ in range(source.looks)])


@contextmanager
def _played(entry: Entry, rest_seconds: float) -> Iterator[Host]:
    with (
        tempfile.TemporaryDirectory() as folder,
        private_host(Path(folder), healthy=entry.healthy, rest_seconds=rest_seconds) as host,
    ):
        load_scenes()[entry.name].play(host)
        yield host


def play(names: list[str]) -> int:
    """Play these scenes and print every alarm. Raises ProvokeError where there is no private namespace."""
    alarmed = [line for name in names for line in isolated(partial(_alarms, name))["alarms"]]
    emit("".join(f"{line}\n" for line in alarmed))
    return bool(alarmed)


def _alarms(name: str) -> dict[str, Any]:
    with _played(load_manifest()[name], SHORT_REST_SECONDS) as host:
        return {"alarms": alarms(host.reports)}


def _stage() -> Stage:
    return Stage(clock=SystemClock(), tell=lambda _who, _what: None, family=Family.IPV4)


def score(*, with_lab: bool) -> int:
    """Print the tables, and what is not as it must be."""
    corpus = Score()
    problems = []
    entries = recorded()
    for name, entry in entries.items():
        comparison = compare(entry.findings, replay(entry)[-1].findings)
        corpus.add(comparison)
        problems += [f"{name}: {line}" for line in comparison.differences]
    problems += [f"{name}: not recorded" for name in load_manifest() if name not in entries]
    _print(f"corpus: {len(entries)} captures", corpus)
    if with_lab:
        lab = Score()
        for name, comparison in _run_lab():
            lab.add(comparison)
            problems += [f"{name}: {line}" for line in comparison.differences]
        _print(f"lab: {len(load_scenarios())} scenarios", lab)
    emit("".join(f"{problem}\n" for problem in problems))
    return bool(problems)


def _run_lab() -> Iterator[tuple[str, Comparison]]:
    for name, scenario in load_scenarios().items():
        found = isolated(partial(_perform, scenario))
        yield (
            f"lab {name}",
            Comparison(
                right=tuple(found["right"]),
                missed=tuple(Wanted(**wanted) for wanted in found["missed"]),
                surplus=tuple(Wanted(**wanted) for wanted in found["surplus"]),
            ),
        )


def _perform(scenario: Scenario) -> dict[str, Any]:
    entry = load_manifest()[f"lab/{scenario.name}"]
    with _stage() as stage:
        comparison = compare(entry.findings, perform(scenario, stage).report.findings)
    return {
        "right": comparison.right,
        "missed": [_plain(wanted) for wanted in comparison.missed],
        "surplus": [_plain(found) for found in comparison.surplus],
    }


def _plain(wanted: Wanted) -> dict[str, Any]:
    return {"name": wanted.name, "severity": wanted.severity, "count": wanted.count, "by": wanted.by}


def _print(title: str, score: Score) -> None:
    emit("\n".join((title, *score.table(kinds()), "", "")))


if __name__ == "__main__":
    sys.exit(main())
