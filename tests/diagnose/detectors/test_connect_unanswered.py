from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from builders import namespace, process, socket, window
from sockwatch.diagnose.detectors import connect_unanswered
from sockwatch.diagnose.detectors.connect_unanswered import DETECTOR
from sockwatch.diagnose.ends import peer_is_local
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

CLIENT = process(812, "orders")
SERVER = process(400, "postgres")
DEFAULTS = namespace(tcp_syn_retries="6", tcp_syn_linear_timeouts="4", tcp_keepalive_time="7200")


FATE = {"timer", "retransmits", "rto", "backoff", "expires_ms", "last_data_sent"}


def trying(number: int, seconds: float = 60.0, remote: str = "10.0.0.7:5432", **columns: object) -> dict[str, object]:
    """A socket whose first SYN went out so long ago: five a second apart, then 1 + 2 + 4 + 8 + 16 = 31 s more."""
    row = {
        "inode": 100 + number,
        "timer": Timer.RETRANSMIT,
        "retransmits": 9,
        "rto": 32e6,
        "backoff": 5.0,
        "expires_ms": round((67 - seconds) * 1e3),
        "last_data_sent": 5e6,  # since boot: nothing was sent
    }
    return socket(State.SYN_SENT, f"10.0.0.1:{40000 + number}", remote, **(row | columns))


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_fires_with_process_destination_age_and_evidence() -> None:
    rows = [trying(i) for i in range(23)]
    holders = {100 + i: [CLIENT] for i in range(23)}
    [finding] = detect(window(*rows, holders=holders, namespaces=[DEFAULTS]))
    assert (finding.code, finding.variant, finding.count) == ("connect_unanswered", None, 23)
    assert finding.severity is Severity.WARNING
    assert finding.subject.process == CLIENT
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:*", "10.0.0.7:5432")
    assert finding.oldest_seconds == 60.0
    assert finding.evidence == {"retransmits_max": 9, "share_of_destination": 1.0, "oldest_seconds_max": 60.0}
    assert finding.summary == "orders[812] gets no answer from 10.0.0.7:5432 to 23 attempts to connect"
    assert [(s.name, s.value) for s in finding.sysctls] == [
        ("net.ipv4.tcp_syn_retries", "6"),
        ("net.ipv4.tcp_keepalive_time", "7200"),
    ]


def test_silent_just_below_the_age_and_once_it_is_answered() -> None:
    assert not detect(window(trying(0, seconds=59.9)))
    assert not detect(window(trying(0) | {"state": State.ESTABLISHED, "timer": Timer.OFF, "retransmits": 0}))


def test_half_of_the_kernels_own_patience_is_old_as_well() -> None:
    """tcp_syn_retries 4: 4 + 31 s."""
    impatient = namespace(tcp_syn_retries="4", tcp_syn_linear_timeouts="4")
    row: dict[str, Any] = {"retransmits": 7, "rto": 8e6, "backoff": 3.0}
    assert not detect(window(trying(0, expires_ms=1_600, **row), namespaces=[impatient]))
    [finding] = detect(window(trying(0, expires_ms=1_400, **row), namespaces=[impatient]))
    assert finding.oldest_seconds == pytest.approx(17.6)


@pytest.mark.parametrize("retransmits", [0, 1, 2])
def test_a_syn_that_was_repeated_once_or_twice_is_no_finding_at_any_age(retransmits: int) -> None:
    slow = trying(0, retransmits=retransmits, rto=120e6, expires_ms=0, backoff=float(retransmits))
    assert not detect(window(*([slow] * 23)))


def test_several_young_attempts_are_a_guess_and_fewer_are_silence() -> None:
    young = [trying(i, retransmits=3, rto=1e6, backoff=0.0, expires_ms=500) for i in range(5)]
    [finding] = detect(window(*young))
    assert (finding.severity, finding.count, finding.oldest_seconds) == (Severity.INFO, 5, 3.5)
    assert finding.evidence["confidence"] == "low"
    assert not detect(window(*young[:4]))


def test_a_sure_one_is_not_diluted_by_guesses() -> None:
    young = [trying(i, retransmits=3, rto=1e6, backoff=0.0, expires_ms=500) for i in range(1, 7)]
    [finding] = detect(window(trying(0), *young))
    assert (finding.severity, finding.count) == (Severity.WARNING, 1)


def test_a_destination_that_answers_others_is_info() -> None:
    answered = [socket(State.ESTABLISHED, f"10.0.0.1:{41000 + i}", "10.0.0.7:5432", inode=300 + i) for i in range(10)]
    assert detect(window(trying(0), *answered[:9]))[0].severity is Severity.WARNING
    [finding] = detect(window(trying(0), *answered))
    assert finding.severity is Severity.INFO
    assert finding.evidence["share_of_destination"] == pytest.approx(1 / 11)


