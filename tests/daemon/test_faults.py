"""What happens to a daemon in the field: killed, starved, flooded, and cut off from what it looks at."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.running import QUICK, SECONDS, Running
from export.small_disk import on_small_disk
from netns import PrivateNetns, keep
from sockwatch.export.alerts.state import decode
from sockwatch.lab.namespace import die_with_parent
from sockwatch.model.alert import AlertState

LEAK = 23
NAMES, PORTS_EACH = 11, 13
FILES = 64
LIVES = 4
CYCLES = 30


def leak() -> None:
    listener = keep(socket.create_server(("127.0.0.1", 7001), backlog=64))
    for _ in range(LEAK):
        client = socket.create_connection(listener.getsockname())
        keep(listener.accept()[0])
        client.close()


@pytest.fixture(scope="module")
def leaking() -> Iterator[PrivateNetns]:
    """A namespace in which a program does not close."""
    with PrivateNetns() as netns:
        netns.run(leak)
        yield netns


def watching(where: Path, *more: str) -> str:
    """A config that polls often in a namespace, and calls a leak what it sees at once."""
    found = ["[detectors.close_wait_leak]", "min_age = 0"]
    return "\n".join([QUICK.replace('"current"', f'"{where}"'), *found, *more, ""])


def told_to(file: Path) -> str:
    """A hook that writes down what it is told of."""
    command = ["/bin/sh", "-c", f'echo "$SOCKWATCH_STATUS $SOCKWATCH_CODE" >> {file}']
    return f'[sinks.hook]\ntype = "exec"\ncommand = {json.dumps(command)}'


def sums(series: Mapping[str, float], name: str) -> float:
    """A metric, whatever its labels."""
    return sum(value for one, value in series.items() if one.partition("{")[0] == name)


def await_polls(daemon: Running, count: int) -> None:
    """So many more."""
    polls = daemon.metrics()["sockwatch_polls_total"] + count
    daemon.until(lambda: daemon.metrics()["sockwatch_polls_total"] >= polls, "polls")


def await_told(daemon: Running, told: Path, *lines: str) -> None:
    """Until the hook has written down just these."""
    daemon.until(lambda: told.exists() and told.read_text().splitlines() == [*lines], " ".join(lines))


def nothing_broke(daemon: Running) -> None:
    told = daemon.metrics()
    assert told["sockwatch_poll_success"] == 1
    assert sums(told, "sockwatch_internal_errors_total") == 0
    assert not daemon.matching("Traceback")


def leak_timer(state: Path) -> tuple[float, float]:
    """When the alert of the leak began, and for how long it has been seen."""
    (alert,) = [one for one in decode(state.read_bytes()).alerts.values() if one.identity.code == "close_wait_leak"]
    assert alert.state is AlertState.PENDING
    return alert.began, alert.present


@pytest.mark.needs_root
def test_killed_at_any_moment_it_goes_on_waiting_where_it_was(tmp_path: Path, leaking: PrivateNetns) -> None:
    state, told = tmp_path / "sockwatch" / "alerts.json", tmp_path / "told"
    alerts = ("[alerts]", "for = 3600", told_to(told))
    timers = [(0.0, 0.0)]
    for life in range(LIVES):
        with Running(tmp_path, watching(leaking.path, *alerts)) as daemon:
            daemon.until_ready()
            await_polls(daemon, 3)
            threading.Event().wait(life / LIVES / 10)  # anywhere between two polls
            daemon.end(signal.SIGKILL)
        timers.append(leak_timer(state))
    assert len({began for began, _ in timers[1:]}) == 1
    assert timers == sorted(set(timers)), "each life adds to it"
    alerts = ("[alerts]", f"for = {timers[-1][1]}", told_to(told))
    with Running(tmp_path, watching(leaking.path, *alerts)) as daemon:
        daemon.until(told.exists, "the hook, as soon as it looks")
        nothing_broke(daemon)
        assert daemon.metrics()["sockwatch_alert_state_discarded"] == 0
        assert daemon.end() == 0
    assert told.read_text() == "firing close_wait_leak\n"
    assert not list(state.parent.glob("*.corrupt"))
    written = subprocess.run(
        (sys.executable, "-m", "sockwatch", "history", "--json"),
        env=daemon.environment(),
        capture_output=True,
        check=True,
    )
    (leaked,) = [one for one in json.loads(written.stdout)["findings"] if one["code"] == "close_wait_leak"]
    assert leaked


@pytest.mark.needs_root
def test_while_it_cannot_look_nothing_is_as_it_was(tmp_path: Path, leaking: PrivateNetns) -> None:
    told, way = tmp_path / "told", tmp_path / "namespace"
    expected = ["firing close_wait_leak"]
    way.symlink_to(leaking.path)
    alerts = ("[alerts]", "for = 0", "keep_firing_for = 0", "blind_after = 2", told_to(told))
    with Running(tmp_path, watching(way, *alerts)) as daemon:
        for _ in range(3):
            await_told(daemon, told, *expected)
            seen = daemon.metrics()
            assert (seen["sockwatch_poll_success"], sums(seen, "sockwatch_sockets")) == (1, 2 * LEAK + 1)
            way.unlink()
            expected.append("firing blind")
            await_told(daemon, told, *expected)
            blind = daemon.metrics()
            assert blind["sockwatch_poll_success"] == 0
            assert not [one for one in blind if one.startswith(("sockwatch_sockets", "sockwatch_process_sockets"))]
            assert blind['sockwatch_alerts{state="firing"}'] == 2
            way.symlink_to(leaking.path)
            expected.append("resolved blind")
        await_told(daemon, told, *expected)
        assert daemon.end() == 0


DISK = """
import signal
import sys
from pathlib import Path
from daemon.running import QUICK, Running
from daemon.test_faults import ALERT_AT_ONCE, told_to

