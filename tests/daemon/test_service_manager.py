import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockwatch.daemon.service_manager import ServiceManager

Managed = Callable[..., ServiceManager]


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Where a service manager listens, as $NOTIFY_SOCKET names it, and its socket."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@sockwatch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(10)
        yield name, manager


@pytest.fixture
def managed() -> Iterator[Managed]:
    """`managed(environment)` is a ServiceManager that is closed after the test."""
    made: list[ServiceManager] = []

    def make(environment: dict[str, str], pid: int | None = None) -> ServiceManager:
        made.append(ServiceManager(environment, pid))
        return made[-1]

    yield make
    for one in made:
        one.close()


def received(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


def test_what_it_is_told(managed: Managed, listening: tuple[str, socket.socket]) -> None:
    name, manager = listening
    service = managed({"NOTIFY_SOCKET": name})
    service.ready()
    service.status("warning: 1 warning")
    service.reloading(12.5)
    service.alive()
    service.stopping()
    assert [received(manager) for _ in range(5)] == [
        "READY=1",
        "STATUS=warning: 1 warning",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_a_status_is_sent_when_it_changes_and_makes_no_second_line(
    managed: Managed, listening: tuple[str, socket.socket]
) -> None:
    name, manager = listening
    service = managed({"NOTIFY_SOCKET": name})
    for text in ("ok", "ok", "evil\nWATCHDOG=trigger"):
        service.status(text)
    assert [received(manager) for _ in range(2)] == ["STATUS=ok", "STATUS=evil\\nWATCHDOG=trigger"]


def test_the_variables_are_not_left_for_others(managed: Managed) -> None:
    environment = dict.fromkeys(("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"), "1")
    environment |= {"LISTEN_FDNAMES": "x", "HOME": "/"}
    managed(environment)
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/no/such/socket", "@no-such-socket"])
def test_without_a_service_manager_nothing_is_sent(managed: Managed, address: str) -> None:
    service = managed({"NOTIFY_SOCKET": address})
    service.ready()
    service.alive()


def test_a_service_manager_that_is_gone_is_told_of_once(
    managed: Managed, listening: tuple[str, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    name, manager = listening
    service = managed({"NOTIFY_SOCKET": name})
    manager.close()
    service.ready()
    service.alive()
    assert len(caplog.messages) == 1


def test_watchdog(managed: Managed) -> None:
    assert managed({"WATCHDOG_USEC": "2500000"}).watchdog_seconds == 2.5
    assert managed({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "7"}, pid=7).watchdog_seconds == 2.5
    assert managed({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "8"}, pid=7).watchdog_seconds is None
    assert managed({"WATCHDOG_USEC": "0"}).watchdog_seconds is None
    assert managed({"WATCHDOG_USEC": "soon"}).watchdog_seconds is None
    assert managed({}).watchdog_seconds is None


def test_sockets_of_another_process_are_none_of_ours(managed: Managed) -> None:
    assert managed({"LISTEN_PID": "8", "LISTEN_FDS": "1"}, pid=7).inherited == ()
    assert managed({"LISTEN_PID": "7", "LISTEN_FDS": "x"}, pid=7).inherited == ()
