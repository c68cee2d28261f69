"""The only place that reads the time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one for people, one for durations."""

    def unixtime(self) -> float:
        """Seconds since 1970, for display only."""
        ...

    def monotonic(self) -> float:
        """Seconds since boot, suspend included (CLOCK_BOOTTIME): what socket timers and uptime agree with."""
        ...

    def cpu(self) -> float:
        """CPU seconds that the calling thread has used (CLOCK_THREAD_CPUTIME_ID)."""
        ...

    def wait(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The clock of this machine."""

    def unixtime(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def cpu(self) -> float:
        """CPU seconds of the calling thread."""
        return time.thread_time()

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)
