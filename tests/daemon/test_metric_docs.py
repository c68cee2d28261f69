"""docs/ has every metric of a running daemon's page."""

import re
from pathlib import Path

from contract.repository import ROOT
from daemon.running import QUICK, Running

CONFIG = """
[web]
config_file = "{folder}/web.yml"

[sinks.pager]
type = "webhook"
url = "http://127.0.0.1:1/"
"""


def test_every_metric_of_the_page_is_documented(tmp_path: Path) -> None:
    (tmp_path / "web.yml").touch(0o600)
    with Running(tmp_path, QUICK + CONFIG.format(folder=tmp_path)) as daemon:
        daemon.until_ready()
        names = {series.partition("{")[0] for series in daemon.metrics()}
    assert {"sockwatch_capability", "sockwatch_outbox_pending", "sockwatch_web_config_last_reload_successful"} <= names
    docs = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    documented = {*re.findall(r"`(\w+)(?:\{[\w,]*\})?`", docs)}
    assert names - documented == set()
