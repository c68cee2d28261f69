import os
import subprocess
import sys
from pathlib import Path

PROGRAM = r"""
import logging, os
from sockwatch.daemon.log import start_log
start_log(os.environ)
log = logging.getLogger("sockwatch.x")
log.info("hello")
log.warning("name %s", "a\nb\x1b[2J<0>")
logging.getLogger("uvicorn").info("not this")
logging.getLogger("uvicorn").error("this")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
"""


def lines(**environment: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr.splitlines()


def test_a_line_has_its_time_and_its_level_and_nothing_forges_another() -> None:
    told = [line.split(" ", 1) for line in lines()]
    assert {len(time) for time, _ in told} == {len("2026-11-20T13:02:27Z")}
    assert [text for _, text in told[:3]] == ["info hello", r"warning name a\nb\x1b[2J<0>", "error this"]
    assert [text for _, text in told[3:5]] == ["error broken", "error Traceback (most recent call last):"]
    assert told[-1][1] == "error ZeroDivisionError: division by zero"


def test_the_journal_gets_priorities_and_no_times(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("wb") as stream:
        status = os.fstat(stream.fileno())
        environment = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        subprocess.run([sys.executable, "-c", PROGRAM], stderr=stream, check=True, env=environment)
    told = (tmp_path / "stream").read_text().splitlines()
    assert told[:3] == ["<6>hello", r"<4>name a\nb\x1b[2J<0>", "<3>this"]
    assert {line[:3] for line in told[3:]} == {"<3>"}


def test_a_journal_that_is_not_our_stderr_is_none() -> None:
    assert lines(JOURNAL_STREAM="1:2")[0].endswith(" info hello")


def test_nobody_reads() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=writer, check=True)
    os.close(writer)


def test_without_a_stderr_no_socket_takes_its_place() -> None:
    program = PROGRAM + "\nimport socket\nprint(socket.socket().fileno())"
    command = 'exec "$0" -c "$1" 2>&-'
    ended = subprocess.run(["sh", "-c", command, sys.executable, program], capture_output=True, text=True, check=True)
    assert int(ended.stdout) > 2
