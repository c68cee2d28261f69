"""docs/metrics.md says what the code does."""

import re
from collections.abc import Iterable

from contract.repository import ROOT
from sockwatch.diagnose import holders, watch
from sockwatch.diagnose.detector import MIN_AGE_SECONDS
from sockwatch.export.metrics import catalog, watched
from sockwatch.export.metrics.family import Family
from sockwatch.export.metrics.folding import LEAST_CAP
from sockwatch.export.metrics.kernel_counters import COUNTERS
from sockwatch.export.metrics.labels import MOST_CHARACTERS
from sockwatch.model.settings import MetricsSettings

PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())


def rows(families: Iterable[Family]) -> str:
    """The table of these families."""
    table = ["| metric | labels | meaning | source |", "|---|---|---|---|"]
    for family in families:
        cells = (f"`{family.name}`", ", ".join(f"`{name}`" for name in family.labels), family.meaning, family.source)
        table.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(table) + "\n"


def test_the_tables_are_those_of_the_code() -> None:
    declared = [family for family in vars(catalog).values() if isinstance(family, Family)]
    assert re.findall(r"^\|.*?\n(?!\|)", PAGE, re.MULTILINE | re.DOTALL) == [rows(declared), rows(COUNTERS.values())]


def test_the_numbers_are_those_of_the_code() -> None:
    defaults = MetricsSettings()
    for claim in (
        f"longer than {MOST_CHARACTERS} characters",
        f"port budgets and peers have series of their own (default {defaults.top})",
        f"`[metrics] namespaces` together (default {defaults.namespaces})",
        f"(default {defaults.max_series}, never less than {LEAST_CAP})",
        f"no more than {holders.MOST_NAMED:,} have a file",
        f"old means {MIN_AGE_SECONDS:g} s",
    ):
        assert claim in PROSE
    assert (holders.EVERY_SECONDS, holders.BELIEVE_SECONDS) == (60, 300), "once a minute, every five minutes"
    assert watch.LEAST_USED == 0.1, "from a tenth on"
    assert watched.CLOSING == watch.CLOSING
    *first, last = (f"`{state.label}`" for state in watch.CLOSING)
    assert f"the states are {', '.join(first)} and {last}." in PROSE
