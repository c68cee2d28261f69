"""What is slow says so on a terminal, and nowhere else."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from netns import PrivateNetns, require_namespaces

SLOW = {
    "check": ["check", "--sample", "1.5"],
    "capture": ["capture", "FILE", "--sample", "1.5"],
    "report": ["report", "FILE", "--sample", "1.5"],
}


def at_a_terminal(words: list[str], **environment: str) -> tuple[int, str, str]:
    """The exit code, stdout, which is a pipe, and what the terminal on stderr got."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "sockwatch", *words],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", **environment},
    ) as process:
        os.close(theirs)
        out, _ = process.communicate(timeout=60)
    told = b""
    try:
        while part := os.read(ours, 4096):
            told += part
    except OSError:  # EIO: nobody has the other end any more
        pass
    os.close(ours)
    return process.returncode, out, told.decode()


def left(told: str) -> str:
    """What of it stays on the screen."""
    lines = [re.split(r"\r", line)[-1] for line in told.replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).replace("\x1b[K", "")


@pytest.mark.parametrize("command", SLOW)
def test_a_second_look_is_waited_for_in_one_line_that_goes_away(command: str, tmp_path: Path) -> None:
    words = [str(tmp_path / "file") if word == "FILE" else word for word in SLOW[command]]
    with PrivateNetns() as netns:
        code, out, told = netns.run(at_a_terminal, words)
    assert code == 0
    assert "\rwaiting for the second look (1 s)\x1b[K" in told
    assert "waiting" not in left(told)
    assert "\x1b" not in out
    assert "waiting" not in out


def test_json_and_perfdata_and_a_dumb_terminal_have_none() -> None:
    with PrivateNetns() as netns:
        for words in (["--json"], ["--perfdata"]):
            _, _, told = netns.run(at_a_terminal, ["check", "--sample", "1.2", *words])
            assert told == ""
        _, _, told = netns.run(at_a_terminal, ["check", "--sample", "1.2"], TERM="dumb")
        assert told == ""


def test_one_scenario_says_that_it_is_at_work_between_what_it_tells() -> None:
    require_namespaces()
    code, out, told = at_a_terminal(["lab", "run", "simultaneous_close"])
    assert code == 0
    assert "\rat work\x1b[K" in told
    assert left(told) == ""
    assert "as declared" in out


def test_the_lab_says_which_of_how_many(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from sockwatch.cli import lab  # noqa: PLC0415 - as the command loads it
    from sockwatch.cli.parser import Parser  # noqa: PLC0415 - as the command loads it
    from sockwatch.lab.registry import load_scenarios  # noqa: PLC0415 - as the command loads it

    monkeypatch.setattr(lab, "_play", lambda *_, **__: {"ok": True, "found": [], "missing": [], "surplus": []})
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    parser = Parser()
    lab.add_parser(parser.add_subparsers(parser_class=Parser))
    assert lab.run(parser.parse(["lab", "run", "all"], parser)) == 0
    out, told = capsys.readouterr()
    count = len(load_scenarios())
    assert f"\r1 of {count}: " in told
    assert f"\r{count} of {count}: " in told
    assert left(told) == ""
    assert out.count("as declared") == count
