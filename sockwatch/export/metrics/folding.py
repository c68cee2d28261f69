"""At most so many series: the greatest subjects have their own, the rest is joined, and counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from sockwatch.export.metrics.labels import OTHER

LEAST_CAP = 100
"""A lower cap counts as this: what is always there, such as each finding at each severity, needs so many."""

Labels = tuple[str, ...]
Numbers = NDArray[np.float64]


class Join(Enum):
    """How the values of folded subjects become one."""

    SUM = np.add
    MAX = np.fmax
    MIN = np.fmin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folded:
    """What is shown: labels and, of each, a row of numbers; NaN is no series. `series` is how many were folded."""

    shown: tuple[tuple[Labels, Numbers], ...]
    series: int


NOTHING = Folded(shown=(), series=0)


def fold(
    numbers: Numbers,
    weight: Numbers,
    *,
    labels: Callable[[int], Labels],
    rest: NDArray[np.intp],
    rests: Sequence[Labels],
    top: int,
    cap: int,
    join: Join = Join.SUM,
) -> Folded:
    """The `top` heaviest subjects as they are, and the others joined into the rest that each belongs to.

    `numbers` has a row a subject and a column a series, `weight` says which subjects are shown: of equal weight those
    that come first, so subjects come in an order that does not depend on the look; a weight of NaN is never shown.
    `labels` makes the labels of one subject, `rest` is for each subject the index in `rests` of what it is folded into.
    There are never more series than `cap`: if need be all rests become one, and fewer subjects are shown.
    """
    subjects, width = numbers.shape
    room = max(cap, LEAST_CAP) // max(width, 1)
    order = np.argsort(-weight, kind="stable")  # NaN sorts last
    shown = min(top, int((~np.isnan(weight)).sum()))
    if shown + len(np.unique(rest[order[shown:]])) > room:
        rest, rests = np.zeros(subjects, np.intp), (tuple(OTHER for _ in rests[0]),)
        shown = min(shown, room - 1)
    own, left = order[:shown], order[shown:]
    rows: dict[Labels, Numbers] = {}

    def add(name: Labels, row: Numbers) -> None:
        rows[name] = join.value(rows[name], row) if name in rows else row

    for number in own.tolist():
        add(labels(number), numbers[number])
    for target in np.unique(rest[left]).tolist():
        add(rests[target], join.value.reduce(numbers[left[rest[left] == target]], axis=0))
    folded = int((~np.isnan(numbers[left])).sum())
    return Folded(shown=tuple(sorted(rows.items(), key=lambda row: row[0])), series=folded)
