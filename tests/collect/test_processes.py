import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import psutil
import pytest

from sockwatch.collect.processes import describe, parse_cgroup

PROC = Path("/proc")
ID = "0123456789abcdef" * 4
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", "/proc")
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


@pytest.mark.parametrize(
    ("text", "unit", "container"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service", None),
        ("0::/system.slice/nginx.service/workers\n", "nginx.service", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-foot.scope\n", "app-foot.scope", None),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", "session-2.scope", None),
        ("0::/system.slice/gone.service (deleted)\n", "gone.service", None),
        (f"0::/system.slice/docker-{ID}.scope\n", f"docker-{ID}.scope", ID[:12]),
        (f"0::/docker/{ID}\n", None, ID[:12]),
        (f"0::/docker/{ID}/init.scope\n", "init.scope", ID[:12]),
        (f"0::/machine.slice/libpod-{ID}.scope/container\n", f"libpod-{ID}.scope", ID[:12]),
        (f"0::/kubepods.slice/pod1.slice/crio-{ID}.scope\n", f"crio-{ID}.scope", ID[:12]),
        (f"0::/kubepods.slice/pod1.slice/cri-containerd-{ID}.scope\n", f"cri-containerd-{ID}.scope", ID[:12]),
        (f"0::/kubepods/burstable/pod1/{ID}\n", None, ID[:12]),
        (
            f"0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}\n",
            "containerd.service",
            ID[:12],
        ),
        (f"0::/docker/{ID}/docker/{ID[::-1]}\n", None, ID[::-1][:12]),
        ("3:cpu:/wrong.slice\n1:name=systemd:/system.slice/a.service\n0::/\n", "a.service", None),
        (f"5:memory:/docker/{ID}\n", None, ID[:12]),
        ("0::/a:b.service\n", "a:b.service", None),
        ("0::/evil\x1b[2J.service\n", r"evil\x1b[2J.service", None),
        (f"0::/x{ID}\n", None, None),
        ("0::/\n", None, None),
        ("garbage\n", None, None),
        ("", None, None),
    ],
)
def test_unit_and_container_come_from_the_cgroup(text: str, unit: str | None, container: str | None) -> None:
    assert parse_cgroup(text) == (unit, container)
