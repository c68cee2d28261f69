import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import psutil
import pytest

from sockwatch.collect.processes import describe

PROC = Path("/proc")
RENAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""
"""15 is PR_SET_NAME."""


@contextmanager
def process(code: str, *arguments: str) -> Iterator[int]:
    """A Python process that has said something and now waits; its pid."""
    child = Popen([sys.executable, "-c", code, *arguments], stdin=PIPE, stdout=PIPE)
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
        child.kill()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain", "plain"),
        (b"two\nlines", r"two\nlines"),
        (b"\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        (b") S 1 (", ") S 1 ("),
        (b"bad \xff\xfe", r"bad \xff\xfe"),
        ("\u202egnp.exe".encode(), r"\u202egnp.exe"),
        ("a\u2028b".encode(), r"a\u2028b"),
    ],
)
def test_whatever_name_a_process_chose_is_shown_printable(name: bytes, shown: str) -> None:
    with process(RENAMED, name.hex()) as pid:
        found = describe(pid, proc=PROC)
    assert found is not None
    assert found.name == shown


def test_a_name_completed_from_the_command_line_stays_short(tmp_path: Path) -> None:
    name = "sockwatch-" + "x" * 240
    program = tmp_path / name
    program.symlink_to(sys.executable)
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'sockwatch-xxxxx'); print(flush=True); input()"
    with Popen([f"{program}{'y' * 1000}", "-c", code], executable=program, stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = describe(child.pid, proc=PROC)
        child.kill()
    assert found is not None
    assert found.name == (name + "y" * 1000)[:255]


def test_start_time_open_files_and_their_limit_are_the_processs_own() -> None:
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(23)]
    found = describe(os.getpid(), proc=PROC, fds=1)
    fds = len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - less the listing itself
    for fd in opened:
        os.close(fd)
    assert found is not None
    assert (found.pid, found.started) == (os.getpid(), psutil.Process().create_time())
    assert found.fd_limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.fds == fds


def test_a_kernel_that_does_not_count_open_files_leaves_the_count_to_the_walk(
    tmp_path: Path,
) -> None:
    with process("print(flush=True); input()") as pid:
        folder = tmp_path / str(pid)
        folder.mkdir()
        (tmp_path / "stat").write_text("btime 1700000000\n")
        for name in ("stat", "cgroup", "limits", "status", "cmdline"):
            (folder / name).write_bytes((PROC / str(pid) / name).read_bytes())
        found = describe(pid, proc=tmp_path, fds=23)
    assert found is not None
    assert found.fds == 23


def test_a_process_that_is_gone_is_nobody() -> None:
    with Popen(["/bin/true"]) as child:
        child.wait()
    assert describe(child.pid, proc=PROC) is None
