"""Stops one thread of another process until it is gone: `python held_thread.py TID`, as root.

Signals stop whole processes; ptrace stops the one (PTRACE_SEIZE and PTRACE_INTERRUPT, linux/ptrace.h).
"""

import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x4000_0000
"""__WALL: threads, too"""


def hold(tid: int) -> None:
    """Return when the thread has ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, tid, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(tid, WALL)
    sys.stdout.write("held\n")
    sys.stdout.flush()
    try:
        while not os.WIFEXITED(status := os.waitpid(tid, WALL)[1]) and not os.WIFSIGNALED(status):
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    hold(int(sys.argv[1]))
