"""`sockwatch top`: the sockets of this host, or of a daemon's, live in a terminal."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sockwatch.cli.check import DEFAULT_CONFIG, configured_detectors
from sockwatch.cli.parser import namespace, seconds
from sockwatch.errors import SockwatchError, UsageError

if TYPE_CHECKING:
    from sockwatch.cli.parser import Parser
    from sockwatch.clock import Clock
    from sockwatch.export.tui.view import Feed

INTERVAL = 2.0
PASSWORD = "SOCKWATCH_PASSWORD"  # noqa: S105 - the name of a variable
_EPILOG = f"""\
With --url a daemon is asked. The password of https://USER@HOST is read from
{PASSWORD} in the environment, where others cannot see it.

exit code: 0 left, 3 could not look, or there is no terminal
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("top", help="watch states, findings, processes and sockets live", epilog=_EPILOG)
    add = parser.add_argument
    add("--interval", type=seconds, default=INTERVAL, metavar="SECONDS", help=f"between two looks ({INTERVAL:g})")
    add(
        "--netns",
        type=namespace,
        metavar="WHICH",
        help="current (default), all, a name as reports give it, or a path such as /proc/PID/ns/net",
    )
    add("--url", metavar="URL", help="ask a daemon instead, as http://127.0.0.1:10147")
    add("--ca-file", type=Path, metavar="FILE", help="certificates to trust instead of the system's, for https")
    add("--config", type=Path, metavar="FILE", help=f"thresholds (default: {DEFAULT_CONFIG} if it exists)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show it until the user leaves. Raises SockwatchError."""
    _refuse_contradictions(options)
    try:
        import textual
    except ImportError:
        raise SockwatchError("top needs textual, which is an extra: pip install 'sockwatch[tui]'") from None
    del textual
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise SockwatchError("top needs a terminal; in a pipe use `sockwatch check`")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise SockwatchError("top needs a terminal that can move its cursor (TERM)")
    from sockwatch.cli.progress import progress
    from sockwatch.clock import SystemClock
    from sockwatch.export.tui.app import Top

    clock = SystemClock()
    feed = _feed(options, clock)
    with progress(lambda: "looking for the first time"):
        first = feed.look()
    Top(feed, first, clock, interval=options.interval).run()
    return 0


def _refuse_contradictions(options: argparse.Namespace) -> None:
    if options.url is None:
        if options.ca_file is not None:
            raise UsageError("--ca-file is for --url https://...")
        return
    for name in ("netns", "config"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is for this host; with --url the daemon has chosen")


def _feed(options: argparse.Namespace, clock: "Clock") -> "Feed":
    if options.url is not None:
        return _daemon(options.url, options.ca_file)
    from sockwatch.collect.live import LiveSource
    from sockwatch.export.tui.host import HostFeed, OnScreen
    from sockwatch.pipeline import Pipeline

    netns = options.netns or "current"
    on_screen = OnScreen()
    pipeline = Pipeline(
        LiveSource(clock=clock, netns=netns),
        configured_detectors(options.config),
        clock,
        also_name=on_screen.sockets,
        watching=True,
    )
    return HostFeed(pipeline, on_screen, "" if netns == "current" else f"netns {netns}")


def _daemon(url: str, ca_file: Path | None) -> "Feed":
    import ssl

    from urllib3.util import make_headers

    from sockwatch.export.tui.daemon import DaemonFeed

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"--url {url}: this is no address") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--url {url}: it must be like http://127.0.0.1:10147")
    if parts.password is not None:
        raise UsageError(f"--url: everybody can read a password there; put it into {PASSWORD} in the environment")
    authorization = None
    if parts.username is not None:
        given = f"{parts.username}:{os.environ.get(PASSWORD, '')}"
        authorization = make_headers(basic_auth=given)["authorization"]
    tls = None
    if ca_file is not None:
        try:
            tls = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"--ca-file {ca_file}: {error.strerror or 'this is no certificate'}") from None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    base = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"
    return DaemonFeed(base, authorization=authorization, tls=tls)
