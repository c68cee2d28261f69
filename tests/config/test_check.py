"""What each kind of value may be, as the config file says it."""

from pathlib import Path
from typing import Any

import pytest

from sockwatch.config import load
from sockwatch.diagnose.registry import load_detectors
from sockwatch.errors import ConfigError
from sockwatch.model.settings import AlertmanagerSink, DaemonSettings, ExecSink, Silence, WebhookSink

DEFAULTS = {code: detector.settings for code, detector in load_detectors().items()}
EXEC = '[sinks.x]\ntype = "exec"\n'
HOOK = '[sinks.x]\ntype = "webhook"\nurl = "https://h"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def taken(text: str, path: Path) -> DaemonSettings:
    path.write_text(text)
    return load(path, DEFAULTS).daemon


def mistakes(text: str, path: Path) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, DEFAULTS)
    return [mistake.removeprefix(f"{path}:") for mistake in caught.value.mistakes]


def test_every_kind_of_sink_is_told_by_its_type(path: Path) -> None:
    found = taken(
        """
        [sinks.pager-1]
        type = "exec"
        command = ["/bin/tell", "--now"]
        environment = { LEVEL = "high" }
        [sinks.chat]
        type = "webhook"
        url = "https://hooks.example.com/a"
        headers.X-Team = "net"
        timeout = 3
        [sinks.am]
        type = "alertmanager"
        urls = ["http://127.0.0.1:9093", "http://[::1]:9093/am"]
        """,
        path,
    )
    assert found.sinks == {
        "pager-1": ExecSink(command=("/bin/tell", "--now"), environment={"LEVEL": "high"}),
        "chat": WebhookSink(url="https://hooks.example.com/a", headers={"X-Team": "net"}, timeout=3.0),
        "am": AlertmanagerSink(urls=("http://127.0.0.1:9093", "http://[::1]:9093/am")),
    }


def test_silences_are_an_array_of_tables_and_for_is_a_key(path: Path) -> None:
    found = taken(
        """
        [alerts]
        for = 5
        [[alerts.silences]]
        code = "close_*"
        until = 2030-12-31T23:59:59Z
        [[alerts.silences]]
        code = "blind"
        until = "2030-12-31T23:59:59.5+02:00"
        """,
        path,
    ).alerts
    assert found.for_ == 5
    assert found.silences == (
        Silence(code="close_*", until="2030-12-31T23:59:59+00:00"),
        Silence(code="blind", until="2030-12-31T23:59:59.5+02:00"),
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[web]\nlisten = 5", ["2: web.listen must be an array, not 5"]),
        ("[web]\nlisten = [5]", ["2: an item of web.listen must be a string, not 5"]),
        ("[alerts]\nsilences = 5", ["2: alerts.silences is an array of tables: [[alerts.silences]]"]),
        ("[alerts.silences]\ncode = '*'", ["1: alerts.silences is an array of tables: [[alerts.silences]]"]),
        ("poll = 5", ["1: poll is a table: [poll]"]),
        ("detectors = 5", ["1: detectors is a table: [detectors.CODE]"]),
        ("sinks = 5", ["1: sinks is a table: [sinks]"]),
        ("[sinks]\nx = 5", ["2: sinks.x is a table: [sinks.x]"]),
        ("[sinks.x]", ["1: sinks.x.type is missing; valid: exec, webhook, alertmanager"]),
        ("[sinks.x]\ntype = 5", ["2: sinks.x.type must be one of exec, webhook, alertmanager, not 5"]),
        (EXEC, ["1: sinks.x.command is missing"]),
        (
            EXEC + "comand = []",
            ["1: sinks.x.command is missing", "3: unknown key sinks.x.comand; did you mean command?"],
        ),
        ("[alerts]\nfor_ = 5", ["2: unknown key alerts.for_; did you mean for?"]),
        (
            '[alerts]\nseverity = "critcal"',
            ['2: alerts.severity must be warning or critical, not the string "critcal"; did you mean critical?'],
        ),
        (
            '[sinks."a b"]\ntype = "alertmanager"\nurls = ["http://h"]',
            ['1: the key sinks."a b" must be a name of at most 64 letters, digits, _ and -'],
        ),
        (
            '[poll]\nignore = ["close_wait_leek"]',
            [
                (
                    "2: an item of poll.ignore must be the CODE or CODE/VARIANT of a finding, not the string "
                    '"close_wait_leek"; did you mean close_wait_leak?'
                )
            ],
        ),
    ],
    ids=range(16),
)
def test_what_is_wrong_is_said(text: str, found: list[str], path: Path) -> None:
    assert mistakes(text, path) == found


