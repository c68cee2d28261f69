"""prometheus/: the rules fire where they should, and rest on metrics that there are."""

import re
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from prometheus_client.core import Metric

from contract.repository import ROOT
from export.metrics.pages import families, rich
from sockwatch.__main__ import main
from sockwatch.clock import SystemClock
from sockwatch.daemon.health import Health
from sockwatch.diagnose.registry import codes
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.history.store import Store
from sockwatch.export.metrics.page import render
from sockwatch.export.sinks.dispatcher import Dispatcher
from sockwatch.export.sinks.labels import OWN_LABELS
from sockwatch.export.web.web_config_file import WebConfigFile
from sockwatch.model.alert import BLIND
from sockwatch.model.settings import AlertSettings, HistorySettings, MetricsSettings, WebhookSink

FOLDER = ROOT / "prometheus"
GROUPS = yaml.safe_load((FOLDER / "sockwatch.rules.yml").read_text(encoding="utf-8"))["groups"]
RULES: Mapping[str, Mapping[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
CASES = yaml.safe_load((FOLDER / "sockwatch.rules.test.yml").read_text(encoding="utf-8"))["tests"]
TARGET_LABELS = {"job", "instance"}
"""Those that Prometheus adds."""
UP = {"up": TARGET_LABELS}

each_rule = pytest.mark.parametrize("name", RULES)


def labels_of(metrics: Iterable[Metric]) -> dict[str, set[str]]:
    return {sample.name: set(sample.labels) for metric in metrics for sample in metric.samples}


@cache
def exported() -> Mapping[str, set[str]]:
    """The labels of every metric, as they are rendered."""
    page = families(render(rich(), MetricsSettings())).values()
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "web.yml").touch(0o600)
        daemon = (
            Health(capabilities=None, state_usable=True, reloaded=0.0),
            Dispatcher({"pager": WebhookSink(url="http://127.0.0.1:1")}, folder, SystemClock()),
            AlertBook(AlertSettings(), folder / "alerts.json"),
            Store(folder / "history.db", HistorySettings()),
            WebConfigFile(folder / "web.yml", clock=SystemClock()),
        )
        own = labels_of(metric for part in daemon for metric in part.metrics())
    return labels_of(page) | own | UP


def run(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], cwd=FOLDER, capture_output=True, text=True, check=False, **options)


def expected(case: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The alerts that a case of the test file expects at some time, each with its instance."""
    found = set()
    for asked in case["promql_expr_test"]:
        for sample in asked["exp_samples"]:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
            found.add((labels["alertname"], labels.get("instance", "")))
    return found


@pytest.mark.needs_program("promtool")
def test_the_rules_are_valid_and_fire_as_their_tests_say() -> None:
    checked = run("promtool", "check", "rules", "sockwatch.rules.yml")
    assert checked.returncode == 0, checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout
    tested = run("promtool", "test", "rules", "sockwatch.rules.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.needs_program("promtool", "amtool")
def test_the_examples_of_both_configs_are_valid() -> None:
    prometheus = run("promtool", "check", "config", "prometheus.yml")
    assert prometheus.returncode == 0, prometheus.stderr
    alertmanager = run("amtool", "check-config", "alertmanager.yml")
    assert alertmanager.returncode == 0, alertmanager.stderr


@each_rule
def test_every_rule_is_seen_to_fire_and_to_be_silent(name: str) -> None:
    cases = [case for case in CASES if name in {alert for alert, _ in expected(case)}]
    assert cases
    for case in cases:
        firsts = [asked["exp_samples"] for asked in case["promql_expr_test"]]
        assert firsts[0] == [], "silent before its time"
        series = " ".join(one["series"] for one in case["input_series"])
        assert 'instance="healthy"' in series
        assert "healthy" not in {instance for _, instance in expected(case)}


@each_rule
def test_every_rule_says_how_bad_what_and_where_to_read_on(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rule = RULES[name]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    code = rule["labels"].get("code")
    assert rule["annotations"]["runbook"] == f"sockwatch explain {code or '{{ $labels.code }}'}"
    if code is None:
        metrics = set(re.findall(r"sockwatch_\w+", rule["expr"]))
        assert all("code" in exported()[metric] for metric in metrics)
    else:
        assert code in {*codes(), BLIND}
        assert main(rule["annotations"]["runbook"].split()[1:]) == 0
        assert capsys.readouterr().out.startswith(code)


@each_rule
def test_every_metric_and_label_of_a_rule_is_exported(name: str) -> None:
    rule = RULES[name]
    expression = re.sub(r'"[^"]*"', '""', rule["expr"])
    used = set(re.findall(r"\bsockwatch_\w+|\bup\b", expression))
    assert used
    assert used <= exported().keys()
    for metric, matchers in re.findall(r"\b(sockwatch_\w+|up)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= exported()[metric] | TARGET_LABELS
    for grouping in re.findall(r"\b(?:on|ignoring|by|without) \(([^)]*)\)", expression):
        assert set(grouping.split(", ")) <= set().union(*(exported()[metric] for metric in used)) | TARGET_LABELS
    told = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert told <= set().union(*(exported()[metric] for metric in used)) | TARGET_LABELS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].split(",")[0])
def test_what_the_test_file_scrapes_is_exported(case: Mapping[str, Any]) -> None:
    for one in case["input_series"]:
        name, _, labels = one["series"].partition("{")
        assert set(re.findall(r'(\w+)="', labels)) - TARGET_LABELS <= exported()[name]


def test_an_inhibited_rule_and_the_one_that_explains_it_have_the_labels_that_must_be_equal() -> None:
    alertmanager = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))
    for inhibition in alertmanager["inhibit_rules"]:
        assert inhibition["equal"] == ["job", "instance", "code"]
        for matcher in (*inhibition["source_matchers"], *inhibition["target_matchers"]):
            label, pattern = re.fullmatch(r'(\w+) =~? "?([^"]*)"?', matcher).groups()  # type: ignore[union-attr] # it matches
            if label == "alertname":
                assert all(any(re.fullmatch(one, name) for name in RULES) for one in pattern.split("|"))


def test_alerts_of_the_rules_and_of_the_sink_are_grouped_by_host_and_code() -> None:
    route = yaml.safe_load((FOLDER / "alertmanager.yml").read_text(encoding="utf-8"))["route"]
    grouped = {*route["group_by"]}
    assert {"code", "host"} <= OWN_LABELS & grouped
    assert all(
        {*rule["labels"]} >= {"code"} or "$labels.code" in rule["annotations"]["runbook"] for rule in RULES.values()
    )
    assert grouped - OWN_LABELS == {"job", "instance"}
    assert not grouped & {"alertname", "severity"}  # or one problem is told by each rule that sees it


def test_a_verdict_says_in_words_what_is_wrong_whatever_its_code() -> None:
    for name in ("SockwatchCritical", "SockwatchWarning"):
        summary = RULES[name]["annotations"]["summary"]
        assert re.findall(r'eq \$labels.code "(\w+)" }}\w+ ', summary) == [*codes()]


def test_the_table_in_the_docs_is_the_rules() -> None:
    page = (ROOT / "docs" / "prometheus.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE))
    assert list(told.items()) == [(name, rule["labels"]["severity"]) for name, rule in RULES.items()]
