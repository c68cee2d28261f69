"""What the web server says about itself. The names are few and fixed: no request can add one."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

CODES = (200, 304, 307, 400, 401, 404, 405, 413, 421, 422, 429, 431, 500, 503)
REASONS = ("surplus", "evicted", "headers_late", "answer_unread", "tls", "client_name", "files")


class Counts:
    """Written by the event loop, read by any thread."""

    def __init__(self) -> None:
        self.answers = dict.fromkeys(CODES, 0)
        self.other_answers = 0
        self.closed = dict.fromkeys(REASONS, 0)
        self.connections = 0

    def answered(self, status: int) -> None:
        """One more answer with this status."""
        if status in self.answers:
            self.answers[status] += 1
        else:
            self.other_answers += 1

    def metrics(self) -> Iterator[Metric]:
        """Three families."""
        requests = CounterMetricFamily(
            "sockwatch_http_requests", "HTTP requests answered, by status code.", labels=["code"]
        )
        for code, count in self.answers.items():
            requests.add_metric([str(code)], count)
        requests.add_metric(["other"], self.other_answers)
        yield requests
        closed = CounterMetricFamily(
            "sockwatch_http_connections_closed",
            "Connections closed because a limit was reached or TLS failed, by reason (docs/http.md).",
            labels=["reason"],
        )
        for reason, count in self.closed.items():
            closed.add_metric([reason], count)
        yield closed
        yield GaugeMetricFamily("sockwatch_http_connections", "Open HTTP connections.", self.connections)
