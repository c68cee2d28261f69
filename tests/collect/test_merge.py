from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, strategies as st

from sockwatch.collect.columns import Columns
from sockwatch.collect.merge import drop_doubles, merge

COOKIE = st.one_of(st.integers(1, 9), st.integers(0, 3).map(lambda n: 5 + (n << 20)), st.integers(0, 2**64 - 1))
"""Few different ones, some that differ in their high bits only."""


def columns(cookies: Sequence[int], first_value: int = 0) -> Columns:
    made = Columns({"cookie": np.uint64, "value": np.uint16})
    rows = made.extend(len(cookies))
    rows["cookie"][:] = np.array(cookies, np.uint64)
    rows["value"][:] = np.arange(first_value, first_value + len(cookies))
    return made


def rows_of(table: Columns) -> list[tuple[int, int]]:
    return list(zip(table["cookie"].tolist(), table["value"].tolist(), strict=True))


@given(st.lists(COOKIE, max_size=40))
def test_the_last_row_of_each_cookie_stays_where_it_was(cookies: list[int]) -> None:
    table = columns(cookies)
    kept = drop_doubles(table)
    last = {cookie: row for row, cookie in enumerate(cookies)}
    assert rows_of(table) == sorted(last.items(), key=lambda item: item[1])
    assert (kept is None) == (len(last) == len(cookies))
    assert kept is None or kept.tolist() == sorted(last.values())


@given(st.lists(COOKIE, unique=True, max_size=40), st.lists(COOKIE, unique=True, max_size=40))
def test_what_was_seen_later_replaces_what_was_seen_before(before: list[int], later: list[int]) -> None:
    table = columns(before)
    place = merge(table, columns(later, first_value=100))
    expected = dict(zip(before, range(100), strict=False)) | {cookie: 100 + i for i, cookie in enumerate(later)}
    assert rows_of(table) == list(expected.items())
    assert table["cookie"][place].tolist() == later


def test_columns_keep_their_rows_as_they_grow() -> None:
    table = Columns({"cookie": np.uint64, "value": np.uint8})
    for start in range(0, 30_000, 1_000):
        rows = table.extend(1_000)
        rows["cookie"][:] = np.arange(start, start + 1_000)
        rows["value"][:] = start // 1_000
        del rows
    assert len(table) == 30_000
    assert np.array_equal(table["cookie"], np.arange(30_000))
    assert np.array_equal(table["value"], np.repeat(np.arange(30), 1_000))


def test_rows_that_were_forgotten_are_written_again() -> None:
    table = columns([11, 12, 13])
    table.truncate(1)
    table.extend(1)["cookie"][:] = 14
    assert table["cookie"].tolist() == [11, 14]


def test_columns_do_not_move_under_a_view() -> None:
    table = columns([11])
    view = table["cookie"]
    with pytest.raises(BufferError):
        table.extend(1_000_000)
    assert view.tolist() == [11]


def test_finished_columns_outlive_their_table() -> None:
    assert columns([11, 12]).finish()["cookie"].tolist() == [11, 12]
