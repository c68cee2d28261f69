"""`sockwatch top` for real: in a terminal multiplexer, in a private namespace."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netns import PrivateNetns, forget_kept, keep

Run = Callable[..., tuple[int, str, str]]
PATIENCE = 60.0


def leak() -> int:
    """23 connections whose other end has closed; the port."""
    listener = keep(socket.create_server(("127.0.0.1", 0), backlog=64))
    for _ in range(23):
        with socket.create_connection(listener.getsockname()):
            keep(listener.accept()[0])
    return int(listener.getsockname()[1])


def tmux(path: str, *words: str, environment: dict[str, str] | None = None) -> str:
    """One command of a multiplexer that is alone on its socket."""
    ended = subprocess.run(
        ["tmux", "-S", path, "-f", "/dev/null", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    return ended.stdout


class Terminal:
    """80 columns and 24 lines, in a private namespace with a leak."""

    def __init__(self, netns: PrivateNetns, path: str) -> None:
        self.netns = netns
        self.path = path

    def screen(self, *options: str) -> str:
        return self.netns.run(tmux, self.path, "capture-pane", "-p", *options).replace("\N{NO-BREAK SPACE}", " ")

    def press(self, *keys: str) -> None:
        self.netns.run(tmux, self.path, "send-keys", *keys)

    def until(self, pattern: str) -> str:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.screen())):
            assert time.monotonic() < end, f"{pattern} is not in\n{self.screen()}"
            time.sleep(0.05)
        return found[0]


@pytest.fixture
def leaking() -> Iterator[PrivateNetns]:
    with PrivateNetns() as netns:
        netns.run(leak)
        yield netns


@pytest.fixture
def terminal(leaking: PrivateNetns, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    path = str(tmp_path / "tmux")

    def start(**environment: str) -> Terminal:
        config = tmp_path / "config.toml"
        config.write_text("[detectors.close_wait_leak]\nmin_age = 0.2\n")
        command = f"{sys.executable} -m sockwatch top --interval 0.3 --config {config}; echo ended $?; sleep 60"
        size = ("-x", "80", "-y", "24")
        leaking.run(tmux, path, "new-session", "-d", *size, command, environment=environment)
        return Terminal(leaking, path)

    yield start
    leaking.run(tmux, path, "kill-server")


@pytest.mark.needs_program("tmux")
def test_in_a_real_terminal_from_the_verdict_to_one_socket_and_out(terminal: Callable[..., Terminal]) -> None:
    seen = terminal()
    seen.until(r"(?s)! warning .*close_wait 23!.*close_wait_leak/fin_not_seen")
    colours = set(re.findall(r"\x1b\[[0-9;]*?([34]8;[0-9;]+)m", seen.screen("-e")))
    assert colours == set(), "only the terminal's own sixteen colours"
    seen.press("3")
    seen.until(r"\w+ +24 +- +1 +23 ")
    seen.press("Enter")
    seen.until("24 sockets process=")
    seen.press("/", "close_wait", "Enter")
    seen.until("with close_wait")
    seen.press("Enter")
    seen.until(r"state +close_wait")
    seen.until(r"process +\S+\[\d+\]")
    seen.netns.run(forget_kept)
    seen.until("gone; the last look saw it in close_wait")
    seen.press("q")
    seen.until("ended 0")


@pytest.mark.needs_program("tmux")
def test_without_colours(terminal: Callable[..., Terminal]) -> None:
    seen = terminal(NO_COLOR="1")
    seen.until("close_wait 23")
    assert not re.search(r"\x1b\[[0-9;]*\b(3[1-7]|4[1-7])\b[0-9;]*m", seen.screen("-e"))


def test_without_a_terminal_it_says_so_in_one_line(run: Run) -> None:
    code, out, err = run("top")
    assert (code, out) == (3, "")
    assert err == "sockwatch: top needs a terminal; in a pipe use `sockwatch check`\n"


def test_without_the_extra_it_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    code, out, err = run("top")
    assert (code, out) == (3, "")
    assert err == "sockwatch: top needs textual, which is an extra: pip install 'sockwatch[tui]'\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--url", "ftp://x"], "it must be like http://127.0.0.1:10147"),
        (["--url", "http://[x"], "this is no address"),
        (["--url", "http://jo:secret@x"], "put it into SOCKWATCH_PASSWORD"),
        (["--url", "http://x", "--netns", "all"], "--netns is for this host"),
        (["--url", "http://x", "--config", "f"], "--config is for this host"),
        (["--ca-file", "f"], "--ca-file is for --url"),
        (["--url", "https://x", "--ca-file", "/nowhere"], "No such file"),
        (["--intervall", "3"], "did you mean --interval?"),
    ],
)
def test_wrong_options_are_one_line(run: Run, words: list[str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    code, out, err = run("top", *words)
    assert (code, out) == (3, "")
    assert why in err
    assert "secret" not in err
    assert err.count("\n") == 1
