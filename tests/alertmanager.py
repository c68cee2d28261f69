"""A real Alertmanager on a port of the loopback interface, which notifies a webhook at once."""

import http.client
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

CONFIG = {
    "route": {
        "receiver": "hook",
        "group_by": ["alertname"],
        "group_wait": "100ms",
        "group_interval": "200ms",
        "repeat_interval": "1h",
    },
}


class RealAlertmanager:
    """A context manager; `url` is its base. `told` is its config, whose receiver is called hook."""

    def __init__(self, folder: Path, webhook: str, told: Mapping[str, Any] = CONFIG) -> None:
        self._log = folder / "alertmanager.log"
        config = folder / "alertmanager.yml"
        receivers = [{"name": "hook", "webhook_configs": [{"url": webhook, "send_resolved": True}]}]
        config.write_text(yaml.safe_dump({**told, "receivers": receivers}))
        self._command = [
            "prometheus-alertmanager",
            f"--config.file={config}",
            f"--storage.path={folder}/alertmanager",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def url(self) -> str | None:
        """None until it listens."""
        assert self._process.poll() is None, self._log.read_text()
        said = re.search(r"Listening on.* address=127\.0\.0\.1:(\d+)", self._log.read_text())
        return said and f"http://127.0.0.1:{said[1]}"

    def alerts(self) -> list[dict[str, Any]]:
        """What it knows and calls active."""
        connection = http.client.HTTPConnection((self.url or "").removeprefix("http://"), timeout=10)
        connection.request("GET", "/api/v2/alerts")
        known: list[dict[str, Any]] = json.load(connection.getresponse())
        connection.close()
        return known
