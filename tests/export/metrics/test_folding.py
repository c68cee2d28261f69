from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, strategies as st

from sockwatch.export.metrics.folding import LEAST_CAP, Folded, Join, Labels, Numbers, fold

RESTS = [("host", "other"), ("web", "other")]


def folded(
    numbers: Numbers,
    *,
    top: int = 20,
    cap: int = 2000,
    join: Join = Join.SUM,
    weight: Numbers | None = None,
    rests: Sequence[Labels] = RESTS,
) -> Folded:
    subjects = len(numbers)
    rest = np.arange(subjects) % len(rests)
    return fold(
        numbers,
        np.nansum(numbers, axis=1) if weight is None else weight,
        labels=lambda i: (rests[rest[i]][0], f"s{i:03}"),
        rest=rest,
        rests=rests,
        top=top,
        cap=cap,
        join=join,
    )


def values(result: Folded) -> dict[tuple[str, ...], list[float]]:
    return {labels: row.tolist() for labels, row in result.shown}


def test_few_subjects_are_all_shown() -> None:
    result = folded(np.array([[1.0, 2.0], [3.0, 4.0]]), top=2)
    assert values(result) == {("host", "s000"): [1, 2], ("web", "s001"): [3, 4]}
    assert result.series == 0


def test_the_heaviest_are_shown_and_the_others_joined_where_they_belong() -> None:
    result = folded(np.array([[9.0], [8.0], [1.0], [2.0], [4.0]]), top=2)
    assert values(result) == {
        ("host", "other"): [5],
        ("host", "s000"): [9],
        ("web", "other"): [2],
        ("web", "s001"): [8],
    }
    assert result.series == 3


def test_of_equally_heavy_ones_the_first_are_shown() -> None:
    assert list(values(folded(np.ones((9, 1)), top=3))) == [
        ("host", "other"),
        ("host", "s000"),
        ("host", "s002"),
        ("web", "other"),
        ("web", "s001"),
    ]


@pytest.mark.parametrize(("join", "joined"), [(Join.MAX, 0.7), (Join.MIN, 0.2), (Join.SUM, 0.9)])
def test_what_is_no_count_is_joined_otherwise(join: Join, joined: float) -> None:
    result = folded(np.array([[0.9], [0.0], [0.7], [0.0], [0.2]]), top=1, join=join)
    assert values(result)["host", "other"] == [pytest.approx(joined)]


def test_a_weight_of_nan_is_never_shown() -> None:
    result = folded(np.array([[1.0], [2.0]]), weight=np.array([np.nan, 2.0]))
    assert values(result) == {("host", "other"): [1], ("web", "s001"): [2]}


def test_nan_is_no_series() -> None:
    result = folded(np.array([[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]]), top=1)
    assert result.series == 2


def test_when_there_is_no_room_for_all_rests_they_become_one() -> None:
    everywhere = [(f"n{i}", "other") for i in range(LEAST_CAP)]
    result = folded(np.ones((2 * LEAST_CAP, 2)), cap=LEAST_CAP, rests=everywhere)
    assert values(result)["other", "other"] == [2 * LEAST_CAP - 20] * 2
    assert len(result.shown) == 21


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=120),
    st.integers(0, 200),
    st.integers(0, 400),
    st.integers(1, 50),
)
def test_totals_are_exact_and_the_cap_is_hard(counts: list[list[int]], top: int, cap: int, namespaces: int) -> None:
    numbers = np.array(counts, np.float64)
    result = folded(numbers, top=top, cap=cap, rests=[(f"n{i}", "other") for i in range(namespaces)])
    shown = np.array([row for _, row in result.shown])
    assert shown.sum(axis=0).tolist() == numbers.sum(axis=0).tolist()
    assert shown.size <= max(cap, LEAST_CAP)
    own = sum(labels[1] != "other" for labels, _ in result.shown)
    assert own <= top
    assert result.series == numbers.size - 3 * own