def test_a_full_listener_of_this_host_carries_the_blame() -> None:
    full = socket(State.LISTEN, "127.0.0.1:5432", inode=1, recv_q=129, send_q=128)
    row = trying(0, remote="127.0.0.1:5432")
    [finding] = detect(window(row, full, holders={100: [CLIENT], 1: [SERVER]}))
    assert finding.severity is Severity.INFO
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.LISTEN, SERVER)
    assert "accept queue is full" in finding.cause
    assert finding.remedies[0].startswith("The listener is on this host: let it accept() faster")
    assert not any("the other host" in remedy for remedy in finding.remedies)


def test_a_listener_with_room_is_named_and_not_blamed() -> None:
    listener = socket(State.LISTEN, "[::]:5432", inode=1, recv_q=128, send_q=128)
    [finding] = detect(window(trying(0, remote="127.0.0.1:5432"), listener))
    assert finding.severity is Severity.WARNING
    assert finding.other_end is not None
    assert finding.other_end.state is State.LISTEN
    assert "the listener there is on this host, and a firewall here drops them" in finding.cause
    assert finding.remedies[0].startswith("The listener is on this host: look at the firewall here")
    assert detect(window(trying(0)))[0].remedies[0].startswith("Capture packets on the other host.")


def test_a_listener_elsewhere_is_no_other_end() -> None:
    listeners = [
        socket(State.LISTEN, "0.0.0.0:5432", inode=1),
        socket(State.LISTEN, "10.0.0.1:5432", inode=2),
        socket(State.LISTEN, "10.0.0.7:5432", inode=3, netns=1),
    ]
    row = trying(0)
    seen = window(row, *listeners[:1], namespaces=[namespace(), namespace("web")])
    assert detect(seen)[0].other_end is None
    assert detect(window(row, *listeners[1:], namespaces=[namespace(), namespace("web")]))[0].other_end is None


def test_processes_and_destinations_are_told_apart() -> None:
    rows = [trying(i, remote=f"10.0.0.{7 + i % 2}:5432") for i in range(4)]
    holders = {100: [CLIENT], 101: [CLIENT], 102: [SERVER], 103: [CLIENT]}
    found = detect(window(*rows, holders=holders))
    assert sorted(
        (str(f.subject.remote), f.subject.process.pid if f.subject.process else 0, f.count) for f in found
    ) == [
        ("10.0.0.7:5432", 400, 1),
        ("10.0.0.7:5432", 812, 1),
        ("10.0.0.8:5432", 812, 2),
    ]


def test_ipv6_and_v4_mapped() -> None:
    rows = [
        socket(State.SYN_SENT, "[2001:db8::1]:4000", "[2001:db8::2]:443")
        | {k: v for k, v in trying(0).items() if k in FATE},
        trying(1, family=10),
    ]
    assert {f.subject.remote for f in detect(window(*rows))} == {"[2001:db8::2]:443", "10.0.0.7:5432"}


def test_without_details_the_timer_tells_less() -> None:
    """A socket that waits 55 more seconds has waited as long before, less a part that grows smaller."""
    bare = {k: v for k, v in trying(0).items() if k not in {"rto", "backoff"}}
    assert not detect(window(bare | {"expires_ms": 60_000}))
    [finding] = detect(window(bare | {"expires_ms": 62_000}))
    assert finding.oldest_seconds == pytest.approx(61.9, abs=0.1)


def test_the_suspects_are_the_unanswered_and_their_listeners() -> None:
    listeners = [socket(State.LISTEN, "127.0.0.1:5432", inode=1), socket(State.LISTEN, "127.0.0.1:80", inode=2)]
    rows = [trying(0, remote="127.0.0.1:5432"), trying(1, retransmits=2)]
    assert sorted(DETECTOR.suspects(window(*rows, *listeners), DETECTOR.settings).inode.tolist()) == [1, 100]


def test_many_destinations_take_one_look_at_all_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(snapshot: Snapshot, sockets: SocketTable) -> NDArray[np.bool_]:
        sizes.append(len(sockets))
        return peer_is_local(snapshot, sockets)

    monkeypatch.setattr(connect_unanswered, "peer_is_local", counted)
    rows = [trying(i, remote=f"10.0.{i}.7:5432") for i in range(13)]
    assert len(detect(window(*rows, namespaces=[DEFAULTS]))) == 13
    assert sizes == [13]


def test_each_destination_has_a_share_of_its_own() -> None:
    rows = [trying(0), trying(1, remote="10.0.0.8:5432"), trying(2, remote="10.0.0.7:5433")]
    others = ("10.0.0.7:5432", "10.0.0.7:5432", "10.0.0.7:5432", "10.0.0.8:5432", "10.0.0.9:5432")
    live = [socket(State.ESTABLISHED, f"10.0.0.1:{50000 + i}", remote, inode=9) for i, remote in enumerate(others)]
    found = detect(window(*rows, *live, namespaces=[DEFAULTS]))
    shares = {f.subject.remote: f.evidence["share_of_destination"] for f in found}
    assert shares == {"10.0.0.7:5432": 0.25, "10.0.0.8:5432": 0.5, "10.0.0.7:5433": 1.0}
