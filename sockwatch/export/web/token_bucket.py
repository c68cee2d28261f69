"""A rate limit: so many at once, then one an interval."""

from sockwatch.clock import Clock


class TokenBucket:
    """Full at first. A burst of 0 lets nobody through, as golang.org/x/time/rate does."""

    def __init__(self, *, interval: float, burst: int, clock: Clock) -> None:
        self._interval = interval
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._then = clock.monotonic()

    def take(self) -> bool:
        """Whether there was a token."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._then) / self._interval)
        self._then = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
