"""The README's claims: its screen is a real one, its commands run, its table is complete."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from contract.repository import DETECTOR_CODES, ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
ABOUT_A_CHECK, *_ = TEXT.partition("\n## Watch all the time\n")  # tests/systemd/test_readme.py does what follows
COMMANDS = [
    line.partition("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", ABOUT_A_CHECK, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("sockwatch ")
]
VERDICTS = {0, 1, 2}


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A sockwatch command of the README, as a reader types it."""
    return subprocess.run(
        [sys.executable, "-m", "sockwatch", *shlex.split(command)[1:]],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


def shape(screen: str) -> str:
    """A screen without what differs from run to run: numbers, names, commands, and how lines break because of them."""
    anonymous = re.sub(r"^(\w+ +)\S+:", r"\1HOST:", screen.strip())
    seen_all = re.sub(r"\s+", " ", anonymous.partition("\nnot seen")[0])
    anybodys = re.sub(r"\(user \S+\) command .*? where ", "(user USER) command COMMAND where ", seen_all)
    return re.sub(r"\d[\d,]*( processes)?", "N", anybodys).strip()


def test_the_screen_is_what_the_lab_shows(tmp_path: Path) -> None:
    ((name, screen),) = re.findall(r"<!-- screen: (\S+) -->\n```text\n(.*?)```", TEXT, re.DOTALL)
    done = run(f"sockwatch lab run {name}", tmp_path)
    if done.returncode == 3:
        pytest.skip(f"kernel: {done.stderr.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout.partition("in there:\n")[2].partition("\nas declared")[0]
    assert shape(shown) == shape(screen)


def test_every_command_runs_in_the_order_given(tmp_path: Path) -> None:
    assert len(COMMANDS) > 5
    for command in COMMANDS:
        done = run(command, tmp_path)
        if "--listen" in command and done.returncode == 3:
            assert "nothing listens on this port" in done.stdout
        elif " lab " in command and done.returncode == 3:
            pytest.skip(f"kernel: {done.stderr.strip()}")
        else:
            assert done.returncode in VERDICTS, f"{command}: {done.stdout}{done.stderr}"


def test_the_table_names_every_finding() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) == DETECTOR_CODES


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([\w./-]+)\)", TEXT))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", TEXT, re.MULTILINE))))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"systemd/sockwatch[\w.-]+\w", TEXT))))
def test_units_to_copy_exist(name: str) -> None:
    assert (ROOT / name).is_file()
