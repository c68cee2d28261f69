"""What healthy hosts do, done on the real kernel: no look in the meantime or afterwards gives a warning.

The scenes are those of the corpus. Its captures show the same with long rests and with more programs.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.manifest import load_manifest
from corpus.scenes import load_scenes

SECONDS = 100
AT_HAND = {"nginx", "ab"}
"""Programs that tests have (debian-packages.txt); those with others are played when the corpus is recorded."""
HEALTHY = [
    pytest.param(name, marks=[pytest.mark.needs_program(*programs)] if programs else [])
    for name, scene in load_scenes().items()
    if load_manifest()[name].healthy and (programs := set(scene.programs)) <= AT_HAND
]


def play(name: str) -> subprocess.CompletedProcess[str]:
    """Play a scene in a process of its own; it prints every alarm."""
    command = [sys.executable, "-m", "corpus", "play", name]
    tests = Path(__file__).parent
    paths = f"{tests}:{tests.parent}"
    # numpy would start threads, and Python 3.12 warns when a process with threads forks
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)


@pytest.mark.parametrize("name", HEALTHY)
def test_no_warning(name: str) -> None:
    done = play(name)
    if "private network namespace" in done.stderr:
        pytest.skip(f"kernel: {done.stderr.strip().splitlines()[-1]}")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.needs_program("nginx")
def test_a_sick_host_would_be_noticed() -> None:
    done = play("nginx_stopped_workers")
    if "private network namespace" in done.stderr:
        pytest.skip(f"kernel: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 1
    assert "critical accept_queue_overflow/application_backlog, 1 sockets, by nginx" in done.stdout
