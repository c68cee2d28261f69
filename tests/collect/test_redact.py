from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies

import builders
from sockwatch.collect.redact import redact
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.run import diagnose
from sockwatch.diagnose.window import Window
from sockwatch.model.address import address_text
from sockwatch.model.report import Result
from sockwatch.model.snapshot import Cgroup, Gap, Snapshot, SysctlSetting
from sockwatch.model.sockets import COLUMN_TYPES
from sockwatch.model.state import State

ADDRESSES = ("127.0.0.1", "10.0.0.1", "10.0.0.2", "192.0.2.1", "203.0.113.7", "[::1]", "[2001:db8::1]", "[fe80::1]")
DETAILS = ("last_ack_recv", "last_data_recv", "last_data_sent")
COUNT = 23
ONE = np.array([0])

endpoints = strategies.builds("{}:{}".format, strategies.sampled_from(ADDRESSES), strategies.sampled_from([80, 40000]))
sockets = strategies.builds(
    lambda state, local, remote, columns, age: builders.socket(
        state, local, remote, **columns, **dict.fromkeys(DETAILS, age)
    ),
    strategies.sampled_from(State),
    endpoints,
    endpoints,
    strategies.fixed_dictionaries(
        {"recv_q": strategies.integers(0, 2), "inode": strategies.integers(0, 3), "timer": strategies.integers(0, 4)}
    ),
    strategies.sampled_from([0.0, 100_000.0]),
)


def verdict(looks: Sequence[Snapshot]) -> tuple[Counter[tuple[Any, ...]], Counter[tuple[str, Result]]]:
    """What each look is diagnosed as, without who and where."""
    found: Counter[tuple[Any, ...]] = Counter()
    outcomes: Counter[tuple[str, Result]] = Counter()
    for previous, current in zip([None, *looks], looks, strict=False):
        findings, results = diagnose(Window(current=current, previous=previous), load_detectors())
        found.update((f.code, f.variant, f.severity, f.count, f.oldest_seconds) for f in findings)
        outcomes.update((outcome.code, outcome.result) for outcome in results)
    return found, outcomes


def stuck(local: str, remote: str, **columns: Any) -> list[dict[str, Any]]:
    """Both ends of connections that a server never closes."""
    ages: dict[str, Any] = dict.fromkeys(DETAILS, 100_000.0)
    rows = []
    for port in range(40000, 40000 + COUNT):
        rows.append(builders.socket(State.CLOSE_WAIT, local, f"{remote}:{port}", inode=port, **columns, **ages))
        rows.append(builders.socket(State.FIN_WAIT_2, f"{remote}:{port}", local, inode=0, timer=3, expires_ms=30_000))
    return rows


def texts(look: Snapshot) -> list[tuple[str, str]]:
    """The addresses of both ends of every socket."""
    columns = look.sockets.src_hi, look.sockets.src_lo, look.sockets.dst_hi, look.sockets.dst_lo
    return [(address_text(a, b), address_text(c, d)) for a, b, c, d in zip(*(c.tolist() for c in columns), strict=True)]


def connection(local: str, remote: str) -> Snapshot:
    return builders.snapshot(builders.socket(State.ESTABLISHED, local, remote))


@settings(deadline=None, database=None)
@given(strategies.lists(sockets, max_size=12))
def test_a_redacted_capture_gets_the_same_verdict(rows: list[dict[str, Any]]) -> None:
    app, worker = builders.process(10), builders.process(11, "worker", unit="worker.service")
    first = builders.snapshot(*rows, holders={1: [app], 2: [worker, app]})
    looks = [first, builders.later(first, 23)]
    assert verdict(redact(looks)) == verdict(looks)


def test_a_leak_is_the_same_leak_after_redaction() -> None:
    app = builders.process(10, "app", unit="app.service")
    ports = range(40000, 40000 + COUNT)
    look = builders.snapshot(
        builders.socket(State.LISTEN, "192.0.2.1:80", inode=1),
        *stuck("192.0.2.1:80", "198.51.100.7", recv_q=1),
        builders.socket(State.ESTABLISHED, "192.0.2.1:45000", "192.0.2.1:45000", inode=2),
        holders={1: [app], 2: [app]} | {port: [app] for port in ports},
    )
    found, _ = verdict([look])
    assert {(code, count) for code, _, _, count, _ in found} >= {("close_wait_leak", COUNT), ("self_connect", 1)}
    assert verdict(redact([look])) == verdict([look])


