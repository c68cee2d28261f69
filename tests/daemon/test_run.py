"""`sockwatch run` as a real process."""

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.running import QUICK, RUN, SECONDS, Running

HANGING = (str(Path(__file__).with_name("hanging.py")),)
BLIND = (
    '[poll]\ninterval = 0.1\ncpu_share = 1.0\nnamespaces = "no-such-namespace"\n[alerts]\nblind_after = 1\nfor = 0\n'
)
"""Looks that fail: the quickest way to an alert."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    with Running(tmp_path) as daemon:
        daemon.until_ready()
        told = daemon.metrics()
        assert (told["sockwatch_poll_success"], told["sockwatch_state_directory_usable"]) == (1, 1)
        assert daemon.end(number) == 0
        assert "stopping" in daemon.lines()
        assert daemon.lines()[0].startswith("sockwatch 0.1.0, pid ")
        assert not daemon.matching("Traceback")


def test_an_open_page_gets_each_poll(tmp_path: Path) -> None:
    with Running(tmp_path) as daemon:
        daemon.until_ready()
        with urllib.request.urlopen(f"http://{daemon.address}/api/v1/events", timeout=SECONDS) as events:
            polls: list[int] = []
            while len(polls) < 3:
                line = events.readline()
                if line.startswith(b"data: "):
                    polls.append(json.loads(line.removeprefix(b"data: "))["poll"])
            assert polls == sorted(set(polls))
            assert daemon.end() == 0


def test_every_mistake_of_the_config_is_told_and_the_daemon_does_not_start(tmp_path: Path) -> None:
    with Running(tmp_path, "[poll]\nintervall = 5\nnamespaces = 7\n") as daemon:
        assert daemon.process.wait(SECONDS) == 3
        assert [line.split(":")[1] for line in daemon.lines()] == ["2", "3"]


def test_an_address_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with Running(tmp_path, words=(*RUN[:-1], address)) as daemon:
            assert daemon.process.wait(SECONDS) == 3
            assert daemon.lines()[-1].startswith(f"cannot listen on {address}: Address already in use")
            assert not daemon.matching("Traceback")


def test_a_second_daemon_with_the_same_state_does_not_start(tmp_path: Path) -> None:
    with Running(tmp_path) as first:
        first.until_line("state in")
        with Running(tmp_path, log="second") as second:
            assert second.process.wait(SECONDS) == 3
            assert second.lines()[-1] == f"{tmp_path}/sockwatch: another sockwatch keeps its state there"


def test_without_a_state_directory_it_watches_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "sockwatch").mkdir(mode=0o755)
    with Running(tmp_path) as daemon:
        daemon.until_ready()
        assert daemon.matching("chmod 700 it; alerts, outbox and history will not survive a restart")
        assert daemon.metrics()["sockwatch_state_directory_usable"] == 0


def test_what_is_hardly_meant_so_is_told_at_the_start_and_what_stops_it_names_its_key(tmp_path: Path) -> None:
    with Running(tmp_path, f'[[alerts.silences]]\n[web]\nconfig_file = "{tmp_path}/none.yml"\n') as daemon:
        assert daemon.process.wait(SECONDS) == 3
        everything = "alerts.silences: this silence has no pattern: it silences every alert for ever"
        assert daemon.matching(f"{daemon.config}:1: warning: {everything}")
        assert daemon.lines()[-1] == f"web.config_file: {tmp_path}/none.yml: No such file or directory"


def test_reloads_good_and_bad_leave_nothing_behind(tmp_path: Path) -> None:
    def opened() -> tuple[int, int]:
        """Files and threads."""
        process = Path(f"/proc/{daemon.process.pid}")
        return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

    with Running(tmp_path) as daemon:
        daemon.until_ready()
        daemon.until(lambda: daemon.metrics()["sockwatch_history_bytes"] > 0, "the history, which is opened late")
        before = opened()
        for number in range(10):
            daemon.write(QUICK if number % 2 else "[pol]\n")
            daemon.send(signal.SIGHUP)
            daemon.until_line("^(reloaded|not reloaded: )", count=number + 1)
        for _ in range(200):  # a storm, and each may meet half a config
            daemon.send(signal.SIGHUP)
        daemon.write(QUICK.replace("0.1", "0.2"))
        daemon.send(signal.SIGHUP)
        daemon.until(lambda: daemon.metrics()["sockwatch_poll_interval_seconds"] == 0.2, "the last config")
        daemon.until(lambda: opened() == before, "what reloads opened to be closed")
        daemon.until(lambda: daemon.metrics()["sockwatch_config_last_reload_successful"] == 1, "the metric")
        assert daemon.end() == 0


def test_another_address_after_a_reload(tmp_path: Path) -> None:
    def listen(address: str) -> str:
        return f'{QUICK}[web]\nlisten = ["{address}"]\n'

    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        Running(tmp_path, listen("127.0.0.1:0"), words=RUN[:3]) as daemon,
    ):
        daemon.until_ready()
        first = daemon.address
        daemon.write(listen(f"127.0.0.1:{taken.getsockname()[1]}"))
        daemon.send(signal.SIGHUP)
        daemon.until_line("not reloaded: cannot listen on 127.0.0.1:")
        daemon.until(lambda: daemon.metrics()["sockwatch_config_last_reload_successful"] == 0, "the metric")
        daemon.write(listen("127.0.0.2:0"))
        daemon.send(signal.SIGHUP)
        daemon.until(lambda: daemon.address != first, "another address")
        daemon.until(lambda: daemon.metrics()["sockwatch_config_last_reload_successful"] == 1, "the metric")
        host, port = first.split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=SECONDS)
        assert daemon.end() == 0


BREAKING = """
import os, sys
from daemon.sources import Looks, leaking, setup
from sockwatch.clock import SystemClock
from sockwatch.daemon.start import run_daemon
from sockwatch.model.settings import DaemonSettings, PollSettings, WebSettings

