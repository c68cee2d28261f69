"""The sink that posts to Alertmanagers: no queue, because all that fires is posted again and again."""

import json
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sockwatch.clock import Clock
from sockwatch.export.sinks.backoff import pause
from sockwatch.export.sinks.labels import annotations, labels
from sockwatch.export.sinks.notice import Notice, instant
from sockwatch.export.sinks.outcome import Loss, Outcome, Result
from sockwatch.export.sinks.post import Poster, target
from sockwatch.export.sinks.tally import Tally
from sockwatch.model.alert import AlertIdentity, AlertState
from sockwatch.model.settings import AlertmanagerSink

LONGEST_RESEND = 60.0
LIVES = 4
"""An alert that is not posted again for so many resend intervals is over for Alertmanager, as with Prometheus."""
RESOLVED_FOR = 900.0
"""Seconds for which the end of an alert is posted again, as Prometheus does."""
BATCH = 256
"""Alerts in one POST, as Prometheus sends them."""
MOST_ALERTS = 2000
PATH = "/api/v2/alerts"
"""What is added to a base URL."""

_Key = tuple[tuple[str, str], ...]
"""The sorted labels: what makes it the same alert for Alertmanager."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Posted:
    """One alert as Alertmanager tells them apart. `ended` is on the monotonic clock, None while it fires."""

    notice: Notice
    labels: Mapping[str, str]
    ended: float | None = None
    accepted: bool = False
    """Whether Alertmanager knows it as it is now."""

    def is_same_as(self, notice: Notice) -> bool:
        """Whether nothing has changed but texts, which go with the next resend."""
        return (self.notice.firing, self.notice.fired) == (notice.firing, notice.fired)


class Alertmanager:
    """One of a sink's Alertmanagers, which may each be in another trouble. turn() is called by one thread.

    Raises ValueError where the URL is wrong.
    """

    def __init__(
        self, name: str, url: str, settings: AlertmanagerSink, *, host: str, clock: Clock, tally: Tally
    ) -> None:
        self.name = name
        self.resend = min(settings.resend, LONGEST_RESEND)
        self._further = settings.labels
        self._host = host
        self._clock = clock
        self._tally = tally
        self._poster = Poster(
            target(
                url.rstrip("/") + PATH,
                timeout=settings.timeout,
                headers={},
                bearer_token_file=settings.bearer_token_file,
                ca_file=settings.ca_file,
            ),
            clock,
        )
        self._lock = threading.Lock()
        self._alerts: dict[_Key, _Posted] = {}
        self._refused: set[_Key] = set()
        self._next = self._not_before = clock.monotonic()
        self._failures = 0

    def take(self, notices: Iterable[Notice], quiet: Collection[AlertIdentity] = ()) -> None:
        """All alerts that fire, and those that are over, as they are now.

        `quiet` ones fire too, but nobody is to be told. One that was posted before goes on as it was: without that
        Alertmanager would tell that it is over.
        """
        now = self._clock.monotonic()
        current = {tuple(own.items()): (notice, own) for notice, own in map(self._labelled, notices)}
        seen = {notice.identity for notice, _ in current.values()}
        with self._lock:
            for key, (notice, own) in current.items():
                known = self._alerts.get(key)
                if known is None or not known.is_same_as(notice):
                    self._alerts[key] = _Posted(notice=notice, labels=own, ended=None if notice.firing else now)
                    self._refused.discard(key)
                    self._next = now
                elif known.ended is None:
                    self._alerts[key] = replace(known, notice=notice)
            for key, posted in list(self._alerts.items()):
                if key not in current and posted.ended is None and posted.notice.identity not in quiet:
                    self._leave(key, posted, seen, now)
            self._forget_old(now)
            self._refused &= self._alerts.keys()

    def turn(self) -> float | None:
        """Post what is due; the seconds until more is, None if nothing will be."""
        now = self._clock.monotonic()
        with self._lock:
            self._forget_old(now)
            if not self._alerts:
                return None
            wait = max(self._next, self._not_before) - now
            if wait > 0:
                return wait
            batch = [(key, posted) for key, posted in self._alerts.items() if key not in self._refused]
            self._next = now + self.resend
        for start in range(0, len(batch), BATCH):
            outcome = self._post(batch[start : start + BATCH])
            if outcome.result is Result.FAILED:
                self._failures += 1
                self._not_before = now + pause(self._failures, outcome.retry_after)
                self._next = now
                return 0.0
        self._failures = 0
        return 0.0

    @property
    def pending(self) -> int:
        """Alerts that this Alertmanager does not know as they are now."""
        with self._lock:
            return sum(not posted.accepted for posted in self._alerts.values())

    def abort(self) -> None:
        """Cut off what is under way, and send no more."""
        self._poster.abort()

    def post(self, notices: Sequence[Notice]) -> Outcome:
        """Post these once."""
        return self._send([self._object(notice, own) for notice, own in map(self._labelled, notices)])

    def _send(self, alerts: Sequence[Mapping[str, Any]]) -> Outcome:
        return self._poster.post(json.dumps(alerts).encode())

    def _labelled(self, notice: Notice) -> tuple[Notice, Mapping[str, str]]:
        return notice, labels(notice, self._host, self._further)

    def _leave(self, key: _Key, posted: _Posted, seen: set[AlertIdentity], now: float) -> None:
        """One that was posted as firing and is no more: its severity changed, or nobody knows what became of it."""
        if posted.notice.identity in seen:
            over = replace(posted.notice, state=AlertState.RESOLVED, resolved=self._clock.unixtime())
            self._alerts[key] = replace(posted, notice=over, ended=now, accepted=False)
            self._next = now
        else:
            del self._alerts[key]

    def _forget_old(self, now: float) -> None:
        for key, posted in list(self._alerts.items()):
            settled = posted.accepted or key in self._refused
            if settled and posted.ended is not None and now - posted.ended > RESOLVED_FOR:
                del self._alerts[key]
        for key in list(self._alerts)[: max(len(self._alerts) - MOST_ALERTS, 0)]:
            del self._alerts[key]

    def _post(self, batch: Sequence[tuple[_Key, _Posted]]) -> Outcome:
        """One POST; where Alertmanager refuses some of it, each by itself, once."""
        outcome = self._send([self._object(posted.notice, posted.labels) for _, posted in batch])
        self._tally.count(self.name, self._poster.where, outcome, len(batch))
        if outcome.result is Result.DELIVERED:
            with self._lock:
                for key, posted in batch:
                    known = self._alerts.get(key)
                    if known is not None and known.is_same_as(posted.notice):
                        self._alerts[key] = replace(known, accepted=True)
        elif outcome.divisible and len(batch) > 1:
            for one in batch:
                outcome = self._post([one])
                if outcome.result is Result.FAILED:
                    break
        elif outcome.divisible:
            self._tally.drop(self.name, Loss.REFUSED, 1, outcome.detail)
            with self._lock:
                self._refused.add(batch[0][0])
        return outcome

    def _object(self, notice: Notice, own: Mapping[str, str]) -> dict[str, Any]:
        now = self._clock.unixtime()
        ends = now + LIVES * self.resend if notice.resolved is None else notice.resolved
        return {
            "labels": dict(own),
            "annotations": annotations(notice),
            "startsAt": instant(min(notice.fired, ends)),
            "endsAt": instant(ends),
        }
