"""The rendered page in every form that a scraper may ask for, and which of them it gets."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as TEXT, generate_latest as text_page
from prometheus_client.openmetrics.exposition import (
    CONTENT_TYPE_LATEST as OPENMETRICS,
    generate_latest as openmetrics_page,
)
from prometheus_client.registry import Collector

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


class _Page(Collector):
    """What the library renders: a registry that has these metrics and no others."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def expose(metrics: Iterable[Metric]) -> Exposition:
    """Every form of a page with these metrics."""
    page = _Page(metrics)
    text = text_page(page)
    openmetrics: bytes = openmetrics_page(page)  # type: ignore[no-untyped-call] # the library has no types for it
    return Exposition(
        text=text,
        text_gzip=gzip.compress(text, _GZIP_LEVEL, mtime=0),
        openmetrics=openmetrics,
        openmetrics_gzip=gzip.compress(openmetrics, _GZIP_LEVEL, mtime=0),
    )


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
