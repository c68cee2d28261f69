"""`python with_capabilities.py NAME,NAME ARGUMENTS` as root: sockwatch, run by user 65534 with these capabilities.

It has no other, and without a name none. What it will need is loaded first: this user may read none of root's files.
"""

import codecs
import ctypes
import importlib
import os
import pkgutil
import struct
import sys

import psutil  # noqa: F401 - as below
import pyroute2.netns  # noqa: F401 - as below

import sockwatch
from sockwatch.__main__ import main

NOBODY = 65534
PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 4, 8
VERSION = 0x2008_0522
"""_LINUX_CAPABILITY_VERSION_3, include/uapi/linux/capability.h"""
NEEDED = tuple(
    f"sockwatch.{part}" for part in ("cli.check", "collect", "diagnose", "model", "pipeline", "export.json_report")
)
NUMBERS = {"CAP_DAC_READ_SEARCH": 2, "CAP_NET_ADMIN": 12, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21}

for module in pkgutil.walk_packages(sockwatch.__path__, "sockwatch."):
    if module.name.startswith(NEEDED):
        importlib.import_module(module.name)
codecs.lookup("ascii")
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
os.setgroups([])
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
names = [name for name in sys.argv.pop(1).split(",") if name]
mask = sum(1 << NUMBERS[name] for name in names)
if libc.capset(struct.pack("=Ii", VERSION, 0), struct.pack("=6I", mask, mask, 0, 0, 0, 0)):
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
# A process that changed its user may not be looked into, not even by itself.
libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
sys.exit(main())
