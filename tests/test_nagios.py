"""A real Nagios runs the check as a plugin and understands its answer."""

import grp
import os
import pwd
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netns import PrivateNetns, keep

COUNT = 23
NAME = "a|'x'=1;2|\x1b[2"
"""Of a process that would like to say something of its own."""
PAGE = (Path(__file__).parents[1] / "docs" / "nagios.md").read_text(encoding="utf-8")
SERVICES = {
    "ok": (0, "--only self_connect"),
    "warning": (1, "--min-age 1 --only close_wait_leak"),
    "critical": (2, "--only accept_queue_overflow --only close_wait_leak --min-age 0"),
    "passed_over": (0, "--min-age 1 --only close_wait_leak --fail-on critical"),
    "out_of_time": (3, "--timeout 0.001"),
    "threshold": (3, "-w 5"),
    "config": (3, "--config /nowhere/config.toml"),
}
"""Each with the state that Nagios must store, and the argument of its check_command."""
OBJECTS = """
define timeperiod {
  timeperiod_name always
  alias always
  monday 00:00-24:00
  tuesday 00:00-24:00
  wednesday 00:00-24:00
  thursday 00:00-24:00
  friday 00:00-24:00
  saturday 00:00-24:00
  sunday 00:00-24:00
}
define contact {
  contact_name nobody
  host_notifications_enabled 0
  service_notifications_enabled 0
  host_notification_period always
  service_notification_period always
  host_notification_commands check_sockwatch
  service_notification_commands check_sockwatch
}
define host {
  host_name localhost
  address 127.0.0.1
  max_check_attempts 1
  check_period always
  contacts nobody
}
define service {
  name generic-service
  register 0
  max_check_attempts 1
  check_interval 1
  retry_interval 1
  check_period always
  contacts nobody
}
"""
MAIN = """
cfg_file={folder}/objects.cfg
log_file={folder}/nagios.log
object_cache_file={folder}/objects.cache
precached_object_file={folder}/objects.precache
status_file={folder}/status.dat
status_update_interval=1
command_file={folder}/nagios.cmd
query_socket={folder}/nagios.qh
lock_file={folder}/nagios.pid
temp_file={folder}/nagios.tmp
temp_path={folder}
check_result_path={folder}
state_retention_file={folder}/retention.dat
nagios_user={user}
nagios_group={group}
interval_length=60
service_inter_check_delay_method=0.2
"""


def sick() -> None:
    """A leak: clients have closed; the server has read the end and keeps its ends. And a listener that is full."""
    Path("/proc/self/comm").write_text(NAME)
    listener = socket.create_server(("127.0.0.1", 8080), backlog=COUNT)
    clients = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(COUNT)]
    servers = [listener.accept()[0] for _ in clients]
    for client in clients:
        client.close()
    assert all(server.recv(1) == b"" for server in servers)
    full = socket.create_server(("127.0.0.1", 9090), backlog=0)  # takes backlog + 1
    keep((listener, servers, full, socket.create_connection(("127.0.0.1", 9090))))


def objects() -> str:
    """The command and the service of the page, the service once for each of SERVICES."""
    (nagios,) = re.findall(r"```\n(define command.*?)```", PAGE, re.DOTALL)
    command, _, service = nagios.partition("define service")
    services = [
        f"define service{service}".replace("sockets", name).replace("!--fail-on warning", f"!--timeout 50 {argument}")
        for name, (_, argument) in SERVICES.items()
    ]
    return OBJECTS + str(command).replace("/usr/bin/sockwatch", f"{sys.executable} -m sockwatch") + "".join(services)


def ask_nagios(folder: Path) -> dict[str, dict[str, str]]:
    """What Nagios stores about each service, as soon as all are in the state that they must be in."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    (folder / "objects.cfg").write_text(objects())
    (folder / "nagios.cfg").write_text(MAIN.format(folder=folder, user=user, group=group))
    found: dict[str, dict[str, str]] = {}
    with subprocess.Popen(["nagios4", str(folder / "nagios.cfg")], stdout=subprocess.DEVNULL) as nagios:
        try:
            deadline = time.monotonic() + 50
            while time.monotonic() < deadline:
                status = (folder / "status.dat").read_text() if (folder / "status.dat").exists() else ""
                stored = re.findall(r"^servicestatus \{(.*?)^\t\}", status, re.DOTALL | re.MULTILINE)
                each = [dict(re.findall(r"^\t(\w+)=(.*)$", service, re.MULTILINE)) for service in stored]
                found = {one["service_description"]: one for one in each if one["has_been_checked"] == "1"}
                if {name: int(one["current_state"]) for name, one in found.items()} == EXPECTED:
                    return found
                time.sleep(0.1)
        finally:
            nagios.terminate()
    raise TimeoutError(f"{found}\n{(folder / 'nagios.log').read_text()}")


EXPECTED = {name: state for name, (state, _) in SERVICES.items()}


@pytest.mark.needs_program("nagios4")
def test_nagios_understands_every_answer(tmp_path: Path) -> None:
    with PrivateNetns() as host:
        host.run(sick)
        found = host.run(ask_nagios, tmp_path)
    said = {name: service["plugin_output"] for name, service in found.items()}
    assert said["ok"].startswith("SOCKWATCH OK - nothing wrong in ")
    assert re.match(r"SOCKWATCH WARNING - close_wait_leak/not_closed: .* read the end of 23 conn", said["warning"])
    assert said["critical"].startswith("SOCKWATCH CRITICAL - accept_queue_overflow")
    assert said["passed_over"].startswith("SOCKWATCH WARNING - close_wait_leak")
    assert re.match(r"SOCKWATCH UNKNOWN - timeout: .* \w+$", said["out_of_time"])
    assert said["threshold"].startswith('SOCKWATCH UNKNOWN - no option "-w": a verdict is no threshold')
    assert said["config"] == "SOCKWATCH UNKNOWN - /nowhere/config.toml: No such file or directory"
    for name in ("ok", "warning", "critical"):
        data = found[name]["performance_data"].split(" ")
        assert all(re.fullmatch(r"'\w+'=[0-9]+(\.[0-9]+s)?;;;0", item) for item in data), data
        assert f"'close_wait'={COUNT};;;0" in data
    assert "close_wait_leak/not_closed" in found["critical"]["long_plugin_output"]
    assert r"a\x7c'x'=1:2\x7c\x1b[2" in said["warning"]  # Nagios itself makes : of ;


def test_icinga_s_command_gives_options_that_there_are() -> None:
    told = set(re.findall(r'^    "(--[a-z-]+)" = ', PAGE, re.MULTILINE))
    helped = subprocess.run(
        [sys.executable, "-m", "sockwatch", "check", "--help"], capture_output=True, text=True, check=True
    )
    offered = set(re.findall(r"--[a-z-]+", helped.stdout))
    assert {"--timeout", "--fail-on", "--only"} <= told <= offered
