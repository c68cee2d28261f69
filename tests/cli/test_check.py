import json
import socket as sockets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from builders import later, snapshot, socket
from cli.conftest import LEAK, healthy_look, leaking, leaking_look, refusing_look
from reports import VALIDATOR
from sockwatch.cli import check, deadline
from sockwatch.errors import DumpError
from sockwatch.model.snapshot import Asks, FollowUp, Snapshot
from sockwatch.model.state import State

Run = Callable[..., tuple[int, str, str]]
Captured = Callable[..., str]


@pytest.mark.parametrize(
    ("look", "status", "code"), [(healthy_look, "ok", 0), (leaking_look, "warning", 1), (refusing_look, "critical", 2)]
)
def test_the_exit_code_is_the_status(
    look: Callable[[], Snapshot], status: str, code: int, run: Run, captured: Captured
) -> None:
    path = captured(look())
    text, report, plugin = run("check", "--from", path), run("check", "--from", path, "--json"), None
    plugin = run("check", "--from", path, "--perfdata")
    assert text[0] == report[0] == plugin[0] == code
    assert text[2] == report[2] == plugin[2] == ""
    assert text[1].startswith(f"{status}  web1: ")
    assert json.loads(report[1])["status"] == status
    assert plugin[1].startswith(f"SOCKWATCH {status.upper()} - ")


@pytest.mark.parametrize(("look", "code"), [(leaking_look, 0), (refusing_look, 2), (healthy_look, 0)])
def test_fail_on_critical_leaves_the_status_and_forgives_a_warning(
    look: Callable[[], Snapshot], code: int, run: Run, captured: Captured
) -> None:
    path = captured(look())
    plain, forgiving = (
        run("check", "--json", "--from", path),
        run("check", "--json", "--from", path, "--fail-on", "critical"),
    )
    assert json.loads(plain[1])["status"] == json.loads(forgiving[1])["status"]
    assert forgiving[0] == code


@pytest.mark.parametrize("look", [healthy_look, leaking_look, refusing_look])
def test_json_is_as_the_schema_says(look: Callable[[], Snapshot], run: Run, captured: Captured) -> None:
    VALIDATOR.validate(json.loads(run("check", "--json", "--from", captured(look()))[1]))


def test_a_finding_names_count_and_process(run: Run, captured: Captured) -> None:
    found = json.loads(run("check", "--json", "--from", captured(leaking_look()))[1])["findings"]
    assert [(f["code"], f["variant"], f["count"], f["subject"]["process"]["pid"]) for f in found] == [
        ("close_wait_leak", "not_closed", LEAK, 812)
    ]


@pytest.mark.parametrize(("min_age", "code"), [("0", 1), ("299", 1), ("1000", 0)])
def test_min_age_decides_what_is_stuck(min_age: str, code: int, run: Run, captured: Captured) -> None:
    assert run("check", "--min-age", min_age, "--from", captured(leaking_look()))[0] == code


def test_the_config_decides_what_is_stuck_and_min_age_overrides_it(
    run: Run, captured: Captured, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[detectors.close_wait_leak]\nmin_age = 1000\n")
    path = captured(leaking_look())
    assert run("check", "--from", path, "--config", str(config))[0] == 0
    assert run("check", "--from", path, "--config", str(config), "--min-age", "1")[0] == 1


def test_the_default_config_is_read_if_it_is_there(
    run: Run, captured: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "etc" / "config.toml"
    monkeypatch.setattr(check, "DEFAULT_CONFIG", config)
    path = captured(leaking_look())
    assert run("check", "--from", path)[0] == 1
    config.parent.mkdir()
    config.write_text("[detectors.close_wait_leak]\nmin_age = 1000\n")
    assert run("check", "--from", path)[0] == 0


def test_a_default_config_that_cannot_be_read_is_not_passed_over(
    run: Run, captured: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    monkeypatch.setattr(check, "DEFAULT_CONFIG", loop / "config.toml")
    code, out, err = run("check", "--from", captured(leaking_look()))
    assert (code, out) == (3, "")
    assert err == f"sockwatch: {loop}/config.toml: Too many levels of symbolic links\n"


def test_a_wrong_config_says_file_line_and_key(run: Run, captured: Captured, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[detectors.close_wait_leak]\nmin_agee = 1000\nmin_age = 'x'\n")
    code, out, err = run("check", "--from", captured(healthy_look()), "--config", str(config))
    assert (code, out) == (3, "")
    assert err == (
        f"sockwatch: {config}:2: unknown key detectors.close_wait_leak.min_agee; did you mean min_age?; "
        f'{config}:3: detectors.close_wait_leak.min_age must be a number, not the string "x"\n'
    )


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--only", "close_wait_leak"), 1),
        (("--only", "close_wait_leak/not_closed"), 1),
        (("--only", "close_wait_leak/data_unread"), 0),
        (("--only", "self_connect", "--only", "close_wait_leak"), 1),
        (("--ignore", "close_wait_leak"), 0),
        (("--ignore", "close_wait_leak/not_closed"), 0),
        (("--ignore", "close_wait_leak/data_unread"), 1),
        (("--only", "close_wait_leak", "--ignore", "close_wait_leak/not_closed"), 0),
    ],
)
def test_only_and_ignore_choose_the_findings(options: tuple[str, ...], code: int, run: Run, captured: Captured) -> None:
    assert run("check", *options, "--from", captured(leaking_look()))[0] == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--listen", "8080"), 1),
        (("--listen", "8081"), 3),
        (("--listen", "9090"), 0),
        (("--listen", "9090", "--listen", "8080"), 1),
        (("--process", "app"), 1),
        (("--process", "other"), 3),
        (("--unit", "app"), 1),
        (("--unit", "app.service"), 1),
        (("--unit", "nginx"), 3),
    ],
)
def test_one_service_can_be_asked_about(options: tuple[str, ...], code: int, run: Run, captured: Captured) -> None:
    look = leaking_look()
    beside = snapshot(*leaking(), socket(State.LISTEN, "0.0.0.0:9090", inode=60))
    both = replace(look, sockets=beside.sockets)
    assert run("check", *options, "--from", captured(both))[0] == code


