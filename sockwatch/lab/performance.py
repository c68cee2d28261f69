"""Plays a scenario and has the real pipeline look at it, until the findings are those that were declared."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sockwatch.collect.live import LiveSource
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import ProvokeError
from sockwatch.lab.actor import Role
from sockwatch.lab.scenario import Expected, Scenario
from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Finding
from sockwatch.model.report import Report
from sockwatch.model.snapshot import Process
from sockwatch.pipeline import Pipeline, Source

MIN_AGE_SECONDS = 1.0
DEADLINE_SECONDS = 15.0
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """How it went: the last report, and what was declared and not found, and the other way round."""

    report: Report
    missing: tuple[Expected, ...]
    surplus: tuple[Expected, ...]

    @property
    def as_declared(self) -> bool:
        """Whether the findings are exactly those that the scenario declares."""
        return not (self.missing or self.surplus)


def perform(scenario: Scenario, stage: Stage, source: Source | None = None) -> Performance:
    """Provoke the misbehaviour, and diagnose it with every detector. Raises ProvokeError and DumpError.

    `source` looks in place of LiveSource, for who wants to keep the looks.
    """
    _act(scenario.provoke, stage)
    detectors = {
        code: replace(detector, settings=replace(detector.settings, min_age=MIN_AGE_SECONDS))
        for code, detector in load_detectors().items()
    }
    pipeline = Pipeline(source or LiveSource(clock=stage.clock), detectors, stage.clock)
    deadline = stage.clock.monotonic() + DEADLINE_SECONDS
    looks = 0
    while True:
        looks += 1
        performance = _compare(scenario, pipeline.step(), stage.pids)
        if looks >= scenario.looks and (performance.as_declared or stage.clock.monotonic() > deadline):
            return performance
        stage.clock.wait(LOOK_SECONDS)
        _act(scenario.meanwhile, stage)


def _act(part: Callable[[Stage], None], stage: Stage) -> None:
    try:
        part(stage)
    except OSError as error:
        raise ProvokeError(f"the kernel refused what the scenario needs: {error.strerror}") from error


def _compare(scenario: Scenario, report: Report, pids: Mapping[Role, int]) -> Performance:
    roles = {pid: role.value for role, pid in pids.items()}
    declared = Counter(scenario.expected)
    found = Counter(_as_expected(finding, roles) for finding in report.findings)
    return Performance(
        report=report,
        missing=tuple((declared - found).elements()),
        surplus=tuple((found - declared).elements()),
    )


def _as_expected(finding: Finding, roles: Mapping[int, str]) -> Expected:
    def who(process: Process | None) -> str | None:
        return None if process is None else roles.get(process.pid, f"{process.name}[{process.pid}]")

    return Expected(
        name=finding.name,
        severity=finding.severity,
        count=finding.count,
        by=who(finding.subject.process),
        other_end=None if finding.other_end is None else who(finding.other_end.process),
    )
