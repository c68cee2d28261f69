"""Carries what waits in the outbox to one sink."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from sockwatch.clock import Clock
from sockwatch.export.sinks.backoff import pause
from sockwatch.export.sinks.notice import Notice
from sockwatch.export.sinks.outbox import Entry, Outbox
from sockwatch.export.sinks.outcome import Loss, Outcome, Reason, Result
from sockwatch.export.sinks.tally import Tally

_log = logging.getLogger(__name__)


class Receiver(Protocol):
    """A hook or a webhook. deliver() is called by one thread at a time, abort() by any."""

    most: int
    """Notices told at once."""
    attempts: int | None
    """Tries until an alert is given up; None: never."""
    first_pause: float
    """Seconds until the second try."""
    own_pauses: bool
    """Whether a failure is that of one alert, and others can be told meanwhile."""
    send_resolved: bool

    def deliver(self, notices: Sequence[Notice]) -> Outcome:
        """Tell it of these; return when it is known how that went."""
        ...

    def abort(self) -> None:
        """End deliver() soon, and let no other begin."""
        ...


class Courier:
    """turn() does what is due next; it is called by one thread. `changed` has the outbox written soon."""

    def __init__(
        self,
        name: str,
        receiver: Receiver,
        *,
        outbox: Outbox,
        clock: Clock,
        tally: Tally,
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self._receiver = receiver
        self._outbox = outbox
        self._clock = clock
        self._tally = tally
        self._changed = changed
        self._lock = threading.Lock()
        self._not_before = clock.monotonic()
        self._failures = 0

    def go_on_with(self, receiver: Receiver) -> None:
        """From the next turn on, another receiver; what waits is for it, and at once."""
        with self._lock:
            self._receiver = receiver
            self._not_before, self._failures = self._clock.monotonic(), 0

    def take(self, notices: Sequence[Notice]) -> None:
        """Put into the outbox what the sink is to be told of. Of what was never told and is over, only the end is."""
        lost = 0
        for notice in notices:
            if notice.firing or self._receiver.send_resolved:
                lost += self._outbox.put(self.name, notice)
            else:
                self._outbox.take_back(self.name, notice.identity)
        self._tally.drop(self.name, Loss.OVERFLOW, lost, "more wait than are kept")

    def turn(self) -> float | None:
        """Tell the sink of what is due; the seconds until more is, None if nothing waits."""
        now = self._clock.monotonic()
        with self._lock:
            receiver, wait = self._receiver, self._not_before - now
        if wait > 0:
            return wait
        batch, later = self._outbox.next(self.name, now, receiver.most)
        if not batch:
            return later
        outcome = receiver.deliver([entry.notice for entry in batch])
        self._tally.count(self.name, "", outcome, len(batch))
        if outcome.result is Result.DELIVERED:
            first = batch[0].notice
            more = f" and {len(batch) - 1:,} more" if len(batch) > 1 else ""
            told = f"{first.state} {first.severity} {first.identity.code}{more}"
            _log.info("sink %s was told of %s: %s", self.name, told, outcome.detail)
        self._settle(receiver, batch, outcome)
        self._changed()
        return 0.0

    def abort(self) -> None:
        """Cut off what is under way."""
        self._receiver.abort()

    @property
    def pending(self) -> int:
        """Alerts that the sink has not been told of."""
        return self._outbox.count(self.name)

    def _settle(self, receiver: Receiver, batch: Sequence[Entry], outcome: Outcome) -> None:
        if outcome.reason is Reason.STOPPED:
            return
        if outcome.result is Result.FAILED:
            self._postpone(receiver, batch, outcome)
            return
        self._failures = 0
        if outcome.divisible and len(batch) > 1:
            self._outbox.separate(batch)
            return
        self._outbox.settle(batch)
        if outcome.result is Result.REFUSED:
            self._tally.drop(self.name, Loss.REFUSED, len(batch), outcome.detail)

    def _postpone(self, receiver: Receiver, batch: Sequence[Entry], outcome: Outcome) -> None:
        self._failures += 1
        given_up = [e for e in batch if receiver.attempts is not None and e.attempts + 1 >= receiver.attempts]
        self._outbox.settle(given_up)
        self._tally.drop(self.name, Loss.TOO_OFTEN, len(given_up), outcome.detail)
        failures = batch[0].attempts + 1 if receiver.own_pauses else self._failures
        until = self._clock.monotonic() + pause(failures, outcome.retry_after, first=receiver.first_pause)
        self._outbox.postpone([entry for entry in batch if entry not in given_up], until)
        if not receiver.own_pauses:
            with self._lock:
                if self._receiver is receiver:
                    self._not_before = until
