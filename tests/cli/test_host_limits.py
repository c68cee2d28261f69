"""The limits of a whole host cannot be reached in a private namespace: they are replayed from captures that say so."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from builders import later, namespace, process, snapshot, socket
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State, Timer

Run = Callable[..., tuple[int, str, str]]
HOARDER = process(812, "hoarder")
CODES = ("orphan_pressure", "memory_pressure", "conntrack_pressure")


def host(orphans: int, pages: int, entries: int) -> Snapshot:
    """A host with 23 orphans of its own and one process that does not read."""
    rows = [
        *(socket(State.LAST_ACK, "10.0.0.1:80", f"10.0.0.7:{5000 + i}", timer=Timer.RETRANSMIT) for i in range(23)),
        socket(State.ESTABLISHED, "10.0.0.1:81", "10.0.0.8:6000", inode=9, recv_q=4_000_000),
    ]
    counters = {"sockstat.TCP.orphan": orphans, "sockstat.TCP.mem": pages}
    space = namespace(counters=counters, tcp_max_orphans="1000", tcp_mem="1000\t2000\t3000")
    tracked = {"net.netfilter.nf_conntrack_count": str(entries), "net.netfilter.nf_conntrack_max": "1000"}
    space = replace(space, sysctls={**space.sysctls, **tracked})
    return snapshot(*rows, namespaces=[space], holders={9: [HOARDER]})


@pytest.mark.parametrize(
    ("limits", "status", "found"),
    [
        ((500, 2000, 799), 0, {}),
        ((501, 2000, 799), 1, {"orphan_pressure": "warning"}),
        ((500, 2001, 799), 1, {"memory_pressure": "warning"}),
        ((500, 3001, 799), 2, {"memory_pressure": "critical"}),
        ((500, 2000, 800), 1, {"conntrack_pressure": "warning"}),
        ((999, 3001, 1000), 2, dict(zip(CODES, ("warning", "critical", "critical"), strict=True))),
    ],
)
def test_a_capture_of_a_host_near_its_limits(
    limits: tuple[int, int, int], status: int, found: dict[str, str], run: Run, captured: Callable[..., str]
) -> None:
    only = [word for code in CODES for word in ("--only", code)]
    code, out, _ = run("check", "--from", captured(host(*limits)), "--json", *only)
    report = json.loads(out)
    assert {f["code"]: f["severity"] for f in report["findings"]} == found
    assert (code, report["gaps"]) == (status, [])


def test_two_looks_make_a_forecast(run: Run, captured: Callable[..., str]) -> None:
    looks = (host(0, 0, 880), later(host(0, 0, 900), 15))
    code, out, _ = run("check", "--from", captured(*looks), "--only", "conntrack_pressure")
    assert code == 2
    assert "the rest lasts 75 s at this growth" in " ".join(out.split())


def test_the_process_that_hoards_is_on_the_screen(run: Run, captured: Callable[..., str]) -> None:
    _, out, _ = run("check", "--from", captured(host(0, 2001, 0)), "--only", "memory_pressure")
    assert "Most of what waits in queues is held by hoarder[812]." in " ".join(out.split())
