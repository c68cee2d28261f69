"""docs/history.md says what the code does."""

import inspect
import re
from pathlib import Path

from contract.repository import ROOT
from sockwatch.export.history.bounds import KEEP_SAMPLES, MOST_EVENTS
from sockwatch.export.history.reader import FILE, History
from sockwatch.export.history.samples import MOST_NAMESPACES, MOST_SERIES, RATES, Kind
from sockwatch.export.history.schema import ROLLUP
from sockwatch.export.history.store import Store
from sockwatch.export.history.timeline import SCHEMA
from sockwatch.model.settings import HistorySettings

TEXT = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")


def test_the_table_of_metrics_is_the_metrics(tmp_path: Path) -> None:
    store = Store(tmp_path / FILE, HistorySettings())
    samples = [sample.name for metric in store.metrics() for sample in metric.samples]
    assert re.findall(r"^\| `(sockwatch_\w+)` ", TEXT, re.MULTILINE) == samples


def test_the_table_of_methods_is_what_there_is() -> None:
    listed = dict(re.findall(r"^\| `(\w+)\((.*?)\)` ", TEXT, re.MULTILINE))
    methods = {name: method for name, method in inspect.getmembers(History, inspect.isfunction) if name[0] != "_"}
    assert listed.keys() == methods.keys()
    for name, method in methods.items():
        parameters = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
        shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}".replace("'", '"') for p in parameters]
        assert listed[name] == ", ".join(shown)


def test_the_numbers_are_the_defaults() -> None:
    settings = HistorySettings()
    assert f"`max_bytes` ({settings.max_bytes // 1_000_000} MB)" in TEXT
    assert (settings.max_age, KEEP_SAMPLES, ROLLUP, len(RATES)) == (7 * 86400, 86400, 300, 9)
    assert f"the {MOST_NAMESPACES} largest namespaces" in TEXT
    assert f"Up to {MOST_SERIES:,} series" in TEXT
    assert f"At most {MOST_EVENTS:,} events" in TEXT
    assert ", ".join(Kind) in TEXT
    assert f"`{SCHEMA}`" in TEXT
    assert f"`{FILE}`" in TEXT
