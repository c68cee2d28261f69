"""The daemon with a kernel that never answers: `python hanging.py`, until somebody ends it."""

import os
import sys

from sockwatch.clock import SystemClock
from sockwatch.daemon.poller import Setup
from sockwatch.daemon.start import run_daemon
from sockwatch.model.settings import DaemonSettings, WebSettings
from sockwatch.model.snapshot import Asks, FollowUp, Snapshot
from sockwatch.pipeline import Source


class Hanging:
    """A source whose dump does not come back."""

    def look(self, _asks: Asks) -> Snapshot:
        reader, _writer = os.pipe()
        sys.stderr.write("looking\n")
        os.read(reader, 1)
        raise AssertionError

    def follow_up(self, _snapshot: Snapshot, _wanted: FollowUp) -> Snapshot:
        raise AssertionError


def load() -> Setup:
    """Nothing else can fail."""
    return Setup(detectors={}, settings=DaemonSettings(web=WebSettings(listen=())))


def source_of(_netns: str) -> Source:
    """Wherever it looks."""
    return Hanging()


if __name__ == "__main__":
    sys.exit(run_daemon(load, source_of, environment=os.environ, clock=SystemClock()))
