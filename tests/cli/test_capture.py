import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from netns import PrivateNetns, keep
from reports import VALIDATOR
from sockwatch.collect.capture import ReplaySource
from sockwatch.model.snapshot import Asks
from sockwatch.model.state import State

COUNT = 23


def sockwatch(*words: str) -> tuple[int, bytes, str]:
    ended = subprocess.run([sys.executable, "-m", "sockwatch", *words], capture_output=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr.decode()


def leak() -> None:
    """23 connections whose peer has closed and which nobody closes on this side."""
    listener = keep(socket.create_server(("127.0.0.1", 8080), backlog=COUNT))
    for _ in range(COUNT):
        client = socket.create_connection(("127.0.0.1", 8080))
        accepted, _ = listener.accept()
        client.close()
        assert keep(accepted).recv(1) == b""


def sockets(path: Path) -> list[int]:
    """How many sockets in CLOSE_WAIT each look of a capture has."""
    replay = ReplaySource.open(path)
    return [len(replay.look(Asks()).sockets.in_state(State.CLOSE_WAIT)) for _ in range(replay.looks)]


def test_a_capture_gives_the_verdict_of_the_check_on_the_spot(tmp_path: Path) -> None:
    path = tmp_path / "leak.capture"
    with PrivateNetns() as netns:
        netns.run(leak)
        code, out, err = netns.run(sockwatch, "capture", str(path))
        live = netns.run(sockwatch, "check", "--json", "--min-age", "0")
    assert (code, out) == (0, b""), err
    assert err == f"sockwatch: wrote {COUNT * 2 + 1} sockets, {path.stat().st_size:,} bytes, to {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    replayed = sockwatch("check", "--json", "--min-age", "0", "--from", str(path))
    VALIDATOR.validate(json.loads(live[1]))
    told = [
        [(f["code"], f["variant"], f["count"], f["subject"]["process"]) for f in json.loads(o)["findings"]]
        for _, o, _ in (live, replayed)
    ]
    assert told[0] == told[1]
    assert [(c, v, n) for c, v, n, _ in told[0] if c == "close_wait_leak"] == [("close_wait_leak", "not_closed", COUNT)]
    assert live[0] == replayed[0] == 1


def test_a_replay_can_be_asked_about_a_service(tmp_path: Path) -> None:
    path = tmp_path / "quiet.capture"
    with PrivateNetns() as netns:
        netns.run(leak)
        assert netns.run(sockwatch, "capture", str(path))[0] == 0
    assert sockwatch("check", "--listen", "8080", "--min-age", "1000", "--from", str(path))[0] == 0
    assert sockwatch("check", "--listen", "8081", "--min-age", "1000", "--from", str(path))[0] == 3


def test_a_capture_can_go_to_stdout_and_come_from_stdin(tmp_path: Path) -> None:
    path = tmp_path / "piped.capture"
    with PrivateNetns() as netns:
        netns.run(leak)
        code, out, err = netns.run(sockwatch, "capture", "-")
    path.write_bytes(out)
    assert (code, sockets(path)) == (0, [COUNT])
    assert err == f"sockwatch: wrote {COUNT * 2 + 1} sockets, {len(out):,} bytes, to stdout\n"
    with path.open("rb") as stream:
        words = [sys.executable, "-m", "sockwatch", "check", "--from", "-", "--min-age", "0"]
        assert subprocess.run(words, stdin=stream, capture_output=True, check=False).returncode == 1


def test_sample_takes_two_looks(tmp_path: Path) -> None:
    path = tmp_path / "two.capture"
    with PrivateNetns() as netns:
        netns.run(leak)
        code, _, err = netns.run(sockwatch, "capture", str(path), "--sample", "0.01")
    assert (code, sockets(path)) == (0, [COUNT, COUNT])
    assert f"wrote {COUNT * 2 + 1} and {COUNT * 2 + 1} sockets" in err


def test_redact_leaves_no_name_of_this_host(tmp_path: Path) -> None:
    path = tmp_path / "redacted.capture"
    with PrivateNetns() as netns:
        netns.run(leak)
        assert netns.run(sockwatch, "capture", str(path), "--redact")[0] == 0
    assert ReplaySource.open(path).look(Asks()).host != os.uname().nodename
    assert sockets(path) == [COUNT]


def test_a_directory_is_no_file_to_write_to(tmp_path: Path) -> None:
    with PrivateNetns() as netns:
        code, out, err = netns.run(sockwatch, "capture", str(tmp_path))
    assert (code, out, err.count("\n")) == (3, b"", 1)
    assert str(tmp_path) in err


def test_a_terminal_gets_no_binary() -> None:
    ours, theirs = os.openpty()
    try:
        words = [sys.executable, "-m", "sockwatch", "capture", "-"]
        ended = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (ended.returncode, ended.stderr.decode()[:38]) == (3, "sockwatch: a capture is binary: redire")


@pytest.mark.needs_root
def test_another_namespace_can_be_captured(tmp_path: Path) -> None:
    path = tmp_path / "other.capture"
    with PrivateNetns() as netns:
        netns.run(leak)
        code, _, err = sockwatch("capture", str(path), "--netns", str(netns.path))
    assert code == 0, err
    assert sockets(path) == [COUNT]
