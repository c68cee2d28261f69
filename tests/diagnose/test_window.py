from dataclasses import replace

from builders import later, namespace, snapshot
from sockwatch.diagnose.window import Window

OVERFLOWS = "TcpExt.ListenOverflows"


def test_one_look_has_no_time_between_and_no_increase() -> None:
    seen = Window(current=snapshot(namespaces=[namespace(counters={OVERFLOWS: 7})]))
    assert (seen.elapsed, seen.number_before(0), seen.increase(0, OVERFLOWS)) == (None, None, None)


def test_the_time_between_two_looks_is_that_of_the_monotonic_clock() -> None:
    first = snapshot()
    second = replace(later(first, 10.0), time=0.0)
    assert Window(current=second, previous=first).elapsed == 10.0


def test_looks_that_are_out_of_order_have_no_time_between_them() -> None:
    first = snapshot()
    assert Window(current=first, previous=later(first, 10.0)).elapsed is None
    assert Window(current=first, previous=first).elapsed is None


def test_counters_are_compared_within_one_namespace_wherever_it_stood_in_the_list() -> None:
    first = snapshot(namespaces=[namespace(counters={OVERFLOWS: 5})])
    second = snapshot(namespaces=[namespace("web", counters={OVERFLOWS: 900}), namespace(counters={OVERFLOWS: 7})])
    seen = Window(current=second, previous=first)
    assert [seen.increase(i, OVERFLOWS) for i in (0, 1)] == [None, 2]


def test_a_namespace_that_was_made_anew_under_its_name_is_another_one() -> None:
    first = snapshot(namespaces=[replace(namespace("web"), inode=1)])
    second = snapshot(namespaces=[replace(namespace("web"), inode=2)])
    assert Window(current=second, previous=first).number_before(0) is None


def test_a_counter_that_one_look_lacks_has_no_increase() -> None:
    first = snapshot(namespaces=[namespace()])
    second = snapshot(namespaces=[namespace(counters={OVERFLOWS: 7})])
    assert Window(current=second, previous=first).increase(0, OVERFLOWS) is None
    assert Window(current=first, previous=second).increase(0, OVERFLOWS) is None
