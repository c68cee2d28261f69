"""Runs every detector over one window; one that crashes is reported and takes nobody with it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sockwatch.diagnose.detector import Detector, NoDataError
from sockwatch.diagnose.role import listeners_of
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding
from sockwatch.model.report import Outcome, Result
from sockwatch.model.snapshot import FollowUp
from sockwatch.model.sockets import NO_DETAIL, SocketTable
from sockwatch.model.state import State

_IN_PORTIONS = "socket details"
"""What collect calls the gap of the sockets that a look leaves out, where there are too many to look into all."""


def find_follow_up(window: Window, detectors: Mapping[str, Detector[Any]]) -> FollowUp:
    """What the detectors want to know once they have seen the sockets."""
    wanted = FollowUp.union(*(_follow_up(window, code, detector) for code, detector in detectors.items()))
    orphans = wanted.suspects.take(wanted.suspects.inode == 0)
    if not len(orphans):
        return wanted
    # Nobody holds them, but who listens on their port may have: see attribution.py.
    listeners = listeners_of(window.current, orphans)
    new = listeners.take(~np.isin(listeners.cookie, wanted.suspects.cookie))
    return replace(wanted, suspects=SocketTable.concatenate([wanted.suspects, new]))


def _follow_up(window: Window, code: str, detector: Detector[Any]) -> FollowUp:
    if detector.misses(window) and not detector.partly:
        return FollowUp(suspects=SocketTable.empty())
    try:
        return FollowUp(
            suspects=detector.suspects(window, detector.settings),
            autobound=detector.asks_autobound(window, detector.settings),
        )
    except Exception as error:  # noqa: BLE001 - one broken detector must not blind the others
        return FollowUp(suspects=SocketTable.empty(), failed={code: _told(error)})


def diagnose(
    window: Window, detectors: Mapping[str, Detector[Any]], failed: Mapping[str, str] | None = None
) -> tuple[tuple[Finding, ...], tuple[Outcome, ...]]:
    """All findings, worst first and then in a fixed order, and how each detector ended.

    `failed` is FollowUp.failed: such a detector tells what it finds, with nobody named, and has failed all the same.
    """
    judging = {code: detector for code, detector in detectors.items() if detector.partly or not detector.misses(window)}
    window = window.like(judges={code: detector.settings for code, detector in judging.items()})
    findings: list[Finding] = []
    outcomes: list[Outcome] = []
    for code, detector in detectors.items():
        missing = detector.misses(window)
        if code not in judging:
            outcomes.append(Outcome(code=code, result=Result.NO_DATA, why=_unread(missing)))
            continue
        try:
            found = tuple(detector.detect(window, detector.settings))
        except NoDataError as error:
            outcomes.append(Outcome(code=code, result=Result.NO_DATA, why=str(error)))
        except Exception as error:  # noqa: BLE001 - one broken detector must not blind the others
            outcomes.append(Outcome(code=code, result=Result.FAILED, why=_told(error)))
        else:
            findings.extend(found)
            if failed and code in failed:
                outcomes.append(Outcome(code=code, result=Result.FAILED, why=failed[code]))
            elif missing:
                outcomes.append(Outcome(code=code, result=Result.NO_DATA, why=_unread(missing)))
            else:
                result = Result.FINDINGS if found else Result.CLEAN
                outcomes.append(Outcome(code=code, result=result, seen=_seen(window, detector)))
    return tuple(sorted(findings, key=_order)), tuple(outcomes)


def _seen(window: Window, detector: Detector[Any]) -> Mapping[str, float]:
    """Outcome.seen: of very many established sockets each look shows the details of another part (collect/portion)."""
    return window.once(_parts_looked_into) if State.ESTABLISHED in detector.asks.states else {}


def _parts_looked_into(window: Window) -> Mapping[str, float]:
    if not any(gap.what == _IN_PORTIONS for gap in window.current.gaps):
        return {}
    sockets = window.sockets
    opened = sockets.is_in_state(State.ESTABLISHED)
    every = np.bincount(sockets.netns[opened], minlength=len(window.namespaces))
    known = np.bincount(sockets.netns[opened & (sockets.detail_row != NO_DETAIL)], minlength=len(window.namespaces))
    return {
        namespace.name: float(part / whole)
        for namespace, part, whole in zip(window.namespaces, known, every, strict=True)
        if 0 < part < whole
    }


def _unread(states: frozenset[State]) -> str:
    return f"sockets in {' and '.join(state.label for state in sorted(states))} were not read, to keep looking cheap"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _order(finding: Finding) -> tuple[int, int, str, str, str, str]:
    subject = finding.subject
    return (
        -finding.severity.rank,
        -finding.count,
        finding.name,
        subject.netns,
        subject.local or "",
        subject.remote or "",
    )
