from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from builders import process, snapshot, socket
from sockwatch.__main__ import main
from sockwatch.collect.capture import save_capture
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State

Row = Mapping[str, Any]
APP = process(812, "app", unit="app.service")
LEAK = 23


def leaking(port: int = 8080, *, first_inode: int = 100, **columns: Any) -> list[Row]:
    """23 connections to a service that read them to the end and never closed them, for at least 300 s."""
    rows = [
        socket(
            State.CLOSE_WAIT,
            f"10.0.0.1:{port}",
            f"10.0.0.9:{40_000 + i}",
            inode=first_inode + i,
            last_ack_recv=300_000,
            last_data_recv=400_000,
            last_data_sent=400_000,
            **columns,
        )
        for i in range(LEAK)
    ]
    return [*rows, socket(State.LISTEN, f"0.0.0.0:{port}", inode=first_inode + 50, send_q=128)]


def healthy_look() -> Snapshot:
    """A service with one connection."""
    return snapshot(
        socket(State.LISTEN, "0.0.0.0:8080", inode=50, send_q=128),
        socket(State.ESTABLISHED, "10.0.0.1:8080", "10.0.0.9:40000", inode=51),
    )


def leaking_look() -> Snapshot:
    """A service of app[812] that leaks."""
    return snapshot(*leaking(), holders={inode: [APP] for inode in [*range(100, 100 + LEAK), 150]})


def refusing_look() -> Snapshot:
    """A listener whose accept queue is more than full."""
    return snapshot(socket(State.LISTEN, "0.0.0.0:8080", inode=50, recv_q=129, send_q=128))


@pytest.fixture
def captured(tmp_path: Path) -> Callable[..., str]:
    """`captured(look, ...)` writes the looks to a capture and returns its path."""

    def write(*looks: Snapshot) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.capture"
        save_capture(path, looks)
        return str(path)

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`run("check", "--json")` returns the exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return call
