from typing import Any

import numpy as np
import pytest

from builders import namespace, process, socket, window
from sockwatch.diagnose.detectors.simultaneous_open import DETECTOR
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.state import State

ONE = process(812, "peer-a")
TWO = process(900, "peer-b")
UPTIME = 100_000.0
UNSET = (UPTIME - 300) * 1e3
"""tcpi_last_data_recv of a socket whose SYN was answered by a SYN, so many milliseconds after boot."""


def end(local: str, remote: str, *, connected: bool = True, sent: int = 0, **columns: Any) -> dict[str, Any]:
    counts = {"bytes_acked": sent + connected, "bytes_sent": sent, "bytes_retrans": 0, "notsent_bytes": 0}
    silence = {"last_data_recv": 500.0, "bytes_received": 0}
    state = columns.pop("state", State.ESTABLISHED)
    return socket(state, local, remote, **(counts | silence | columns))


def pair(number: int, **columns: Any) -> list[dict[str, Any]]:
    one, two = f"10.0.0.1:{9200 + number}", f"10.0.0.1:{9300 + number}"
    return [
        end(one, two, inode=100 + number, **({"last_data_recv": UNSET} | columns)),
        end(two, one, inode=200 + number, **columns),
    ]


HOLDERS = {inode: [ONE if inode < 200 else TWO] for inode in range(100, 300)}


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_each_connection_counts_once_and_both_processes_are_named() -> None:
    rows = [row for i in range(5) for row in pair(i)]
    [finding] = detect(window(*rows, holders=HOLDERS))
    assert (finding.name, finding.severity, finding.count) == ("simultaneous_open", Severity.INFO, 5)
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (ONE, "10.0.0.1:*", "10.0.0.1:*")
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.ESTABLISHED, TWO)
    assert finding.evidence == {"both_ends_connected": 5, "crossed_syns": 5, "still_opening": 0}
    assert finding.summary == "5 connections of peer-a[812] opened from both sides at once, without a listener"


def test_after_data_both_roles_still_tell() -> None:
    [finding] = detect(window(*pair(0, last_data_recv=10.0, bytes_received=4, sent=4), holders=HOLDERS))
    assert finding.evidence == {"both_ends_connected": 1, "crossed_syns": 0, "still_opening": 0}
    assert finding.subject.local == "10.0.0.1:9200"


def test_an_ordinary_connection_is_none_even_when_its_listener_is_gone() -> None:
    one, two = "10.0.0.1:40000", "10.0.0.1:80"
    assert not detect(window(end(one, two), end(two, one, connected=False)))


def test_with_the_other_end_elsewhere_crossed_syns_tell_until_data_comes() -> None:
    one, two = "10.0.0.1:9200", "10.0.0.2:9300"
    [finding] = detect(window(end(one, two, last_data_recv=UNSET)))
    assert finding.evidence == {"both_ends_connected": 0, "crossed_syns": 1, "still_opening": 0}
    assert not detect(window(end(one, two, last_data_recv=UNSET, bytes_received=5)))
    assert detect(window(end(one, two, last_data_recv=UNSET, bytes_received=1, state=State.CLOSE_WAIT)))


@pytest.mark.parametrize(("off_ms", "found"), [(0, 1), (3_000, 1), (-3_000, 1), (3_001, 0), (-3_001, 0)])
def test_the_clock_must_be_unset_and_not_merely_old(off_ms: float, found: int) -> None:
    row = end("10.0.0.1:9200", "10.0.0.2:9300", last_data_recv=UNSET + off_ms)
    assert len(detect(window(row))) == found


@pytest.mark.parametrize("uptime", [100.0, 2**32 / 1e3 + 299.0, 5e6])
def test_the_clock_wraps_like_the_kernels(uptime: float) -> None:
    row = end("10.0.0.1:9200", "10.0.0.2:9300", last_data_recv=(uptime - 300) * 1e3 % 2**32)
    assert len(detect(window(row, monotonic=uptime))) == 1


@pytest.mark.parametrize(("uptime", "shown"), [(301.0, 2**32 - 500.0), (299.0, 500.0)])
def test_the_clock_may_wrap_between_the_look_and_the_socket(uptime: float, shown: float) -> None:
    row = end("10.0.0.1:9200", "10.0.0.2:9300", last_data_recv=shown)
    assert len(detect(window(row, monotonic=uptime))) == 1


@pytest.mark.parametrize("remote", ["[fd01::1]:9200", "[fd00::2]:9200"])
def test_the_same_port_at_another_address_is_not_itself(remote: str) -> None:
    assert len(detect(window(end("[fd00::1]:9200", remote, last_data_recv=UNSET)))) == 1


def test_an_accepted_connection_with_an_old_clock_is_none() -> None:
    assert not detect(window(end("10.0.0.1:80", "10.0.0.2:9300", connected=False, last_data_recv=UNSET)))


def test_a_handshake_in_progress_is_one_unless_somebody_listens() -> None:
    row = socket(State.SYN_RECV, "10.0.0.1:9200", "10.0.0.2:9300", inode=100, shutdown=0)
    [finding] = detect(window(row, holders=HOLDERS))
    assert finding.evidence == {"both_ends_connected": 0, "crossed_syns": 0, "still_opening": 1}
    fast_open = socket(State.LISTEN, "0.0.0.0:9200", inode=1)
    assert not detect(window(row, fast_open))


def test_a_half_open_handshake_of_a_listener_is_none() -> None:
    assert not detect(window(socket(State.SYN_RECV, "10.0.0.1:80", "10.0.0.2:9300")))


def test_a_socket_that_is_connected_to_itself_is_another_finding() -> None:
    assert not detect(window(end("10.0.0.1:9200", "10.0.0.1:9200", last_data_recv=UNSET)))


def test_a_kernel_without_tcp_info_gives_no_verdict() -> None:
    rows = [socket(State.ESTABLISHED, "10.0.0.1:9200", "10.0.0.1:9300", inode=1)]
    assert not detect(window(*rows))
    unread = {"bytes_sent": np.nan, "bytes_retrans": np.nan, "bytes_received": np.nan}
    assert not detect(window(*pair(0, **unread)))


def test_a_kernel_without_roles_still_tells_crossed_syns() -> None:
    [finding] = detect(window(*pair(0, bytes_retrans=np.nan), holders=HOLDERS))
    assert (finding.count, finding.subject.process) == (1, ONE)


def test_namespaces_families_and_v4_mapped_ones() -> None:
    v6 = [end("[::1]:9200", "[::1]:9300"), end("[::1]:9300", "[::1]:9200")]
    mapped = [row | {"family": 10} for row in pair(1)]
    there = [row | {"netns": 1} for row in pair(0)]
    found = detect(window(*pair(0), *v6, *mapped, *there, namespaces=[namespace(), namespace("web")]))
    assert sorted((f.subject.netns, f.subject.local, f.count) for f in found) == [
        ("host", "10.0.0.1:*", 2),
        ("host", "[::1]:9200", 1),
        ("web", "10.0.0.1:9200", 1),
    ]


def test_ends_in_different_namespaces_do_not_make_one_connection() -> None:
    one, two = pair(0, last_data_recv=10.0)
    assert not detect(window(one, two | {"netns": 1}, namespaces=[namespace(), namespace("web")]))


def test_both_ends_are_suspects() -> None:
    ordinary = end("10.0.0.1:40000", "10.0.0.9:443", inode=7)
    suspects = DETECTOR.suspects(window(*pair(0), ordinary), DETECTOR.settings)
    assert sorted(suspects.inode.tolist()) == [100, 200]
