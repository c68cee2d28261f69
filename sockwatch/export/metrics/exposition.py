"""The rendered page in every form that a scraper may ask for, and which of them it gets."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as TEXT
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

_GZIP_LEVEL = 1
"""Half as large again as at level 9, and eight times as fast."""
_OPENMETRICS_VERSIONS = ("", "1.0.0")
_TEXT_VERSIONS = ("", "0.0.4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposition:
    """One page as bytes, never changed."""

    text: bytes
    text_gzip: bytes
    openmetrics: bytes
    openmetrics_gzip: bytes

    def answer(self, accept: str, accept_encoding: str) -> tuple[bytes, str, str]:
        """The body with its Content-Type and Content-Encoding ("" is none), for these headers ("" is absent).

        Whoever names nothing that there is gets the text format, as from every Prometheus client.
        """
        zipped = _accepts_gzip(accept_encoding)
        if _prefers_openmetrics(accept):
            body, kind = self.openmetrics_gzip if zipped else self.openmetrics, OPENMETRICS
        else:
            body, kind = self.text_gzip if zipped else self.text, TEXT
        return body, kind, "gzip" if zipped else ""


def expose(metrics: Iterable[Metric]) -> Exposition:
    """Every form of a page with these metrics, which are counters and gauges."""
    text, openmetrics = [], []
    for metric in metrics:
        samples = "".join(map(_line, metric.samples))
        meaning = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        text.append(f"# HELP {name} {meaning}\n# TYPE {name} {metric.type}\n{samples}")
        meaning = meaning.replace('"', r"\"")
        openmetrics.append(f"# HELP {metric.name} {meaning}\n# TYPE {metric.name} {metric.type}\n{samples}")
    bodies = "".join(text).encode(), "".join((*openmetrics, "# EOF\n")).encode()
    zipped = [gzip.compress(body, _GZIP_LEVEL, mtime=0) for body in bodies]
    return Exposition(text=bodies[0], text_gzip=zipped[0], openmetrics=bodies[1], openmetrics_gzip=zipped[1])


def _line(sample: Sample) -> str:
    """One sample, which both formats write alike.

    The library's encoders would do it once for each, in five times the time: they look for names that need escaping,
    and no name of ours does. That took longer than all else of a poll of some thousand sockets.
    """
    value: str = floatToGoString(sample.value)  # type: ignore[no-untyped-call] # the library has no types for it
    if not sample.labels:
        return f"{sample.name} {value}\n"
    pairs = ",".join([f'{name}="{_escape(label)}"' for name, label in sorted(sample.labels.items())])
    return f"{sample.name}{{{pairs}}} {value}\n"


def _escape(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _prefers_openmetrics(accept: str) -> bool:
    """By the weights that the scraper gives, as expfmt.NegotiateIncludingOpenMetrics does (prometheus/common)."""
    openmetrics, text, anything = 0.0, 0.0, 0.0
    for kind, parameters in _parse(accept):
        weight, version = _weight(parameters), parameters.get("version", "")
        if kind == "application/openmetrics-text" and version in _OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, weight)
        elif kind in {"text/plain", "text/*"} and version in _TEXT_VERSIONS:
            text = max(text, weight)
        elif kind == "*/*":
            anything = max(anything, weight)
    return openmetrics > 0 and openmetrics >= max(text, anything)


def _accepts_gzip(accept_encoding: str) -> bool:
    weights = {coding: _weight(parameters) for coding, parameters in _parse(accept_encoding)}
    gzipped = weights.get("gzip", weights.get("*", 0.0))
    return gzipped > 0 and gzipped >= weights.get("identity", 0.0)


def _parse(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each element of the list with its parameters (RFC 9110, 12.5), in lower case."""
    for element in header.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _weight(parameters: dict[str, str]) -> float:
    """Its q; 0 where that is no number."""
    try:
        weight = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
