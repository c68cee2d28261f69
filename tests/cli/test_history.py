"""`sockwatch history` reads what the daemon keeps."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from export.history.past import START, Looks
from reports import leak, overflow
from sockwatch.cli import history as command
from sockwatch.clock import SystemClock
from sockwatch.export.history.database import Database
from sockwatch.export.history.reader import FILE
from sockwatch.model.finding import Severity
from sockwatch.model.settings import HistorySettings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory, which nothing but $STATE_DIRECTORY names."""
    monkeypatch.setattr(command, "default_config", lambda: None)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def an_hour_ago(state: Path) -> float:
    """A leak that doubled and a listener that overflowed, the latter until now; a gap. When it began."""
    looks = Looks(time=SystemClock().unixtime() - 3600)
    with closing(Database(state / FILE, HistorySettings())) as database:
        began = looks.time + 10
        for number in range(20):
            database.write(looks.see(leak(count=23 if number < 10 else 99)))
        for _ in range(20):
            database.write(looks.fail())
        for _ in range(20):
            database.write(looks.see(overflow()))
    return began


def test_tells_findings_and_gaps_in_the_order_of_their_beginning(run: Run, an_hour_ago: float) -> None:
    del an_hour_ago
    code, out, err = run("history")
    assert (code, err) == (0, "")
    assert out.startswith("2 findings since ")
    places = [
        out.index(text)
        for text in (
            "warning   close_wait_leak/not_closed",
            "app app.service, *:8080 to *:*",
            "changed",
            "Permission denied",
            "critical  accept_queue_overflow/somaxconn",
            "since 2",
        )
    ]
    assert "app[812] read the end of 23 connections" in out
    assert places[:5] == sorted(places[:5])
    assert max(map(len, out.splitlines())) <= 80


def test_as_json_each_finding_comes_with_its_evidence(run: Run, an_hour_ago: float) -> None:
    code, out, _ = run("history", "--json", "--since", "2h")
    assert code == 0
    told = json.loads(out)
    assert told["schema"] == "sockwatch.history/1"
    first, second = told["findings"]
    assert (first["code"], first["process"], first["most"]) == ("close_wait_leak", "app", 99)
    assert [event["kind"] for event in first["events"]] == ["opened", "changed", "closed"]
    assert first["events"][0]["finding"]["evidence"]["fd_limit"] == 1024
    assert first["opened"] < first["seen"] < first["closed"] == second["opened"]
    assert (second["severity"], second["closed"]) == (Severity.CRITICAL, None)
    assert len(told["gaps"]) == 1
    assert first["opened"] == time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(an_hour_ago)) + first["opened"][-5:]


@pytest.mark.parametrize(("since", "findings"), [("1w", 2), ("3590s", 2), ("1m", 1), ("2000-01-01", 2)])
def test_since(run: Run, an_hour_ago: float, since: str, findings: int) -> None:
    del an_hour_ago
    assert len(json.loads(run("history", "--json", "--since", since)[1])["findings"]) == findings


@pytest.mark.parametrize("since", ["", "yesterday", "5", "5y", "2030-13-01"])
def test_a_wrong_time_is_one_line(run: Run, state: Path, since: str) -> None:
    del state
    code, out, err = run("history", "--since", since)
    assert (code, out) == (3, "")
    assert "is no time" in err


def test_what_is_open_ends_where_it_was_seen_last(run: Run, state: Path) -> None:
    """The daemon went blind, and was killed then, 45 minutes ago."""
    looks = Looks(time=SystemClock().unixtime() - 3600)
    with closing(Database(state / FILE, HistorySettings())) as database:
        for _ in range(31):
            database.write(looks.see(leak()))
        last = time.strftime("%H:%M:%SZ", time.gmtime(looks.time))
        for _ in range(60):
            database.write(looks.fail())
    out = " ".join(run("history")[1].split())
    assert f", last seen {last} (5 min)" in out


