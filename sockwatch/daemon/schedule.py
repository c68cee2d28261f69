"""When the polls are due."""

import math


class Schedule:
    """Every `interval` seconds of the monotonic clock; a tick that is over before the last poll ended is skipped.

    So a long poll, or a sleep of the machine, makes no burst: what was skipped is counted, and the next poll comes at
    its usual place in the interval.
    """

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self.due = now
        self.skipped = 0
        """Ticks since the start on which nobody looked."""

    def move_on(self, now: float) -> None:
        """A poll has ended at `now`: the next one is due at the first tick after that."""
        late = max(0, math.floor((now - self.due) / self.interval))
        self.skipped += late
        self.due += (late + 1) * self.interval

    def change(self, interval: float, now: float) -> None:
        """From now on another interval; the first tick is at most that far away."""
        self.interval = interval
        self.due = min(self.due, now + interval)
