"""Real Prometheus servers: the one that Debian has, and a 3.x beside it where `make prometheus3` brought one."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

PROMETHEUS_3 = Path(__file__).parent.parent / ".tools" / "prometheus3" / "usr" / "bin" / "prometheus"
DEADLINE_SECONDS = 30.0

T = TypeVar("T")
Answer = dict[tuple[tuple[str, str], ...], float]
"""Values by their sorted labels."""


def programs() -> tuple[str, ...]:
    """Every Prometheus that can be started."""
    found = (shutil.which("prometheus"), str(PROMETHEUS_3) if PROMETHEUS_3.exists() else None)
    return tuple(program for program in found if program)


class Prometheus:
    """A context manager: a server on a loopback port of its own choice, which keeps its data in `folder`."""

    def __init__(self, program: str, config: Mapping[str, Any], folder: Path) -> None:
        self._folder = folder
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self._log = folder / "prometheus.log"
        options = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
        self._command = (program, *options, "--web.listen-address=127.0.0.1:0")
        self.address = ""

    def __enter__(self) -> Self:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        try:
            listening = self._until(lambda: re.search(r'Listening on".* address=(\S+)', self._log.read_text()))
            self.address = listening[1]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE_SECONDS)

    def query(self, expression: str) -> Answer:
        """What an expression is now; the name of a metric is its label `__name__`."""
        parameters = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{parameters}", timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        return {tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in result}

    def wait_for(self, expression: str, *, rows: int = 1) -> Answer:
        """What the expression is as soon as it has so many rows."""

        def answer() -> tuple[Answer] | None:
            try:
                found = self.query(expression)
            except OSError:  # not ready yet
                return None
            return (found,) if len(found) == rows else None

        [found] = self._until(answer)
        return found

    def _until(self, attempt: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (found := attempt()) is None:
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.05)
        return found
