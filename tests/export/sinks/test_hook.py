import json
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sinks import alert, eventually
from sockwatch.clock import SystemClock
from sockwatch.export.sinks.hook import MOST_HOOKS, Hook
from sockwatch.export.sinks.notice import notice_of
from sockwatch.export.sinks.outcome import Outcome, Reason, Result
from sockwatch.model.alert import AlertIdentity
from sockwatch.model.settings import ExecSink

SH = "/bin/sh"
ORPHANS = """
sh -c 'trap "" TERM; echo $$ > one; exec sleep 1000' &
setsid sh -c 'trap "" TERM; echo $$ > two; (setsid sh -c "echo \\$\\$ > three; exec sleep 1000" &) ; exec sleep 1000' &
while [ ! -s one ] || [ ! -s two ] || [ ! -s three ]; do sleep 0.01; done
"""


def hook(*command: str, slots: threading.Semaphore | None = None, grace: float = 5, **settings: Any) -> Hook:
    return Hook(
        "tell",
        ExecSink(command=command, **({"timeout": 20.0} | settings)),
        host="web1",
        slots=slots or threading.Semaphore(MOST_HOOKS),
        clock=SystemClock(),
        grace=grace,
    )


def run(script: str, *arguments: str, **settings: Any) -> Outcome:
    return hook(SH, "-c", script, *arguments, **settings).deliver([notice_of(alert())])


def pids(folder: Path) -> list[int]:
    return [int((folder / name).read_text()) for name in ("one", "two", "three")]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != b"Z"


def test_what_a_hook_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LD_LIBRARY_PATH", "PYTHONPATH", "IFS", "SECRET"):
        monkeypatch.setenv(name, "inherited")
    script = f"env -0 > {tmp_path}/env; cat > {tmp_path}/stdin; echo $0 $1 > {tmp_path}/arguments"
    outcome = run(script, "zero", "$(id) %s {}", environment={"TOKEN": "hush"})
    assert outcome.result is Result.DELIVERED, outcome
    environment = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().split("\0") if line)
    sent = {name: value for name, value in environment.items() if not name.startswith("SOCKWATCH_")}
    assert sent == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "TOKEN": "hush",
        "PWD": "/",
    }
    assert environment["SOCKWATCH_LOCAL"] == "10.0.0.1:8080"
    assert json.loads((tmp_path / "stdin").read_text())["finding"]["count"] == 23
    assert (tmp_path / "arguments").read_text() == "zero $(id) %s {}\n"


