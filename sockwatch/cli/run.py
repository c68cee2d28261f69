"""`sockwatch run`: the daemon."""

import argparse
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sockwatch.cli.check import DEFAULT_CONFIG, default_config

if TYPE_CHECKING:
    from sockwatch.cli.parser import Parser
    from sockwatch.daemon.poller import Setup
    from sockwatch.pipeline import Source

_EPILOG = """\
SIGHUP reads the config anew; with a mistake in it the old one stays. SIGTERM
and SIGINT end the daemon; a second one ends it at once.

exit code: 0 stopped, 3 could not start (a wrong option or config, an address
in use, another daemon with the same state), 1 broke and may be restarted
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("run", help="watch all the time: metrics, a status page, alerts", epilog=_EPILOG)
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help=f"the config (default: {DEFAULT_CONFIG} if it exists)")
    add(
        "--web.config.file",
        dest="web_config_file",
        metavar="FILE",
        help="TLS and passwords, as of Prometheus' exporters",
    )
    add(
        "--web.listen-address",
        dest="web_listen_address",
        action="append",
        default=[],
        metavar="ADDR",
        help="serve on HOST:PORT (repeatable; default: 127.0.0.1:10147)",
    )
    add("--test-alert", metavar="SINK", help="send one alert to this sink of the config, say how that went, and end")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Watch until a signal comes. Raises UsageError."""
    # Until the loop handles them: leave, and have nothing to reload yet. A test alert broken off is undelivered.
    code = 0 if options.test_alert is None else 3
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(code))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from sockwatch.clock import SystemClock
    from sockwatch.daemon.start import run_daemon

    if options.test_alert is not None:
        return _test_alert(options)
    return run_daemon(lambda: _load(options), _source_of, environment=os.environ, clock=SystemClock())


def _test_alert(options: argparse.Namespace) -> int:
    from sockwatch.cli.output import emit
    from sockwatch.clock import SystemClock
    from sockwatch.daemon.trial import send_test_alert

    trial = send_test_alert(_load(options), options.test_alert, SystemClock())
    emit(trial.line + "\n")
    return trial.verdict


def _load(options: argparse.Namespace) -> "Setup":
    """What the config says, and the options, which win; warnings go to the log. Raises UsageError."""
    import logging

    from sockwatch.cli.config_look import look
    from sockwatch.clock import SystemClock
    from sockwatch.config import Config, load
    from sockwatch.daemon.poller import Setup
    from sockwatch.diagnose.registry import load_detectors

    detectors = load_detectors()
    defaults = {code: detector.settings for code, detector in detectors.items()}
    path = options.config or default_config()
    config = Config(detectors=defaults)
    if path is not None:
        config = load(path, defaults, trusted=True, look=lambda settings: look(settings, SystemClock()))
    for warning in config.warnings:
        logging.getLogger(__name__).warning("%s", warning)
    web = config.daemon.web
    if options.web_listen_address:
        web = replace(web, listen=tuple(options.web_listen_address))
    if options.web_config_file is not None:
        web = replace(web, config_file=options.web_config_file)
    return Setup(
        detectors={code: replace(detector, settings=config.detectors[code]) for code, detector in detectors.items()},
        settings=replace(config.daemon, web=web),
    )


def _source_of(netns: str) -> "Source":
    from sockwatch.clock import SystemClock
    from sockwatch.collect.live import LiveSource

    return LiveSource(clock=SystemClock(), netns=netns)
