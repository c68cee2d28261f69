from collections.abc import Iterable
from dataclasses import replace

import pytest

from builders import snapshot, socket
from contract.repository import ROOT
from sockwatch.clock import SystemClock
from sockwatch.collect.dump import ESTABLISHED_LIMIT
from sockwatch.effort import (
    BURST_SECONDS,
    HOLD_SECONDS,
    MOST_HOLD_SECONDS,
    SURPLUS,
    Cost,
    Frugality,
    SelfBudget,
    decide,
)
from sockwatch.model.effort import FEW_DETAILS, Step
from sockwatch.model.settings import PollSettings
from sockwatch.model.snapshot import Snapshot
from sockwatch.model.state import State

LIMITS = PollSettings(cpu_share=0.05, seconds=2.0, interval=10.0)
READING = (Step.FEWER_DETAILS, Step.TIME_WAIT_COUNTED, Step.ESTABLISHED_COUNTED)


def looks(before: Frugality, share: float, seconds: float, *, look: float = 0.1, passed: float = 10.0) -> Frugality:
    """After so many seconds in which looks took this share of a core."""
    for _ in range(round(seconds / passed)):
        before = decide(before, Cost(cpu=share * passed, passed=passed, look=look), LIMITS)
    return before


def until_step(before: Frugality, share: float, *, most: int = 10_000) -> tuple[Frugality, float]:
    """The next change, and after how many seconds it came."""
    now = before
    for number in range(1, most):
        now = looks(now, share, 10)
        if now.steps != before.steps:
            return now, number * 10.0
    pytest.fail("nothing changed")


def test_below_the_share_nothing_is_left_out_however_long() -> None:
    assert looks(Frugality(), 0.05, 100_000).steps == ()


def test_a_dear_look_now_and_then_does_no_harm() -> None:
    now = Frugality()
    for _ in range(1000):
        now = looks(now, 0.2, 10)  # 2 s of CPU
        now = looks(now, 0.01, 50)
    assert now.steps == ()


def test_the_more_over_the_share_the_sooner_a_step_comes() -> None:
    after = [until_step(Frugality(), share)[1] for share in (0.06, 0.1, 0.2, 0.5)]
    assert after == sorted(after, reverse=True)
    assert len(set(after)) == len(after)
    assert after[-1] == 10.0


def test_steps_come_mild_first_and_one_at_a_time() -> None:
    now, taken = Frugality(), []
    for _ in Step:
        now, _ = until_step(now, 1.0)
        taken.append(now.steps[-1])
    assert taken == list(Step)
    assert looks(now, 1.0, 1000).steps == tuple(Step)


def test_a_step_that_saves_nothing_is_not_taken() -> None:
    worth = {Step.ESTABLISHED_COUNTED, Step.INTERVAL_DOUBLED}
    now = Frugality()
    for _ in range(100):
        now = decide(now, Cost(cpu=10.0, passed=10.0, look=0.1, worth=worth), LIMITS)
    assert set(now.steps) == worth


def test_slow_looks_leave_sockets_out_but_do_not_come_less_often() -> None:
    assert looks(Frugality(), 0.01, 10, look=3.0).steps == ()
    assert looks(Frugality(), 0.01, 20, look=3.0).steps == (Step.FEWER_DETAILS,)
    assert looks(Frugality(), 0.01, 10_000, look=3.0).steps == READING


def test_a_look_that_the_sleep_of_the_machine_made_long_does_nothing() -> None:
    now = Frugality()
    for _ in range(100):
        now = decide(now, Cost(cpu=0.1, passed=30_000.0, look=30_000.0), LIMITS)
        now = looks(now, 0.01, 20)
    assert now.steps == ()


def test_a_step_is_taken_back_late_and_only_where_there_is_room() -> None:
    now, _ = until_step(Frugality(), 0.2)
    assert looks(now, 0.04, 100_000).steps == now.steps
    assert looks(now, 0.01, 100_000, look=1.5).steps == now.steps
    assert looks(now, 0.01, HOLD_SECONDS - 10).steps == now.steps
    assert looks(now, 0.01, HOLD_SECONDS).steps == ()