settings = DaemonSettings(
    web=WebSettings(listen=("127.0.0.1:0",)), poll=PollSettings(interval=0.1, cpu_share=1.0)
)
times = iter(range(9))
def load():
    if next(times) % 2:
        raise ZeroDivisionError("surprise")
    return setup(settings)

looks = Looks(leaking())
sys.exit(run_daemon(load, lambda _: looks, environment=os.environ, clock=SystemClock()))
"""


def test_a_reload_that_breaks_is_counted_and_ends_nothing(tmp_path: Path) -> None:
    with Running(tmp_path, words=("-c", BREAKING)) as daemon:
        daemon.until_ready()
        broken = 'sockwatch_internal_errors_total{part="reload"}'
        successful = "sockwatch_config_last_reload_successful"
        daemon.send(signal.SIGHUP)
        daemon.until(lambda: daemon.metrics()[broken] == 1, "the count")
        assert daemon.metrics()[successful] == 0
        daemon.send(signal.SIGHUP)
        daemon.until(lambda: daemon.metrics()[successful] == 1, "another reload")
        assert daemon.end() == 0


def test_a_history_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    kept = tmp_path / "sockwatch" / "history.db"
    with Running(tmp_path) as daemon:
        daemon.until_ready()
        daemon.until(lambda: daemon.metrics()["sockwatch_history_bytes"] > 0, "the history")

        def threads() -> int:
            return len([*Path(f"/proc/{daemon.process.pid}/task").iterdir()])

        before = threads()
        kept.unlink()  # the daemon has it open
        os.mkfifo(kept)
        host, port = daemon.address.split(":")
        asking = [socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(40)]
        for client in asking:  # more than there are threads
            client.sendall(b"GET /api/v1/history HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

        daemon.until(lambda: threads() >= before + 5, "readers that hang")
        assert daemon.end() == 0
        for client in asking:
            client.close()


def test_a_look_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Running(tmp_path, words=HANGING) as daemon:
        daemon.until_line("^looking$")
        assert daemon.end() == 0
        assert daemon.lines()[-1] == "a look hangs and is left behind"


def test_why_it_cannot_look_is_said_once(tmp_path: Path) -> None:
    with Running(tmp_path, BLIND) as daemon:
        daemon.until_ready()
        assert len(daemon.matching("no network namespace")) == 1
        assert daemon.end() == 0


def test_the_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with Running(tmp_path, words=HANGING) as daemon:
        daemon.until_line("^looking$")
        daemon.send(signal.SIGTERM)
        daemon.until_line("^stopping$")
        assert daemon.end() == 0
        assert daemon.lines()[-1] == "stopping"


def children(pid: int) -> Sequence[int]:
    """All processes below one."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    direct = [int(child) for file in listed for child in file.read_text().split()]
    return [*direct, *(below for child in direct for below in children(child))]


