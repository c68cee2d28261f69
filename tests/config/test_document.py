import re
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from sockwatch.config import Config, load
from sockwatch.config.check import is_required, key_of
from sockwatch.config.document import example, meanings, show, toml
from sockwatch.diagnose.registry import load_detectors
from sockwatch.model.settings import (
    AlertmanagerSink,
    AlertSettings,
    DaemonSettings,
    ExecSink,
    Silence,
    Sink,
    WebhookSink,
)

DEFAULTS = {code: detector.settings for code, detector in load_detectors().items()}
TABLES = [
    type(getattr(DaemonSettings(), f.name))
    for f in fields(DaemonSettings)
    if f.name not in {"sinks", "state_directory"}
]
KINDS = [DaemonSettings, *TABLES, Silence, *get_args(Sink)]


def uncommented(text: str) -> str:
    return re.sub(r"^# ", "", text, flags=re.MULTILINE)


def loaded(text: str, folder: Path) -> Config:
    path = folder / "config.toml"
    path.write_text(text)
    return load(path, DEFAULTS)


def test_the_example_changes_nothing_as_it_is() -> None:
    assert tomllib.loads(example(DEFAULTS)) == {}


def test_the_example_uncommented_is_every_default_with_one_sink_of_each_kind_and_one_silence(tmp_path: Path) -> None:
    config = loaded(uncommented(example(DEFAULTS)), tmp_path)
    assert config.detectors == DEFAULTS
    assert [sink.type for sink in config.daemon.sinks.values()] == ["exec", "webhook", "alertmanager"]
    assert len(config.daemon.alerts.silences) == 1
    assert config.daemon.alerts.silences[0] != Silence()
    alerts = replace(config.daemon.alerts, silences=())
    assert replace(config.daemon, sinks={}, alerts=alerts) == DaemonSettings()


def test_the_example_has_every_key_of_every_table() -> None:
    tree = tomllib.loads(uncommented(example(DEFAULTS)))
    assert set(tree) == {key_of(f) for f in fields(DaemonSettings)} | {"detectors"}
    assert tree["detectors"] == {code: asdict(settings) for code, settings in DEFAULTS.items()}
    for name, table in tree.items():
        if isinstance(table, dict) and name not in {"sinks", "detectors"}:
            assert set(table) == {key_of(f) for f in fields(type(getattr(DaemonSettings(), name)))}
    assert set(tree["alerts"]["silences"][0]) == {key_of(f) for f in fields(Silence)}
    for kind in get_args(Sink):
        assert set(tree["sinks"][kind.type]) == {"type", *(key_of(f) for f in fields(kind))}


@pytest.mark.parametrize(
    "kind", [*KINDS, *map(type, DEFAULTS.values())], ids=lambda kind: kind.__module__ + kind.__name__
)
def test_every_key_says_what_it_means(kind: type) -> None:
    tables = {"poll", "web", "metrics", "alerts", "sinks", "history", "silences"}
    silent = {f.name for f in fields(kind)} - set(meanings(kind))
    assert silent <= (tables if kind in {DaemonSettings, AlertSettings} else set())


def test_what_is_shown_is_what_holds(tmp_path: Path) -> None:
    daemon = DaemonSettings(
        state_directory="/var/lib/x",
        alerts=AlertSettings(silences=(Silence(code="dead_*"), Silence(process='a"b\x1b\u0085\x7f\U0001f600'))),
        sinks={"pager": ExecSink(command=("/bin/true", "x")), "am": AlertmanagerSink(urls=("http://h:1",))},
    )
    config = Config(detectors=DEFAULTS, daemon=daemon)
    assert loaded(show(config, DEFAULTS), tmp_path) == config
    assert 'state_directory = "/var/lib/x"  # default: ""\n' in show(config, DEFAULTS)
    assert 'code = "dead_*"  # default: "*"\n' in show(config, DEFAULTS)
    assert show(config, DEFAULTS).replace("\n", "").isprintable()


def test_nothing_secret_is_shown() -> None:
    sinks: dict[str, Sink] = {
        "a": ExecSink(command=("/bin/true",), environment={"KEY": "hush1"}),
        "b": WebhookSink(
            url="https://me:hush2@hooks.example.com:8443/services/hush3?k=hush4", headers={"Authorization": "hush5"}
        ),
        "c": AlertmanagerSink(urls=("http://me:hush6@127.0.0.1:9093/am",)),
    }
    shown = show(Config(detectors={}, daemon=DaemonSettings(sinks=sinks)), {})
    assert "hush" not in shown
    assert "me" not in re.findall(r"//(\w+)", shown)
    assert 'url = "https://<hidden>@hooks.example.com:8443/<hidden>"' in shown
    assert 'urls = ["http://<hidden>@127.0.0.1:9093/am"]' in shown
    assert 'headers = { Authorization = "<hidden>" }  # default: {}' in shown
    assert 'environment = { KEY = "<hidden>" }' in shown


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_written_as_toml_reads_it(text: str) -> None:
    assert tomllib.loads(f"k = {toml(text)}") == {"k": text}
    assert toml(text).isprintable()
    assert tomllib.loads(f"k = {toml({'x': (text, 1.5, True)})}") == {"k": {"x": [text, 1.5, True]}}


def test_a_sink_needs_what_has_no_default() -> None:
    assert [[f.name for f in fields(kind) if is_required(f)] for kind in get_args(Sink)] == [
        ["command"],
        [],  # url or url_file
        ["urls"],
    ]
