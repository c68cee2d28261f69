"""One alert for one sink, to try it."""

from sockwatch.clock import Clock
from sockwatch.daemon.poller import Setup, open_dispatcher
from sockwatch.errors import UsageError
from sockwatch.export.sinks.trial import Trial
from sockwatch.nearest import unknown


def send_test_alert(setup: Setup, sink: str, clock: Clock) -> Trial:
    """What became of it. Raises UsageError where there is no such sink."""
    sinks = setup.settings.sinks
    if sink not in sinks:
        raise UsageError(unknown("sink", sink, sinks) if sinks else "the config has no sinks")
    return open_dispatcher(setup.settings, None, clock).test(sink)
