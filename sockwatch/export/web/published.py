"""What the web server answers from: the last poll and its metrics page, swapped by the daemon as one reference."""

from collections.abc import Callable
from dataclasses import dataclass

from sockwatch.export.metrics.exposition import Exposition
from sockwatch.model.poll import Poll


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Published:
    """One poll with its page, never changed."""

    poll: Poll
    exposition: Exposition


LastPublished = Callable[[], Published | None]
"""The newest; None until the first poll is over."""
