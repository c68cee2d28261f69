from typing import Any

import numpy as np
import pytest

from builders import socket, table
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State

A = "10.0.0.1:80", "10.0.0.2:5"


def seen(*ages: float | None) -> SocketTable:
    """One socket for each age; None has no details."""
    details: list[dict[str, Any]] = [{} if age is None else {"rtt": age} for age in ages]
    return table([socket(State.CLOSE_WAIT, *A, **detail) for detail in details])


def test_concatenated_rows_keep_their_order_and_their_details() -> None:
    both = SocketTable.concatenate([seen(1.0, None, 2.0), seen(None, 3.0)])
    assert both.detail("rtt").tolist() == pytest.approx([1.0, np.nan, 2.0, np.nan, 3.0], nan_ok=True)


def test_a_detail_that_one_table_lacks_is_unknown_there() -> None:
    other = table([socket(State.CLOSE_WAIT, *A, cwnd=10.0)])
    both = SocketTable.concatenate([seen(1.0), other])
    assert both.detail("rtt").tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert both.detail("cwnd").tolist() == pytest.approx([np.nan, 10.0], nan_ok=True)


def test_parts_of_one_table_share_its_details_however_often_they_are_joined() -> None:
    whole = seen(1.0, 2.0, None, 3.0)
    parts = [whole.take(np.array([3])), SocketTable.empty(), whole.take(np.array([2, 0]))]
    joined = SocketTable.concatenate([SocketTable.concatenate(parts), whole])
    assert joined.details is whole.details
    expected = [3.0, np.nan, 1.0, 1.0, 2.0, np.nan, 3.0]
    assert joined.detail("rtt").tolist() == pytest.approx(expected, nan_ok=True)


def test_parts_of_several_tables_find_their_own_details() -> None:
    one, other = seen(1.0, 2.0), seen(3.0, 4.0)
    joined = SocketTable.concatenate([one.take(np.array([1])), other, one])
    assert joined.detail("rtt").tolist() == [2.0, 3.0, 4.0, 1.0, 2.0]
    assert joined.detail_count == 4


def test_nothing_joined_is_an_empty_table() -> None:
    assert len(SocketTable.concatenate([])) == 0
    assert len(SocketTable.concatenate([SocketTable.empty(), SocketTable.empty()])) == 0