def test_a_time_that_is_still_to_come_is_refused(run: Run, state: Path) -> None:
    with closing(Database(state / FILE, HistorySettings())) as database:
        database.write(Looks(time=START).see(leak()))
    for words in (["history"], ["report", "-"]):
        code, out, err = run(*words, "--since", "2099-01-01")
        assert (code, out) == (3, "")
        assert err == "sockwatch: --since 2099-01-01T00:00:00+00:00: that is still to come\n"


def test_says_that_nothing_was_found(run: Run, state: Path) -> None:
    with closing(Database(state / FILE, HistorySettings())) as database:
        assert run("history")[1] == "no looks are kept\n"
        database.write(Looks(time=START).see())
    assert run("history")[1].startswith("no findings since ")


def test_without_a_history_it_says_where_it_looked(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SYSTEM", state / "system")
    code, out, err = run("history")
    assert (code, out) == (3, "")
    assert err == f"sockwatch: {state / 'system' / FILE}: there is no history; `sockwatch run` keeps one\n"


ORDINARY = 65534


@pytest.mark.needs_root
@pytest.mark.parametrize("hidden", ["", "private"])
@pytest.mark.parametrize("words", [("history",), ("report", "-", "--since", "1h")])
def test_an_ordinary_user_is_told_who_may_read_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], hidden: str
) -> None:
    """Of root: the file itself, and a link into a directory that others may not enter, as DynamicUser= makes it."""
    with tempfile.TemporaryDirectory() as name:
        state = Path(name)
        (state / hidden).mkdir(exist_ok=True)
        with closing(Database(state / hidden / FILE, HistorySettings())):
            pass
        state.chmod(0o755)
        if hidden:
            (state / hidden).chmod(0o700)
            (state / FILE).symlink_to(state / hidden / FILE)
        monkeypatch.setenv("STATE_DIRECTORY", "/nowhere")
        monkeypatch.setattr(command, "SYSTEM", state)
        monkeypatch.setattr(command, "default_config", lambda: None)
        assert run(*words)[0] == 0
        user, tried = os.geteuid(), []
        os.setresuid(ORDINARY, ORDINARY, user)  # access(2) asks for the real one
        try:
            tried.append(run(*words))
            monkeypatch.setenv("STATE_DIRECTORY", str(state))
            tried.append(run(*words))
        finally:
            os.setresuid(user, user, user)
    assert tried == [(3, "", f"sockwatch: {state / FILE}: Permission denied; try as root\n")] * 2


def test_reads_that_of_the_config(run: Run, state: Path) -> None:
    config = state / "config.toml"
    config.write_text(f'state_directory = "{state / "elsewhere"}"\n')
    (state / "elsewhere").mkdir()
    with closing(Database(state / "elsewhere" / FILE, HistorySettings())):
        assert run("history", "--config", str(config))[0] == 0
    assert run("history", "--config", str(state / "none.toml"))[0] == 3


def test_a_name_from_outside_cannot_steer_the_terminal(run: Run, state: Path) -> None:
    looks = Looks(time=SystemClock().unixtime() - 60)
    with closing(Database(state / FILE, HistorySettings())) as database:
        database.write(looks.see(leak(summary="\x1b[2J\u202e app\nok")))
    for words in (("history",), ("history", "--json")):
        out = run(*words)[1]
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "\nok" not in out


def test_reads_what_a_running_daemon_has_found(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'state_directory = "{tmp_path / "state"}"\n[poll]\ninterval = 1\nnamespaces = "current"\n[web]\nlisten = []\n'
    )
    sockwatch = (sys.executable, "-m", "sockwatch")
    daemon = subprocess.Popen([*sockwatch, "run", "--config", str(config)], stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            told = subprocess.run(
                [*sockwatch, "history", "--json", "--config", str(config)],
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"STATE_DIRECTORY": "/nowhere"},
            )
            if told.returncode == 0 and json.loads(told.stdout)["last_look"]:
                break
            assert daemon.poll() is None
            assert time.monotonic() < deadline, told.stderr
            time.sleep(0.2)
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, err = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, err
