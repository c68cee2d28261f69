"""`sockwatch report` writes one file."""

import os
import re
import socket
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from builders import later, namespace
from cli.conftest import healthy_look, leaking_look
from export.history.past import Looks
from netns import PrivateNetns
from reports import TIME, failed, leak
from sockwatch.__main__ import main
from sockwatch.cli import history as history_command
from sockwatch.clock import SystemClock
from sockwatch.export.history.database import Database
from sockwatch.export.history.reader import FILE
from sockwatch.export.html_report.document import render_document
from sockwatch.export.html_report.story import Story
from sockwatch.model.settings import HistorySettings
from sockwatch.model.snapshot import Snapshot

Run = Callable[..., tuple[int, str, str]]


def words_of(text: str) -> str:
    """Without markup."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL).split())


def moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def report_here(path: str) -> tuple[int, str]:
    with socket.create_server(("127.0.0.1", 0)):
        return main(["report", path, "--sample", "0.1"]), Path(path).read_text(encoding="utf-8")


def test_of_now_with_rates(tmp_path: Path) -> None:
    with PrivateNetns() as netns:
        code, text = netns.run(report_here, str(tmp_path / "now.html"))
    assert code == 0
    assert "in 1 TCP sockets" in words_of(text)
    assert "opened 0/s" in words_of(text)
    assert "net.ipv4.tcp_fin_timeout" in text


def test_of_a_capture_only_for_its_owner_and_an_older_file_is_replaced(
    run: Run, captured: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "out" / "report.html"
    file.parent.mkdir()
    file.write_text("<!DOCTYPE html>\nold")
    file.chmod(0o666)
    assert run("report", str(file), "--from", captured(leaking_look())) == (0, "", "")
    text = words_of(file.read_text(encoding="utf-8"))
    assert "Warning 1 warning, in 24 TCP sockets" in text
    assert "app[812]" in text
    assert "What to do" in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["report.html"]


def test_of_two_captures_what_is_new_and_what_is_gone(run: Run, captured: Callable[..., str]) -> None:
    healthy, leaking = captured(healthy_look()), captured(later(leaking_look(), 3600))
    code, out, err = run("report", "-", "--from", healthy, "--from", leaking)
    assert (code, err) == (0, "")
    assert "new close_wait_leak/not_closed - warning, 23" in words_of(out)
    code, out, err = run("report", "-", "--from", leaking, "--from", healthy)
    assert (code, err) == (0, "")
    assert "gone close_wait_leak/not_closed warning, 23 -" in words_of(out)
    assert words_of(out).startswith("Nothing wrong: web1")


def counting(look: Snapshot, opens: int, **fields: Any) -> Snapshot:
    """The same look, when the host had opened so many connections."""
    return replace(look, namespaces=(namespace(counters={"Tcp.ActiveOpens": opens}),), **fields)


def test_rates_between_two_captures_say_what_they_are_the_mean_of(run: Run, captured: Callable[..., str]) -> None:
    look = healthy_look()
    before, after = captured(counting(look, 1000)), captured(counting(later(look, 3600), 37_000))
    text = words_of(run("report", "-", "--from", before, "--from", after)[1])
    assert "opened 10/s" in text
    assert "What happened a second, the mean over 1 h: Tcp.ActiveOpens 10/s" in text


@pytest.mark.parametrize("fields", [{"host": "web2"}, {"monotonic": 20.0}], ids=["another host", "another boot"])
def test_there_are_no_rates_between_two_hosts_or_boots(
    run: Run, captured: Callable[..., str], fields: dict[str, Any]
) -> None:
    look = healthy_look()
    before, after = captured(counting(look, 1000)), captured(counting(later(look, 3600), 37_000, **fields))
    text = words_of(run("report", "-", "--from", before, "--from", after)[1])
    assert not re.search(r"\d/s", text)
    assert "Tcp.ActiveOpens" not in text
    assert ("The host was booted in between" in text) is ("monotonic" in fields)
    assert ("That was another host" in text) is ("host" in fields)


def test_of_the_history(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_command, "default_config", lambda: None)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    looks = Looks(time=SystemClock().unixtime() - 3600)
    began = looks.time + 10
    with closing(Database(tmp_path / FILE, HistorySettings())) as database:
        for _ in range(20):
            database.write(looks.see(leak(evidence={"confidence": "low", "oldest_seconds_max": 7384.5})))
        for _ in range(20):
            database.write(looks.fail())
    code, out, err = run("report", "-", "--since", "2h")
    assert (code, err) == (0, "")
    host = os.uname().nodename
    assert f"<title>What happened: {host} · sockwatch</title>" in out
    assert f"sockwatch {host} history {tmp_path}" in words_of(out)
    assert re.search(r"asked for from [-0-9]+ [0-9:]+ UTC ; no earlier look is kept", words_of(out)), words_of(out)
    assert "not certain" in out
    assert "--sample" not in out
    assert "1 finding, 1 of them open at the last look" in words_of(out)
    last = re.escape(moment(began + 190))
    assert re.search(rf"{re.escape(moment(began))} +, last seen +{last}", words_of(out)), words_of(out)
    assert "Until then restart the process" in words_of(out)
    assert "no earlier look" not in run("report", "-", "--since", "3580s")[1]
    code, out, err = run("report", "-", "--since", "10s")
    assert "1 finding, 1 of them open at the last look no look since " in words_of(out)


def test_a_symbolic_link_is_not_followed_and_what_it_leads_to_stays(
    run: Run, captured: Callable[..., str], tmp_path: Path
) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(target)
    code, out, err = run("report", str(link), "--from", captured(healthy_look()))
    assert (code, out) == (3, "")
    assert "exists and is no regular file" in err
    assert target.read_text() == "precious"


@pytest.mark.parametrize("link", [False, True])
def test_a_capture_is_never_written_over_by_what_tells_of_it(
    run: Run, captured: Callable[..., str], tmp_path: Path, *, link: bool
) -> None:
    capture, file = Path(captured(healthy_look())), tmp_path / "same.html"
    if link:
        file.hardlink_to(capture)
    before = capture.read_bytes()
    code, out, err = run("report", str(file if link else capture), "--from", str(capture))
    assert (code, out) == (3, "")
    assert "this is a capture that is to be told of" in err
    assert capture.read_bytes() == before


def test_a_look_that_failed_counts_no_sockets() -> None:
    text = words_of(render_document(Story(source="this host", made=TIME, report=failed())))
    assert "dump: the kernel refused the dump: Permission denied looked at" in text
    assert "0 TCP sockets" not in text


def test_without_the_name_of_a_file_the_evidence_stays(run: Run, captured: Callable[..., str]) -> None:
    """`report before.cap` for `report FILE.html --from before.cap`: the host would be looked at instead."""
    capture = Path(captured(healthy_look()))
    before = capture.read_bytes()
    code, out, err = run("report", str(capture))
    assert (code, out) == (3, "")
    assert "exists and is no HTML file" in err
    assert capture.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "FILE.html"),
        (["x", "--from", "a", "--from", "b", "--from", "c"], "one capture, or two"),
        (["x", "--from", "a", "--since", "1h"], "--from and --since: only one"),
        (["x", "--from", "a", "--sample", "1"], "--sample looks at this host now"),
        (["x", "--since", "1h", "--netns", "all"], "--netns looks at this host now"),
        (["x", "--since", "noon"], '"noon" is no time'),
        (["x", "--from", "/nowhere"], "No such file"),
        (["/nowhere/x"], "No such file"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, words: list[str], why: str) -> None:
    code, out, err = run("report", *words)
    assert (code, out) == (3, "")
    assert why in err
    assert err.count("\n") == 1
