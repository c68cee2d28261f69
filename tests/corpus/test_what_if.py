"""--what-if over the corpus: what is supposed to be as it is changes nothing, and sockets keep what they read once."""

import pytest

from corpus.manifest import described, recorded
from corpus.replay import replay
from sockwatch.collect.capture import ReplaySource
from sockwatch.diagnose.what_if import rule, ruled
from sockwatch.model.report import Report
from sockwatch.model.snapshot import Asks

ENTRIES = {name: entry for name, entry in recorded().items() if not entry.healthy}
KEPT = {"net.core.somaxconn": "65535", "net.ipv4.tcp_fin_timeout": "5", "net.ipv4.tcp_timestamps": "0"}


def about_sockets(report: Report) -> list[str]:
    """The findings but those about a setting."""
    return [str(described(finding)) for finding in report.findings if finding.code != "sysctl_misfit"]


def test_every_sysctl_that_sockets_read_once_is_tried() -> None:
    assert {name for name in ruled() if rule(name).keeps} == set(KEPT)


@pytest.mark.parametrize("name", ENTRIES)
def test_supposing_what_is_changes_nothing(name: str) -> None:
    first = ReplaySource.open(ENTRIES[name].path).look(Asks())
    present = first.namespaces[0].sysctls
    *_, supposed = replay(ENTRIES[name], {sysctl: present[sysctl] for sysctl in ruled() if sysctl in present})
    assert supposed.what_if is not None
    assert supposed.findings == supposed.what_if.before.findings


@pytest.mark.parametrize("name", ENTRIES)
def test_what_sockets_read_once_changes_no_verdict_about_them(name: str) -> None:
    *_, supposed = replay(ENTRIES[name], KEPT)
    assert supposed.what_if is not None
    assert about_sockets(supposed) == about_sockets(supposed.what_if.before)
