"""`sockwatch check`: one look (or two), a verdict, and an exit code that says it."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sockwatch.cli.parser import namespace, one_of, port, seconds, seconds_or_zero, terminal_width
from sockwatch.errors import DeadlineError, DumpError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockwatch.cli.parser import Parser
    from sockwatch.clock import Clock
    from sockwatch.diagnose.detector import Detector
    from sockwatch.model.report import Report
    from sockwatch.pipeline import Pipeline, Source

PERFDATA_TIMEOUT_SECONDS = 9.0
"""Plugins must answer within 10 s unless told otherwise (Monitoring Plugins guidelines)."""
_NO_THRESHOLDS = (
    "a verdict is no threshold; --fail-on critical passes over warnings, and [detectors.CODE] in the config file says "
    "what makes a finding"
)
DEFAULT_CONFIG = Path("/etc/sockwatch/config.toml")

_EPILOG = """\
exit code: 0 ok, 1 warning, 2 critical, 3 unknown (or a wrong option); with
--what-if that of the verdict as if, so that 0 means it would be fine

On a terminal the worst findings are told in full and the rest in short, so
that all stays on one screen; in a pipe, every warning is told in full.
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "check", help="look at this host's TCP sockets and say what is wrong", epilog=_EPILOG
    )
    add = parser.add_argument
    add("--json", action="store_true", help="print the report as JSON (sockwatch.report/1)")
    add("--perfdata", action="store_true", help="print as a Nagios plugin: status line, perfdata, details")
    add("-t", "--timeout", type=seconds, metavar="SECONDS", help="give up after this long (default: 9 with --perfdata)")
    add(
        "--fail-on",
        type=one_of("warning", "critical"),
        default="warning",
        metavar="SEVERITY",
        help="warning (default) or critical: exit 0 below it",
    )
    add("--sample", type=seconds, metavar="SECONDS", help="look twice, this far apart, so that rates exist")
    add("--min-age", type=seconds_or_zero, metavar="SECONDS", help="how long a state must last to be stuck (60)")
    add(
        "--netns",
        type=namespace,
        metavar="WHICH",
        help="current (default), all, a name in /run/netns or in a report, or a path such as /proc/PID/ns/net",
    )
    add("--from", dest="capture", metavar="CAPTURE", help="judge a capture (- is stdin) instead of this host")
    add(
        "--what-if",
        action="append",
        default=[],
        metavar="SYSCTL=VALUE",
        help="judge the same look as if the sysctl had that value, and show what changes (repeatable)",
    )
    add("--only", action="append", default=[], metavar="CODE[/VARIANT]", help="look for this only (repeatable)")
    add("--ignore", action="append", default=[], metavar="CODE[/VARIANT]", help="leave this out (repeatable)")
    add("--listen", action="append", default=[], type=port, metavar="PORT", help="only what listens here (repeatable)")
    add("--process", action="append", default=[], metavar="NAME", help="only processes of this name (repeatable)")
    add("--unit", action="append", default=[], metavar="UNIT", help="only this systemd unit (repeatable)")
    add("--config", type=Path, metavar="FILE", help=f"thresholds (default: {DEFAULT_CONFIG} if it exists)")
    parser.refused |= dict.fromkeys(("-w", "--warning", "-c", "--critical"), _NO_THRESHOLDS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, print the report, return the status as an exit code. Raises SockwatchError."""
    from sockwatch.cli.deadline import deadline
    from sockwatch.cli.progress import progress, stage_text
    from sockwatch.cli.selection import Kinds, Service, known_kinds, select_kinds, select_service, wanted_detectors
    from sockwatch.clock import SystemClock
    from sockwatch.model.report import Status
    from sockwatch.pipeline import Pipeline

    _refuse_contradictions(options)
    clock = SystemClock()
    detectors = configured_detectors(options.config)
    if options.min_age is not None:
        detectors = with_min_age(detectors, options.min_age)
    kinds = Kinds(only=known_kinds(options.only, detectors), ignore=known_kinds(options.ignore, detectors))
    service = Service(
        ports=frozenset(options.listen), processes=frozenset(options.process), units=frozenset(options.unit)
    )
    supposed: Mapping[str, str] = {}
    if options.what_if:
        from sockwatch.cli.what_if import suppositions

        supposed = suppositions(options.what_if, detectors)
    timeout = options.timeout or (PERFDATA_TIMEOUT_SECONDS if options.perfdata else None)
    pipeline: Pipeline | None = None
    try:
        with deadline(timeout, lambda: pipeline.stage if pipeline else "start"):
            source, looks = open_source(options, clock)
            pipeline = Pipeline(
                source,
                wanted_detectors(detectors, kinds),
                clock,
                also_name=service.sockets if service else None,
                supposed=supposed,
            )
            stages = pipeline
            with progress(lambda: stage_text(stages.stage), wanted=not (options.json or options.perfdata)):
                report = _steps(pipeline, clock, looks, options.sample)
            snapshot = pipeline.snapshot
    except (DumpError, DeadlineError) as error:
        if not (options.json or options.perfdata):
            raise
        report = _report_of(error, clock)
    else:
        report = select_kinds(report, kinds)
        if service and snapshot is not None:
            report = select_service(report, snapshot, service)
    _print(report, options)
    if options.fail_on == "critical" and report.status is Status.WARNING:
        return 0
    return report.status.exit_code


def _refuse_contradictions(options: argparse.Namespace) -> None:
    if options.json and options.perfdata:
        raise UsageError("--json and --perfdata: only one of them")
    if options.what_if and options.perfdata:
        raise UsageError("--what-if and --perfdata: a plugin says what is, not what if")
    if options.capture is not None and options.sample is not None:
        raise UsageError("--sample looks at this host; a capture given with --from has its looks already")
    if options.capture is not None and options.netns is not None:
        raise UsageError("--netns looks at this host; a capture given with --from has its namespace already")


def configured_detectors(config: Path | None) -> "Mapping[str, Detector[Any]]":
    """Every detector with the settings of this config file, or of the default one if it exists. Raises ConfigError."""
    from sockwatch.diagnose.registry import load_detectors

    detectors = load_detectors()
    path = config or default_config()
    if path is None:
        return detectors
    from sockwatch.config import load

    settings = load(path, {code: detector.settings for code, detector in detectors.items()}).detectors
    return {code: replace(detector, settings=settings[code]) for code, detector in detectors.items()}


def default_config() -> Path | None:
    """The default config file if there is one; one that cannot be reached is there, and reading it will say why."""
    try:
        DEFAULT_CONFIG.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass
    return DEFAULT_CONFIG


def with_min_age(detectors: "Mapping[str, Detector[Any]]", min_age: float) -> "Mapping[str, Detector[Any]]":
    """The detectors with this age for all of them."""
    return {
        code: replace(detector, settings=replace(detector.settings, min_age=min_age))
        for code, detector in detectors.items()
    }


def open_source(options: argparse.Namespace, clock: "Clock") -> "tuple[Source, int | None]":
    """Where the looks come from; with a capture also how many there are. Raises UsageError."""
    if options.capture is not None:
        from sockwatch.collect.capture import ReplaySource

        replay = ReplaySource.open(options.capture if options.capture == "-" else Path(options.capture))
        return replay, replay.looks
    from sockwatch.collect.live import LiveSource

    return LiveSource(clock=clock, netns=options.netns or "current"), None


def _steps(pipeline: "Pipeline", clock: "Clock", looks: int | None, sample: float | None) -> "Report":
    report = pipeline.step()
    if looks is None and sample is not None:
        pipeline.stage = "wait"
        clock.wait(sample)
        return pipeline.step()
    for _ in range((looks or 1) - 1):
        report = pipeline.step()
    return report


def _report_of(error: DumpError | DeadlineError, clock: "Clock") -> "Report":
    """The report of a look that failed: the error is its gap."""
    from sockwatch.model.snapshot import Gap
    from sockwatch.pipeline import failed_report

    return failed_report(Gap(what="timeout" if isinstance(error, DeadlineError) else "dump", why=str(error)), clock)


def _print(report: "Report", options: argparse.Namespace) -> None:
    from sockwatch.cli.output import emit, is_terminal, wants_colour

    if options.json:
        from sockwatch.export.json_report import report_text

        emit(report_text(report, indent=is_terminal()))
    elif options.perfdata:
        from sockwatch.export.perfdata import render

        emit(render(report))
    elif report.what_if is not None:
        from sockwatch.export.what_if import render_what_if

        emit(
            render_what_if(
                report, report.what_if, width=terminal_width(), colour=wants_colour(), one_screen=is_terminal()
            )
        )
    else:
        from sockwatch.export.terminal import render_report

        emit(render_report(report, width=terminal_width(), colour=wants_colour(), one_screen=is_terminal()))
