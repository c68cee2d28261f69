"""What a card leads to are the sockets that it is about."""

from collections.abc import Mapping
from typing import Any

import reports
from builders import namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors import close_wait_leak, port_exhaustion
from sockwatch.export.json_reader import read_finding
from sockwatch.export.json_report import finding_object
from sockwatch.export.tui.words import describe
from sockwatch.export.web.finding_query import sockets_of
from sockwatch.export.web.page.drill_down import PATH
from sockwatch.export.web.socket_query import Query, select
from sockwatch.model.finding import Subject
from sockwatch.model.state import State

APP = process(812, "app")


def leaked(port: int, count: int, first: int) -> list[dict[str, Any]]:
    ages = {"last_ack_recv": 3e5, "last_data_recv": 4e5, "last_data_sent": 4e5}
    numbers = range(first, first + count)
    return [
        socket(State.CLOSE_WAIT, f"10.0.0.1:{port}", f"10.0.0.9:{40000 + i}", inode=i, cookie=i, **ages)
        for i in numbers
    ]


def listen(port: int, inode: int) -> Mapping[str, Any]:
    return socket(State.LISTEN, f"0.0.0.0:{port}", inode=inode, cookie=inode)


def test_of_two_leaks_of_a_process_each_leads_to_its_own() -> None:
    rows = [*leaked(8080, 23, 100), *leaked(9090, 20, 200), listen(8080, 1), listen(9090, 2)]
    held = {row["inode"]: [APP] for row in rows}
    seen = window(*rows, holders=held)
    found = list(close_wait_leak.DETECTOR.detect(seen, close_wait_leak.DETECTOR.settings))
    assert sorted(finding.count for finding in found) == [20, 23]
    for finding in found:
        assert len(select(snapshot(*rows, holders=held), sockets_of(finding))) == finding.count


def test_sockets_in_time_wait_belong_to_it_though_nobody_holds_them() -> None:
    short = namespace(ip_local_port_range="40000\t40399")
    remotes = ["10.0.0.9:5432"] * 360 + ["10.0.0.8:5432"] * 43
    rows = [
        socket(
            State.ESTABLISHED if i < 60 or i >= 360 else State.TIME_WAIT,
            f"10.0.0.1:{40000 + i % 360}",
            remote,
            inode=1 + i if i < 60 or i >= 360 else 0,
            cookie=1 + i,
        )
        for i, remote in enumerate(remotes)
    ]
    held = {1 + i: [APP] for i in [*range(60), *range(360, 403)]}
    seen = window(*rows, holders=held, namespaces=[short])
    (finding,) = port_exhaustion.DETECTOR.detect(seen, port_exhaustion.DETECTOR.settings)
    assert finding.count == 360
    for told in (finding, read_finding(finding_object(finding))):
        assert len(select(snapshot(*rows, holders=held, namespaces=[short]), sockets_of(told))) == 360


def test_a_port_is_that_of_its_side() -> None:
    there = reports.leak(subject=Subject(netns="host", local=None, remote="*:8080"))
    assert sockets_of(there).address(PATH) == "/sockets?state=close_wait&port=8080&side=remote&netns=host"
    here = reports.leak(subject=Subject(netns="host", local="*:8080", remote="[2001:db8::2]:443"))
    assert describe(sockets_of(here)) == "state=close_wait port=8080 side=local peer=[2001:db8::2]:443 netns=host"
    assert sockets_of(reports.leak(subject=Subject(netns="host"))) == Query(states=(State.CLOSE_WAIT,), netns="host")
