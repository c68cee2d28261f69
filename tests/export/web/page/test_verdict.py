"""Since when a verdict is so."""

from dataclasses import replace

import reports
from browser import scenes
from export.web.serving import published
from sockwatch.export.web.live import Live
from sockwatch.export.web.page.verdict import verdict
from sockwatch.model.finding import Severity


def test_critical_is_it_since_it_became_that_and_not_since_its_alert_began_as_a_warning() -> None:
    warning = reports.leak()
    critical = replace(warning, severity=Severity.CRITICAL)
    looks = []
    for time, finding in ((1_700_000_000.0, warning), (1_700_000_600.0, critical)):
        last = published(reports.report(finding))
        alert = replace(scenes.alert(finding), began=1_700_000_000.0)
        looks.append(replace(last, poll=replace(last.poll, time=time, alerts=(alert,))))
    live = Live(lambda: looks[0])
    live.current()
    looks.pop(0)
    shown = live.current()
    assert shown is not None
    text = verdict(shown).text
    assert "22:23:20 UTC" in text
    assert "22:13:20 UTC" not in text
    assert "began to look" not in text
