"""Handshakes that the real kernel has not finished: each is what it is and nothing else."""

import socket
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from netns import PrivateNetns
from sockwatch.clock import SystemClock
from sockwatch.collect.live import LiveSource
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.window import Window
from sockwatch.lab.packet_filter import ALL_BUT_SYNS, EVERYTHING, RESETS, drop
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.snapshot import Asks, Snapshot
from sockwatch.model.state import State

COUNT = 23
FIRST, SECOND, SERVICE = 9200, 9300, 9100
SECONDS = 30
TCP_FASTOPEN = 23
TCP_REPAIR = 19
MSG_FASTOPEN = 0x2000_0000
HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

families = pytest.mark.parametrize("family", HOSTS, ids=["ipv4", "ipv6"])


def diagnose(*codes: str, previous: Snapshot | None = None) -> tuple[Counter[State], list[Finding]]:
    """What these detectors find in this namespace now, and how many sockets are in each state."""
    detectors = [load_detectors()[code] for code in codes]
    look = LiveSource(clock=SystemClock()).look(Asks.union(detector.asks for detector in detectors))
    found = [finding for d in detectors for finding in d.detect(Window(current=look, previous=previous), d.settings)]
    return Counter({state: n for state, n in look.sockets.count_by_state().items() if n}), found


def await_repetition(state: State) -> None:
    """Return when every socket in this state has repeated its packet."""
    deadline = time.monotonic() + SECONDS
    while True:
        sockets = LiveSource(clock=SystemClock()).look(Asks()).sockets.in_state(state)
        if len(sockets) and (sockets.retransmits > 0).all():
            return
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def cross(family: socket.AddressFamily) -> tuple[Counter[State], list[Finding]]:
    """Have SYN_SENT meet a SYN, and lose the SYN-ACK that answers it."""
    host = HOSTS[family]
    with ExitStack() as stack:
        for mine, other, filtered in ((FIRST, SECOND, RESETS), (SECOND, FIRST, EVERYTHING)):
            for number in range(COUNT):
                opened = stack.enter_context(socket.socket(family))
                drop(opened, filtered)
                opened.bind((host, mine + number))
                opened.settimeout(0)
                opened.connect_ex((host, other + number))
        return diagnose("simultaneous_open", "syn_recv_buildup")


@families
def test_crossed_syns_show_while_they_last(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        states, [finding] = netns.run(cross, family)
    assert states == {State.SYN_RECV: COUNT, State.SYN_SENT: COUNT}
    assert (finding.code, finding.count) == ("simultaneous_open", COUNT)
    assert finding.evidence == {"both_ends_connected": 0, "crossed_syns": 0, "still_opening": COUNT}


def open_fast(family: socket.AddressFamily) -> tuple[Counter[State], list[Finding]]:
    """Send data with the SYN (RFC 7413), as often as the listener takes it, and lose the last ACKs."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, COUNT)
        drop(listener, ALL_BUT_SYNS)
        listener.bind((HOSTS[family], SERVICE))
        listener.listen(COUNT)
        for _ in range(COUNT):
            client = stack.enter_context(socket.socket(family))
            client.sendto(b"request", MSG_FASTOPEN, (HOSTS[family], SERVICE))
        await_repetition(State.SYN_RECV)
        return diagnose("syn_recv_buildup", "simultaneous_open")


@families
def test_fast_open_is_no_half_open_handshake(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        netns.set_sysctl("net.ipv4.tcp_fastopen", str(0x1 | 0x2 | 0x4 | 0x200))  # both sides, and without cookies
        states, found = netns.run(open_fast, family)
    assert (states[State.SYN_RECV], states[State.LISTEN]) == (COUNT, 1)
    assert found == []


def flood(family: socket.AddressFamily, surplus: int) -> tuple[Counter[State], list[Finding]]:
    """Send more SYNs than fit, and forget them."""
    before = LiveSource(clock=SystemClock()).look(Asks())
    with socket.socket(family) as listener:
        drop(listener, ALL_BUT_SYNS)
        listener.bind((HOSTS[family], SERVICE))
        listener.listen(COUNT - 1)
        for _ in range(COUNT + surplus):
            with socket.socket(family) as client:
                drop(client, EVERYTHING)
                client.settimeout(0)
                client.connect_ex((HOSTS[family], SERVICE))
        await_repetition(State.SYN_RECV)
        return diagnose("syn_recv_buildup", previous=before)


@families
def test_beyond_its_backlog_a_listener_answers_with_cookies(family: socket.AddressFamily) -> None:
    with PrivateNetns() as netns:
        states, [finding] = netns.run(flood, family, 37)
    stored = states[State.SYN_RECV]
    assert stored in {COUNT - 1, COUNT}  # the backlog, or with newer kernels one more
    assert (finding.name, finding.severity, finding.count) == ("syn_recv_buildup/flood", Severity.WARNING, stored)
    assert (finding.evidence["limit"], finding.evidence["cookies_sent"]) == (COUNT - 1, COUNT + 37 - stored)


def come_back(family: socket.AddressFamily) -> tuple[Counter[State], list[Finding], int]:
    """Lose power with open connections, and connect again from the same ports behind a filter that drops the ACKs."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOSTS[family], SERVICE), family=family))
        ports = []
        for _ in range(COUNT):
            client = socket.create_connection((HOSTS[family], SERVICE))
            stack.enter_context(listener.accept()[0])
            ports.append(client.getsockname()[1])
            client.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)  # close() then sends nothing
            client.close()
        for port in ports:
            client = stack.enter_context(socket.socket(family))
            drop(client, EVERYTHING)
            client.bind((HOSTS[family], port))
            client.settimeout(0)
            client.connect_ex((HOSTS[family], SERVICE))
        await_repetition(State.SYN_SENT)
        states, found = diagnose("tuple_clash")
        counters = LiveSource(clock=SystemClock()).look(Asks()).namespaces[0].counters
        return states, found, counters["TcpExt.TCPSYNChallenge"]


@families
def test_a_syn_that_meets_what_the_client_forgot_is_challenged_for_as_long_as_that_lives(
    family: socket.AddressFamily,
) -> None:
    with PrivateNetns() as netns:
        states, [finding], challenged = netns.run(come_back, family)
    assert states == {State.ESTABLISHED: COUNT, State.SYN_SENT: COUNT, State.LISTEN: 1}
    assert (finding.count, finding.evidence["state_of_the_old"]) == (COUNT, "established")
    assert challenged >= 2 * COUNT
