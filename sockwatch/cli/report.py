"""`sockwatch report`: one HTML file for a ticket or a post-mortem."""

import argparse
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from sockwatch.cli.check import DEFAULT_CONFIG, configured_detectors
from sockwatch.cli.history import history_file, since_when, when
from sockwatch.cli.parser import namespace, seconds
from sockwatch.errors import UsageError
from sockwatch.model.printable import printable
from sockwatch.private_file import cannot, write_private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockwatch.cli.parser import Parser
    from sockwatch.clock import Clock
    from sockwatch.export.html_report.story import Past, Story
    from sockwatch.model.report import Report

STDOUT = "-"
_MOST_CAPTURES = 2
_SAME_BOOT = 60.0
"""Seconds by which a clock may be corrected between two captures of one boot; no boot is that short."""
_PAGE = b"<!DOCTYPE html>"
"""How a file begins that may be replaced."""
_EPILOG = """\
Without --from and --since this host is looked at now. The file needs no
network, no script and no other file; its mode is 0600, as it tells who talks
to whom.

exit code: 0 written, whatever the verdict; 3 not
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("report", help="write one HTML file for a ticket or a post-mortem", epilog=_EPILOG)
    add = parser.add_argument
    add("file", metavar="FILE.html", help="the file to write; - is stdout")
    add(
        "--from",
        dest="captures",
        action="append",
        default=[],
        metavar="CAPTURE",
        help="tell of a capture instead; with two of them, of before and after",
    )
    add("--since", type=when, metavar="WHEN", help="tell of the daemon's history: 30m, 24h, 7d, or a time")
    add("--sample", type=seconds, metavar="SECONDS", help="look twice, this far apart, so that rates exist")
    add(
        "--netns",
        type=namespace,
        metavar="WHICH",
        help="current (default), all, a name as reports give it, or a path such as /proc/PID/ns/net",
    )
    add("--config", type=Path, metavar="FILE", help=f"thresholds (default: {DEFAULT_CONFIG} if it exists)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look or read, and write. Raises SockwatchError."""
    from sockwatch.cli.output import emit
    from sockwatch.clock import SystemClock
    from sockwatch.export.html_report.document import render_document

    _refuse_contradictions(options)
    if options.file != STDOUT:
        _refuse_precious(Path(options.file), options.captures)
    text = render_document(_story(options, SystemClock()))
    if options.file == STDOUT:
        emit(text)
    else:
        page = text.encode()
        write_private(Path(options.file), lambda file: file.write(page))
    return 0


def _refuse_contradictions(options: argparse.Namespace) -> None:
    if len(options.captures) > _MOST_CAPTURES:
        raise UsageError("--from: one capture, or two for before and after")
    if options.captures and options.since is not None:
        raise UsageError("--from and --since: only one of them")
    for name in ("sample", "netns"):
        if getattr(options, name) is not None and (options.captures or options.since is not None):
            raise UsageError(f"--{name} looks at this host now, which --from and --since do not")


def _refuse_precious(path: Path, captures: "Sequence[str]") -> None:
    """Neither a capture that is told of nor anything else but an older page is written over: it may be all there is."""
    shown = printable(str(path))
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return  # write_private() refuses it
        if any(capture != STDOUT and path.samefile(capture) for capture in captures):
            raise UsageError(f"{shown}: this is a capture that is to be told of; name another file to write")
        with path.open("rb") as file:
            begins = file.read(len(_PAGE))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise cannot(path, error) from None
    if begins not in {_PAGE, b""}:
        raise UsageError(f"{shown}: exists and is no HTML file; name another one, or remove it")


def _story(options: argparse.Namespace, clock: "Clock") -> "Story":
    from sockwatch.cli.progress import progress
    from sockwatch.export.html_report.story import Story

    made = clock.unixtime()
    if options.since is not None:
        path = history_file(options.config)
        with progress(lambda: "reading the history"):
            past = read_past(path, since_when(options.since, made), made + 1)
        return Story(source=f"history {printable(str(path))}", host=os.uname().nodename, made=made, past=past)
    if options.captures:
        return _of_captures(options, clock, made)
    return _of_now(options, clock, made)


def _of_now(options: argparse.Namespace, clock: "Clock", made: float) -> "Story":
    from sockwatch.cli.progress import progress, stage_text
    from sockwatch.collect.live import LiveSource
    from sockwatch.export.diagram import RATES
    from sockwatch.export.html_report.story import Story
    from sockwatch.export.rates import rates
    from sockwatch.pipeline import Pipeline

    netns = options.netns or "current"
    pipeline = Pipeline(LiveSource(clock=clock, netns=netns), configured_detectors(options.config), clock)
    known, passed = {}, 0.0
    with progress(lambda: stage_text(pipeline.stage)):
        report = pipeline.step()
        if options.sample is not None:
            pipeline.stage = "wait"
            clock.wait(options.sample)
            first, report = report, pipeline.step()
            known, passed = dict(rates(report, first, RATES)), report.time - first.time
    where = "" if netns == "current" else f", namespace {printable(netns)}"
    return Story(source=f"this host{where}", made=made, report=report, rates=known, mean_over=passed)


def _of_captures(options: argparse.Namespace, clock: "Clock", made: float) -> "Story":
    from sockwatch.cli.progress import progress
    from sockwatch.export.diagram import RATES
    from sockwatch.export.html_report.story import Story
    from sockwatch.export.rates import rates

    with progress(lambda: "judging the captures"):
        replayed = [_replay(path, options.config, clock) for path in options.captures]
    earlier = replayed[0][-1] if len(replayed) > 1 else replayed[-1][0]
    (last, booted), (first, booted_first) = replayed[-1][-1], earlier
    anew = last.host == first.host and abs(booted - booted_first) > _SAME_BOOT
    known = dict(rates(last, first, RATES)) if last.host == first.host and not anew else {}
    names = " and ".join(printable(path) for path in options.captures)
    return Story(
        source=f"capture {names}",
        made=made,
        report=last,
        before=first if len(replayed) > 1 else None,
        rates=known,
        mean_over=last.time - first.time,
        booted_between=anew,
    )


def _replay(path: str, config: Path | None, clock: "Clock") -> "list[tuple[Report, float]]":
    """The verdict after each look of a capture, with when that host was booted: seconds since 1970, by its clock."""
    from sockwatch.collect.capture import ReplaySource
    from sockwatch.pipeline import Pipeline

    replay = ReplaySource.open(path if path == STDOUT else Path(path))
    pipeline = Pipeline(replay, configured_detectors(config), clock)
    told = []
    for _ in range(replay.looks):
        report = pipeline.step()
        seen = pipeline.snapshot
        told.append((report, 0.0 if seen is None else seen.time - seen.monotonic))
    return told


def read_past(path: Path, since: float, until: float) -> "Past":
    """What a daemon kept in this file. Raises HistoryError."""
    from sockwatch.errors import HistoryError
    from sockwatch.export.history.reader import History
    from sockwatch.export.history.timeline import read_timeline
    from sockwatch.export.html_report.story import Past
    from sockwatch.export.json_reader import read_finding

    history = History(path)
    timeline = read_timeline(history, since, until)
    whole = {}
    for past in timeline.findings:
        told = history.finding(past.number, until)
        if told is not None:
            try:
                whole[past.number] = read_finding(dict(told))
            except ValueError as error:
                raise HistoryError(f"{path}: {printable(str(error))}") from error
    if timeline.span is not None:
        since = max(since, timeline.span[0])
    return Past(timeline=timeline, counts=history.counts(since, until), findings=whole)
