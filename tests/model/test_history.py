import numpy as np

from builders import process, socket, table
from sockwatch.model.history import Counts, History
from sockwatch.model.identity import NOT_THERE
from sockwatch.model.state import State

A = "10.0.0.1:80", "10.0.0.2:5"


def test_an_empty_history_knows_nothing() -> None:
    sockets = table([socket(State.TIME_WAIT, *A)])
    assert History().find(sockets).tolist() == [NOT_THERE]
    assert History().holders(sockets) == ()
    assert History().slope(process(1), State.CLOSE_WAIT) is None
    assert len(History()) == 0


def test_sockets_are_found_by_their_cookies() -> None:
    history = History(cookie=np.array([9, 3, 5], np.uint64))
    sockets = table([socket(State.TIME_WAIT, *A, cookie=cookie) for cookie in (5, 4, 9)])
    assert history.find(sockets).tolist() == [2, NOT_THERE, 0]


def test_a_slope_needs_three_looks() -> None:
    assert Counts(times=(0.0, 1.0), numbers=(1, 2)).slope is None
    assert Counts(times=(0.0, 1.0, 2.0), numbers=(1, 2, 3)).slope == 1.0
