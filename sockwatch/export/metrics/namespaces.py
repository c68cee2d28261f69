"""Which network namespaces have series of their own: the initial one, then those with the most sockets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sockwatch.export.metrics.labels import OTHER, label
from sockwatch.model.snapshot import Namespace, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Namespaces:
    """`own` are the label values of those that have series of their own, `shown` the namespaces they stand for.

    `number` is for each namespace of the look the index of its label in `labels`, and `others` is how many are OTHER.
    """

    own: tuple[str, ...]
    shown: tuple[tuple[str, Namespace], ...]
    number: NDArray[np.intp]
    others: int

    @property
    def labels(self) -> tuple[str, ...]:
        """What a namespace may be shown as; OTHER is the last."""
        return (*self.own, OTHER)

    def number_of(self, netns: str) -> int:
        """The index in `labels` of a namespace by its name."""
        name = label(netns)
        return self.own.index(name) if name in self.own else len(self.own)


def choose_namespaces(snapshot: Snapshot, most: int) -> Namespaces:
    """At most so many have series of their own; of equally large ones those that come first by name."""
    every = snapshot.namespaces
    counts = np.bincount(snapshot.sockets.netns, minlength=len(every)).tolist()
    order = sorted(range(len(every)), key=lambda i: (not every[i].initial, -counts[i], every[i].name, every[i].inode))
    shown: dict[str, Namespace] = {}
    for i in order:
        name = label(every[i].name)
        if name != OTHER and name not in shown and len(shown) < most:  # two that look alike are one
            shown[name] = every[i]
    own = tuple(shown)
    number = [own.index(name) if (name := label(n.name)) in shown else len(own) for n in every]
    return Namespaces(
        own=own,
        shown=tuple(sorted(shown.items(), key=lambda pair: pair[0])),
        number=np.array(number, np.intp),
        others=number.count(len(own)),
    )
