"""One round of the daemon, as everybody who asks sees it until the next one is over."""

from dataclasses import dataclass

from sockwatch.model.alert import Alert
from sockwatch.model.report import Report
from sockwatch.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Poll:
    """What one look brought, whole or failed; never changed once it is published.

    `report` is there in any case: where the sockets could not be read its status is unknown, the error is its fatal gap
    and `snapshot` is None. `monotonic` is when the look began and `ended` when it was over, both in seconds since boot
    (Clock.monotonic); `time` is seconds since 1970 at its beginning. `interval` is how many seconds after this one the
    next begins.
    """

    number: int
    """1 for the first after a start."""
    time: float
    monotonic: float
    ended: float
    interval: float
    report: Report
    snapshot: Snapshot | None
    alerts: tuple[Alert, ...] = ()
    """Pending, firing and just resolved, after this look."""

    @property
    def success(self) -> bool:
        """Whether the sockets could be read."""
        return self.snapshot is not None

    @property
    def took(self) -> float:
        """Seconds from the look to the verdict."""
        return self.ended - self.monotonic
