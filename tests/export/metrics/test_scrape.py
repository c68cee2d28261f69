"""Prometheus itself scrapes the page, in both formats."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from export.metrics.pages import failed, families, rich
from scraping import PROMETHEUS_3, Prometheus, programs
from sockwatch.export.metrics.exposition import Exposition
from sockwatch.export.metrics.page import render
from sockwatch.model.poll import Poll
from sockwatch.model.settings import MetricsSettings
from sockwatch.model.snapshot import Snapshot

HOSTILE = 'a\nb"} 1 \\ \x1b[2J \u202e \udcff ü'


@dataclass
class Site:
    """What is served, under /text as text whatever is asked for, and which kinds of answers were given."""

    page: Exposition
    answered: set[tuple[str, str]] = field(default_factory=set)
    port: int = 0


@contextmanager
def serving(page: Exposition) -> Iterator[Site]:
    """An HTTP server that answers as the daemon does."""
    site = Site(page)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            accept, encoding = self.headers.get("Accept", ""), self.headers.get("Accept-Encoding", "")
            body, content_type, content_encoding = site.page.answer("" if self.path == "/text" else accept, encoding)
            site.answered.add((content_type.partition(";")[0], content_encoding))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            if content_encoding:
                self.send_header("Content-Encoding", content_encoding)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def job(name: str, path: str, port: int, **options: Any) -> Mapping[str, Any]:
    return {
        "job_name": name,
        "metrics_path": path,
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        **options,
    }


def jobs(program: str, port: int) -> list[Mapping[str, Any]]:
    every = [job("openmetrics", "/metrics", port), job("text", "/text", port)]
    if program == str(PROMETHEUS_3):
        every.append(job("text-1.0.0", "/metrics", port, scrape_protocols=["PrometheusText1.0.0"]))
    return every


def hostile() -> Poll:
    """The poll with something of everything, and a process with a name that nobody should have."""
    poll = rich()
    assert isinstance(poll.snapshot, Snapshot)
    owners = poll.snapshot.owners
    processes = tuple(replace(p, name=HOSTILE) if p.name == "app" else p for p in owners.processes)
    assert processes != owners.processes
    return replace(poll, snapshot=replace(poll.snapshot, owners=replace(owners, processes=processes)))


@pytest.mark.needs_program("prometheus")
@pytest.mark.parametrize("program", programs() or ("none",), ids=["debian", "3.x"][: len(programs()) or 1])
def test_prometheus_scrapes_every_sample_in_both_formats(program: str, tmp_path: Path) -> None:
    page = render(hostile(), MetricsSettings())
    samples = {
        tuple(sorted({"__name__": sample.name, **sample.labels}.items())): sample.value
        for metric in families(page).values()
        for sample in metric.samples
    }
    with serving(page) as site:
        config = {"global": {"scrape_interval": "500ms"}, "scrape_configs": jobs(program, site.port)}
        with Prometheus(program, config, tmp_path) as prometheus:
            every = len(config["scrape_configs"])
            assert set(prometheus.wait_for("up == 1", rows=every).values()) == {1.0}
            assert set(prometheus.wait_for("scrape_samples_scraped", rows=every).values()) == {len(samples)}
            for name in ("openmetrics", "text"):
                found = prometheus.wait_for(f'{{job="{name}",__name__=~"sockwatch_.+"}}', rows=len(samples))
                assert {ours(labels): value for labels, value in found.items()} == {
                    ours(labels): value for labels, value in samples.items()
                }
            assert site.answered == {("application/openmetrics-text", "gzip"), ("text/plain", "gzip")}

            site.page = render(failed(), MetricsSettings())
            prometheus.wait_for("sockwatch_poll_success == 0", rows=every)
            assert prometheus.wait_for('{__name__=~"sockwatch_.*sockets|sockwatch_findings"}', rows=0) == {}


def ours(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The labels without those of the target, and without empty ones, which are none to Prometheus."""
    return tuple((key, value) for key, value in labels if value and key not in {"instance", "job"})
