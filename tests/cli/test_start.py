"""What a check costs before it looks: a fresh interpreter in a private namespace, with nothing to name."""

import subprocess
import sys

from netns import PrivateNetns

HEAVY = {
    "asyncio",
    "concurrent.futures",
    "difflib",
    "email",
    "http",
    "inspect.Signature",
    "json",
    "logging",
    "msgspec",
    "multiprocessing",
    "numpy.ma",
    "prometheus_client",
    "psutil",
    "pyroute2",
    "shutil",
    "sqlite3",
    "sockwatch.config",
    "sockwatch.model.settings",
    "ssl",
    "subprocess",
    "tempfile",
    "tomllib",
    "traceback",
    "urllib.request",
}
PROGRAM = """
import sys
from sockwatch.__main__ import main
code = main(["check"])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


def check_and_tell_modules() -> tuple[int, str, str]:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def test_a_check_of_a_healthy_host_imports_nothing_heavy() -> None:
    with PrivateNetns() as netns:
        code, out, err = netns.run(check_and_tell_modules)
    assert (code, out[:4]) == (0, "ok  "), err
    modules = set(err.split())
    assert "numpy" in modules
    assert sorted(modules & HEAVY) == []


def test_one_thread_is_enough_for_numpy() -> None:
    program = "import os, sockwatch.__main__; print(os.environ['OPENBLAS_NUM_THREADS'])"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert ended.stdout == "1\n"