def test_a_hook_that_hangs_ends_with_the_daemon(tmp_path: Path) -> None:
    hook = '[sinks.slow]\ntype = "exec"\ncommand = ["/bin/sleep", "1000"]\ntimeout = 900\n'
    with Running(tmp_path, BLIND + hook) as daemon:
        daemon.until_ready()

        def sleeping() -> list[int]:
            return [pid for pid in children(daemon.process.pid) if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]

        daemon.until(sleeping, "the hook")
        (hanging,) = sleeping()
        assert daemon.end() == 0
        assert not Path(f"/proc/{hanging}").exists()


def test_a_receiver_that_does_not_answer_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        receiver.settimeout(SECONDS)
        port = receiver.getsockname()[1]
        sink = f'[sinks.deaf]\ntype = "webhook"\nurl = "http://127.0.0.1:{port}/"\ntimeout = 900\n'
        with Running(tmp_path, BLIND + sink) as daemon:
            connection, _ = receiver.accept()
            with connection:
                assert connection.recv(4) == b"POST"
                assert daemon.end() == 0


def test_what_a_killed_daemon_could_not_send_the_next_one_sends(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        receiver.settimeout(SECONDS)
        sink = f'[sinks.deaf]\ntype = "webhook"\nurl = "http://127.0.0.1:{receiver.getsockname()[1]}/"\n'
        for _ in range(2):
            with Running(tmp_path, BLIND + sink) as daemon:
                connection, _ = receiver.accept()
                with connection:
                    assert connection.recv(4) == b"POST"
                    daemon.end(signal.SIGKILL)


@pytest.mark.parametrize(("program", "code"), [("/bin/true", 0), ("/bin/false", 1)])
def test_a_test_alert(tmp_path: Path, program: str, code: int) -> None:
    sink = f'[sinks.try]\ntype = "exec"\ncommand = ["{program}"]\n'
    with Running(tmp_path, sink, words=("-m", "sockwatch", "run", "--test-alert", "try")) as daemon:
        assert daemon.process.wait(SECONDS) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_test_alert_that_is_broken_off_is_not_delivered(tmp_path: Path, number: int) -> None:
    started = tmp_path / "started"
    script = f"touch {started}; exec sleep 1000"
    sink = f'[sinks.try]\ntype = "exec"\ncommand = ["/bin/sh", "-c", "{script}"]\n'
    with Running(tmp_path, sink, words=("-m", "sockwatch", "run", "--test-alert", "try")) as daemon:
        daemon.until(started.exists, "the hook runs")
        daemon.process.send_signal(number)
        assert daemon.process.wait(SECONDS) == 3


def test_a_test_alert_for_nobody(tmp_path: Path) -> None:
    sink = '[sinks.mail]\ntype = "exec"\ncommand = ["/bin/true"]\n'
    with Running(tmp_path, sink, words=("-m", "sockwatch", "run", "--test-alert", "male")) as daemon:
        assert daemon.process.wait(SECONDS) == 3
        assert daemon.lines() == ['sockwatch: unknown sink "male"; did you mean mail?']


def test_what_it_loads_first_is_interrupted_by_nothing(tmp_path: Path) -> None:
    with Running(tmp_path) as daemon:
        daemon.until_line("^sockwatch ")
        daemon.send(signal.SIGHUP)
        assert daemon.end() == 0
