"""Many scrapes over connections that are kept, as Prometheus keeps them: nothing grows."""

import http.client
import threading

from export.web.serving import PATIENCE, Served, open_files, until

CLIENTS, SCRAPES = 4, 60


def test_scrapes_by_four_clients_leave_nothing() -> None:
    failures: list[object] = []
    with Served() as served:

        def scrape() -> None:
            connection = http.client.HTTPConnection(*served.address, timeout=PATIENCE)
            for _ in range(SCRAPES):
                connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
                answer = connection.getresponse()
                if (answer.status, len(answer.read())) != (200, size):
                    failures.append(answer.status)
            connection.close()

        size = len(served.get("/metrics", {"Accept-Encoding": "gzip"}).body)
        until(lambda: served.connections == 0)
        files = open_files()
        clients = [threading.Thread(target=scrape) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        until(lambda: served.counts("sockwatch_http_requests")["200"] >= CLIENTS * SCRAPES / 2)
        assert served.connections <= CLIENTS
        for client in clients:
            client.join(PATIENCE)
        until(lambda: served.connections == 0)
        assert failures == []
        assert open_files() <= files
        assert served.counts("sockwatch_http_requests")["200"] == 1 + CLIENTS * SCRAPES
        assert set(served.counts("sockwatch_http_connections_closed").values()) == {0}
