import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.detectors.close_wait_leak import DETECTOR
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.history import History
from sockwatch.model.snapshot import Process
from sockwatch.model.state import State

SERVER = process(812, "orders-api", fds=90, fd_limit=1024)
CLIENT = process(900, "gateway")
LISTENER = socket(State.LISTEN, "0.0.0.0:8080", inode=1)


def stuck(number: int, seconds: float = 61.0, **columns: object) -> dict[str, object]:
    """One connection that the peer closed so long ago."""
    silence = {"last_ack_recv": seconds * 1e3, "last_data_recv": seconds * 1e3 + 500}
    row = {"inode": 100 + number, "recv_q": 0} | silence | columns
    return socket(State.CLOSE_WAIT, "10.0.0.1:8080", f"10.0.0.7:{50000 + number}", **row)


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_fires_with_process_service_age_and_evidence() -> None:
    rows = [stuck(i) for i in range(23)]
    [finding] = detect(window(LISTENER, *rows, holders={row["inode"]: [SERVER] for row in rows}))
    assert (finding.code, finding.variant, finding.count) == ("close_wait_leak", "not_closed", 23)
    assert finding.severity is Severity.WARNING
    assert finding.subject.process == SERVER
    assert (finding.subject.local, finding.subject.remote) == ("10.0.0.1:8080", "10.0.0.7:*")
    assert finding.oldest_seconds == 61.0
    assert finding.evidence == {
        "recv_q_max": 0,
        "unread_bytes": 0,
        "fds": 90,
        "fd_limit": 1024,
        "oldest_seconds_max": 61.5,
    }
    assert finding.summary == "orders-api[812] read the end of 23 connections and never closed them"


def test_the_receive_queue_tells_the_variant() -> None:
    rows = [stuck(0), stuck(1, recv_q=1), stuck(2, recv_q=101), stuck(3, recv_q=1, inode=0)]
    found = {f.variant: f for f in detect(window(LISTENER, *rows))}
    assert set(found) == {"not_closed", "fin_not_seen", "data_unread", "never_accepted"}
    assert found["data_unread"].evidence["unread_bytes"] == 100
    assert found["fin_not_seen"].evidence["unread_bytes"] == 0


def test_those_that_are_too_young_to_count_are_said_beside_those_that_count() -> None:
    rows = [*(stuck(i) for i in range(23)), *(stuck(i, seconds=5.0) for i in range(23, 60))]
    holders = {row["inode"]: [SERVER] for row in rows}
    [finding] = detect(window(LISTENER, *rows, holders=holders))
    assert (finding.count, finding.evidence["in_state"]) == (23, 60)
    assert finding.summary.endswith("never closed them; 23 for more than 60 s, 60 in all")
    [alone] = detect(window(LISTENER, *rows[:23], holders=holders))
    assert "in_state" not in alone.evidence
    assert alone.summary.endswith("never closed them")


def test_whose_the_young_ones_are_is_not_guessed() -> None:
    rows = [*(stuck(i) for i in range(4)), stuck(4, seconds=5.0)]
    holders = {row["inode"]: [SERVER if number % 2 else CLIENT] for number, row in enumerate(rows)}
    found = detect(window(LISTENER, *rows, holders=holders))
    assert [(f.count, "in_state" in f.evidence) for f in found] == [(2, False), (2, False)]


def test_what_was_never_accepted_is_the_listeners_fault() -> None:
    rows = [stuck(i, recv_q=1, inode=0, last_data_sent=61_200.0) for i in range(3)]
    [finding] = detect(window(LISTENER, *rows, holders={1: [SERVER]}))
    assert finding.subject.process == SERVER
    assert finding.evidence["oldest_seconds_max"] == 61.2


def test_silent_just_below_the_age() -> None:
    young = stuck(0, seconds=59.9, last_data_recv=59_950.0)
    assert not detect(window(LISTENER, young))