def test_how_a_hook_runs(tmp_path: Path) -> None:
    script = f"""cd {tmp_path}; umask > umask; ls -l /proc/self/fd > fds; cat /proc/self/limits > limits
        cat /proc/self/status > status; cat /proc/self/oom_score_adj > oom; cut -d' ' -f1,5,6 /proc/$$/stat > ids"""
    assert run("pwd > /dev/null; [ $(pwd) = / ] || exit 9;" + script).result is Result.DELIVERED
    assert (tmp_path / "umask").read_text() == "0077\n"
    descriptors = [line.split()[8:] for line in (tmp_path / "fds").read_text().splitlines()[1:]]
    assert {int(number) for number, *_ in descriptors} == {0, 1, 2, 3}, "3 is the folder that ls reads"
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (tmp_path / "limits").read_text().splitlines()}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["1024", "1024"]
    assert limits["Max cpu time"] == ["25", "25"]
    status = dict(line.split(":\t") for line in (tmp_path / "status").read_text().splitlines())
    assert {status[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert status["SigBlk"] == "0" * 16
    assert int(status["SigIgn"], 16) & ~(1 << (signal.SIGPIPE - 1)) == int(status["SigIgn"], 16), "SIGPIPE kills"
    assert int((tmp_path / "oom").read_text()) >= 0
    pid, group, session = (tmp_path / "ids").read_text().split()
    assert pid == group == session


@pytest.mark.needs_root
@pytest.mark.needs_program("setpriv")
@pytest.mark.parametrize(
    "setpriv",
    [
        (),
        ("--bounding-set=-setpcap", "--inh-caps=-setpcap"),
        ("--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+dac_read_search,+sys_ptrace",
         "--ambient-caps=+dac_read_search,+sys_ptrace"),
    ],
    ids=["root", "root without CAP_SETPCAP", "user with ambient capabilities"],
)  # fmt: skip
def test_no_capability_of_the_daemon_reaches_a_hook(setpriv: tuple[str, ...]) -> None:
    program = """
import logging, sys, threading
from test_hook import run
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
print(open("/proc/self/status").read().partition("CapEff:\\t")[2].split()[0])
print(run("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status; sh -c 'grep CapEff /proc/self/status'").detail)
"""
    search = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    ended = subprocess.run(
        ["setpriv", *setpriv, sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": search, "PATH": os.environ["PATH"]},
    )  # fmt: skip
    own, *told, detail = ended.stdout.splitlines()
    assert int(own, 16), "the daemon has capabilities, else this shows nothing"
    assert [line.rpartition("t")[2].rstrip('"') for line in told] == ["0" * 16] * 5, ended.stdout
    assert detail == "exit status 0"


def test_a_script_knows_where_it_is(tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text('#!/bin/sh\necho "$0" > "$(dirname "$0")/told"\n')
    script.chmod(0o755)
    assert hook(str(script)).deliver([notice_of(alert())]).result is Result.DELIVERED
    assert (tmp_path / "told").read_text() == f"{script}\n"


@pytest.mark.parametrize(
    ("script", "reason", "detail"),
    [
        ("exit 1", Reason.EXIT_STATUS, "exit status 1"),
        ("kill -SEGV $$", Reason.SIGNAL, "killed by SIGSEGV"),
        ("sleep 1000", Reason.TIMEOUT, "ended after 0.3 s"),
        ("trap '' TERM; sleep 1000 & wait; sleep 1000", Reason.TIMEOUT, "ended after 0.3 s"),
        ("trap 'exit 0' TERM; sleep 1000 & wait", Reason.TIMEOUT, "ended after 0.3 s"),
        ("kill -STOP $$", Reason.TIMEOUT, "ended after 0.3 s"),
    ],
)
def test_how_hooks_fail(script: str, reason: Reason, detail: str) -> None:
    outcome = run(script, timeout=0.3, grace=0.1)
    assert (outcome.result, outcome.reason, outcome.detail) == (Result.FAILED, reason, detail)


def test_programs_that_cannot_be_started(tmp_path: Path) -> None:
    def outcome() -> tuple[Reason | None, str]:
        told = hook(str(tmp_path / "hook")).deliver([notice_of(alert())])
        return told.reason, told.detail

    assert outcome() == (Reason.PROGRAM, f"{tmp_path}/hook: No such file or directory")
    (tmp_path / "hook").write_bytes(b"\x7fELF")
    (tmp_path / "hook").chmod(0o600)
    assert outcome() == (Reason.PROGRAM, f"{tmp_path}/hook: not executable")
    (tmp_path / "hook").chmod(0o700)
    assert outcome() == (Reason.PROGRAM, "cannot be started: Exec format error")
    tmp_path.chmod(0o777)
    assert outcome() == (Reason.PROGRAM, f"{tmp_path}: others may write to it (mode 0777)")


def run_too_long(tmp_path: Path, script: str, *ready: str, grace: float) -> tuple[Outcome, Path]:
    """The outcome of a hook that was as far as these files say when its time was over, and the folder it ran in."""
    for timeout in (1.0, 4.0, 16.0, 32.0):
        folder = tmp_path / f"{timeout:g}"
        folder.mkdir()
        outcome = run(f"cd {folder}; {script}", timeout=timeout, grace=grace)
        if all((folder / name).exists() for name in ready):
            return outcome, folder
    raise AssertionError("it never got that far")


def test_what_a_hook_leaves_behind_ends_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(f"cd {tmp_path}; {ORPHANS}", grace=0.1).result is Result.DELIVERED
    assert not [pid for pid in pids(tmp_path) if is_alive(pid)]
    assert "it left 3 processes behind" in caplog.text


def test_what_a_hook_has_started_ends_with_its_time(tmp_path: Path) -> None:
    outcome, folder = run_too_long(tmp_path, f"{ORPHANS} touch ready; exec sleep 1000", "ready", grace=0.1)
    assert outcome.reason is Reason.TIMEOUT
    assert not [pid for pid in pids(folder) if is_alive(pid)]


def test_a_flood_of_output_is_read_and_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outcome = run("yes | head -c 100000000; echo not reached >&2")
    assert outcome.result is Result.DELIVERED
    assert len(caplog.messages) < 30
    assert "not reached" not in caplog.text


def test_output_is_logged_printable(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(r"printf 'a\033[2Jb\n<0>c\n\377\342\200\256d'; echo e >&2")
    assert caplog.messages == [
        r'sink tell said "a\x1b[2Jb"',
        'sink tell said "<0>c"',
        r'sink tell said "\xff\u202ede"',
    ]


def test_names_that_others_chose_do_nothing(tmp_path: Path) -> None:
    evil = alert(identity=AlertIdentity(code="blind", process="$(touch x)`touch x`\n;touch x"), summary="a\nb\0c")
    told = hook(SH, "-c", f"cd {tmp_path}; printenv SOCKWATCH_PROCESS SOCKWATCH_SUMMARY > told")
    assert told.deliver([notice_of(evil)]).result is Result.DELIVERED
    assert (tmp_path / "told").read_text() == "$(touch x)`touch x`\\n;touch x\na\\nb\\x00c\n"
    assert [*tmp_path.iterdir()] == [tmp_path / "told"]


def test_abort_ends_what_runs_and_lets_nothing_begin(tmp_path: Path) -> None:
    running = hook(SH, "-c", f"cd {tmp_path}; {ORPHANS} sleep 1000")
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(running.deliver, [notice_of(alert())])
        eventually(lambda: len([*tmp_path.glob("*")]) == 3 and (tmp_path / "three").stat().st_size)
        running.abort()
        assert outcome.result(20).reason is Reason.STOPPED
    assert not [pid for pid in pids(tmp_path) if is_alive(pid)]
    assert running.deliver([notice_of(alert())]).reason is Reason.STOPPED


def test_a_hook_ends_with_the_daemon(tmp_path: Path) -> None:
    program = f"""
from test_hook import *
hook(SH, "-c", "cd {tmp_path}; " + ORPHANS + "sleep 1000").deliver([notice_of(alert())])
"""
    search = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    with subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": search}) as daemon:
        eventually(lambda: (tmp_path / "three").exists() and (tmp_path / "three").stat().st_size)
        daemon.kill()
    eventually(lambda: not [pid for pid in pids(tmp_path) if is_alive(pid)])


def test_every_process_of_a_hook_may_end_by_itself(tmp_path: Path) -> None:
    script = """sh -c "trap 'echo ended >> told; exit' TERM; touch ready; sleep 1000 & wait" & wait"""
    outcome, folder = run_too_long(tmp_path, script, "ready", grace=10)
    assert outcome.reason is Reason.TIMEOUT
    assert (folder / "told").read_text() == "ended\n"


def test_so_many_hooks_run_at_once_and_no_more(tmp_path: Path) -> None:
    slots = threading.Semaphore(MOST_HOOKS)
    script = f"cd {tmp_path}; touch running.$$; sleep 0.5; ls running.* | wc -l > seen.$$; rm running.$$"
    with ThreadPoolExecutor(MOST_HOOKS + 2) as pool:
        outcomes = [
            pool.submit(hook(SH, "-c", script, slots=slots).deliver, [notice_of(alert())])
            for _ in range(MOST_HOOKS + 2)
        ]
        assert {outcome.result(20).result for outcome in outcomes} == {Result.DELIVERED}
    seen = [int(path.read_text()) for path in tmp_path.glob("seen.*")]
    assert len(seen) == MOST_HOOKS + 2
    assert max(seen) <= MOST_HOOKS


def test_no_descriptor_and_no_process_is_left(tmp_path: Path) -> None:
    run("exit 0")
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(5):
        run("exit 1")
        hook(str(tmp_path / "none")).deliver([notice_of(alert())])
    assert len([*Path("/proc/self/fd").iterdir()]) == before
