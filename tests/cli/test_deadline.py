import os
import signal
import threading

import pytest

from sockwatch.cli.deadline import deadline
from sockwatch.errors import DeadlineError


def test_it_passes_those_who_catch_every_exception() -> None:
    def survive() -> None:
        read, write = os.pipe()
        try:
            os.read(read, 1)
        except Exception:  # noqa: BLE001 - as diagnose.run does around a detector
            pytest.fail("the deadline was taken for a detector's failure")
        finally:
            os.close(read)
            os.close(write)

    with pytest.raises(DeadlineError, match=r"after 0\.05 s .*: diagnose"), deadline(0.05, lambda: "diagnose"):
        survive()


def test_it_ends_the_wait_for_a_thread() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    with pytest.raises(DeadlineError), deadline(0.05, lambda: "collect"):
        thread.join()
    over.set()
    thread.join()


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_in_time_it_leaves_no_trace(seconds: float | None) -> None:
    before, armed = signal.getsignal(signal.SIGALRM), any(signal.getitimer(signal.ITIMER_REAL))
    with deadline(seconds, lambda: "start"):
        pass
    assert any(signal.getitimer(signal.ITIMER_REAL)) is armed
    assert signal.getsignal(signal.SIGALRM) is before
