import gzip
from collections.abc import Iterable
from math import inf, nan

import pytest
from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from export.metrics.pages import read_openmetrics
from sockwatch.export.metrics.exposition import expose

TEXT, OPENMETRICS = (
    "text/plain; version=0.0.4; charset=utf-8",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
)
PAGE = expose(
    [
        GaugeMetricFamily("sockwatch_sockets", 'Say "sockets".', value=23),
        CounterMetricFamily("sockwatch_polls_total", "Polls.", value=7),
    ]
)
PROMETHEUS_2_42 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3_5 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("text/plain", TEXT),
        ("application/json", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("Application/OpenMetrics-Text;Version=1.0.0", OPENMETRICS),
        ('application/openmetrics-text;version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0,*/*", TEXT),
        ("application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.5", TEXT),
        ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.7", OPENMETRICS),
        ("application/openmetrics-text;q=nonsense", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("application/openmetrics-text;q=-1", TEXT),
        (";;,,=;q", TEXT),
        (PROMETHEUS_2_42, OPENMETRICS),
        (PROMETHEUS_3_5, OPENMETRICS),
        ("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.5", TEXT),
    ],
)
def test_the_format_is_chosen_by_the_weights_of_the_scraper(accept: str, kind: str) -> None:
    body, content_type, encoding = PAGE.answer(accept, "")
    assert (content_type, encoding) == (kind, "")
    assert body == (PAGE.openmetrics if kind == OPENMETRICS else PAGE.text)


@pytest.mark.parametrize(
    ("accept_encoding", "encoding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("GZIP;Q=0.5", "gzip"),
        ("deflate, gzip, br, zstd", "gzip"),
        ("*", "gzip"),
        ("br", ""),
        ("identity", ""),
        ("gzip;q=0", ""),
        ("gzip;q=0, *", ""),
        ("gzip;q=0.5, identity;q=0.8", ""),
        ("gzip, identity;q=0.5", "gzip"),
    ],
)
def test_it_is_compressed_for_those_who_want_it(accept_encoding: str, encoding: str) -> None:
    for accept in ("", "application/openmetrics-text"):
        body, _, found = PAGE.answer(accept, accept_encoding)
        plain, _, _ = PAGE.answer(accept, "")
        assert found == encoding
        assert (gzip.decompress(body) if encoding else body) == plain


def test_both_formats_say_the_same_in_their_own_way() -> None:
    text, openmetrics = PAGE.text.decode(), PAGE.openmetrics.decode()
    assert "# TYPE sockwatch_polls_total counter\n" in text
    assert "# TYPE sockwatch_polls counter\n" in openmetrics
    assert openmetrics.endswith("# EOF\n")
    assert "EOF" not in text
    assert [m.samples for m in parse_text(text)] == [m.samples for m in read_openmetrics(PAGE.openmetrics)]


def test_it_is_byte_for_byte_what_the_library_writes() -> None:
    metrics = [
        GaugeMetricFamily("sockwatch_sockets", 'Say "sockets".\nBack\\slash.', labels=["state", "netns"]),
        CounterMetricFamily("sockwatch_polls_total", 'All "polls".', labels=["what"]),
        GaugeMetricFamily("sockwatch_nothing", "Without samples."),
        *ProcessCollector(registry=None).collect(),
    ]
    values = (0, 1, -3.5, 1e21, 1e-7, 123456.0, 1_700_000_000.5, 0.1 + 0.2, inf, -inf, nan)
    for number, value in enumerate(values):
        metrics[0].add_sample("sockwatch_sockets", {"state": f'{number}\n"\\', "netns": "ü"}, value)
    metrics[1].add_sample("sockwatch_polls_total", {"what": ""}, 7)

    class Page(Collector):
        def collect(self) -> Iterable[Metric]:
            return metrics

    page = expose(metrics)
    assert page.text == generate_latest(Page())
    assert page.openmetrics == generate_openmetrics(Page())  # type: ignore[no-untyped-call] # it has no types


def test_the_same_page_is_the_same_bytes() -> None:
    metric = GaugeMetricFamily("sockwatch_sockets", "Sockets.", value=23)
    assert expose([metric]) == expose([metric])
