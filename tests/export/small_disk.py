"""A real file system that is full, or read-only, and then is not: a tmpfs in a mount namespace of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PREPARE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, MS_REC_PRIVATE, MS_RDONLY, MS_REMOUNT = 0x20000, 0x10000000, 0x44000, 1, 32
place, size = sys.argv[1].encode(), sys.argv[2].encode()

def enter():
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)):
        sys.exit(f"REFUSED unshare: {os.strerror(ctypes.get_errno())}")
    if uid:
        open("/proc/self/setgroups", "w").write("deny")
        open("/proc/self/uid_map", "w").write(f"{uid} {uid} 1")
        open("/proc/self/gid_map", "w").write(f"{gid} {gid} 1")
    libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
    if libc.mount(b"none", place, b"tmpfs", 0, b"size=" + size):
        sys.exit(f"REFUSED mount: {os.strerror(ctypes.get_errno())}")

def read_only(on):
    if libc.mount(b"none", place, None, MS_REMOUNT | (MS_RDONLY if on else 0), None):
        sys.exit(f"remount: {os.strerror(ctypes.get_errno())}")

def fill():
    with open(os.path.join(sys.argv[1], "filler"), "wb", buffering=0) as file:
        try:
            for _ in range(1000):  # never a real disk
                file.write(bytes(4096))
        except OSError:
            pass

def free():
    os.unlink(os.path.join(sys.argv[1], "filler"))
"""


def on_small_disk(place: Path, script: str, *, size: str = "64k") -> str:
    """Run the `main()` of a script that has `fill()`, `free()` and `read_only(on)` for the disk at `place`.

    Returns what it printed. It imports at its top, before it is in the mount namespace.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE + script + "\nenter()\nmain()\n", str(place), size],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},  # one thread may unshare
    )
    if done.stderr.startswith("REFUSED"):
        pytest.skip(f"kernel: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
