"""Which network namespaces have series of their own: the initial one, then those with the most sockets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.export.metrics.labels import OTHER, label
from sockwatch.model.snapshot import Namespace, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Namespaces:
    """`names` are label values; `number` is for each namespace of the look the index of its name.

    `shown` are the namespaces with a name of their own. The last name is OTHER if there are others, `others` of them.
    """

    names: tuple[str, ...]
    number: NDArray[np.intp]
    shown: tuple[tuple[str, Namespace], ...]
    others: int

    @property
    def numbers_shown(self) -> int:
        """How many names stand for one namespace each; those before OTHER."""
        return len(self.names) - (self.names[-1:] == (OTHER,))


def choose_namespaces(snapshot: Snapshot, most: int) -> Namespaces:
    """At most so many have a name of their own; of equally large ones those that come first by name."""
    every = snapshot.namespaces
    counts = np.bincount(snapshot.sockets.netns, minlength=len(every)).tolist()
    order = sorted(range(len(every)), key=lambda i: (not every[i].initial, -counts[i], every[i].name, every[i].inode))
    names: dict[str, int] = {}
    shown: list[tuple[str, Namespace]] = []
    number = np.zeros(len(every), np.intp)
    others: list[int] = []
    for i in order:
        name = label(every[i].name)
        if name == OTHER or (name not in names and len(names) >= most):
            others.append(i)
        elif name in names:
            number[i] = names[name]  # two that look alike are one
        else:
            number[i] = names[name] = len(names)
            shown.append((name, every[i]))
    number[others] = len(names)
    return Namespaces(
        names=(*names, OTHER) if others else tuple(names),
        number=number,
        shown=tuple(sorted(shown, key=lambda pair: pair[0])),
        others=len(others),
    )
