import pytest

from sockwatch.daemon.schedule import Schedule


def test_the_first_poll_is_due_at_once_and_the_next_an_interval_after_it() -> None:
    schedule = Schedule(10.0, 100.0)
    assert schedule.due == 100.0
    schedule.move_on(102.5)
    assert (schedule.due, schedule.skipped) == (110.0, 0)


@pytest.mark.parametrize(
    ("ended", "due", "skipped"), [(109.9, 110.0, 0), (110.0, 120.0, 1), (119.0, 120.0, 1), (131.0, 140.0, 3)]
)
def test_a_poll_that_takes_long_skips_ticks_and_makes_no_burst(ended: float, due: float, skipped: int) -> None:
    schedule = Schedule(10.0, 100.0)
    schedule.move_on(ended)
    assert (schedule.due, schedule.skipped) == (due, skipped)


def test_a_machine_that_slept_looks_once_and_then_at_its_usual_times() -> None:
    schedule = Schedule(10.0, 100.0)
    schedule.move_on(100.5)
    schedule.move_on(18_113.0)  # due at 110, polled after waking up
    assert schedule.due == 18_120.0
    assert schedule.skipped == 1800


def test_another_interval_holds_from_now_on() -> None:
    schedule = Schedule(3600.0, 100.0)
    schedule.move_on(101.0)
    schedule.change(10.0, 200.0)
    assert schedule.due == 210.0
    schedule.move_on(210.5)
    assert schedule.due == 220.0


def test_a_longer_interval_does_not_put_off_the_poll_that_is_due() -> None:
    schedule = Schedule(10.0, 100.0)
    schedule.move_on(101.0)
    schedule.change(3600.0, 105.0)
    assert schedule.due == 110.0
