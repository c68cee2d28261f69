"""The gate's own rule about skipped tests, tried on a small suite."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def outcomes(folder: Path, body: str, *, ci: bool) -> str:
    """What pytest says about one test file beside the real conftest."""
    for name in ("conftest.py", "debian-packages.txt"):
        shutil.copy(TESTS / name, folder)
    (folder / "test_it.py").write_text("import pytest\n" + body)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CI", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", folder, folder],
        env=environment | ({"CI": "true"} if ci else {}),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


SKIPPED = "def test_a():\n    pytest.skip({reason!r})\n"


@pytest.mark.parametrize("reason", ["no ss", "because", "needs root", "a kernel: no"])
def test_a_skip_fails_in_ci(tmp_path: Path, reason: str) -> None:
    body = SKIPPED.format(reason=reason)
    assert f"in CI nothing is skipped for this reason: {reason}" in outcomes(tmp_path, body, ci=True)


def test_a_skipped_module_fails_in_ci(tmp_path: Path) -> None:
    body = "pytest.importorskip('no_such_module_here')\n"
    assert "1 error" in outcomes(tmp_path, body, ci=True)


@pytest.mark.parametrize("reason", ["kernel: no bit 13", "python: 3.14", "systemd: older than 250"])
def test_what_no_package_can_bring_is_skipped_in_ci(tmp_path: Path, reason: str) -> None:
    assert "1 skipped" in outcomes(tmp_path, SKIPPED.format(reason=reason), ci=True)


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert "1 skipped" in outcomes(tmp_path, SKIPPED.format(reason="no ss"), ci=False)


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    body = "@pytest.mark.xfail(reason='known')\ndef test_a():\n    raise ValueError\n"
    assert "1 xfailed" in outcomes(tmp_path, body, ci=True)


def test_a_program_must_be_in_the_list_of_packages(tmp_path: Path) -> None:
    body = "@pytest.mark.needs_program('no-such-program')\ndef test_a():\n    pass\n"
    assert "no-such-program: name it and its package in tests/debian-packages.txt" in outcomes(tmp_path, body, ci=False)


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    body = "@pytest.mark.needs_program('ss')\ndef test_a():\n    pass\n"
    assert "no ss (Debian package iproute2)" in outcomes(tmp_path, body, ci=True)