def main():
    folder = Path(sys.argv[1]).with_name("outside")
    folder.mkdir()
    told = folder / "told"
    config = f'state_directory = "{sys.argv[1]}/state"\\n' + QUICK
    sick = config.replace('"current"', '"no-such-namespace"') + ALERT_AT_ONCE + told_to(told)

    def success():
        seen = daemon.metrics()
        return [seen[f"sockwatch_{what}_success"] for what in ("alert_state", "outbox_write", "history")]

    with Running(folder, config) as daemon:
        daemon.until_ready()
        daemon.until(lambda: success() == [1, 1, 1], "all kept")
        fill()
        daemon.write(sick)
        daemon.send(signal.SIGHUP)
        daemon.until(lambda: told.exists(), "the hook")
        daemon.until(lambda: success()[0] == 0, "the metric")
        free()
        daemon.until(lambda: success() == [1, 1, 1], "all kept again")
        daemon.end(signal.SIGKILL)
        assert not daemon.matching("Traceback")
    with Running(folder, sick) as daemon:
        daemon.until_ready()
        assert daemon.metrics()['sockwatch_alerts{state="firing"}'] == 1
        assert daemon.end() == 0
    print(told.read_text())
"""
ALERT_AT_ONCE = "[alerts]\nfor = 0\nblind_after = 1\n"


def test_a_full_disk_keeps_nobody_from_being_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert on_small_disk(disk, DISK, size="2m") == "firing blind\n\n"


def bomb() -> None:
    """Processes with names of their own, each with listeners of its own."""
    for name in range(NAMES):
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(PORTS_EACH)]
        parent = os.getpid()
        if not os.fork():
            die_with_parent(parent, signal.SIGKILL)
            Path("/proc/self/comm").write_text(f"many-{name}")
            signal.pause()
        for listener in listeners:
            listener.close()


@pytest.mark.needs_root
def test_many_names_and_ports_are_folded_and_none_is_lost(tmp_path: Path) -> None:
    limits = ("[metrics]", "top = 5")
    with PrivateNetns() as netns, Running(tmp_path, watching(netns.path, *limits)) as daemon:
        netns.run(bomb)

        def told(name: str) -> list[float]:
            return [value for one, value in daemon.metrics().items() if one.startswith(f"{name}{{")]

        daemon.until_ready()
        daemon.until(lambda: sum(told("sockwatch_listener_sockets")) == NAMES * PORTS_EACH, "all that listens")
        assert len(told("sockwatch_listener_sockets")) <= 6 * 12
        folded = daemon.metrics()['sockwatch_series_folded{metric="sockwatch_listener_sockets"}']
        assert folded >= NAMES * PORTS_EACH - 5
        assert sum(told("sockwatch_process_sockets")) == NAMES * PORTS_EACH
        nothing_broke(daemon)
        assert daemon.end() == 0


@pytest.mark.needs_root
def test_namespaces_and_processes_that_come_and_go_are_no_errors(tmp_path: Path, leaking: PrivateNetns) -> None:
    everywhere = watching(leaking.path).replace(f'"{leaking.path}"', '"all"')
    storm = ("/bin/sh", "-c", "i=0; while [ $i -lt 400 ]; do /bin/true & i=$((i+1)); done; wait")
    with Running(tmp_path, everywhere) as daemon:
        daemon.until_ready()
        with subprocess.Popen(storm):
            for _ in range(CYCLES):
                with PrivateNetns() as netns:
                    netns.run(leak)
        await_polls(daemon, 2)
        nothing_broke(daemon)
        process = Path(f"/proc/{daemon.process.pid}")
        daemon.until(lambda: len({task.joinpath("ns/net").readlink() for task in process.glob("task/*")}) == 1, "home")
        assert not [file for file in process.glob("fd/*") if str(file.readlink()).startswith("net:")]
        assert daemon.end() == 0


def test_scrapes_at_once_get_one_page_and_cause_no_poll(tmp_path: Path) -> None:
    with Running(tmp_path, QUICK.replace("0.1", "3600")) as daemon:
        daemon.until_ready()

        def scrape(_: int) -> bytes:
            with urllib.request.urlopen(f"http://{daemon.address}/metrics", timeout=SECONDS) as answer:
                page: bytes = answer.read()
            return page

        with ThreadPoolExecutor(60) as clients:
            pages = set(clients.map(scrape, range(60)))
        assert len(pages) == 1
        assert b"\nsockwatch_polls_total 1.0\n" in pages.pop()


def test_without_files_to_open_it_lives_and_then_recovers(tmp_path: Path) -> None:
    with Running(tmp_path) as daemon:
        daemon.until_ready()
        daemon.until(lambda: daemon.metrics()["sockwatch_history_bytes"] > 0, "the history, which is opened late")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        host, port = daemon.address.split(":")
        clients = [socket.create_connection((host, int(port)), timeout=SECONDS) for _ in range(FILES)]
        polled = Path(f"/proc/{daemon.process.pid}/fd")
        daemon.until(lambda: len(list(polled.iterdir())) >= FILES - 1, "the last file")
        for client in clients:
            client.close()
        daemon.until(lambda: daemon.metrics()["sockwatch_poll_success"] == 1, "a poll that succeeds")
        daemon.until(lambda: daemon.metrics()["sockwatch_outbox_write_success"] == 1, "the outbox")
        assert not daemon.matching("Traceback")
        assert daemon.end() == 0
