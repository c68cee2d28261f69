import os
from pathlib import Path

import pytest

from sockwatch.daemon.privileges import SEES, capabilities, missing, user

PTRACE_AND_DAC = 1 << 19 | 1 << 2


def test_what_is_effective(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tCapEff\nCapPrm:\tffff\nCapEff:\t{PTRACE_AND_DAC:016x}\n")
    assert capabilities(status) == frozenset({"cap_sys_ptrace", "cap_dac_read_search"})
    status.write_text("CapEff:\t0000000000000000\n")
    assert capabilities(status) == frozenset()


def test_what_cannot_be_read_is_not_nothing(tmp_path: Path) -> None:
    assert capabilities(tmp_path / "status") is None


def test_what_is_missing_is_told_by_what_it_costs() -> None:
    assert missing(frozenset(SEES)) == []
    assert missing(frozenset({"cap_sys_ptrace", "cap_sys_admin"})) == [
        "without cap_dac_read_search processes of other users are not named"
    ]
    assert missing(frozenset()) == [
        "without cap_dac_read_search and cap_sys_ptrace processes of other users are not named",
        "without cap_sys_admin network namespaces other than its own are not looked at",
    ]


def test_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert user() == "root (0)"
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_123)
    assert user() == "4000000123"
