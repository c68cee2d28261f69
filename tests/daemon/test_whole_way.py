"""From a bug in a program to the person on call: everything on the way is real, and only times are shortened."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from alertmanager import RealAlertmanager
from contract.repository import ROOT
from daemon.running import QUICK, Running
from scraping import Prometheus, programs
from sinks import WebReceiver, eventually

LEAK = 23
SCENARIO = "close_wait_leak/not_closed"
ONCE_EACH = {"firing": 1, "resolved": 1}
RESEND_SECONDS = 0.2
SHIPPED = ROOT / "prometheus"


@contextlib.contextmanager
def on_stage() -> Iterator[Mapping[str, int]]:
    """`sockwatch lab run` with a stage that stays; the pids of who plays."""
    command = (sys.executable, "-m", "sockwatch", "lab", "run", SCENARIO, "--keep", "600", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lab:
        try:
            assert lab.stdout is not None
            played = json.loads(lab.stdout.readline())
            assert played["ok"], played
            yield played["pids"]
        finally:
            lab.send_signal(signal.SIGINT)


def config(stage: int, told: Path, webhook: str, alertmanager: str) -> str:
    """The daemon looks into the stage's namespace, and tells all three kinds of sinks."""
    hook = f'echo "$SOCKWATCH_STATUS $SOCKWATCH_CODE $SOCKWATCH_COUNT $SOCKWATCH_PROCESS" >> {told}'
    poll = QUICK.replace('"current"', f'"/proc/{stage}/ns/net"').replace("0.1", "0.25")
    return f"""{poll}
[alerts]
for = 0.5
keep_firing_for = 0.5
[detectors.close_wait_leak]
min_age = 1
[sinks.hook]
type = "exec"
command = ["/bin/sh", "-c", {json.dumps(hook)}]
[sinks.pager]
type = "webhook"
url = "{webhook}"
[sinks.alertmanager]
type = "alertmanager"
urls = ["{alertmanager}"]
resend = {RESEND_SECONDS}
"""


def prometheus_config(folder: Path, daemon: str, alertmanager: str) -> Mapping[str, Any]:
    """The shipped prometheus.yml with these addresses, and the shipped rules that wait a second at most."""
    rules = re.sub(r"(for|keep_firing_for): \w+", r"\1: 1s", (SHIPPED / "sockwatch.rules.yml").read_text())
    (folder / "sockwatch.rules.yml").write_text(rules)
    shipped: dict[str, Any] = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    (job,) = shipped["scrape_configs"]
    job |= {"scrape_interval": "500ms", "static_configs": [{"targets": [daemon]}]}
    target = alertmanager.removeprefix("http://")
    alerting = {"alertmanagers": [{"static_configs": [{"targets": [target]}]}]}
    return shipped | {"global": {"evaluation_interval": "500ms"}, "alerting": alerting}


def alertmanager_config() -> Mapping[str, Any]:
    """The shipped alertmanager.yml, which waits for nothing."""
    shipped: dict[str, Any] = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text())
    shipped["route"] |= {"receiver": "hook", "group_wait": "100ms", "group_interval": "200ms"}
    return shipped


def notified(receiver: WebReceiver, alertname: str) -> Counter[str]:
    """How often the receiver was told that an alert fires, and that it is over."""
    alerts = (alert for post in receiver.posts for alert in post.body["alerts"])
    return Counter(alert["status"] for alert in alerts if alert["labels"]["alertname"] == alertname)


@pytest.mark.needs_root
@pytest.mark.needs_program("prometheus", "prometheus-alertmanager")
def test_a_leak_reaches_everybody_once_and_so_does_its_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with (
        WebReceiver() as pager,
        WebReceiver() as on_call,
        RealAlertmanager(tmp_path, on_call.url, alertmanager_config()) as alertmanager,
        on_stage() as pids,
    ):
        eventually(lambda: alertmanager.url)
        url = alertmanager.url or ""
        with Running(tmp_path, config(pids["stage"], told, pager.url, url)) as daemon:
            daemon.until_ready()
            scraping = prometheus_config(tmp_path, daemon.address, url)
            with Prometheus(programs()[0], scraping, tmp_path) as prometheus:
                (seen,) = prometheus.wait_for('sockwatch_findings{code="close_wait_leak", severity="warning"} == 1')
                assert dict(seen)["job"] == "sockwatch"
                leaking = prometheus.query('sum(sockwatch_process_sockets{process="lab-server", state="close_wait"})')
                assert list(leaking.values()) == [LEAK]

                def all_told(status: str) -> bool:
                    posted = [notified(pager, "close_wait_leak")]
                    posted += [notified(on_call, name) for name in ("SockwatchWarning", "close_wait_leak")]
                    hooked = told.exists() and status in told.read_text()
                    return hooked and all(counts[status] for counts in posted)

                def posts() -> float:
                    return daemon.metrics()['sockwatch_notifications_total{sink="alertmanager"}']

                def await_posts_again() -> None:
                    before = posts()
                    daemon.until(lambda: posts() > before + 5, "it is posted again and again")

                eventually(lambda: all_told("firing"), 40)
                await_posts_again()
                os.kill(pids["server"], signal.SIGKILL)  # the kernel closes what the program did not
                eventually(lambda: all_told("resolved"), 40)
                await_posts_again()
            assert daemon.end() == 0
    assert told.read_text().splitlines() == [
        f"firing close_wait_leak {LEAK} lab-server",
        f"resolved close_wait_leak {LEAK} lab-server",
    ]
    assert [len(post.body["alerts"]) for post in pager.posts] == [1, 1], "of nothing else"
    assert notified(pager, "close_wait_leak") == ONCE_EACH
    assert notified(on_call, "close_wait_leak") == ONCE_EACH
    assert notified(on_call, "SockwatchWarning") == ONCE_EACH
