"""The benchmark runs, and says no when a limit is exceeded; what it measures is none of the tests' business."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import BEGIN, END, Row, compare, write
from bench.load import Load
from contract.repository import ROOT
from netns import PrivateNetns, require_namespaces

ROW = Row(what="reading", ours="2 ms", theirs="ss 1 ms", ratio=2.0, shown="2.00", limit=1.5)


def count(sockets: int, more: int) -> tuple[int, int]:
    """How many sockets the kernel lists after each of two steps."""
    counts = []
    with Load() as load:
        for total in (sockets, sockets + more):
            load.grow(total)
            listing = subprocess.run(["ss", "-Htan"], capture_output=True, check=True).stdout
            counts.append(len(listing.splitlines()))
    return counts[0], counts[1]


@pytest.mark.needs_program("ss")
def test_the_load_is_exact() -> None:
    with PrivateNetns() as netns:
        assert netns.run(count, 230, 23) == (230, 253)


@pytest.mark.needs_program("ss", "lsof", "prometheus-node-exporter")
def test_every_line_is_measured() -> None:
    command = [
        sys.executable,
        "-m",
        "bench",
        "--rounds",
        "1",
        "--sockets",
        "230",
        "460",
        "--held",
        "10",
        "230",
        "--namespaces",
        "5",
        "--scrapes",
        "8",
        "--history",
        "100",
        "--daemon",
        "1",
        "0.5",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "cannot make a private network namespace" in done.stderr:
        require_namespaces()
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 6 + 3 + 3 + 2 + 2 + 13
    assert (done.returncode == 1) == ("**over**" in done.stdout)


@pytest.mark.parametrize(("limit", "verdict"), [(2.0, "ok"), (1.99, "**over**"), (None, "")])
def test_a_ratio_is_held_against_its_limit(limit: float | None, verdict: str) -> None:
    row = replace(ROW, limit=limit)
    assert row.over == (verdict == "**over**")
    assert row.markdown().split("|")[-2].strip() == verdict


def test_the_median_turn_decides() -> None:
    row = compare("reading", [0.9, 0.003, 0.001], "ss", [0.3, 0.002, 7.0])
    assert (row.ratio, row.ours, row.theirs) == (1.5, "3.0 ms", "ss 2 ms")


def test_the_table_replaces_the_table(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_the_page_has_a_place_for_the_table() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert re.search(f"{BEGIN}\n.*{END}\n", page, re.DOTALL)
