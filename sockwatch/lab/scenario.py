"""What a scenario is: a story, how to provoke it, and the findings that sockwatch must make of it."""

from collections.abc import Callable
from dataclasses import dataclass

from sockwatch.lab.stage import Stage
from sockwatch.model.finding import Severity

COUNT = 23
"""How many connections a scenario makes: a prime, so that no sum or product of something else passes for it."""
PORT = 9100
"""Where servers listen: outside the default ip_local_port_range, so that this is not a finding of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One finding that a scenario declares. `name` is `code/variant`, or the code alone.

    `by` and `other_end` are the roles whose processes are named there, None for nobody.
    """

    name: str
    severity: Severity
    count: int = COUNT
    by: str | None = None
    other_end: str | None = None

    def __str__(self) -> str:
        """One line for people."""
        sockets = "1 socket" if self.count == 1 else f"{self.count} sockets"
        other_end = f", other end {self.other_end}" if self.other_end else ""
        return f"{self.severity:<8} {self.name}, {sockets}, by {self.by or 'nobody'}{other_end}"


def _nothing(_stage: Stage) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One misbehaviour. `provoke` brings it about, `meanwhile` is what goes on between two looks.

    `looks` is how many the diagnosis needs at least: two where it rests on a difference.
    """

    name: str
    story: str
    provoke: Callable[[Stage], None]
    expected: tuple[Expected, ...]
    meanwhile: Callable[[Stage], None] = _nothing
    looks: int = 1