def test_an_age_that_only_may_be_long_is_a_guess() -> None:
    [finding] = detect(window(LISTENER, stuck(0, seconds=2.0, last_data_recv=7_200_000.0)))
    assert finding.severity is Severity.INFO
    assert finding.evidence["confidence"] == "low"


def test_a_sure_one_is_not_diluted_by_guesses() -> None:
    guess = stuck(0, seconds=2.0, last_data_recv=7_200_000.0)
    [finding] = detect(window(LISTENER, guess, stuck(1)))
    assert (finding.severity, finding.count) == (Severity.WARNING, 1)


def test_a_second_look_settles_a_guess() -> None:
    guess = socket(
        State.CLOSE_WAIT, "10.0.0.1:8080", "10.0.0.7:5", cookie=7, last_ack_recv=5_000.0, last_data_recv=9e6, inode=5
    )
    first = snapshot(LISTENER, guess)
    second = later(first, 60.0)
    assert detect(Window(current=first))[0].severity is Severity.INFO
    assert detect(Window(current=second, previous=first))[0].severity is Severity.WARNING


def test_a_kernel_without_tcp_info_gives_no_age_and_a_gap() -> None:
    row = socket(State.CLOSE_WAIT, "10.0.0.1:8080", "10.0.0.7:5", inode=5, cookie=7)
    first = snapshot(LISTENER, row)
    for seen in (window(LISTENER, row), Window(current=later(first, 10.0), previous=first)):
        with pytest.raises(NoDataError, match="how long 1 socket lasted takes last_ack_recv and last_data_recv"):
            detect(seen)


def test_one_known_age_is_enough_to_call_the_rest_clean() -> None:
    row = socket(State.CLOSE_WAIT, "10.0.0.1:8080", "10.0.0.7:5", inode=5)
    assert not detect(window(LISTENER, row, stuck(1, 2.0)))
    assert not detect(window(LISTENER))


def test_one_finding_per_process() -> None:
    rows = [stuck(i) for i in range(4)]
    holders = {100: [SERVER], 101: [SERVER], 102: [CLIENT], 103: [CLIENT]}
    found = detect(window(LISTENER, *rows, holders=holders))
    assert {(f.subject.process, f.count) for f in found} == {(SERVER, 2), (CLIENT, 2)}


def test_every_holder_of_a_shared_socket_is_named_oldest_first() -> None:
    [finding] = detect(window(LISTENER, stuck(0), holders={100: [SERVER, CLIENT]}))
    assert finding.subject.process == SERVER
    assert finding.holders == (SERVER, CLIENT)


def test_a_client_is_grouped_by_its_destination() -> None:
    rows = [
        socket(
            State.CLOSE_WAIT,
            f"10.0.0.1:{40000 + i}",
            f"10.0.0.{7 + i % 2}:5432",
            inode=100 + i,
            last_ack_recv=61_000.0,
            last_data_recv=61_000.0,
        )
        for i in range(4)
    ]
    found = detect(window(*rows))
    assert {(f.subject.local, f.subject.remote, f.count) for f in found} == {
        ("10.0.0.1:*", "10.0.0.7:5432", 2),
        ("10.0.0.1:*", "10.0.0.8:5432", 2),
    }


def test_accepted_connections_stay_together_when_their_listener_is_gone() -> None:
    accepted = {"bytes_acked": 10.0, "bytes_sent": 10.0, "bytes_retrans": 0.0, "notsent_bytes": 0.0}
    [finding] = detect(window(*(stuck(i, **accepted) for i in range(5))))
    assert (finding.count, finding.subject.remote) == (5, "10.0.0.7:*")


