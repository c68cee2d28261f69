"""One of everything that a file can tell, with hostile names in it."""

from contextlib import closing
from pathlib import Path

import reports
from builders import process
from export.history.past import START, Looks
from sockwatch.cli.report import read_past
from sockwatch.export.history.database import Database
from sockwatch.export.history.reader import FILE
from sockwatch.export.html_report.story import Past, Story
from sockwatch.model.finding import Finding, Subject
from sockwatch.model.settings import HistorySettings
from sockwatch.model.state import State

HOSTILE = "</style><script>document.title='owned'</script><img src=//evil.example onerror=alert(1)>\u202e"


def hostile() -> Finding:
    owner = process(813, HOSTILE, unit=HOSTILE, command=HOSTILE, user=HOSTILE)
    subject = Subject(netns="host", local="10.0.0.1:8080", remote="10.0.0.9:*", process=owner)
    return reports.leak(subject=subject, summary=f"{HOSTILE}[813] read the end", cause=HOSTILE)


def before_and_after() -> Story:
    """A leak that doubled, one with a hostile name that is new, and an overflow that is gone."""
    counts = {State.CLOSE_WAIT: 69, State.ESTABLISHED: 812, State.TIME_WAIT: 200_000}
    now = reports.report(
        reports.leak(count=46), hostile(), reports.note(), gaps=[reports.OWNERS_GAP], by_state=counts, time=reports.TIME
    )
    then = reports.report(reports.overflow(), reports.leak(), time=reports.TIME - 3600)
    return Story(
        source="capture a and b",
        made=reports.TIME,
        report=now,
        before=then,
        rates={"Tcp.ActiveOpens": 12.5, "TcpExt.TW": 3.0},
        mean_over=3600.0,
    )


def past(folder: Path) -> Past:
    """20 minutes: a hostile leak that doubles and ends, blindness, an overflow until the end."""
    looks = Looks()
    with closing(Database(folder / FILE, HistorySettings())) as database:
        for number in range(60):
            count = 23 if number < 30 else 99
            seen = looks.see(hostile(), reports.leak(count=count), by_state={**reports.ZERO, State.CLOSE_WAIT: count})
            database.write(seen)
        for _ in range(20):
            database.write(looks.fail())
        for _ in range(40):
            database.write(looks.see(reports.overflow(), by_state={**reports.ZERO, State.LISTEN: 7}))
    return read_past(folder / FILE, START, START + 1300)
