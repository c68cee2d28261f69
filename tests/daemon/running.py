"""A daemon as a real process, with a config and a state of its own."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

SECONDS = 60.0
RUN = ("-m", "sockwatch", "run", "--web.listen-address", "127.0.0.1:0")
QUICK = '[poll]\ninterval = 0.1\ncpu_share = 1.0\nnamespaces = "current"\n'


class Running:
    """A context manager; `config` is the text of its config file."""

    def __init__(self, folder: Path, config: str = QUICK, *, words: Sequence[str] = RUN, log: str = "log") -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.log = folder / log
        self._words = words
        self.write(config)

    def __enter__(self) -> Self:
        words = [*self._words, "--config", str(self.config)] if "run" in self._words else self._words
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *words], stdin=subprocess.DEVNULL, stderr=log, env=self.environment()
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def environment(self) -> Mapping[str, str]:
        """Nothing of a service manager, and a state directory below the folder."""
        return {"XDG_STATE_HOME": str(self.folder), "PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}

    def write(self, config: str) -> None:
        """Another config."""
        self.config.write_text(config, encoding="utf-8")
        self.config.chmod(0o600)

    def lines(self) -> list[str]:
        """What it has logged, without time and level."""
        return [re.sub("^[-0-9T:Z]{20} [a-z]+ ", "", line) for line in self.log.read_text().splitlines()]

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; fail if the daemon ends before."""
        end = time.monotonic() + SECONDS
        while not condition():
            assert self.process.poll() is None, f"{what}: it has ended: {self.log.read_text()}"
            assert time.monotonic() < end, f"{what}: {self.log.read_text()}"
            time.sleep(0.02)

    def until_line(self, pattern: str, count: int = 1) -> str:
        """Wait for a line of the log, which is returned, or for the last of several."""
        self.until(lambda: len(self.matching(pattern)) >= count, pattern)
        return self.matching(pattern)[-1]

    def matching(self, pattern: str) -> list[str]:
        """The lines of the log so far that match."""
        return [line for line in self.lines() if re.search(pattern, line)]

    def until_ready(self) -> Self:
        """Wait for the first verdict."""
        self.until_line("^(ok|warning|critical): |^watching, ")
        return self

    @property
    def address(self) -> str:
        """Where it listens, as HOST:PORT; the last one if that has changed."""
        return self.matching("^listening on ")[-1].removeprefix("listening on ")

    def metrics(self) -> Mapping[str, float]:
        """Each series with its value."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=SECONDS) as answer:
            page = answer.read().decode()
        samples = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
        return {series: float(value) for series, _, value in samples}

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and return its exit code."""
        self.send(number)
        return self.process.wait(SECONDS)