@pytest.mark.parametrize("kept", ["127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "::"])  # noqa: S104 - nothing is bound
def test_loopback_and_unspecified_addresses_stay(kept: str) -> None:
    shown = f"[{kept}]" if ":" in kept else kept
    [look] = redact([connection(f"{shown}:80", "203.0.113.7:443")])
    [(source, destination)] = texts(look)
    assert source == kept
    assert destination != "203.0.113.7"


def test_addresses_become_private_ones_of_the_same_family() -> None:
    [look] = redact([connection("203.0.113.7:80", "[2001:db8::7]:443")])
    [(source, destination)] = texts(look)
    assert source.startswith("10.")
    assert destination.startswith("fd00::")


def test_equal_addresses_stay_equal_and_others_different_in_all_looks() -> None:
    first = builders.snapshot(
        *(builders.socket(State.ESTABLISHED, f"10.0.{i}.1:80", f"203.0.113.{i}:443") for i in range(COUNT)),
        *(builders.socket(State.ESTABLISHED, f"203.0.113.{i}:443", f"10.0.{i}.1:80") for i in range(COUNT)),
    )
    second = builders.snapshot(builders.socket(State.ESTABLISHED, "203.0.113.5:443", "[2001:db8::7]:80"))
    one, two = redact([first, second])
    pairs = texts(one)
    assert len({address for pair in pairs[:COUNT] for address in pair}) == 2 * COUNT
    assert pairs[COUNT:] == [(destination, source) for source, destination in pairs[:COUNT]]
    assert texts(two)[0][0] == pairs[5][1]


def test_nothing_of_the_old_names_and_addresses_remains() -> None:
    place = {"unit": "secret.service", "unit_manager": "secret@7.service", "container": "5ec2e75ec2e7", "pod": "secret"}
    secret = builders.process(10, "secret-app", command="secret --password=secret", user="secret", **place)
    look = replace(
        builders.snapshot(
            builders.socket(State.ESTABLISHED, "203.0.113.7:80", "[2001:db8::7]:443", inode=1),
            namespaces=[builders.namespace("secret-netns")],
            holders={1: [secret]},
            sysctl_files=[
                SysctlSetting(name="net.core.somaxconn", value="1", file="/etc/sysctl.d/secret.conf", line=2)
            ],
            gaps=[
                Gap(what="namespace secret-netns-2", why="refused", fatal=True),
                Gap(what="sysctl files", why="/etc/sysctl.d/secret: 2.conf: no regular file"),
            ],
        ),
        host="secret-host",
    )
    look = replace(look, owners=replace(look.owners, cgroups={7: Cgroup(unit="secret.service", pod="secret")}))
    [redacted] = redact([look])
    assert "secret" not in repr(redacted)
    assert redacted.gaps == (
        Gap(what="namespace netns-2", why="refused", fatal=True),
        Gap(what="sysctl files", why="sysctl-file-1: no regular file"),
    )
    assert redacted.owners.processes[0].command is None
    assert "5ec2e7" not in repr(redacted)
    addresses = (redacted.sockets.src_lo.tolist(), redacted.sockets.dst_hi.tolist(), redacted.sockets.dst_lo.tolist())
    assert builders.halves("203.0.113.7")[1] not in addresses[0]
    assert set(builders.halves("2001:db8::7")).isdisjoint(addresses[1] + addresses[2])


def test_names_stay_apart_and_equal_ones_equal() -> None:
    look = builders.snapshot(
        namespaces=[builders.namespace(), builders.namespace("net:[7]"), builders.namespace("blue")],
        holders={
            1: [builders.process(10, "a", unit="x.service", container="0" * 12)],
            2: [builders.process(11, "a", unit="y.scope", container="1" * 12)],
            3: [builders.process(12, "b")],
        },
    )
    first, second = redact([look, look])
    assert [namespace.name for namespace in first.namespaces] == ["host", "net:[7]", "netns-1"]
    assert [(p.pid, p.name, p.unit, p.container) for p in first.owners.processes] == [
        (10, "process-1", "unit-1.service", "container-1"),
        (11, "process-1", "unit-2.scope", "container-2"),
        (12, "process-2", None, None),
    ]
    assert (second.host, second.owners.processes) == (first.host, first.owners.processes)


@pytest.mark.parametrize("name", ["host", "net:[4026532177]"])
def test_a_gap_keeps_the_names_that_only_sockwatch_gives(name: str) -> None:
    gaps = [Gap(what=f"namespace {name}", why="refused"), Gap(what="owners", why="2 sockets: nobody seen has them")]
    [redacted] = redact([builders.snapshot(gaps=gaps)])
    assert redacted.gaps == tuple(gaps)


def test_everything_but_addresses_is_kept() -> None:
    look = builders.snapshot(*stuck("192.0.2.1:80", "198.51.100.7", uid=1000, cgroup=23))
    [redacted] = redact([look])
    for name in COLUMN_TYPES.keys() - {"src_hi", "src_lo", "dst_hi", "dst_lo"}:
        assert np.array_equal(getattr(redacted.sockets, name), getattr(look.sockets, name))
    assert redacted.sockets.details is look.sockets.details


def test_udp_and_mptcp_sockets_get_the_same_other_addresses() -> None:
    local, remote = "192.0.2.1:80", "198.51.100.7:40000"
    row = builders.socket(State.ESTABLISHED, local, remote)
    [redacted] = redact([builders.snapshot(row, udp=[row, row], mptcp=[row])])
    halves = [
        (t.src_lo.tolist(), t.dst_lo.tolist()) for t in (redacted.sockets, redacted.udp.take(ONE), redacted.mptcp)
    ]
    assert halves[0] == halves[1] == halves[2]
    assert (len(redacted.udp), len(redacted.mptcp)) == (2, 1)
    assert redacted.sockets.src_lo[0] != builders.halves("192.0.2.1")[1]


def test_no_looks_are_no_looks() -> None:
    assert redact([]) == ()
