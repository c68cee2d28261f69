"""The state machine: alerts and one look in, alerts and who is to be told out. Pure.

pending -> firing after `for_`, or at once if critical; firing -> resolved once it was gone for `keep_firing_for`.
A pending alert that a look misses is dropped. A firing one is kept by a finding a severity below the bar, but not by a
mere note (info): what wobbles around the bar does not come and go. A look that shows a part of the sockets counts for
that part of its time, so that all parts are looked at before an alert is dropped or resolved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sockwatch.export.alerts.inhibition import explained
from sockwatch.export.alerts.sighting import Sighting, cannot_tell, hidden_namespaces, is_unknown, part_seen, sightings
from sockwatch.export.alerts.silence import silenced_by
from sockwatch.export.alerts.tracked import Memory, Presence, Tracked
from sockwatch.model.alert import BLIND, Alert, AlertIdentity, AlertRound, AlertState
from sockwatch.model.effort import Effort
from sockwatch.model.finding import Severity
from sockwatch.model.report import Report
from sockwatch.model.settings import AlertSettings

MOST_ALERTS = 2000
"""Further findings are counted and not followed, worst first."""
_MOST_INTERVALS = 3
"""Looks further apart than that do not say what was between them; a poll may be late, or the interval just shorter."""
BLIND_IDENTITY = AlertIdentity(code=BLIND)
_REMEDIES = (
    "See `journalctl -u sockwatch` for what failed, and try `sockwatch check` on this host.",
    "Until looks succeed again no finding begins or ends, and the alerts that fire are as old as the last good look.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look: `time` is seconds since 1970, `monotonic` seconds since boot."""

    report: Report
    success: bool
    time: float
    monotonic: float


def advance(memory: Memory, look: Look, settings: AlertSettings) -> tuple[Memory, AlertRound]:
    """The alerts after one look, and those of which sinks must be told now. What is resolved is forgotten."""
    passed = 0.0 if memory.looked is None else max(look.monotonic - memory.looked, 0.0)
    counted = 0.0 if memory.failures else _watched(passed, look.report.effort)
    failures = 0 if look.success else memory.failures + 1
    alerts = {key: replace(one, told_ago=one.told_ago + passed) for key, one in memory.alerts.items()}
    untracked = memory.untracked
    if look.success:
        alerts, untracked = _follow(alerts, look, settings, counted)
    else:
        alerts = {key: replace(one, presence=Presence.UNKNOWN) for key, one in alerts.items()}
    blind = _blind(alerts.pop(BLIND_IDENTITY, None), look, settings, failures)
    if blind is not None:
        alerts[BLIND_IDENTITY] = blind
    silences = {key: silenced_by(settings.silences, key, one.finding, look.time) for key, one in alerts.items()}
    alerts = _inhibit(alerts, silences, settings, look, counted)
    due = {key for key, one in alerts.items() if _is_due(one, silences[key], settings)}
    alerts = {
        key: replace(one, told=one.severity, told_ago=0.0) if key in due and one.state is AlertState.FIRING else one
        for key, one in alerts.items()
    }
    every = tuple(_alert(one, silences[key], look.time) for key, one in alerts.items())
    left = {key: one for key, one in alerts.items() if one.state is not AlertState.RESOLVED}
    after = Memory(alerts=left, failures=failures, looked=look.monotonic, untracked=untracked)
    return after, AlertRound(alerts=every, due=tuple(alert for alert in every if alert.identity in due))


def _watched(passed: float, effort: Effort | None) -> float:
    """How much of the time between two looks counts: of a suspend no more than an interval, as nobody was looking."""
    if effort is None or passed <= _MOST_INTERVALS * (effort.interval + (effort.seconds or 0.0)):
        return passed
    return effort.interval


def _follow(
    alerts: Mapping[AlertIdentity, Tracked], look: Look, settings: AlertSettings, passed: float
) -> tuple[dict[AlertIdentity, Tracked], int]:
    """Every alert but `blind` after a look that succeeded, and how many findings found no place."""
    bar = Severity(settings.severity)
    seen = sightings(look.report, alerts.keys() - {BLIND_IDENTITY})
    after: dict[AlertIdentity, Tracked] = {}
    for key, one in alerts.items():
        if key == BLIND_IDENTITY:
            after[key] = one
            continue
        sighting = seen.pop(key, None)
        if sighting is not None and _keeps(one, sighting, bar):
            after[key] = _seen(one, sighting, look, settings, passed)
        elif is_unknown(look.report, key, one.hidden) if sighting is None else cannot_tell(sighting):
            after[key] = replace(one, presence=Presence.UNKNOWN)
        elif one.state is AlertState.FIRING:
            after[key] = _gone(one, settings, passed * part_seen(look.report, key))
        elif (part := part_seen(look.report, key)) < 1 and one.away + passed * part < settings.for_:
            after[key] = _perhaps_gone(one, passed, part)
    new = [(key, sighting) for key, sighting in seen.items() if sighting.finding.severity.rank >= bar.rank]
    room = max(MOST_ALERTS - len(after), 0)
    after |= {
        key: _seen(_begin(key, sighting, look.time), sighting, look, settings, 0.0) for key, sighting in new[:room]
    }
    return after, len(new[room:])


def _keeps(one: Tracked, sighting: Sighting, bar: Severity) -> bool:
    """Whether it is still there: at the bar, or firing and not yet down to a note."""
    severity = sighting.finding.severity
    if severity.rank >= bar.rank:
        return True
    return one.state is AlertState.FIRING and one.worst.rank >= bar.rank and severity is not Severity.INFO


