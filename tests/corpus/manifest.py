"""What each capture must find: manifest.toml for scenes with programs, the declaration of its scenario for the lab."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockwatch.diagnose.registry import load_detectors
from sockwatch.lab.registry import load_scenarios
from sockwatch.lab.scenario import Expected
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Process

FOLDER = Path(__file__).parent
CAPTURES = FOLDER / "captures"
LAB = "lab/"
NOBODY = "nobody"
PLAYERS = "lab-"
"""How the processes of the lab's roles are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One finding that must be there. None is anything; processes go by their name, or `nobody`."""

    name: str
    severity: Severity
    count: int | None = None
    by: str | None = None
    other_end: str | None = None

    def is_met_by(self, finding: Finding) -> bool:
        """Whether this is the finding."""
        real = described(finding)
        return all(
            wanted in {None, found}
            for wanted, found in (
                (self.name, real.name),
                (self.severity, real.severity),
                (self.count, real.count),
                (self.by, real.by),
                (self.other_end, real.other_end),
            )
        )

    def __str__(self) -> str:
        """One line for people."""
        parts = [f"{self.severity} {self.name}"]
        parts += [] if self.count is None else [f"{self.count} sockets"]
        parts += [] if self.by is None else [f"by {self.by}"]
        parts += [] if self.other_end in {None, NOBODY} else [f"other end {self.other_end}"]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One capture. What is healthy is judged by the defaults, and no look at it may give a warning."""

    name: str
    story: str
    healthy: bool
    findings: tuple[Wanted, ...]

    @property
    def path(self) -> Path:
        """Where the capture is, or will be once it is recorded."""
        folder, name = (CAPTURES / "lab", self.name.removeprefix(LAB)) if self.is_lab else (CAPTURES, self.name)
        return folder / f"{name.replace('/', '.')}.capture"

    @property
    def is_lab(self) -> bool:
        """Whether a scenario of the lab was recorded."""
        return self.name.startswith(LAB)


def described(finding: Finding) -> Wanted:
    """A finding as the manifest would say it."""
    other = finding.other_end.process if finding.other_end else None
    return Wanted(
        name=finding.name,
        severity=finding.severity,
        count=finding.count,
        by=_process(finding.subject.process),
        other_end=_process(other),
    )


def _process(process: Process | None) -> str:
    return NOBODY if process is None else process.name


def kinds() -> set[str]:
    """Every code/variant, and every code without variants."""
    return {
        f"{code}/{variant}" if variant else code
        for code, detector in load_detectors().items()
        for variant in detector.variants or (None,)
    }


def load_manifest() -> Mapping[str, Entry]:
    """Every entry by its name, recorded or not."""
    scenes = tomllib.loads((FOLDER / "manifest.toml").read_text(encoding="utf-8"))
    entries = [*_lab(), *(_scene(name, table) for name, table in scenes.items())]
    return {entry.name: entry for entry in entries}


def recorded() -> Mapping[str, Entry]:
    """The entries that have a capture."""
    return {name: entry for name, entry in load_manifest().items() if entry.path.is_file()}


def _lab() -> Iterator[Entry]:
    for name, scenario in load_scenarios().items():
        findings = tuple(_declared(expected) for expected in scenario.expected)
        yield Entry(name=f"{LAB}{name}", story=scenario.story, healthy=False, findings=findings)


def _declared(expected: Expected) -> Wanted:
    return Wanted(
        name=expected.name,
        severity=expected.severity,
        count=expected.count,
        by=f"{PLAYERS}{expected.by}" if expected.by else NOBODY,
        other_end=f"{PLAYERS}{expected.other_end}" if expected.other_end else NOBODY,
    )


def _scene(name: str, table: Mapping[str, Any]) -> Entry:
    findings = tuple(
        Wanted(**{**finding, "severity": Severity(finding["severity"])}) for finding in table.get("findings", ())
    )
    return Entry(name=name, story=table["story"], healthy=table["healthy"], findings=findings)
