import asyncio
import http.server
import inspect
import socketserver

import pytest

from builders import process, socket, window
from sockwatch.diagnose.detectors import accept_queue_overflow, close_wait_leak, fin_wait_2_stuck
from sockwatch.diagnose.runtimes import RUNTIMES, backlog_hint, half_close_hint, leak_hint, runtime_of, somaxconn_hint
from sockwatch.model.state import State

AGES = dict.fromkeys(("last_ack_recv", "last_data_recv", "last_data_sent"), 100_000.0)


@pytest.mark.parametrize(
    ("name", "command", "runtime"),
    [
        ("node", "node server.js", "Node.js"),
        ("MainThread", "/usr/bin/node /srv/app.js", "Node.js"),
        ("python3.11", "python3.11 app.py", "Python"),
        ("gunicorn: maste", "gunicorn: master [app:app]", "gunicorn"),
        ("gunicorn", "/usr/bin/python3 /usr/bin/gunicorn app:app", "gunicorn"),
        ("uvicorn", "/usr/bin/python3 /usr/local/bin/uvicorn app:app", "uvicorn"),
        ("java", "/opt/jdk/bin/java -jar app.jar", "Java"),
        ("nginx", "nginx: worker process", "nginx"),
        ("nginx", None, "nginx"),
        ("redis-server", "redis-server *:6379", "Redis"),
        ("php-fpm8.2", "php-fpm: pool www", "PHP-FPM"),
        ("etcd", "/usr/bin/etcd", "Go"),
        ("pythonista", "pythonista", None),
        ("orders-api", "/srv/orders-api --python", None),
        ("ssh", "ssh web nginx", None),
        ("tail", "tail -f node", None),
        ("puma", "/usr/bin/ruby /usr/bin/puma -p 80", "Puma"),
        ("x", "' ", None),
    ],
)
def test_a_runtime_is_told_by_what_runs(name: str, command: str | None, runtime: str | None) -> None:
    found = runtime_of(process(7, name, command=command))
    assert (found.name if found else None) == runtime


def test_what_python_asks_for_is_what_it_asks_for() -> None:
    backlogs = {number for number, _ in next(r for r in RUNTIMES if r.name == "Python").backlogs}
    default = inspect.signature(asyncio.base_events.BaseEventLoop.create_server).parameters["backlog"].default
    queues = {socketserver.TCPServer.request_queue_size, http.server.HTTPServer.request_queue_size}
    assert backlogs == {default, *queues}


@pytest.mark.parametrize(
    ("name", "backlog", "hint"),
    [
        ("node", 511, "Node.js asks for 511 unless told otherwise: see the backlog argument of server.listen()."),
        (
            "python3",
            5,
            "Python asks for 5 unless told otherwise: see request_queue_size of http.server and socketserver.",
        ),
        ("java", 50, "Java asks for 50 unless told otherwise: see the backlog argument of ServerSocket."),
        ("node", 128, None),
        (
            "orders-api",
            50,
            "A backlog of 50 is what some ask for unless told otherwise: Java (the backlog argument of ServerSocket).",
        ),
        ("orders-api", 37, None),
    ],
)
def test_a_backlog_tells_who_asked_for_it(name: str, backlog: int, hint: str | None) -> None:
    assert backlog_hint(process(7, name), backlog) == hint


def test_go_asks_for_somaxconn_and_nobody_else_is_said_to() -> None:
    assert somaxconn_hint(process(7, "node")) is None
    assert "net.core.somaxconn" in str(somaxconn_hint(process(7, "orders-api")))


def test_hints_are_the_last_remedy_of_the_findings_that_they_explain() -> None:
    node, java = process(5, "node"), process(6, "java")
    full = window(
        socket(State.LISTEN, "0.0.0.0:80", inode=1, recv_q=512, send_q=511),
        holders={1: [node]},
    )
    [overflow] = accept_queue_overflow.DETECTOR.detect(full, accept_queue_overflow.DETECTOR.settings)
    assert overflow.remedies[-1] == backlog_hint(node, 511)
    leak = window(socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:1", inode=1, **AGES), holders={1: [java]})
    [stuck] = close_wait_leak.DETECTOR.detect(leak, close_wait_leak.DETECTOR.settings)
    assert stuck.remedies[-1] == leak_hint(java)
    ends = (
        socket(State.FIN_WAIT_2, "127.0.0.1:4000", "127.0.0.1:80", inode=1, **AGES),
        socket(State.CLOSE_WAIT, "127.0.0.1:80", "127.0.0.1:4000", inode=2, **AGES),
    )
    for rows, holders, hint in (
        (ends, {1: [node], 2: [java]}, leak_hint(java)),
        (ends[:1], {1: [node]}, half_close_hint(node)),
    ):
        seen = window(*rows, holders=holders)
        [waits] = fin_wait_2_stuck.DETECTOR.detect(seen, fin_wait_2_stuck.DETECTOR.settings)
        assert waits.remedies[-1] == hint


def test_a_program_that_is_not_known_gets_no_hint() -> None:
    assert (leak_hint(process(7, "orders-api")), half_close_hint(process(7, "orders-api"))) == (None, None)


def test_a_hint_says_that_it_is_one() -> None:
    assert str(leak_hint(process(7, "{java}", command="java -jar x"))).startswith("{java} seems to be Java; a common ")