def _begin(identity: AlertIdentity, sighting: Sighting, time: float) -> Tracked:
    finding = sighting.finding
    return Tracked(
        identity=identity,
        state=AlertState.PENDING,
        severity=finding.severity,
        worst=finding.severity,
        summary=finding.summary,
        cause=finding.cause,
        remedies=finding.remedies,
        count=sighting.count,
        began=time,
    )


def _seen(one: Tracked, sighting: Sighting, look: Look, settings: AlertSettings, passed: float) -> Tracked:
    finding = sighting.finding
    present = one.present + (passed if one.presence is Presence.SEEN else 0.0)
    fires = one.state is AlertState.PENDING and (finding.severity is Severity.CRITICAL or present >= settings.for_)
    return replace(
        one,
        state=AlertState.FIRING if fires else one.state,
        severity=finding.severity,
        worst=max(one.worst, finding.severity, key=lambda severity: severity.rank),
        summary=finding.summary,
        cause=finding.cause,
        remedies=finding.remedies,
        count=sighting.count,
        fired=max(look.time, one.began) if fires else one.fired,
        present=present,
        away=0.0,
        presence=Presence.SEEN,
        hidden=hidden_namespaces(look.report),
        finding=finding,
    )


def _gone(one: Tracked, settings: AlertSettings, passed: float) -> Tracked:
    away = one.away + (passed if one.presence is Presence.GONE else 0.0)
    over = away >= settings.keep_firing_for
    return replace(
        one, state=AlertState.RESOLVED if over else one.state, away=away, present=0.0, presence=Presence.GONE
    )


def _perhaps_gone(one: Tracked, passed: float, part: float) -> Tracked:
    """A pending alert after a look at another part of the sockets, which does not say that it is gone."""
    seen = passed if one.presence is Presence.SEEN else 0.0
    return replace(one, present=one.present + seen, away=one.away + passed * part)


def _blind(one: Tracked | None, look: Look, settings: AlertSettings, failures: int) -> Tracked | None:
    """The alert that looks keep failing, or None where they do not; the first that succeeds ends it."""
    if look.success:
        return None if one is None or one.fired is None else replace(one, state=AlertState.RESOLVED)
    why = next((gap.why for gap in look.report.gaps if gap.fatal), "no reason was given")
    how_many = "a look" if failures == 1 else f"{failures:,} looks in a row"
    began = look.time if one is None else one.began
    fired = None if one is None else one.fired
    if fired is None and failures >= settings.blind_after:
        fired = max(look.time, began)
    return Tracked(
        identity=BLIND_IDENTITY,
        state=AlertState.PENDING if fired is None else AlertState.FIRING,
        severity=Severity.CRITICAL,
        worst=Severity.CRITICAL,
        summary=f"sockwatch is blind: {how_many} at the sockets failed: {why}",
        cause=f"The last one ended with: {why}",
        remedies=_REMEDIES,
        count=failures,
        began=began,
        fired=fired,
        told=None if one is None else one.told,
        told_ago=0.0 if one is None else one.told_ago,
        presence=Presence.SEEN,
    )


def _inhibit(
    alerts: Mapping[AlertIdentity, Tracked],
    silences: Mapping[AlertIdentity, str | None],
    settings: AlertSettings,
    look: Look,
    passed: float,
) -> dict[AlertIdentity, Tracked]:
    """Which alert explains which. One that is released waits `for_`, so that it can end with what explained it.

    A cause that is pending holds its consequence back too, which is often older; where it goes again without having
    fired, there is nothing to wait for. One that no look sees may never fire.
    """
    followed = {
        key: one for key, one in alerts.items() if one.state is not AlertState.PENDING or one.presence is Presence.SEEN
    }
    causes = explained(_alert(one, silences[key], look.time) for key, one in followed.items())
    after: dict[AlertIdentity, Tracked] = {}
    for key, one in alerts.items():
        cause, wait = causes.get(key), one.wait
        if cause is not None:
            wait = settings.for_ if alerts[cause].state is AlertState.FIRING else 0.0
        elif one.inhibited_by is not None and one.presence is Presence.SEEN:
            wait = 0.0 if one.severity is Severity.CRITICAL else wait - passed
            cause = one.inhibited_by if wait > 0 else None
        elif one.presence is not Presence.SEEN:
            cause = one.inhibited_by
        after[key] = replace(one, inhibited_by=cause, wait=max(wait, 0.0))
    return after


def _is_due(one: Tracked, silence: str | None, settings: AlertSettings) -> bool:
    if one.state is AlertState.RESOLVED:
        return one.told is not None
    if one.state is not AlertState.FIRING or one.presence is not Presence.SEEN:
        return False
    if silence is not None or one.inhibited_by is not None:
        return False
    if one.told is None or one.severity.rank > one.told.rank:
        return True
    return 0 < settings.repeat_interval <= one.told_ago


def _alert(one: Tracked, silence: str | None, time: float) -> Alert:
    """The alert as others see it. The end of what they were told of is not kept from them."""
    over = one.state is AlertState.RESOLVED
    owed = over and one.told is not None
    return Alert(
        identity=one.identity,
        state=one.state,
        severity=one.severity,
        summary=one.summary,
        cause=one.cause,
        remedies=one.remedies,
        count=one.count,
        began=one.began,
        fired=one.fired,
        resolved=max(time, one.fired or one.began) if over else None,
        silenced_by=None if owed else silence,
        inhibited_by=None if owed else one.inhibited_by,
        finding=one.finding,
        told_severity=one.told,
    )
