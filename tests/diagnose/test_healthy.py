"""What a healthy host does, through every detector: no warning, and no word but those that are listed."""

from typing import Any

import pytest

from builders import later, namespace, snapshot, socket
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.run import diagnose
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Severity
from sockwatch.model.report import Result
from sockwatch.model.state import State

Row = dict[str, Any]
WEB = socket(State.LISTEN, "0.0.0.0:443", inode=1, send_q=511)


def idle_pool() -> list[Row]:
    quiet = {"last_ack_recv": 3_600e3, "last_data_recv": 3_600e3, "last_data_sent": 3_600e3}
    return [
        socket(State.ESTABLISHED, f"10.0.0.1:{40000 + i}", "10.0.0.9:5432", inode=10 + i, **quiet) for i in range(97)
    ]


def server_that_closes_first() -> list[Row]:
    return [
        WEB,
        *(
            socket(State.TIME_WAIT, "10.0.0.1:443", f"10.{i >> 8}.{i & 255}.7:5000", timer=3, expires_ms=i % 60_000)
            for i in range(5_003)
        ),
    ]


def proxy_under_load() -> list[Row]:
    front = [socket(State.ESTABLISHED, "10.0.0.1:443", f"10.7.{i >> 8}.{i & 255}:1024", inode=9) for i in range(5_003)]
    back = [
        socket(State.ESTABLISHED, f"10.0.0.1:{32768 + i}", f"10.0.0.{20 + j}:80", inode=9)
        for j in range(3)
        for i in range(4_001)
    ]
    return [WEB, *front, *back]


def churn_on_loopback() -> list[Row]:
    listener = socket(State.LISTEN, "127.0.0.1:8080", inode=1, send_q=511)
    left = [
        socket(State.TIME_WAIT, f"127.0.0.1:{32768 + i}", "127.0.0.1:8080", timer=3, expires_ms=2 * i)
        for i in range(28_000)
    ]
    return [listener, *left]


def many_destinations() -> list[Row]:
    return [
        socket(State.ESTABLISHED, f"10.0.0.1:{32768 + i}", f"10.1.{i >> 8}.{i & 255}:443", inode=9)
        for i in range(28_000)
    ]


def graceful_restart() -> list[Row]:
    """The old process has closed its listener on port 40001 and serves what it has."""
    return [
        row
        for i in range(97)
        for row in (
            socket(State.ESTABLISHED, f"127.0.0.1:{41000 + i}", "127.0.0.1:40001", inode=500 + i),
            socket(State.ESTABLISHED, "127.0.0.1:40001", f"127.0.0.1:{41000 + i}", inode=900 + i),
        )
    ]


def short_half_closes() -> list[Row]:
    young = {"last_ack_recv": 1e3, "last_data_recv": 2e3, "last_data_sent": 2e3}
    return [
        WEB,
        *(socket(State.CLOSE_WAIT, "10.0.0.1:443", f"10.0.0.7:{i}", inode=i, recv_q=1, **young) for i in range(5, 28)),
        *(socket(State.FIN_WAIT_2, f"10.0.0.1:{40000 + i}", "10.0.0.9:80", inode=90 + i, **young) for i in range(23)),
        *(socket(State.FIN_WAIT_2, "10.0.0.1:443", f"10.0.0.8:{i}", timer=3, expires_ms=45_000) for i in range(5, 28)),
    ]


def busy_listener() -> list[Row]:
    return [WEB | {"recv_q": 511}]


HEALTHY = {
    idle_pool: set(),
    server_that_closes_first: {"time_wait_buildup/server_side"},
    proxy_under_load: set(),
    churn_on_loopback: set(),
    many_destinations: set(),
    graceful_restart: set(),
    short_half_closes: set(),
    busy_listener: set(),
}


@pytest.mark.parametrize("make", HEALTHY, ids=lambda make: str(make.__name__))
def test_a_healthy_host_gets_no_warning_at_the_first_look_nor_at_the_second(make: Any) -> None:
    rows = [row | {"cookie": number} for number, row in enumerate(make(), start=1)]
    first = snapshot(*rows, namespaces=[namespace(counters={"Tcp.AttemptFails": 5, "TcpExt.ListenOverflows": 5})])
    busy = namespace(counters={"Tcp.AttemptFails": 500, "TcpExt.ListenOverflows": 500})
    second = later(snapshot(*rows, namespaces=[busy]), 1.0)
    for seen in (Window(current=first), Window(current=second, previous=first)):
        findings, outcomes = diagnose(seen, load_detectors())
        assert {finding.name for finding in findings} == HEALTHY[make]
        assert {finding.severity for finding in findings} <= {Severity.INFO}
        assert not [outcome for outcome in outcomes if outcome.result is Result.FAILED]