def test_every_look_of_a_capture_is_replayed_and_the_last_one_answers(run: Run, captured: Captured) -> None:
    refusing, fine = refusing_look(), healthy_look()
    assert run("check", "--from", captured(refusing, later(fine, 10)))[0] == 0
    assert run("check", "--from", captured(fine, later(refusing, 10)))[0] == 2


def test_the_same_capture_gives_the_same_verdict(run: Run, captured: Captured) -> None:
    path = captured(leaking_look())
    first, second = (json.loads(run("check", "--json", "--from", path)[1]) for _ in range(2))
    del first["timings_ms"], second["timings_ms"]
    assert first == second


class FailingSource:
    """A kernel that refuses the dump."""

    def look(self, _asks: Asks) -> Snapshot:
        raise DumpError("the kernel refuses: Operation not permitted", errno=1)

    def follow_up(self, snapshot: Snapshot, _wanted: FollowUp) -> Snapshot:
        return snapshot


class BlockedSource(FailingSource):
    """A kernel that never answers."""

    def look(self, _asks: Asks) -> Snapshot:
        ours, theirs = sockets.socketpair()
        with ours, theirs:
            ours.recv(1)
        raise AssertionError("nobody sends")


@pytest.fixture
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = request.param()
    monkeypatch.setattr(check, "open_source", lambda _options, _clock: (kernel, None))


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("source", [FailingSource], indirect=True)
def test_a_refused_dump_is_one_line(run: Run) -> None:
    assert run("check") == (3, "", "sockwatch: the kernel refuses: Operation not permitted\n")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("source", [FailingSource], indirect=True)
def test_a_refused_dump_still_gives_a_report_as_json(run: Run) -> None:
    code, out, err = run("check", "--json")
    report = json.loads(out)
    VALIDATOR.validate(report)
    assert (code, err, report["status"], report["findings"]) == (3, "", "unknown", [])
    why = "the kernel refuses: Operation not permitted"
    assert report["gaps"] == [{"what": "dump", "why": why, "count": 1, "fatal": True}]
    assert set(report["sockets"]["by_state"].values()) == {None}


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("source", [FailingSource], indirect=True)
def test_a_refused_dump_is_unknown_to_a_plugin(run: Run) -> None:
    code, out, err = run("check", "--perfdata")
    assert (code, err) == (3, "")
    assert out.startswith("SOCKWATCH UNKNOWN - dump: the kernel refuses: Operation not permitted | ")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("source", [BlockedSource], indirect=True)
def test_a_timeout_ends_even_a_blocked_receive_and_names_the_stage(run: Run) -> None:
    code, out, err = run("check", "--timeout", "0.05")
    assert (code, out) == (3, "")
    assert err == "sockwatch: no verdict after 0.05 s (--timeout); it was busy with: collect\n"


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("source", [BlockedSource], indirect=True)
def test_a_timeout_still_gives_a_report_as_json(run: Run) -> None:
    code, out, _ = run("check", "--timeout", "0.05", "--json")
    report = json.loads(out)
    VALIDATOR.validate(report)
    assert (code, report["status"], report["gaps"][0]["what"]) == (3, "unknown", "timeout")


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("source", [BlockedSource], indirect=True)
def test_a_timeout_is_unknown_to_a_plugin(run: Run) -> None:
    code, out, err = run("check", "--timeout", "0.05", "--perfdata")
    assert (code, err) == (3, "")
    assert out.startswith("SOCKWATCH UNKNOWN - timeout: no verdict after 0.05 s")


class ChangingSource(FailingSource):
    """A kernel whose first look is healthy and whose second is not."""

    def __init__(self) -> None:
        self.looks = [healthy_look(), later(refusing_look(), 1)]

    def look(self, _asks: Asks) -> Snapshot:
        return self.looks.pop(0)


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("source", [ChangingSource], indirect=True)
@pytest.mark.parametrize(("options", "code"), [((), 0), (("--sample", "0.001"), 2)])
def test_sample_looks_twice_and_the_second_look_answers(options: tuple[str, ...], code: int, run: Run) -> None:
    assert run("check", *options)[0] == code


@pytest.mark.parametrize(
    ("options", "seconds"), [((), None), (("--perfdata",), 9.0), (("--perfdata", "--timeout", "30"), 30.0)]
)
def test_a_plugin_has_a_timeout_by_itself(
    options: tuple[str, ...], seconds: float | None, run: Run, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def remember(timeout: float | None, _stage: Callable[[], str]) -> AbstractContextManager[None]:
        asked.append(timeout)
        return nullcontext()

    monkeypatch.setattr(deadline, "deadline", remember)
    run("check", "--from", captured(healthy_look()), *options)
    assert asked == [seconds]
