"""The units are valid, and as closed as they claim."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract.repository import ROOT

FILES = sorted((ROOT / "systemd").iterdir())
DROP_INS = [file for file in FILES if file.suffix == ".conf"]
UNITS = [file for file in FILES if file not in DROP_INS]
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
MAX_EXPOSURE = 23
"""Ten times the figure that systemd-analyze prints; below 23 is a service that may read all processes and no more."""

pytestmark = pytest.mark.needs_program("systemd-analyze")


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as installed where sockwatch is the one of this virtual environment."""
    script = Path(sys.executable).with_name("sockwatch")
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(text.replace("/usr/local/bin/sockwatch", str(script)), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_every_line(unit: Path, installed: Path) -> None:
    verdict = analyze("verify", "--man=no", installed / unit.name)
    assert (verdict.returncode, verdict.stderr) == (0, "")


def test_a_line_that_systemd_does_not_know_would_be_seen(installed: Path) -> None:
    unit = installed / "sockwatch-check.service"
    unit.write_text(unit.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHouse="), encoding="utf-8")
    assert "ProtectHouse" in analyze("verify", "--man=no", unit).stderr


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda drop_in: drop_in.name)
def test_systemd_accepts_the_daemon_with_each_drop_in_and_it_may_still_do_little(
    drop_in: Path, installed: Path
) -> None:
    folder = installed / "sockwatch.service.d"
    folder.mkdir()
    copied = folder / drop_in.name
    copied.write_text(drop_in.read_text(encoding="utf-8"), encoding="utf-8")
    verdict = analyze("verify", "--man=no", installed / "sockwatch.service")
    assert (verdict.returncode, verdict.stderr) == (0, "")
    exposure = analyze("security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", installed / "sockwatch.service")
    assert exposure.returncode == 0, exposure.stdout
    copied.write_text("[Service]\nAmbientCapability=\n", encoding="utf-8")
    assert "AmbientCapability" in analyze("verify", "--man=no", installed / "sockwatch.service").stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_may_do_little(unit: Path) -> None:
    verdict = analyze("security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", unit)
    assert verdict.returncode == 0, verdict.stdout


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_calls_the_command_with_options_that_exist(unit: Path) -> None:
    (arguments,) = re.findall(
        r"^ExecStart=/usr/local/bin/sockwatch (.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE
    )
    command = [sys.executable, "-m", "sockwatch", *arguments.split(), "--help"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
