"""The worked example of CONTRIBUTING.md works."""

import re
import subprocess
import sys
from types import ModuleType

import pytest

from contract.repository import ROOT
from sockwatch.diagnose import detectors

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
DETECTOR = "sockwatch/diagnose/detectors/telnet_in_use.py"
TESTS = "tests/diagnose/detectors/test_telnet_in_use.py"


def load(name: str, source: str) -> ModuleType:
    """A module from its text."""
    module = ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 - our own text, which readers are told to run
    return module


def test_its_tests_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FILES.keys() == {DETECTOR, TESTS}
    module = load("telnet_in_use", FILES[DETECTOR])
    monkeypatch.setattr(detectors, "telnet_in_use", module, raising=False)
    monkeypatch.setitem(sys.modules, f"{detectors.__name__}.telnet_in_use", module)
    tests = [value for name, value in vars(load("tests", FILES[TESTS])).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=lambda command: command[0])
def test_it_passes_the_linter(path: str, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"],
        cwd=ROOT,
        input=FILES[path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_row_fits_the_table() -> None:
    (row,) = re.findall(r"^    (\| `telnet_in_use` .*)$", TEXT, re.MULTILINE)
    heading = next(line for line in (ROOT / "docs" / "detectors.md").read_text("utf-8").splitlines() if line[:1] == "|")
    cells, columns = ([cell.strip() for cell in line.split("|")[1:-1]] for line in (row, heading))
    assert len(cells) == len(columns)
    assert [column for column, cell in zip(columns, cells, strict=True) if not cell] == ["variants"]