VALUES: dict[str, tuple[str, list[Any], list[Any]]] = {
    "address": (
        "[web]\nlisten = [{}]",
        ["127.0.0.1:0", "[::1]:10147", "[fe80::1%eth0]:1", "localhost:65535", "0.0.0.0:80", ":80"],
        [
            "127.0.0.1",
            "::1:80",
            "[::1]",
            "[x]:80",
            "[1:2]:80",
            "256.0.0.1:80",
            "h:65536",
            "h:80/",
            "http://h:80",
            "h :1",
        ],
    ),
    "host": ("[web]\nhosts = [{}]", ["a.example", "10.0.0.1", "::1"], ["a:80", "", "a b", "http://a"]),
    "url": (
        '[sinks.x]\ntype = "alertmanager"\nurls = [{}]',
        ["http://h", "https://u:p@h:1/x?y", "http://[::1]:9093"],
        [
            "ftp://h",
            "h",
            "http://",
            "http://h:0",
            "http://h:99999",
            "http://h:x",
            "http://[::1",
            "http://h/\n",
            "http://ä",
        ],
    ),
    "path": ("state_directory = {}", ["", "/var/lib/x"], ["x", "./x", "~/x"]),
    "namespace": ("[poll]\nnamespaces = {}", ["all", "current", "blue", "/proc/1/ns/net"], ["", ".", "..", "a/b"]),
    "finding": (
        "[poll]\nignore = [{}]",
        ["close_wait_leak", "close_wait_leak/not_closed"],
        ["close_wait_leak/x", "close_wait_leak/", "blind", "*", ""],
    ),
    "code": (
        "[[alerts.silences]]\ncode = {}",
        ["*", "blind", "close_wait_leak", "close_*", "dead_pee?"],
        ["", "x*", "close_wait_leak/not_closed"],
    ),
    "variant": ("[[alerts.silences]]\nvariant = {}", ["*", "", "not_closed", "not_*"], ["not_close", "x*"]),
    "until": (
        "[[alerts.silences]]\nuntil = {}",
        ["", "2030-12-31T23:59:59Z", "2030-12-31T23:59:59.123+01:00"],
        [
            "tomorrow",
            "2030-12-31",
            "2030-12-31T23:59:59",
            "2030-02-31T23:59:59Z",
            "2030-12-31T25:00:00Z",
            "20301231T235959Z",
        ],
    ),
    "command": (
        EXEC + "command = [{}]",
        ["/bin/true"],
        ["", "true", "./true", "/bin/\0"],
    ),
    "variable": (
        EXEC + 'command = ["/x"]\nenvironment = {{ {} = "v" }}',
        ["A", "_b1"],
        ["", "1A", "A-B", "SOCKWATCH_CODE"],
    ),
    "header": (HOOK + 'headers = {{ {} = "v" }}', ["X-Team", "x"], ["", "X Y", "X:", "X\r\n"]),
    "header value": (HOOK + "headers = {{ x = {} }}", ["", "Bearer x"], ["a\r\nb", "ä", "\0"]),
    "label": (
        '[sinks.x]\ntype = "alertmanager"\nurls = ["http://h"]\nlabels = {{ {} = "v" }}',
        ["team", "_a", "A1"],
        ["", "a-b", "1a", "__name__", "ä"],
    ),
}


def quoted(text: str) -> str:
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\u{ord(c):04x}" for c in text) + '"'


@pytest.mark.parametrize(("text", "value"), [(text, value) for text, right, _ in VALUES.values() for value in right])
def test_a_right_value_is_taken(text: str, value: str, path: Path) -> None:
    taken(text.format(quoted(value)), path)


@pytest.mark.parametrize(("text", "value"), [(text, value) for text, _, wrong in VALUES.values() for value in wrong])
def test_a_wrong_value_is_one_line(text: str, value: str, path: Path) -> None:
    (mistake,) = mistakes(text.format(quoted(value)), path)
    assert " must be " in mistake


@pytest.mark.parametrize(
    ("table", "key", "right", "wrong"),
    [
        ("poll", "interval", ["0.1", "86400"], ["0", "0.05", "86401", "nan", "-1"]),
        ("poll", "cpu_share", ["0.01", "1"], ["0", "1.5"]),
        ("poll", "seconds", ["0.1"], ["0", "-1", "inf"]),
        ("web", "max_connections", ["1"], ["0", "-5", "1.0", "2000000000"]),
        ("alerts", "for", ["0", "5.5"], ["-1", "nan", "1e12"]),
        ("alerts", "repeat_interval", ["0"], ["-1"]),
        ("alerts", "blind_after", ["1"], ["0"]),
        ("history", "max_bytes", ["1000000"], ["10", "1e7"]),
        ("history", "enabled", ["false"], ["0", '"no"']),
    ],
)
def test_numbers_have_bounds(table: str, key: str, right: list[str], wrong: list[str], path: Path) -> None:
    for value in right:
        taken(f"[{table}]\n{key} = {value}", path)
    for value in wrong:
        (mistake,) = mistakes(f"[{table}]\n{key} = {value}", path)
        assert mistake.startswith(f"2: {table}.{key} must be ")


def test_a_mistake_in_a_secret_does_not_show_it(path: Path) -> None:
    text = '[sinks.x]\ntype = "webhook"\nurl = "https:/hush"\nheaders = { a = "hush\\n" }'
    assert mistakes(text, path) == [
        "3: sinks.x.url must be a URL, http or https",
        "4: sinks.x.headers.a must be printable ASCII",
    ]
    assert mistakes(EXEC + 'command = ["/x"]\nenvironment = { A = ["hush"] }', path) == [
        "4: sinks.x.environment.A must be a string"
    ]
