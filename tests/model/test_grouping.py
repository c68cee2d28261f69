import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from sockwatch.model import grouping
from sockwatch.model.grouping import group


def expected(rows: list[tuple[int, ...]]) -> tuple[list[int], list[int], list[int]]:
    numbers: dict[tuple[int, ...], int] = {}
    first: list[int] = []
    for i, row in enumerate(rows):
        if row not in numbers:
            numbers[row] = len(numbers)
            first.append(i)
    index = [numbers[row] for row in rows]
    return index, first, [index.count(n) for n in range(len(first))]


def check(rows: list[tuple[int, ...]], dtypes: tuple[str, ...]) -> None:
    columns = [np.array([row[i] for row in rows], dtype) for i, dtype in enumerate(dtypes)]
    groups = group(columns[0], *columns[1:])
    assert (groups.index.tolist(), groups.first.tolist(), groups.count.tolist()) == expected(rows)
    assert len(groups) == len(groups.first)


WIDE = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1), st.integers(2**64 - 3, 2**64 - 1))
ROW = st.tuples(WIDE, st.integers(0, 2), st.integers(-2, 2), st.booleans().map(int), WIDE)


@given(st.lists(ROW, max_size=60))
def test_groups_are_those_of_a_dictionary_of_rows(rows: list[tuple[int, ...]]) -> None:
    check(rows, ("u8", "u1", "i4", "?", "u8"))


@given(st.lists(st.tuples(st.integers(0, 65535)), max_size=60))
def test_a_narrow_column_needs_no_hash(rows: list[tuple[int, ...]]) -> None:
    check(rows, ("u2",))


@settings(max_examples=30)
@given(st.lists(ROW, max_size=60))
def test_keys_that_collide_in_every_table_are_told_apart(rows: list[tuple[int, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "_MULTIPLIERS", (0, 0))
        check(rows, ("u8", "u1", "i4", "?", "u8"))


def test_many_distinct_keys_stay_distinct() -> None:
    rows = 200_003
    groups = group(np.arange(rows, dtype=np.uint64) << np.uint64(40), np.arange(rows, dtype=np.uint16) % 7)
    assert len(groups) == rows
    assert np.array_equal(groups.index, np.arange(rows))


def test_columns_packed_into_one_word_do_not_run_together() -> None:
    check([(1, 0), (0, 1), (1, 1), (0, 0)], ("u1", "u2"))


def test_nothing_to_group_by_is_one_group() -> None:
    groups = group(np.full(23, 7, np.uint8))
    assert (groups.index.tolist(), groups.first.tolist(), groups.count.tolist()) == ([0] * 23, [0], [23])


def test_no_rows_are_no_groups() -> None:
    groups = group(np.empty(0, np.uint64), np.empty(0, np.uint8))
    assert (len(groups), len(groups.index), len(groups.count)) == (0, 0, 0)


def test_columns_that_are_no_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        group(np.array([0.5]))


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and of 2 rows"):
        group(np.array([1, 2, 3]), np.array([1, 2]))
