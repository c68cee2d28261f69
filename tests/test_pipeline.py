from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from builders import later, namespace, owners, process, snapshot, socket, table
from sockwatch.clock import SystemClock
from sockwatch.diagnose.detector import Detector, NoDataError, Settings
from sockwatch.diagnose.window import Window
from sockwatch.errors import DumpError
from sockwatch.model.effort import FEW_DETAILS, SELF_BUDGET, Step
from sockwatch.model.finding import Finding, Severity, Subject
from sockwatch.model.report import Result, Status
from sockwatch.model.settings import PollSettings
from sockwatch.model.snapshot import COUNTED_BY_KERNEL, Asks, FollowUp, Gap, Snapshot
from sockwatch.model.state import State
from sockwatch.pipeline import Pipeline, Source, status_of

HOLDER = process(812, "orders-api")


class TickingClock(SystemClock):
    """Every reading is 2 s after the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 2.0
        return self.now


class Looks:
    """Hands out prepared looks, and remembers what it was asked."""

    def __init__(self, *looks: Snapshot | DumpError) -> None:
        self.left = list(looks)
        self.asks: list[Asks] = []
        self.named: list[list[int]] = []
        self.autobound: list[bool] = []

    def look(self, asks: Asks) -> Snapshot:
        self.asks.append(asks)
        seen = self.left.pop(0)
        if isinstance(seen, DumpError):
            raise seen
        return seen

    def follow_up(self, snapshot: Snapshot, wanted: FollowUp) -> Snapshot:
        self.named.append(wanted.suspects.inode.tolist())
        self.autobound.append(wanted.autobound)
        holders = owners({int(inode): [HOLDER] for inode in wanted.suspects.inode})
        return replace(snapshot, owners=holders, gaps=(*snapshot.gaps, Gap(what="owners", why="not root")))


def finding(severity: Severity = Severity.WARNING, **fields: Any) -> Finding:
    told = {"code": "x", "variant": None, "subject": Subject(netns="host"), "count": 1, "summary": "", "cause": ""}
    return Finding(severity=severity, remedies=(), **(told | fields))


def watcher(seen: list[Window], *findings: Finding, asks: Asks | None = None) -> Detector[Settings]:
    """A detector that suspects CLOSE_WAIT and remembers its windows."""

    def detect(window: Window, _settings: Settings) -> Iterator[Finding]:
        seen.append(window)
        yield from findings

    return Detector(
        asks=asks or Asks(),
        settings=Settings(),
        detect=detect,
        suspects=lambda window, _: window.sockets.in_state(State.CLOSE_WAIT),
    )


def breaking(error: Exception) -> Detector[Settings]:
    def detect(_window: Window, _settings: Settings) -> Iterator[Finding]:
        raise error
        yield

    return Detector(asks=Asks(), settings=Settings(), detect=detect)


def pipeline(source: Source, **detectors: Detector[Any]) -> Pipeline:
    return Pipeline(source, detectors, TickingClock())


def rows() -> Sequence[dict[str, Any]]:
    return [
        socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:5", inode=5),
        socket(State.LISTEN, "0.0.0.0:80", inode=1),
        socket(State.BOUND, "0.0.0.0:81", inode=2),
    ]


def test_a_step_names_the_suspects_before_the_verdict() -> None:
    seen: list[Window] = []
    source = Looks(snapshot(*rows()))
    report = pipeline(source, x=watcher(seen, finding())).step()
    assert source.named == [[5]]
    assert seen[0].owners.processes == (HOLDER,)
    assert (report.status, report.findings) == (Status.WARNING, (finding(),))
    assert report.gaps == (Gap(what="owners", why="not root"),)
    assert (report.host, report.kernel, report.total) == ("web1", "6.18.44", 3)


def test_the_source_is_asked_for_what_all_detectors_need() -> None:
    source = Looks(snapshot())
    one = watcher([], asks=Asks(states=frozenset({State.LISTEN}), sysctls=frozenset({"a"})))
    other = watcher([], asks=Asks(details=frozenset({"rtt"}), sysctls=frozenset({"b"})))
    pipeline(source, one=one, other=other).step()
    assert source.asks == [
        Asks(states=frozenset({State.LISTEN}), details=frozenset({"rtt"}), sysctls=frozenset({"a", "b"}))
    ]


def test_the_next_step_has_this_look_as_its_previous_one() -> None:
    seen: list[Window] = []
    first = snapshot(*rows())
    steps = pipeline(Looks(first, later(first, 10.0)), x=watcher(seen))
    steps.step()
    steps.step()
    assert [window.elapsed for window in seen] == [None, 10.0]
    assert seen[1].previous is seen[0].current


def test_a_look_without_a_verdict_counts_as_a_previous_one() -> None:
    seen: list[Window] = []
    first = snapshot(*rows())
    steps = pipeline(Looks(first, later(first, 10.0)), x=watcher(seen))
    assert steps.look().owners.processes == (HOLDER,)
    assert seen == []
    steps.step()
    assert [window.elapsed for window in seen] == [10.0]


def test_later_steps_know_what_earlier_ones_saw_of_their_suspects_and_a_replay_knows_the_same() -> None:
    orphan = socket(State.FIN_WAIT_2, "10.0.0.1:80", "10.0.0.2:5", cookie=1000)
    first = snapshot(*rows())
    last = later(snapshot(orphan), 20.0)
    seen: list[Window] = []
    for run in (1, 2):
        steps = pipeline(Looks(first, later(first, 10.0), last), x=watcher(seen))
        if run == 1:
            steps.step()
        else:
            steps.look()
        steps.step()
        steps.step()
    for window in (seen[2], seen[4]):
        assert window.history.holders(window.sockets) == (HOLDER,)
        assert window.history.since.tolist() == [100_000.0]
    assert len(seen[0].history) == 0


def test_a_failed_dump_leaves_the_last_good_look_for_the_next_step() -> None:
    seen: list[Window] = []
    first = snapshot(*rows())
    steps = pipeline(Looks(first, DumpError("no memory", errno=12), later(first, 20.0)), x=watcher(seen))
    steps.step()
    with pytest.raises(DumpError, match="no memory"):
        steps.step()
    assert steps.stage == "collect"
    steps.step()
    assert [window.elapsed for window in seen] == [None, 20.0]


def test_further_sockets_are_named_for_those_who_ask_about_a_service() -> None:
    source = Looks(snapshot(*rows()))
    Pipeline(
        source, {"x": watcher([])}, TickingClock(), also_name=lambda sockets: sockets.in_state(State.LISTEN)
    ).step()
    assert source.named == [[5, 1]]


def test_autobound_is_asked_for_if_one_detector_wants_it() -> None:
    source = Looks(snapshot(), snapshot())
    pipeline(source, x=watcher([])).step()
    pipeline(source, x=replace(watcher([]), asks_autobound=lambda _window, _settings: True), y=watcher([])).step()
    assert source.autobound == [False, True]


def test_a_detector_that_fails_makes_the_status_unknown_and_one_without_data_does_not() -> None:
    failed = pipeline(Looks(snapshot()), x=breaking(KeyError("boom"))).step()
    assert failed.status is Status.UNKNOWN
    assert Gap(what="x", why="KeyError: 'boom'", fatal=True) in failed.gaps
    assert [outcome.result for outcome in failed.outcomes] == [Result.FAILED]
    without = pipeline(Looks(snapshot()), x=breaking(NoDataError("one look"))).step()
    assert without.status is Status.OK
    assert Gap(what="x", why="one look") in without.gaps
    assert [outcome.result for outcome in without.outcomes] == [Result.NO_DATA]


def test_a_failed_detector_hides_no_finding_of_another() -> None:
    report = pipeline(Looks(snapshot()), x=breaking(KeyError("boom")), y=watcher([], finding())).step()
    assert (report.status, len(report.findings)) == (Status.WARNING, 1)


def test_the_gaps_of_the_look_are_in_the_report() -> None:
    gap = Gap(what="dump", why="truncated", fatal=True)
    report = pipeline(Looks(snapshot(gaps=[gap])), x=watcher([])).step()
    assert gap in report.gaps
    assert report.status is Status.UNKNOWN


def test_states_that_this_kernel_cannot_list_are_none_not_zero() -> None:
    old = replace(namespace(), lists_bound=False)
    report = pipeline(Looks(snapshot(*rows(), namespaces=[old])), x=watcher([])).step()
    assert report.by_state[State.BOUND] is None
    assert report.by_state[State.CLOSE] is None
    assert report.by_state[State.CLOSE_WAIT] == 1
    assert report.by_state[State.TIME_WAIT] == 0


def test_each_namespace_is_counted_and_the_report_has_the_sum() -> None:
    spaces = [namespace(), replace(namespace("web"), lists_bound=False)]
    seen = snapshot(*rows(), *(row | {"netns": 1} for row in rows()[:2]), namespaces=spaces)
    report = pipeline(Looks(seen), x=watcher([])).step()
    assert [(n.namespace.name, n.total) for n in report.namespaces] == [("host", 3), ("web", 2)]
    assert [n.by_state[State.BOUND] for n in report.namespaces] == [1, None]
    assert report.total == 5
    assert report.by_state[State.LISTEN] == 2
    assert report.by_state[State.BOUND] is None


def test_every_stage_is_timed() -> None:
    report = pipeline(Looks(snapshot()), x=watcher([])).step()
    assert report.timings_ms == {"collect": 2000.0, "owners": 2000.0, "diagnose": 2000.0}


FATAL, HARMLESS = Gap(what="dump", why="failed", fatal=True), Gap(what="owners", why="not root")


@pytest.mark.parametrize(
    ("severities", "gaps", "status"),
    [
        ([], [], Status.OK),
        ([], [HARMLESS], Status.OK),
        ([Severity.INFO], [], Status.OK),
        ([Severity.INFO], [FATAL], Status.UNKNOWN),
        ([Severity.INFO, Severity.WARNING], [FATAL, HARMLESS], Status.WARNING),
        ([Severity.WARNING, Severity.CRITICAL, Severity.INFO], [FATAL], Status.CRITICAL),
    ],
)
def test_the_status_is_the_worst_of_critical_warning_unknown_ok(
    severities: list[Severity], gaps: list[Gap], status: Status
) -> None:
    assert status_of([finding(severity) for severity in severities], gaps) is status


def test_the_last_look_is_kept_with_its_owners() -> None:
    steps = pipeline(Looks(snapshot(*rows())), x=watcher([]))
    assert steps.snapshot is None
    steps.step()
    assert steps.snapshot is not None
    assert steps.snapshot.owners.of(table(rows())).tolist() == [0, -1, -1]


def test_who_watches_sees_budgets_and_peers_and_who_does_not_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:50000", inode=5, last_ack_recv=9e5, last_data_recv=9e5)
    clients = [socket(State.ESTABLISHED, f"10.0.0.1:{40000 + i}", "10.0.0.9:80") for i in range(10)]
    look = snapshot(stuck, *clients, namespaces=[namespace(ip_local_port_range="40000 40019")])
    report = Pipeline(Looks(look), {}, TickingClock(), watching=True).step()
    assert [(b.destination, b.ratio) for b in report.budgets] == [("10.0.0.9:80", 0.5)]
    assert [(p.local, p.peer, p.count) for p in report.peers] == [("10.0.0.1:80", "10.0.0.2:*", 1)]
    monkeypatch.setattr("sockwatch.pipeline.watch", None)
    report = Pipeline(Looks(look), {}, TickingClock()).step()
    assert (report.budgets, report.peers) == ((), ())


class Strangers(Looks):
    """Only who holds the socket with inode 1 cannot be seen."""

    def follow_up(self, snapshot: Snapshot, wanted: FollowUp) -> Snapshot:
        seen = super().follow_up(snapshot, wanted)
        if 1 not in wanted.suspects.inode:
            return replace(seen, gaps=snapshot.gaps)
        return replace(seen, owners=owners({inode: [HOLDER] for inode in wanted.suspects.inode.tolist() if inode != 1}))


def test_who_watches_asks_for_unknown_holders_once_a_minute_and_for_all_of_them_seldom() -> None:
    looks = [later(snapshot(*rows()), seconds) for seconds in (0.0, 10.0, 59.0, 60.0, 300.0)]
    source = Strangers(*looks)
    seen: list[Window] = []
    watching = Pipeline(source, {"x": watcher(seen)}, TickingClock(), watching=True)
    held, gaps = [], []
    for _ in looks:
        gaps.append(watching.step().gaps)
        assert watching.snapshot is not None
        held.append(watching.snapshot.owners.inodes.tolist())
    assert source.named == [[5, 5, 1, 2], [5], [5], [5, 1], [5, 5, 1, 2]]
    assert held == [[2, 5]] * 5
    assert [window.owners.inodes.tolist() for window in seen] == [[2, 5], [5], [5], [5], [2, 5]]
    assert [len(window.history) for window in seen] == [0, 1, 1, 1, 1], "only suspects are remembered"
    assert [len(window.holders.cookie) for window in seen] == [0, 2, 2, 2, 2], "and the holders of all that were asked"
    assert gaps == [(Gap(what="owners", why="not root"),)] * 5


class BusyClock(TickingClock):
    """Every reading of the CPU time is as much later as that of the clock: all of one core."""

    def cpu(self) -> float:
        return self.now


class Unreading(Looks):
    """Does not show the sockets that are not asked for, as collect."""

    def look(self, asks: Asks) -> Snapshot:
        seen = super().look(asks)
        shown = seen.sockets.take(~seen.sockets.is_in_state(*asks.unread)) if asks.unread else seen.sockets
        counted: dict[State, int | None] = {State.TIME_WAIT: 5000, State.ESTABLISHED: None}
        (space,) = seen.namespaces
        return replace(
            seen,
            sockets=shown,
            namespaces=(replace(space, counted={state: counted[state] for state in asks.unread}),),
        )


def dear(*detectors: Detector[Any]) -> tuple[Pipeline, Unreading]:
    """A pipeline that takes all of a core to look at 5000 connections and as many in TIME_WAIT."""
    ends = [f"10.0.{i // 250}.{i % 250}:80" for i in range(5000)]
    first = snapshot(
        *(socket(state, "10.9.9.9:5000", end) for state in (State.TIME_WAIT, State.ESTABLISHED) for end in ends),
        socket(State.CLOSE_WAIT, "10.0.0.1:80", "10.0.0.2:5", inode=5),
    )
    source = Unreading(*(later(first, 10.0 * i) for i in range(100)))
    named = {f"d{i}": detector for i, detector in enumerate(detectors)}
    return Pipeline(source, named, BusyClock(), limits=PollSettings(cpu_share=0.05, seconds=1e6)), source


def test_what_costs_too_much_is_left_out_step_by_step_and_named() -> None:
    steps, source = dear()
    reports = [steps.step() for _ in range(30)]
    assert (source.asks[0].unread, source.asks[0].most_established) == (frozenset(), None)
    assert [len(one.unread) for one in source.asks] == sorted(len(one.unread) for one in source.asks)
    assert (source.asks[-1].unread, source.asks[-1].most_established) == (COUNTED_BY_KERNEL, FEW_DETAILS)
    first, last = reports[0], reports[-1]
    assert first.effort is not None
    assert last.effort is not None
    assert (first.effort.steps, last.effort.steps) == ((), tuple(Step))
    assert not [gap for gap in first.gaps if gap.what == SELF_BUDGET]
    assert len([gap for gap in last.gaps if gap.what == SELF_BUDGET]) == 4
    assert last.status is Status.OK


def test_what_was_not_read_has_the_kernels_count_or_none() -> None:
    steps, _ = dear()
    reports = [steps.step() for _ in range(30)]
    assert reports[0].by_state[State.TIME_WAIT] == reports[0].by_state[State.ESTABLISHED] == 5000
    assert reports[0].total == 10_001
    last = reports[-1]
    assert (last.by_state[State.TIME_WAIT], last.by_state[State.ESTABLISHED]) == (5000, None)
    assert last.by_state[State.CLOSE_WAIT] == 1
    assert last.total == last.namespaces[0].total == 5001


def test_without_limits_nothing_is_measured_or_left_out() -> None:
    source = Looks(snapshot(*rows()))
    report = pipeline(source).step()
    assert report.effort is None
    assert source.asks[0].unread == frozenset()


def test_a_look_that_fails_costs_as_well() -> None:
    source = Looks(*(DumpError("no memory") for _ in range(10)))
    steps = Pipeline(source, {}, BusyClock(), limits=PollSettings(cpu_share=0.05, seconds=1e6))
    for _ in range(10):
        with pytest.raises(DumpError):
            steps.step()
    assert steps.effort is not None
    assert steps.effort.factor > 1
