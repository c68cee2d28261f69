import pytest

from builders import later, namespace, process, snapshot, socket, window
from sockwatch.diagnose.detectors.self_connect import DETECTOR
from sockwatch.diagnose.remember import remember
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Effect, Finding, Severity
from sockwatch.model.state import State

CLIENT = process(812, "poller")
ITSELF = "127.0.0.1:40000", "127.0.0.1:40000"


def detect(seen: Window) -> list[Finding]:
    return list(DETECTOR.detect(seen, DETECTOR.settings))


def test_live_names_the_process_the_port_and_how_to_reserve_it() -> None:
    reserved = namespace(ip_local_reserved_ports="8080")
    row = socket(State.ESTABLISHED, *ITSELF, inode=5)
    [finding] = detect(window(row, holders={5: [CLIENT]}, namespaces=[reserved]))
    assert (finding.name, finding.severity, finding.count) == ("self_connect/live", Severity.WARNING, 1)
    assert (finding.subject.process, finding.subject.local, finding.subject.remote) == (CLIENT, *ITSELF)
    assert finding.summary == "poller[812] is connected to itself on port 40000"
    assert "ip_local_reserved_ports=8080,40000" in finding.remedies[1]
    assert finding.oldest_seconds is None


def test_time_wait_says_when_and_has_no_process() -> None:
    [finding] = detect(window(socket(State.TIME_WAIT, *ITSELF, expires_ms=20_000)))
    assert (finding.name, finding.severity) == ("self_connect/time_wait", Severity.WARNING)
    assert (finding.subject.process, finding.oldest_seconds) == (None, 40.0)
    assert finding.summary.startswith("A client was connected to itself on port 40000")


def test_who_was_connected_to_itself_is_remembered() -> None:
    live = snapshot(socket(State.ESTABLISHED, *ITSELF, inode=5, cookie=7), holders={5: [CLIENT]})
    history = remember(Window(current=live), live.sockets)
    waiting = snapshot(socket(State.TIME_WAIT, *ITSELF, expires_ms=50_000, cookie=7))
    [finding] = detect(Window(current=later(waiting, 20.0), history=history))
    assert (finding.subject.process, finding.evidence["confidence"]) == (CLIENT, "medium")


@pytest.mark.parametrize(
    ("local", "remote"),
    [
        ("127.0.0.1:40000", "127.0.0.1:40001"),
        ("127.0.0.1:40000", "127.0.0.2:40000"),
        ("[::1]:40000", "127.0.0.1:40000"),
        ("[fd00::1]:40000", "[fd01::1]:40000"),
    ],
)
def test_two_different_ends_are_no_self_connect(local: str, remote: str) -> None:
    assert not detect(window(socket(State.ESTABLISHED, local, remote)))


@pytest.mark.parametrize("state", [State.LISTEN, State.BOUND, State.CLOSE])
def test_what_is_not_connected_is_no_self_connect(state: State) -> None:
    assert not detect(window(socket(state, *ITSELF)))
    assert not detect(window(socket(state, "0.0.0.0:0")))


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSING, State.CLOSE_WAIT])
def test_it_is_live_until_it_is_in_time_wait(state: State) -> None:
    assert [f.variant for f in detect(window(socket(state, *ITSELF)))] == ["live"]


def test_ipv6_and_v4_mapped_ones_are_found() -> None:
    rows = [
        socket(State.ESTABLISHED, "[::1]:40000", "[::1]:40000"),
        socket(State.ESTABLISHED, "127.0.0.1:40002", "127.0.0.1:40002", family=10),
    ]
    assert {f.subject.local for f in detect(window(*rows))} == {"[::1]:40000", "127.0.0.1:40002"}


def test_ports_processes_variants_and_namespaces_are_told_apart() -> None:
    rows = [
        socket(State.ESTABLISHED, *ITSELF, inode=5),
        socket(State.ESTABLISHED, "127.0.0.1:40002", "127.0.0.1:40002", inode=6),
        socket(State.ESTABLISHED, *ITSELF, netns=1, inode=7),
        socket(State.TIME_WAIT, "127.0.0.1:40004", "127.0.0.1:40004", expires_ms=1),
    ]
    found = detect(window(*rows, namespaces=[namespace(), namespace("web")]))
    assert len(found) == 4
    assert {(f.subject.netns, f.subject.local, f.variant) for f in found} == {
        ("host", "127.0.0.1:40000", "live"),
        ("host", "127.0.0.1:40002", "live"),
        ("web", "127.0.0.1:40000", "live"),
        ("host", "127.0.0.1:40004", "time_wait"),
    }


def test_every_one_is_a_suspect() -> None:
    seen = window(socket(State.ESTABLISHED, *ITSELF, inode=5), socket(State.ESTABLISHED, "1.1.1.1:1", "1.1.1.1:2"))
    assert DETECTOR.suspects(seen, DETECTOR.settings).inode.tolist() == [5]


@pytest.mark.parametrize(
    ("port", "evidence", "cause"),
    [
        (40000, {"drawn_by": "connect()", "tries_on_average": 14_116}, "which happens at one try in 14,116."),
        (40001, {"drawn_by": "bind() to port 0"}, "as source port; bind() to port 0 draws it first."),
        (8080, {"drawn_by": "nobody"}, "It bound port 8080 itself and then connected to it"),
    ],
)
def test_how_it_came_about_is_what_the_range_allows(port: int, evidence: dict[str, object], cause: str) -> None:
    [finding] = detect(window(socket(State.ESTABLISHED, f"127.0.0.1:{port}", f"127.0.0.1:{port}")))
    assert finding.evidence == evidence
    assert cause in finding.cause


def test_without_the_range_nothing_is_said_about_chance() -> None:
    row = socket(State.ESTABLISHED, *ITSELF)
    [finding] = detect(window(row, namespaces=[namespace(ip_local_port_range="")]))
    assert finding.evidence == {}
    assert "as source port. It talks" in finding.cause


@pytest.mark.parametrize(("port", "reserving"), [(9100, False), (40000, True)])
def test_reserving_helps_only_where_the_kernel_chose_the_port(port: int, reserving: bool) -> None:  # noqa: FBT001 - a parameter of the test
    itself = socket(State.ESTABLISHED, f"127.0.0.1:{port}", f"127.0.0.1:{port}", inode=1)
    [finding] = detect(window(itself))
    assert any("ip_local_reserved_ports" in remedy for remedy in finding.remedies) is reserving
    helping = {advice.name for advice in finding.sysctls if advice.effect is Effect.HELPS}
    assert ("net.ipv4.ip_local_reserved_ports" in helping) is reserving
