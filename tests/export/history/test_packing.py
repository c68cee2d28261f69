"""Numbers of a look as bytes."""

import zlib

import pytest
from hypothesis import given, settings, strategies as st

from sockwatch.export.history.packing import join, pack, summarize, unpack

VALUES = st.dictionaries(st.integers(1, 2**32 - 1), st.floats(allow_nan=False), max_size=50)


@given(values=VALUES)
def test_unpacks_what_it_packed(values: dict[int, float]) -> None:
    numbers, (first, second) = unpack(pack(values, values.values(), (-value for value in values.values())), 2)
    assert dict(zip(numbers.tolist(), first.tolist(), strict=True)) == values
    assert (-first).tolist() == second.tolist()


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_damaged_bytes_are_nothing(data: bytes) -> None:
    numbers, values = unpack(data, 1)
    assert values.shape == (1, len(numbers))


def test_cut_off_anywhere_it_is_nothing() -> None:
    packed = pack(range(1, 100), range(1, 100))
    for length in range(len(packed)):
        assert len(unpack(packed[:length], 1)[0]) == 0


def test_bytes_that_unpack_to_very_much_are_nothing() -> None:
    assert len(unpack(zlib.compress(bytes(50_000_000)), 1)[0]) == 0


@given(looks=st.lists(st.tuples(st.integers(0, 1000), st.dictionaries(st.integers(1, 5), st.integers(0, 99)))))
def test_means_and_highest_values_of_steps(looks: list[tuple[int, dict[int, int]]]) -> None:
    expected: dict[tuple[int, int], list[int]] = {}
    for time, values in looks:
        for number, value in values.items():
            expected.setdefault((number, time // 300 * 300), []).append(value)
    steps = summarize(join(((time, pack(values, values.values())) for time, values in looks), 1), 300)
    rows = zip(steps.series.tolist(), steps.times.tolist(), *steps.values.tolist(), strict=True)
    found = {(number, start): (mean, high) for number, start, mean, high in rows}
    assert found.keys() == expected.keys()
    for key, several in expected.items():
        assert found[key] == (pytest.approx(sum(several) / len(several)), max(several))
