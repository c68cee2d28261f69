"""A rate limit: so many at once, then one an interval."""

from sockwatch.clock import Clock
from sockwatch.export.web.web_config import RateLimit


class TokenBucket:
    """Full at first. A burst of 0 lets nobody through, as golang.org/x/time/rate does."""

    def __init__(self, limit: RateLimit, *, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._then = clock.monotonic()

    def take(self) -> bool:
        """Whether there was a token."""
        now = self._clock.monotonic()
        self._tokens = min(self._limit.burst, self._tokens + (now - self._then) / self._limit.interval)
        self._then = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
