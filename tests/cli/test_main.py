import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from sockwatch import __version__
from sockwatch.__main__ import COMMANDS
from sockwatch.cli import explain

Run = Callable[..., tuple[int, str, str]]
SOCKWATCH = (sys.executable, "-m", "sockwatch")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, run: Run) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: sockwatch {command}")


def test_help_lists_every_command(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert set(COMMANDS) <= set(re.findall(r"^    (\w+)", out, re.MULTILINE))


def test_the_version_is_the_package_s(run: Run) -> None:
    assert run("--version") == (0, f"sockwatch {__version__}\n", "")


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_a_plugin_asked_for_help_answers_unknown(word: str, run: Run) -> None:
    assert run(*(["check"] if word == "--help" else []), "--perfdata", word)[0] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no command"),
        (("chek",), 'unknown command "chek"; did you mean check?'),
        (("check", "--jsn"), 'unknown option "--jsn"; did you mean --json?'),
        (("check", "--jsn=1"), 'unknown option "--jsn"; did you mean --json?'),
        (("check", "--js"), 'unknown option "--js"; did you mean --json?'),
        (("check", "-w", "5"), 'no option "-w": a verdict is no threshold; --fail-on critical passes over warnings'),
        (("check", "-c5"), 'no option "-c": a verdict is no threshold'),
        (("check", "--warning=5:10"), 'no option "--warning": a verdict is no threshold'),
        (("check", "--critical", "1"), 'no option "--critical": a verdict is no threshold'),
        (("check", "here"), '"here" is one word too many; see sockwatch check --help'),
        (("check", "--timeout"), "argument -t/--timeout: expected one argument"),
        (("check", "--timeout", "0"), 'argument -t/--timeout: "0" is no number of seconds above 0'),
        (("check", "--timeout", "nan"), 'argument -t/--timeout: "nan" is no number of seconds'),
        (("check", "--timeout", "1e300"), 'argument -t/--timeout: "1e300" is no number of seconds'),
        (("check", "--min-age=-1"), 'argument --min-age: "-1" is no number of seconds'),
        (("check", "--listen", "http"), 'argument --listen: "http" is no port (1 to 65535)'),
        (("check", "--listen", "65536"), 'argument --listen: "65536" is no port (1 to 65535)'),
        (("check", "--listen", "\u0663"), 'argument --listen: "\u0663" is no port (1 to 65535)'),
        (("check", "--fail-on", "critcal"), 'argument --fail-on: "critcal" is not valid; did you mean critical?'),
        (("check", "--fail-on", "x"), 'argument --fail-on: "x" is not valid; valid: warning, critical'),
        (("check", "--netns", ""), "argument --netns: a namespace has a name"),
        (("check", "--only", "close_wait_leek"), 'unknown finding "close_wait_leek"; did you mean close_wait_leak?'),
        (
            ("check", "--ignore", "close_wait_leak/notclosed"),
            'unknown finding "close_wait_leak/notclosed"; did you mean close_wait_leak/not_closed?',
        ),
        (("check", "--only", "self_connect", "--ignore", "self_connect"), "--only and --ignore leave nothing"),
        (("check", "--what-iff", "a=b"), 'unknown option "--what-iff"; did you mean --what-if?'),
        (("check", "--what-if", "a=b"), '--what-if: unknown sysctl "a"'),
        (("check", "--config", "/nowhere/x.toml"), "/nowhere/x.toml: No such file or directory"),
        (("check", "--from", "/nowhere/x.capture"), "/nowhere/x.capture: No such file or directory"),
        (("check", "--from", "x", "--sample", "1"), "--sample looks at this host"),
        (("check", "--from", "x", "--netns", "blue"), "--netns looks at this host"),
        (("capture",), "the following arguments are required: FILE"),
        (("explain", "close_wiat"), 'unknown word "close_wiat"; did you mean close_wait?'),
        (("config", "shew"), 'argument ACTION: "shew" is not valid; did you mean show?'),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_3(words: tuple[str, ...], message: str, run: Run) -> None:
    code, out, err = run(*words)
    assert (code, out) == (3, "")
    assert err.startswith(f"sockwatch: {message}")
    assert err.count("\n") == 1


def test_two_formats_at_once_are_a_mistake(run: Run) -> None:
    code, _, err = run("check", "--json", "--perfdata")
    assert (code, err) == (3, "sockwatch: --json and --perfdata: only one of them\n")


def test_a_mistake_of_a_plugin_is_said_on_stdout_too(run: Run) -> None:
    code, out, err = run("check", "--perfdata", "--jsn")
    assert code == 3
    assert out == 'SOCKWATCH UNKNOWN - unknown option "--jsn"; did you mean --json?\n'
    assert err.count("\n") == 1


def test_a_hostile_word_does_not_act_on_the_terminal(run: Run) -> None:
    code, _, err = run("check", "--only", "\x1b[2J\nx\udcff")
    assert code == 3
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


def test_an_interrupt_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(explain, "run", interrupt)
    assert run("explain") == (130, "", "")


def test_an_unforeseen_error_is_unknown_and_not_a_warning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_options: object) -> int:
        raise ZeroDivisionError("1/0")

    monkeypatch.setattr(explain, "run", fail)
    code, out, err = run("explain")
    assert (code, out) == (3, "")
    assert err.splitlines()[-1] == "sockwatch: internal error: ZeroDivisionError: 1/0"


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        ended = subprocess.run([*SOCKWATCH, "explain"], stdout=closed, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_full_disk_is_one_line_and_exit_3() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([*SOCKWATCH, "explain"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (3, b"sockwatch: cannot write the answer: No space left on device\n")


def test_a_capture_needs_a_stdout() -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m sockwatch capture - >&-', sys.executable], capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (3, b"sockwatch: cannot write the answer: stdout is closed\n")


def test_a_closed_stderr_leaves_stdout_alone() -> None:
    ended = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m sockwatch chek 2>&-', sys.executable], capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (3, b"")


def test_a_closed_stdout_is_no_error() -> None:
    ended = subprocess.run(["sh", "-c", 'exec "$@" >&-', "-", *SOCKWATCH, "explain"], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_cannot_show_a_name_gets_it_escaped(encoding: str, tmp_path: Path) -> None:
    wrong = tmp_path / "\u540d.toml"
    wrong.write_text("[detectors]\n")
    ended = subprocess.run(
        [*SOCKWATCH, "config", "check", "--config", str(wrong)],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert rb"\u540d.toml: ok" in ended.stdout


@pytest.fixture
def terminal() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Both ends of a pseudo terminal of 24 lines and 120 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as reader, os.fdopen(theirs, "wb", buffering=0) as writer:
        yield reader, writer


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals(
    environment: dict[str, str], *, coloured: bool, terminal: tuple[IO[bytes], IO[bytes]]
) -> None:
    reader, writer = terminal
    plain = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    ended = subprocess.run([*SOCKWATCH, "explain", "close_wait"], env=plain | environment, stdout=writer, check=False)
    text = reader.read(100_000)
    assert ended.returncode == 0
    assert (b"\x1b[" in text) is coloured
    assert 80 < max(map(len, text.replace(b"\r", b"").split(b"\n"))) <= 100


def test_a_pipe_gets_no_escape_codes(run: Run) -> None:
    assert "\x1b" not in run("explain", "close_wait")[1]


@pytest.mark.parametrize(("columns", "longest"), [("40", 40), ("9", 30), ("9999", 100), ("x", 80), ("", 80)])
def test_columns_says_how_wide_a_pipe_is(columns: str, longest: int) -> None:
    environment = os.environ | {"COLUMNS": columns}
    ended = subprocess.run(
        [*SOCKWATCH, "explain", "close_wait_leak"], env=environment, capture_output=True, check=False
    )
    widest = max(map(len, ended.stdout.decode().splitlines()))
    assert longest - 12 < widest <= longest