def test_a_load_between_two_steps_does_not_flap() -> None:
    """Dear without the step, cheap with it: what is tried again is tried ever more seldom."""
    now, changes = Frugality(), 0
    day = 86_400
    for _ in range(day // 10):
        then = now
        now = looks(now, 0.01 if now.steps else 0.5, 10)
        changes += now.steps != then.steps
    assert changes <= 2 * (day / MOST_HOLD_SECONDS + 5)
    assert looks(now, 0.001, 3 * MOST_HOLD_SECONDS).steps == ()


class HandClock(SystemClock):
    def __init__(self) -> None:
        self.used = self.now = 0.0

    def cpu(self) -> float:
        return self.used

    def monotonic(self) -> float:
        return self.now


def busy(*counts: tuple[State, int]) -> Snapshot:
    ends = [(state, i) for state, count in counts for i in range(count)]
    return snapshot(*(socket(state, "10.0.0.1:80", f"10.0.0.{i // 60_000}:{i % 60_000}") for state, i in ends))


def run(budget: SelfBudget, clock: HandClock, last: Snapshot, *, cpu: float, elsewhere: float = 0.0) -> None:
    """One look every 10 s, and what comes after it."""
    budget.begin(clock, last)
    clock.used += cpu / 2
    clock.now += 0.5
    budget.end(clock, elsewhere)
    clock.used += cpu / 2
    clock.now += 9.5


def test_what_comes_after_a_look_and_what_helpers_take_counts() -> None:
    clock, budget, last = HandClock(), SelfBudget(LIMITS), busy((State.LISTEN, 1))
    for _ in range(3):
        run(budget, clock, last, cpu=0.1, elsewhere=0.2)
    effort = budget.effort
    assert effort.cpu_seconds == pytest.approx(0.6)  # the third is not over before the fourth begins
    assert effort.cpu_share == pytest.approx(0.03)
    assert (effort.seconds, effort.interval, effort.steps) == (0.5, 10.0, ())


@pytest.mark.parametrize(
    ("last", "first"),
    [
        (busy((State.LISTEN, 5), (State.TIME_WAIT, 900)), Step.INTERVAL_DOUBLED),
        (busy((State.CLOSE_WAIT, 2000), (State.TIME_WAIT, 200)), Step.INTERVAL_DOUBLED),
        (busy((State.CLOSE_WAIT, 2000), (State.TIME_WAIT, 1000)), Step.TIME_WAIT_COUNTED),
        (busy((State.ESTABLISHED, 3000)), Step.ESTABLISHED_COUNTED),
        (busy((State.ESTABLISHED, 3001)), Step.FEWER_DETAILS),
    ],
)
def test_only_what_is_there_in_numbers_is_left_out(last: Snapshot, first: Step) -> None:
    clock, budget = HandClock(), SelfBudget(LIMITS)
    while not budget.effort.steps:
        run(budget, clock, last, cpu=5.0)
    assert budget.effort.steps == (first,)


def test_a_longer_interval_is_that_of_the_settings_times_the_longest_step() -> None:
    clock, budget, last = HandClock(), SelfBudget(LIMITS), busy((State.LISTEN, 5))
    for _ in range(20):
        run(budget, clock, last, cpu=5.0)
    assert (budget.effort.factor, budget.effort.interval) == (8, 80.0)
    budget.limits = replace(LIMITS, interval=1.0)
    assert budget.effort.interval == 8.0


def whys(steps: Iterable[Step]) -> list[str]:
    return [gap.why for gap in replace(SelfBudget(LIMITS).effort, steps=tuple(steps), interval=40.0).gaps()]


def test_each_step_in_force_is_a_gap_and_of_the_intervals_the_longest() -> None:
    assert whys(()) == []
    limits = "more would take over 5 % of a core or 2 s a look ([poll] cpu_share, seconds)"
    assert whys([*READING, Step.INTERVAL_DOUBLED, Step.INTERVAL_FOURFOLD]) == [
        f"only 3,000 established sockets are looked into (others each time); {limits}",
        f"sockets in time_wait are counted and not read; {limits}",
        f"sockets in established are counted and not read; {limits}",
        f"a look every 40 s, 4 times as long as [poll] interval; {limits}",
    ]


def test_the_docs_say_what_the_code_does() -> None:
    page = " ".join((ROOT / "docs" / "daemon.md").read_text(encoding="utf-8").split())
    assert all(f"`{step.label}`" in page for step in Step)
    defaults = PollSettings()
    for claim in (
        f"(default {defaults.cpu_share})",
        f"(default {defaults.seconds:g})",
        f"{FEW_DETAILS:,} get a closer look instead of {ESTABLISHED_LIMIT:,}",
        f"less than {SURPLUS:.0%}".replace("%", " %"),
    ):
        assert claim in page
    assert (BURST_SECONDS, HOLD_SECONDS, MOST_HOLD_SECONDS) == (60, 5 * 60, 60 * 60)  # a minute, five, an hour
