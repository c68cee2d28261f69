"""Precision and recall of every code and variant."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from corpus.replay import Comparison


@dataclass(kw_only=True)
class Score:
    """Counts by the name of the finding, over many captures or runs."""

    right: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    surplus: Counter[str] = field(default_factory=Counter)

    def add(self, comparison: Comparison) -> None:
        """Count one more capture or run."""
        self.right.update(comparison.right)
        self.missed.update(wanted.name for wanted in comparison.missed)
        self.surplus.update(found.name for found in comparison.surplus)

    def precision(self, names: list[str]) -> float:
        """The share of what was found that should be."""
        right, surplus = self._sums(names, self.right, self.surplus)
        return right / (right + surplus) if right + surplus else 1.0

    def recall(self, names: list[str]) -> float:
        """The share of what should be found that was."""
        right, missed = self._sums(names, self.right, self.missed)
        return right / (right + missed) if right + missed else 1.0

    def _sums(self, names: list[str], *counters: Counter[str]) -> tuple[int, ...]:
        return tuple(sum(counter[name] for name in names) for counter in counters)

    @property
    def names(self) -> list[str]:
        """Every finding that was wanted or found."""
        return sorted({*self.right, *self.missed, *self.surplus})

    def table(self, every: Iterable[str]) -> Iterator[str]:
        """Lines for people: each code and variant, those that nothing provoked included, and the total."""
        names = sorted({*self.names, *every})
        width = max(map(len, names))
        yield f"{'FINDING':<{width}}  WANTED  FOUND  PRECISION  RECALL"
        for name in names:
            yield self._line(name, width, [name])
        yield self._line("total", width, names)

    def _line(self, label: str, width: int, names: list[str]) -> str:
        right, missed, surplus = self._sums(names, self.right, self.missed, self.surplus)
        if not right + missed + surplus:
            return f"{label:<{width}}  {'-':>6}  {'-':>5}  {'-':>9}  {'-':>6}"
        shares = f"{self.precision(names):>9.0%}  {self.recall(names):>6.0%}"
        return f"{label:<{width}}  {right + missed:>6}  {right + surplus:>5}  {shares}"
