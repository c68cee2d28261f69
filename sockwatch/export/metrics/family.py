"""A metric family: its name, labels and HELP are declared once, and filled anew at each poll."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sockwatch.export.metrics.folding import Labels

Row = tuple[Labels, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family. `meaning` is a sentence without its period, `source` says where the number comes from.

    A counter's name ends in `_total`; everything else is a gauge.
    """

    name: str
    labels: Labels = ()
    meaning: str
    source: str

    @property
    def is_counter(self) -> bool:
        """Whether it only grows."""
        return self.name.endswith("_total")

    @property
    def help(self) -> str:
        """The text after # HELP."""
        return f"{self.meaning} ({self.source})."

    def fill(self, rows: Iterable[Row]) -> Metric:
        """The family with these samples; labels must be as label() makes them, and each row's distinct."""
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        metric = kind(self.name, self.help, labels=self.labels)
        for labels, value in rows:
            metric.add_metric(labels, value)
        return metric
