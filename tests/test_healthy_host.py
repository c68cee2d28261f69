"""Silence where nothing is wrong: an idle host, and a real web server under short connections."""

import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from netns import PrivateNetns

PORT = 8080
REQUESTS = 2003
CHECK = (sys.executable, "-m", "sockwatch", "check", "--json")
NGINX = """
daemon off;
user root;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; return 200 "hello"; }}
}}
"""


def check() -> dict[str, Any]:
    """The report of a check in this namespace."""
    report: dict[str, Any] = json.loads(subprocess.run(CHECK, capture_output=True, check=False).stdout)
    return report


def wait_for_listener() -> None:
    """Return when somebody accepts connections."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", PORT)):
            return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {PORT}")


def serve_and_check(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """nginx serves short connections; what the client says, and the reports of meanwhile and of right after."""
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=PORT))
    url = f"http://127.0.0.1:{PORT}/"
    load = ("ab", "-q", "-r", "-c", "7", "-n", str(REQUESTS), url)
    with subprocess.Popen(["nginx", "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_listener()
            with subprocess.Popen(load, stdout=subprocess.PIPE, text=True) as client:
                meanwhile = check()
                said, _ = client.communicate()
            afterwards = check()
        finally:
            server.terminate()
    return said, meanwhile, afterwards


def test_an_idle_host_is_ok() -> None:
    with PrivateNetns() as netns:
        report = netns.run(check)
    assert (report["status"], report["findings"], report["sockets"]["total"]) == ("ok", [], 0)


@pytest.mark.needs_program("nginx", "ab")
def test_short_connections_to_a_web_server_are_ok(tmp_path: Path) -> None:
    with PrivateNetns() as netns:
        said, meanwhile, afterwards = netns.run(serve_and_check, tmp_path)
    assert f"Complete requests:      {REQUESTS}\n" in said
    assert "Failed requests:        0\n" in said
    for report in (meanwhile, afterwards):
        assert report["status"] == "ok", report["findings"]
        assert not report["gaps"]
    assert afterwards["sockets"]["by_state"]["time_wait"] > REQUESTS // 2  # after a second the kernel reuses some
