"""The daemon as a service of a real systemd."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from box import PYTHON, Box, until
from systemd.conftest import (
    CONFIG,
    SERVICE,
    config,
    installed,
    main_pid,
    metrics,
    outside,
    page,
    report,
    restarts,
    wait_for_restart,
)
from systemd.leaking import FILES as LEAKING, LEAK

HOLDER = Path(__file__).with_name("held_thread.py")

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_program("systemctl", "nsenter", "unshare", "setpriv", "curl", "ip"),
]


@pytest.fixture(scope="module")
def booted() -> Iterator[Box]:
    """As installed, with a program that leaks beside it."""
    with Box({**installed(), **LEAKING, CONFIG: config()}) as box:
        box.run("systemctl", "start", "leaking")
        yield box


@pytest.fixture
def box(booted: Box) -> Box:
    """The daemon runs with its first config, and has not been restarted by systemd."""
    running = booted.show(SERVICE, "ActiveState") == "active" and restarts(booted) == 0
    if not running or booted.run("cat", CONFIG) != config():
        booted.write(CONFIG, config())
        booted.run("systemctl", "reset-failed", SERVICE, check=False)
        booted.run("systemctl", "restart", SERVICE)  # returns when it is ready
    return booted


def test_it_is_ready_when_it_has_looked_and_listens(box: Box) -> None:
    assert page(box, "/-/ready") == "sockwatch is ready.\n"
    assert metrics(box)["sockwatch_poll_success"] == 1
    assert re.fullmatch("warning: 1 warning(, [0-9] info)? in [0-9]+ TCP sockets", box.show(SERVICE, "StatusText"))


def test_it_says_what_it_is_and_what_it_misses(box: Box) -> None:
    lines = [
        json.loads(line)
        for line in box.run(
            "journalctl", "-o", "json", f"_PID={main_pid(box)}", "--output-fields=MESSAGE,PRIORITY"
        ).splitlines()
    ]
    told = {line["MESSAGE"]: line["PRIORITY"] for line in lines}
    assert told["capabilities cap_dac_read_search cap_sys_ptrace"] == "6"
    assert told["without cap_sys_admin network namespaces other than its own are not looked at"] == "4"
    assert told["listening on 127.0.0.1:10147"] == "6"
    assert told["state in /var/lib/private/sockwatch"] == "6"


def test_a_user_that_exists_only_now_names_the_process_of_another(box: Box) -> None:
    assert metrics(box)['sockwatch_capability{capability="cap_sys_ptrace"}'] == 1
    uid = box.run("stat", "--format=%u", f"/proc/{main_pid(box)}").strip()
    assert int(uid) >= 61184  # systemd's range for DynamicUser=
    (leak,) = [one for one in report(box)["findings"] if one["code"] == "close_wait_leak"]
    assert (leak["count"], leak["subject"]["process"]["name"]) == (LEAK, "leaking")
    assert leak["subject"]["process"]["unit"] == "leaking.service"


def test_reload(box: Box) -> None:
    box.write(CONFIG, config(ignore=["close_wait_leak"]))
    box.run("systemctl", "reload", SERVICE)
    until(lambda: not [f for f in report(box)["findings"] if f["code"] == "close_wait_leak"], what="the new config")
    assert metrics(box)["sockwatch_config_last_reload_successful"] == 1
    assert restarts(box) == 0


def test_after_a_bad_reload_the_old_config_stays(box: Box) -> None:
    read = metrics(box)["sockwatch_config_last_reload_success_timestamp_seconds"]
    box.write(CONFIG, "[poll]\nintervall = 5\nnamespaces = 7\n")
    box.run("systemctl", "reload", SERVICE)
    until(lambda: metrics(box)["sockwatch_config_last_reload_successful"] == 0, what="the metric")
    assert metrics(box)["sockwatch_config_last_reload_success_timestamp_seconds"] == read
    assert metrics(box)["sockwatch_poll_interval_seconds"] == 0.2
    mistakes = [line for line in box.journal(SERVICE).splitlines() if line.startswith("not reloaded: ")]
    assert [mistake.split(":")[2] for mistake in mistakes] == ["2", "3"]
    assert "interval" in mistakes[0]
    assert (box.show(SERVICE, "ActiveState"), restarts(box)) == ("active", 0)


def test_a_wrong_config_at_the_start_is_no_reason_to_try_again(box: Box) -> None:
    box.write(CONFIG, "[pol]\n")
    assert box.call("systemctl", "restart", SERVICE).returncode == 1
    assert (box.show(SERVICE, "ActiveState"), restarts(box)) == ("failed", 0)
    assert box.show(SERVICE, "ExecMainStatus") == "3"
    assert f"{CONFIG}:1: unknown" in box.journal(SERVICE)


@pytest.mark.parametrize("main", [True, False], ids=["the event loop", "the collector"])
def test_one_thread_that_stops_is_noticed(box: Box, *, main: bool) -> None:
    box.write(CONFIG, config(interval=3600))  # so that it is stopped while it waits, and holds no lock
    box.run("systemctl", "restart", SERVICE)
    pid = outside(box, main_pid(box))
    tasks = Path(f"/proc/{pid}/task").iterdir()
    called_so = [int(task.name) for task in tasks if task.joinpath("comm").read_text() == "collector\n"]
    collector = str(min(called_so))  # threads that it starts inherit its name
    with subprocess.Popen(
        [sys.executable, HOLDER, str(pid) if main else collector], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            if not main:
                assert page(box, "/-/healthy") == "sockwatch is healthy.\n"
            wait_for_restart(box, 0)
        finally:
            holder.kill()
    assert "Watchdog timeout" in box.journal(SERVICE)
    assert metrics(box)["sockwatch_poll_success"] == 1


def test_killed_it_comes_back(box: Box) -> None:
    box.run("kill", "-KILL", str(main_pid(box)))
    wait_for_restart(box, 0)
    assert metrics(box)["sockwatch_poll_success"] == 1


def test_stopped_by_hand_it_stays_stopped(box: Box) -> None:
    box.run("kill", "-TERM", str(main_pid(box)))
    until(lambda: box.show(SERVICE, "ActiveState") == "inactive", what="the end")
    assert (box.show(SERVICE, "Result"), box.show(SERVICE, "ExecMainStatus")) == ("success", "0")
    assert restarts(box) == 0


def test_a_hook_that_clings_to_life_is_gone_after_the_stop(box: Box) -> None:
    box.write("/srv/clinging", "#!/bin/sh\ntrap '' TERM\nsetsid sleep 1000 &\nsleep 1001\n")
    box.run("chmod", "755", "/srv/clinging")
    hook = '[alerts]\nfor = 0\n[sinks.slow]\ntype = "exec"\ncommand = ["/srv/clinging"]\ntimeout = 900\n'
    box.write(CONFIG, config() + hook)
    box.run("systemctl", "reload", SERVICE)
    until(lambda: "sleep 1001" in box.run("systemctl", "status", SERVICE, check=False), what="the hook")
    box.run("systemctl", "stop", SERVICE)
    assert (box.show(SERVICE, "Result"), box.show(SERVICE, "ExecMainStatus")) == ("success", "0")
    assert "sleep 100" not in box.run("ps", "-eo", "args")


def test_nothing_of_it_is_left_but_its_state(box: Box) -> None:
    box.run("systemctl", "stop", SERVICE)
    assert box.show(SERVICE, "Result") == "success"
    assert box.run("find", "/var/lib/private/sockwatch", "-perm", "/077").strip() == ""
    assert box.run("stat", "--format=%a", "/var/lib/private/sockwatch") == "700\n"


def test_systemd_listens_for_it() -> None:
    with Box({**installed(), CONFIG: config()}) as box:
        box.run("systemctl", "start", "sockwatch.socket")
        assert box.show(SERVICE, "ActiveState") == "inactive"
        assert page(box, "/-/healthy") == "sockwatch is healthy.\n"  # which starts it
        until(lambda: box.show(SERVICE, "ActiveState") == "active", what="the first poll")
        box.run("systemctl", "reload", SERVICE)
        box.run("systemctl", "stop", SERVICE)
        assert page(box, "/-/healthy") == "sockwatch is healthy.\n"
        assert "listening on 127.0.0.1:10147" in box.journal(SERVICE)


def test_with_the_drop_in_it_sees_other_namespaces() -> None:
    files = {**installed("sockwatch-namespaces.conf"), **LEAKING, CONFIG: config(namespaces="all")}
    with Box(files) as box:
        box.run("systemctl", "start", SERVICE)
        box.run("ip", "netns", "add", "other")
        box.run("ip", "-n", "other", "link", "set", "lo", "up")
        box.run("systemd-run", "--property=NetworkNamespacePath=/run/netns/other", PYTHON, "/srv/leaking.py")

        def leaks() -> list[str]:
            return [f["subject"]["netns"] for f in report(box)["findings"] if f["code"] == "close_wait_leak"]

        until(leaks, what="the leak in the other namespace")
        assert leaks() == ["other"]
        assert restarts(box) == 0


def test_without_any_capability_it_works_and_says_what_is_missing() -> None:
    with Box({**installed("sockwatch-no-capabilities.conf", "sockwatch-local-only.conf"), **LEAKING}) as box:
        box.run("systemctl", "start", "leaking", SERVICE)
        assert metrics(box)["sockwatch_poll_success"] == 1
        assert "capabilities none" in box.journal(SERVICE)
        assert report(box)["sockets"]["by_state"]["close_wait"] == LEAK
        box.run("systemctl", "stop", SERVICE)
        assert box.show(SERVICE, "Result") == "success"
