from reports import failed, healthy, leak, note, overflow, report
from sockwatch.daemon.verdict import verdict
from sockwatch.model.snapshot import Gap


def test_worst_first() -> None:
    assert verdict(report(overflow(), leak(), leak(), note())) == (
        "critical: 1 critical, 2 warning, 1 info in 826 TCP sockets"
    )


def test_nothing_wrong() -> None:
    assert verdict(healthy()) == "ok: no findings in 1248 TCP sockets"


def test_why_it_is_not_known() -> None:
    assert verdict(failed()) == "unknown: the kernel refused the dump: Permission denied"
    two = report(gaps=[Gap(what=what, why=f"{what} failed", fatal=True) for what in ("a", "b")])
    assert verdict(two) == "unknown: a failed (and 1 more)"
