"""What a setting is measured by: the defaults are those of the running kernel."""

from pathlib import Path

import pytest

from netns import PrivateNetns
from sockwatch.collect.sysctls import read_sysctls
from sockwatch.diagnose.detectors.sysctl_misfit import DETECTOR
from sockwatch.diagnose.misfits.gone import GONE
from sockwatch.diagnose.misfits.lifetimes import MAX_ORPHANS
from sockwatch.diagnose.misfits.misfit import DEFAULTS, EHASH_ENTRIES, OLD_SOMAXCONN
from sockwatch.diagnose.misfits.queues import MAX_SYN_BACKLOG, SMALLEST_SYN_BACKLOG, SOMAXCONN
from sockwatch.diagnose.misfits.source_ports import PORT_RANGE, RESERVED_PORTS
from sockwatch.diagnose.misfits.time_wait import MAX_TW_BUCKETS

NAMES = frozenset({*DEFAULTS, EHASH_ENTRIES, MAX_TW_BUCKETS, MAX_SYN_BACKLOG, MAX_ORPHANS})


def test_what_the_checks_read_is_asked_for() -> None:
    assert NAMES | GONE.keys() | {PORT_RANGE, RESERVED_PORTS} <= DETECTOR.asks.sysctls


@pytest.fixture(scope="module")
def fresh() -> dict[str, str]:
    """The sysctls of a namespace in which nobody has set any."""
    with PrivateNetns() as netns:
        values, _ = netns.run(read_sysctls, NAMES, Path("/proc"))
    return values


def test_the_defaults_are_those_of_the_kernel(fresh: dict[str, str]) -> None:
    expected = {name: str(value) for name, value in DEFAULTS.items() if name in fresh}
    if fresh[SOMAXCONN] == str(OLD_SOMAXCONN):
        expected[SOMAXCONN] = str(OLD_SOMAXCONN)
    assert {name: fresh[name] for name in expected} == expected


def test_the_limits_that_depend_on_memory_are_shares_of_the_table_of_connections(fresh: dict[str, str]) -> None:
    if EHASH_ENTRIES not in fresh:
        pytest.skip("kernel: no net.ipv4.tcp_ehash_entries before 6.1")
    entries = abs(int(fresh[EHASH_ENTRIES]))
    assert int(fresh[MAX_TW_BUCKETS]) == entries // 2
    assert int(fresh[MAX_SYN_BACKLOG]) == max(entries // 128, SMALLEST_SYN_BACKLOG)
    assert MAX_ORPHANS not in fresh
