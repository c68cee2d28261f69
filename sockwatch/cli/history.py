"""`sockwatch history`: what the daemon has found, and when."""

import argparse
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sockwatch.cli.check import DEFAULT_CONFIG, default_config
from sockwatch.cli.output import emit, wants_colour
from sockwatch.cli.parser import terminal_width
from sockwatch.errors import UsageError

if TYPE_CHECKING:
    from sockwatch.cli.parser import Parser

SYSTEM = Path("/var/lib/sockwatch")
"""Where systemd puts the state of the service (StateDirectory=), for those who are not started by it."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_DAY = "24h"

_EPILOG = """\
exit code: 0 done, 3 there is no history, or it cannot be read
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("history", help="what `sockwatch run` has found, and when", epilog=_EPILOG)
    add = parser.add_argument
    add(
        "--since",
        type=when,
        default=when(_DAY),
        metavar="WHEN",
        help=f"from so long ago (30m, 24h, 7d) or from a time (2030-12-31T23:59:59Z) on; default: {_DAY}",
    )
    add("--json", action="store_true", help="as JSON (sockwatch.history/1), with the evidence of each finding")
    add("--config", type=Path, metavar="FILE", help=f"the daemon's config (default: {DEFAULT_CONFIG} if it exists)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what happened. Raises HistoryError and UsageError."""
    from sockwatch.clock import SystemClock
    from sockwatch.export.history.reader import History
    from sockwatch.export.history.timeline import read_timeline, timeline_json, timeline_text

    now = SystemClock().unixtime()
    since = since_when(options.since, now)
    timeline = read_timeline(History(history_file(options.config)), since, now + 1)
    if options.json:
        emit(timeline_json(timeline))
    else:
        emit(timeline_text(timeline, width=terminal_width(), colour=wants_colour()))
    return 0


def history_file(config: Path | None) -> Path:
    """The history of the daemon with this config, or with the default one. Raises UsageError for a wrong config."""
    from sockwatch.config import load
    from sockwatch.daemon.state_directory import state_directory
    from sockwatch.diagnose.registry import load_detectors
    from sockwatch.export.history.reader import FILE

    path = config or default_config()
    configured = ""
    if path is not None:
        defaults = {code: detector.settings for code, detector in load_detectors().items()}
        configured = load(path, defaults).daemon.state_directory
    own = state_directory(configured, os.environ)
    if own is not None and (configured or _may_be(own / FILE)):
        return own / FILE
    return SYSTEM / FILE


def _may_be(path: Path) -> bool:
    """Whether it is there, or this user may not know; then whoever reads it says so."""
    try:
        return path.exists()
    except PermissionError:
        return True


def since_when(since: float | datetime, now: float) -> float:
    """The beginning, in seconds since 1970. Raises UsageError for one that is still to come."""
    if isinstance(since, float):
        return now - since
    if since.timestamp() > now:
        raise UsageError(f"--since {since.isoformat(timespec='seconds')}: that is still to come")
    return since.timestamp()


def when(text: str) -> float | datetime:
    """Seconds ago, or a time."""
    ago = _AGO.fullmatch(text)
    if ago:
        return float(int(ago[1]) * _UNITS[ago[2]])
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is no time: 30m, 24h, 7d, or 2030-12-31T23:59:59Z') from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
