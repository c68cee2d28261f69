"""docs/alerts.md says what the code does."""

import re
from pathlib import Path

from contract.repository import ROOT
from sockwatch.export.alerts.book import AlertBook
from sockwatch.export.alerts.inhibition import RULES
from sockwatch.export.alerts.transitions import MOST_ALERTS
from sockwatch.model.settings import AlertSettings

TEXT = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


def test_the_table_of_inhibitions_is_the_rules() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \| `([\w/]+)` \| [^|]*?: (.*) \|$", TEXT, re.MULTILINE)
    assert [(cause, consequence) for cause, consequence, _ in rows] == [(r.cause, r.consequence) for r in RULES]
    for (_, _, why), rule in zip(rows, RULES, strict=True):
        assert why.endswith(rule.why)


def test_the_table_of_metrics_is_the_metrics(tmp_path: Path) -> None:
    book = AlertBook(AlertSettings(), tmp_path / "alerts.json")
    samples = {sample.name: set(sample.labels) for metric in book.metrics() for sample in metric.samples}
    listed = dict(re.findall(r"^\| `(sockwatch_\w+)(?:\{(\w+)\})?` ", TEXT, re.MULTILINE))
    assert {name: {label} - {""} for name, label in listed.items()} == samples


def test_the_numbers_are_the_defaults() -> None:
    settings = AlertSettings()
    assert f"`for` ({settings.for_:.0f} s)" in TEXT
    assert f"`keep_firing_for` ({settings.keep_firing_for:.0f} s)" in TEXT
    assert f"`repeat_interval` ({settings.repeat_interval / 3600:.0f} h)" in TEXT
    assert f"`blind_after` ({settings.blind_after})" in TEXT
    assert f"{MOST_ALERTS:,} alerts at most" in TEXT
