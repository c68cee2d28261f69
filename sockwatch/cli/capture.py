"""`sockwatch capture`: what one look (or two) read, as a file that `check --from` judges as it would have judged it."""

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sockwatch.cli.parser import namespace, seconds
from sockwatch.errors import UsageError
from sockwatch.model.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockwatch.cli.parser import Parser
    from sockwatch.model.snapshot import Snapshot
    from sockwatch.model.sockets import SocketTable

STDOUT = "-"


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("capture", help="write what a check reads to a file, to judge it later or elsewhere")
    add = parser.add_argument
    add("file", metavar="FILE", help="the file to write (mode 0600); - is stdout")
    add("--sample", type=seconds, metavar="SECONDS", help="look twice, this far apart, so that rates exist")
    add(
        "--netns",
        type=namespace,
        default="current",
        metavar="WHICH",
        help="current (default), all, a name as reports give it, or a path such as /proc/PID/ns/net",
    )
    add("--redact", action="store_true", help="replace addresses and names, alike ones alike; verdicts stay the same")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, write, and say on stderr what was written. Raises SockwatchError."""
    from sockwatch.collect.capture import save_capture

    if options.file == STDOUT and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("a capture is binary: redirect stdout, or give a file name")
    looks = take_looks(options.netns, options.sample)
    if options.redact:
        from sockwatch.collect.redact import redact

        looks = redact(looks)
    if options.file == STDOUT:
        size = _write_to_stdout(looks)
    else:
        path = Path(options.file)
        save_capture(path, looks)
        size = path.stat().st_size
    where = "stdout" if options.file == STDOUT else printable(options.file)
    counts = " and ".join(f"{len(look.sockets):,}" for look in looks)
    noun = "socket" if counts == "1" else "sockets"
    print(f"sockwatch: wrote {counts} {noun}, {size:,} bytes, to {where}", file=sys.stderr)
    return 0


def take_looks(netns: str, sample: float | None) -> "Sequence[Snapshot]":
    """One look, or two that are `sample` seconds apart, with the holders that any --min-age may ask for."""
    from sockwatch.cli.check import with_min_age
    from sockwatch.cli.progress import progress, stage_text
    from sockwatch.clock import SystemClock
    from sockwatch.collect.live import LiveSource
    from sockwatch.diagnose.registry import load_detectors
    from sockwatch.pipeline import Pipeline

    clock = SystemClock()
    detectors = with_min_age(load_detectors(), 0.0)
    pipeline = Pipeline(LiveSource(clock=clock, netns=netns), detectors, clock, also_name=_held)
    with progress(lambda: stage_text(pipeline.stage)):
        first = pipeline.look()
        if sample is None:
            return (first,)
        pipeline.stage = "wait"
        clock.wait(sample)
        return (first, pipeline.look())


def _held(table: "SocketTable") -> "SocketTable":
    """Everything that has a holder: `check --from` may use other thresholds, or be asked about one service."""
    return table.take(table.inode != 0)


def _write_to_stdout(looks: "Sequence[Snapshot]") -> int:
    from sockwatch.cli.output import emit_bytes
    from sockwatch.collect.capture import write_capture

    buffer = io.BytesIO()
    write_capture(buffer, looks)
    emit_bytes(buffer.getbuffer())
    return len(buffer.getvalue())
