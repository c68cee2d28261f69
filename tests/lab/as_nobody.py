"""`python as_nobody.py ARGUMENTS` as root: sockwatch, run by user 65534, who may read none of root's files."""

import codecs
import ctypes
import importlib
import os
import pkgutil
import sys

import psutil  # noqa: F401 - what the lab will need is loaded while it can still be read

import sockwatch
from sockwatch.__main__ import main

NOBODY = 65534
PR_SET_DUMPABLE = 4

for module in pkgutil.walk_packages(sockwatch.__path__, "sockwatch."):
    importlib.import_module(module.name)
codecs.lookup("ascii")
os.setgroups([])
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
# A process that changed its user may not be looked into, not even by itself; one that this user starts may.
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
sys.exit(main())
