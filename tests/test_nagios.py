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
OBJECTS = """
define timeperiod {{
  timeperiod_name always
  alias always
  monday 00:00-24:00
  tuesday 00:00-24:00
  wednesday 00:00-24:00
  thursday 00:00-24:00
  friday 00:00-24:00
  saturday 00:00-24:00
  sunday 00:00-24:00
}}
define command {{
  command_name check_sockets
  command_line {python} -m sockwatch check --perfdata --min-age 1
}}
define contact {{
  contact_name nobody
  host_notifications_enabled 0
  service_notifications_enabled 0
  host_notification_period always
  service_notification_period always
  host_notification_commands check_sockets
  service_notification_commands check_sockets
}}
define host {{
  host_name here
  address 127.0.0.1
  max_check_attempts 1
  check_period always
  contacts nobody
}}
define service {{
  host_name here
  service_description sockets
  check_command check_sockets
  max_check_attempts 1
  check_interval 0.05
  retry_interval 0.05
  check_period always
  contacts nobody
}}
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
"""


def leak() -> None:
    """Connections whose clients have closed; the server has read the end and keeps its ends."""
    listener = socket.create_server(("127.0.0.1", 8080), backlog=COUNT)
    clients = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(COUNT)]
    servers = [listener.accept()[0] for _ in clients]
    for client in clients:
        client.close()
    assert all(server.recv(1) == b"" for server in servers)
    keep((listener, servers))


def ask_nagios(folder: Path) -> dict[str, str]:
    """What Nagios stores about the service, as soon as it has seen the leak."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    (folder / "objects.cfg").write_text(OBJECTS.format(python=sys.executable))
    (folder / "nagios.cfg").write_text(MAIN.format(folder=folder, user=user, group=group))
    with subprocess.Popen(["nagios4", str(folder / "nagios.cfg")], stdout=subprocess.DEVNULL) as nagios:
        try:
            deadline = time.monotonic() + 50
            while time.monotonic() < deadline:
                status = (folder / "status.dat").read_text() if (folder / "status.dat").exists() else ""
                service = re.search(r"servicestatus \{(.*?)\}", status, re.DOTALL)
                found = dict(re.findall(r"^\t(\w+)=(.*)$", service[1], re.MULTILINE)) if service else {}
                if found.get("current_state") == "1":
                    return found
                time.sleep(0.1)
        finally:
            nagios.terminate()
    raise TimeoutError(f"Nagios saw no warning: {(folder / 'nagios.log').read_text()}")


@pytest.mark.needs_program("nagios4")
def test_nagios_understands_the_answer(tmp_path: Path) -> None:
    with PrivateNetns() as host:
        host.run(leak)
        found = host.run(ask_nagios, tmp_path)
    assert re.match(
        r"SOCKWATCH WARNING - close_wait_leak/not_closed: .* read the end of 23 conn", found["plugin_output"]
    )
    assert "fin_wait_2_stuck/orphaned" in found["long_plugin_output"]
    assert re.search(rf"'?close_wait'?={COUNT};;;0", found["performance_data"])