def test_the_other_end_on_this_host_is_named_and_narrows_the_age() -> None:
    here = socket(
        State.CLOSE_WAIT,
        "127.0.0.1:8080",
        "127.0.0.1:40000",
        inode=100,
        last_ack_recv=50_000.0,
        last_data_recv=90_000.0,
    )
    there = socket(
        State.FIN_WAIT_2,
        "127.0.0.1:40000",
        "127.0.0.1:8080",
        inode=200,
        last_ack_recv=70_000.0,
        last_data_sent=80_000.0,
    )
    [finding] = detect(window(LISTENER, here, there, holders={100: [SERVER], 200: [CLIENT]}))
    assert finding.other_end is not None
    assert (finding.other_end.state, finding.other_end.process) == (State.FIN_WAIT_2, CLIENT)
    assert (finding.oldest_seconds, finding.evidence["oldest_seconds_max"]) == (70.0, 80.0)
    assert "peer_gone" not in finding.evidence


def test_a_local_peer_without_a_socket_is_gone() -> None:
    row = socket(State.CLOSE_WAIT, "127.0.0.1:8080", "127.0.0.1:40000", inode=1, last_ack_recv=7e4, last_data_recv=7e4)
    assert detect(window(row))[0].evidence["peer_gone"] == 1


def test_namespaces_are_told_apart() -> None:
    rows = [stuck(0), stuck(1, netns=1)]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert {f.subject.netns for f in found} == {"host", "web"}


def test_v4_mapped_and_ipv6_are_written_as_people_write_them() -> None:
    rows = [
        socket(State.CLOSE_WAIT, "[::1]:80", "[::1]:4000", inode=1, last_ack_recv=7e4, last_data_recv=7e4),
        stuck(1, family=10),
    ]
    assert {f.subject.local for f in detect(window(*rows))} == {"[::1]:80", "10.0.0.1:8080"}


FULL = process(812, "orders-api", fds=1000, fd_limit=1024)


def growing(before: int, now: int, seconds: float, holder: Process = FULL) -> Finding:
    """Two looks at one service, all of whose sockets one process holds; new ones are young."""
    first = snapshot(LISTENER, *(stuck(i, cookie=10 + i) for i in range(min(before, now))))
    old = [stuck(i, 61.0 + seconds, cookie=10 + i) for i in range(min(before, now))]
    young = [stuck(i, 1.0, cookie=10 + i, last_data_recv=1_500.0) for i in range(before, now)]
    second = later(snapshot(LISTENER, *old, *young, holders={100 + i: [holder] for i in range(now)}), seconds)
    [finding] = detect(Window(current=second, previous=first))
    return finding


@pytest.mark.parametrize(
    ("seconds", "severity"), [(10.0, Severity.CRITICAL), (299.0, Severity.CRITICAL), (300.0, Severity.WARNING)]
)
def test_a_leak_that_fills_the_descriptor_table_within_five_minutes_is_critical(
    seconds: float, severity: Severity
) -> None:
    finding = growing(10, 34, seconds)  # 24 descriptors left, 24 in so many seconds
    assert (finding.severity, finding.evidence["seconds_to_fd_limit"]) == (severity, seconds)
    shown = (
        f"never closed them; 10 for more than 60 s, 34 in all; at this rate its file descriptors last {seconds:.0f} s"
    )
    assert finding.summary.endswith(shown) == (severity is Severity.CRITICAL)


def test_a_leak_that_does_not_grow_lasts() -> None:
    for now in (10, 8):
        finding = growing(10, now, 10.0)
        assert finding.severity is Severity.WARNING
        assert "seconds_to_fd_limit" not in finding.evidence


def test_a_process_without_a_descriptor_left_needs_no_second_look() -> None:
    empty = process(812, "orders-api", fds=230, fd_limit=230)
    few, part = (
        detect(window(LISTENER, *map(stuck, range(n)), holders={100 + i: [empty] for i in range(n)})) for n in (22, 23)
    )
    assert (few[0].severity, "seconds_to_fd_limit" in few[0].evidence) == (Severity.WARNING, False)
    [finding] = part
    assert (finding.severity, finding.evidence["seconds_to_fd_limit"]) == (Severity.CRITICAL, 0.0)
    assert finding.summary.endswith("; it has no file descriptor left")


def test_without_the_limit_nothing_is_forecast() -> None:
    assert "seconds_to_fd_limit" not in growing(10, 34, 10.0, process(812, "app")).evidence


