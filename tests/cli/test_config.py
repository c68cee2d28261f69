import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from sockwatch.config.schema import schema
from sockwatch.diagnose.registry import load_detectors

Run = Callable[..., tuple[int, str, str]]
DEFAULTS = {code: detector.settings for code, detector in load_detectors().items()}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    """`config(text)` writes a file that only we may write, and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    return write


def test_the_example_file_is_what_the_program_prints(run: Run, golden: Callable[[str, str], None]) -> None:
    golden("../../config.example.toml", run("config", "example")[1])


def test_the_schema_is_printed(run: Run) -> None:
    assert json.loads(run("config", "schema")[1]) == json.loads(json.dumps(schema(DEFAULTS)))


def test_show_is_a_right_file_and_names_what_differs(run: Run, config: Callable[[str], str]) -> None:
    path = config("[poll]\ninterval = 5\n[detectors.close_wait_leak]\nmin_age = 5\n")
    code, out, _ = run("config", "show", "--config", path)
    assert code == 0
    assert "min_age = 5.0  # default: 60.0\n" in out
    assert "interval = 5.0  # default: 10.0\n" in out
    assert out.count("# default:") == 2
    assert tomllib.loads(out)["detectors"]["close_wait_leak"] == {"min_age": 5.0}


def test_a_wrong_file_is_told_and_the_answer_is_no(run: Run, config: Callable[[str], str]) -> None:
    path = config("[detectors.close_wait_leek]\n")
    code, out, err = run("config", "check", "--config", path)
    assert (code, err) == (1, "")
    assert out == f"{path}:1: unknown detector detectors.close_wait_leek; did you mean close_wait_leak?\n"
    assert run("config", "show", "--config", path)[0] == 3


def test_check_looks_at_the_sinks_too(run: Run, config: Callable[[str], str]) -> None:
    sinks = (
        '[sinks.hook]\ntype = "exec"\ncommand = ["/no/such/hook"]\n[sinks.chat]\ntype = "webhook"\n'
        '[sinks.odd]\ntype = "webhook"\nurl = "http://a..b/"\n[sinks.right]\ntype = "webhook"\nurl = "http://a/"\n'
    )
    path = config(sinks)
    code, out, err = run("config", "check", "--config", path)
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        f"{path}:3: sinks.hook.command: /no/such/hook: No such file or directory",
        f"{path}:4: sinks.chat.url: one of url and url_file must be set",
        f"{path}:8: sinks.odd.url: not a URL: no host has such a name",
    ]


def test_what_only_this_machine_shows_is_told_with_the_wrong_keys(run: Run, config: Callable[[str], str]) -> None:
    path = config(
        "[poll]\nintervall = 5\n[web]\nlisten = 5\nconfig_file = '/no/web.yml'\n[sinks.hook]\ntype = 'exec'\n"
        "command = ['/no/such/hook']\nretries = 5\n[sinks.chat]\ntype = 'webhook'\ntimeout = -1\n[sinks.many]\n"
        "type = 'exec'\ncommand = ['/no/such/hook', 5]\n[sinks.am]\ntype = 'alertmanager'\nurls = ["
        "'http://a/api/v2/alerts']\nlabels = { severity = 'x' }\n"
    )
    code, out, err = run("config", "check", "--config", path)
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        f"{path}:2: unknown key poll.intervall; did you mean interval?",
        f"{path}:4: web.listen must be an array, not 5",
        f"{path}:5: web.config_file: /no/web.yml: No such file or directory",
        f"{path}:8: sinks.hook.command: /no/such/hook: No such file or directory",
        f"{path}:9: unknown key sinks.hook.retries; valid: command, timeout, send_resolved, environment, type",
        f"{path}:12: sinks.chat.timeout must be more than 0, at most 31622400, not -1",
        f"{path}:15: an item of sinks.many.command must be a string, not 5",
        f"{path}:18: sinks.am.urls: must be base URLs, as http://127.0.0.1:9093: /api/v2/alerts is added to them",
        f"{path}:19: sinks.am.labels.severity: sockwatch sets this label itself",
    ]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (None, "{web}: No such file or directory"),
        ("basic_auth_users:\n  jo: secret\n", "{web}:2: basic_auth_users: what user jo has is no bcrypt hash"),
        ("tls_server_config:\n  cert_file: a.pem\n  key_file: a.pem\n", "{web}:2: cert_file: {folder}/a.pem: No such"),
    ],
)
def test_check_reads_the_web_config_file(
    run: Run, config: Callable[[str], str], tmp_path: Path, text: str | None, wrong: str
) -> None:
    web = tmp_path / "web.yml"
    if text is not None:
        web.write_text(text)
        web.chmod(0o644)
    path = config(f'[web]\n\nconfig_file = "{web}"\n')
    code, out, err = run("config", "check", "--config", path)
    assert (code, err) == (1, "")
    assert out.startswith(f"{path}:3: web.config_file: {wrong.format(web=web, folder=tmp_path)}")
    assert len(out.splitlines()) == 1


def test_silences_of_nothing_and_of_everything_are_warned_of(run: Run, config: Callable[[str], str]) -> None:
    path = config(
        '[[alerts.silences]]\ncode = "close_wait_leak"\nuntil = 2020-01-01T00:00:00Z\n[[alerts.silences]]\n'
        '[[alerts.silences]]\nuntil = 2999-01-01T00:00:00Z\nwhy = "jo"\n[[alerts.silences]]\nprocess = "legacy-*"\n'
    )
    code, out, err = run("config", "check", "--config", path)
    assert (code, err) == (0, "")
    ended = "this silence ended at 2020-01-01T00:00:00+00:00; it silences nothing"
    everything = "warning: alerts.silences: this silence has no pattern: it silences every alert"
    assert out.splitlines() == [
        f"{path}:3: warning: alerts.silences.until: {ended}",
        f"{path}:4: {everything} for ever",
        f"{path}:5: {everything} until 2999-01-01T00:00:00+00:00",
        f"{path}: ok",
    ]


def test_a_file_that_cannot_be_read_is_no_answer(run: Run, tmp_path: Path) -> None:
    assert run("config", "check", "--config", str(tmp_path / "none.toml"))[0] == 3


def test_a_file_that_others_may_write_is_not_called_right(run: Run, config: Callable[[str], str]) -> None:
    path = config("")
    assert run("config", "check", "--config", path) == (0, f"{path}: ok\n", "")
    Path(path).chmod(0o646)
    told = f"{path}: the file may be written by everybody: sockwatch run refuses this file\n"
    assert run("config", "check", "--config", path) == (1, told, "")
    Path(path).write_text("a = 1\n")
    code, out, _ = run("config", "check", "--config", path)
    assert (code, out.startswith(told), len(out.splitlines())) == (1, True, 2)