def test_more_looks_tell_a_burst_from_growth() -> None:
    looks = []
    for i, count in enumerate((10, 10, 10, 20)):
        rows = [stuck(n, 61.0 + 10 * i, cookie=10 + n) for n in range(count)]
        looks.append(later(snapshot(LISTENER, *rows, holders={100 + n: [FULL] for n in range(count)}), 10.0 * i))
    history = History()
    for look in looks[:3]:
        history = remember(Window(current=look, history=history), look.sockets)
    [finding] = detect(Window(current=looks[3], previous=looks[2], history=history))
    assert "seconds_to_fd_limit" not in finding.evidence
    [finding] = detect(Window(current=looks[3], previous=looks[2]))
    assert finding.evidence["seconds_to_fd_limit"] == 24.0


def forecasts(*looks: tuple[int, int, int | None]) -> list[object]:
    """What a watch says at each look, 15 s apart: the sockets that are old and young, and the open files."""
    history, previous = History(), None
    told: list[object] = []
    for k, (old, young, fds) in enumerate(looks):
        rows = [stuck(i, 61.0 + 15 * k, cookie=10 + i) for i in range(old)]
        rows += [stuck(i, 1.0, cookie=10 + i, last_data_recv=1_500.0) for i in range(old, old + young)]
        holder = process(812, "orders-api", fds=fds, fd_limit=1024)
        look = later(snapshot(LISTENER, *rows, holders={100 + i: [holder] for i in range(old + young)}), 15.0 * k)
        seen = Window(current=look, previous=previous, history=history)
        [finding] = detect(seen)
        told.append(finding.evidence.get("seconds_to_fd_limit"))
        history = remember(seen, DETECTOR.suspects(seen, DETECTOR.settings))
        previous = look
    return told


def test_a_burst_that_grows_old_is_no_growth() -> None:
    assert forecasts(*[(1, 300, 320)] * 4, *[(301, 0, 320)] * 8) == [None] * 12


def test_open_files_that_could_not_be_read_at_the_last_look_leave_the_burst_no_growth() -> None:
    assert forecasts(*[(1, 300, 320)] * 4, (301, 0, None), (301, 0, 320)) == [None] * 6


def test_a_burst_that_grows_old_while_few_files_are_opened_is_forecast_by_the_files() -> None:
    told = forecasts(*[(1, 300, 320 + 3 * i) for i in range(4)], *[(301, 0, 332 + 3 * i) for i in range(4)])
    assert told == [None] * 5 + [pytest.approx((1024 - fds) / 0.2, abs=0.1) for fds in (335, 338, 341)]


def test_files_that_other_work_opens_are_not_the_leaks() -> None:
    assert forecasts(*[(10, 0, 100 + 100 * i) for i in range(6)]) == [None] * 6


def test_a_leak_that_stopped_growing_lasts() -> None:
    leaking = [(10 + 30 * i, 150, 700 + 30 * i) for i in range(5)]
    assert forecasts(*leaking, leaking[-1])[1:] == [147.0, 132.0, 117.0, 102.0, None]


def test_two_holders_of_one_service_each_have_their_share_of_its_growth() -> None:
    other = process(900, "worker", fds=1000, fd_limit=1024)
    rows = [stuck(i, cookie=10 + i) for i in range(20)]
    first = snapshot(LISTENER, *rows)
    young = [stuck(i, 1.0, cookie=10 + i, last_data_recv=1_500.0) for i in range(20, 44)]
    holders = {100 + i: [FULL if i % 4 else other] for i in range(20)}
    second = later(snapshot(LISTENER, *rows, *young, holders=holders), 10.0)
    found = {
        f.subject.process: f.evidence["seconds_to_fd_limit"] for f in detect(Window(current=second, previous=first))
    }
    assert found == {FULL: pytest.approx(13.3), other: pytest.approx(40.0)}


def test_what_mptcp_alone_shows_is_not_missed() -> None:
    subflows = [stuck(i) | {"state": State.ESTABLISHED} for i in range(23)]
    rows = [stuck(i) for i in range(23)]
    [finding] = detect(window(LISTENER, *subflows, mptcp=rows, holders={row["inode"]: [SERVER] for row in rows}))
    assert (finding.name, finding.severity, finding.count) == ("close_wait_leak/not_closed", Severity.WARNING, 23)
    assert (finding.subject.process, finding.subject.local) == (SERVER, "10.0.0.1:8080")
    assert finding.evidence["mptcp"] == 23
    assert "unread_bytes" not in finding.evidence
    assert finding.summary == "orders-api[812] has not closed 23 connections of MPTCP that the peer closed"


def test_an_mptcp_connection_that_fell_back_to_tcp_is_one_socket() -> None:
    [finding] = detect(window(LISTENER, stuck(0), stuck(1), mptcp=[stuck(0, cookie=7), stuck(2, cookie=8)]))
    assert (finding.count, finding.evidence["mptcp"]) == (3, 1)
    assert finding.summary.endswith("read the end of 3 connections and never closed them")


def test_mptcp_has_its_own_variants_ages_and_other_ends() -> None:
    here = socket(State.CLOSE_WAIT, "127.0.0.1:8080", "127.0.0.1:4", inode=0, last_ack_recv=7e4, last_data_recv=8e4)
    there = socket(State.FIN_WAIT_2, "127.0.0.1:4", "127.0.0.1:8080", timer=2, expires_ms=1)  # closed: 59 s of TCP's 60
    unread = stuck(1, recv_q=932)
    young = stuck(2, 1.0, last_data_recv=1_500.0)
    found = {f.variant: f for f in detect(window(LISTENER, mptcp=[here, there, unread, young], holders={1: [SERVER]}))}
    assert set(found) == {"never_accepted", "data_unread"}
    assert found["never_accepted"].subject.process == SERVER
    assert found["never_accepted"].other_end is not None
    assert (found["never_accepted"].oldest_seconds, found["never_accepted"].evidence["oldest_seconds_max"]) == (70, 80)
    assert "peer_gone" not in found["never_accepted"].evidence


def test_only_old_sockets_their_ends_and_their_listeners_are_suspects() -> None:
    young = stuck(0, seconds=1.0, last_data_recv=1_000.0)
    queued = stuck(1, recv_q=1, inode=0, last_data_sent=9e6)
    other = socket(State.LISTEN, "0.0.0.0:9090", inode=2)
    suspects = DETECTOR.suspects(window(LISTENER, other, young, queued, stuck(2)), DETECTOR.settings)
    assert sorted(suspects.inode.tolist()) == [0, 1, 102]


def test_each_listener_of_a_port_answers_for_its_own_queue() -> None:
    good, bad = process(1, "good"), process(2, "bad")
    listeners = [
        socket(State.LISTEN, "10.0.0.1:8080", inode=1),
        socket(State.LISTEN, "10.0.0.2:8080", inode=2),
    ]
    queued = {"recv_q": 1, "last_ack_recv": 7e4, "last_data_recv": 7e4, "last_data_sent": 7e4}
    rows = [
        socket(State.CLOSE_WAIT, f"10.0.0.{address}:8080", f"10.0.0.9:{50000 + address + i}", **queued)
        for address, count in ((1, 1), (2, 7))
        for i in range(count)
    ]
    found = detect(window(*listeners, *rows, holders={1: [good], 2: [bad]}))
    assert {(f.subject.process, f.count) for f in found} == {(good, 1), (bad, 7)}


def test_every_holder_has_to_be_restarted() -> None:
    [alone] = detect(window(LISTENER, stuck(0), holders={100: [SERVER]}))
    [shared] = detect(window(LISTENER, stuck(0), holders={100: [SERVER, CLIENT]}))
    assert "restart the process:" in alone.remedies[-1]
    assert "restart every process that holds them:" in shared.remedies[-1]
