"""A kernel, a permission or an older capture may lack any field: then a detector says less, and never something else.

Every capture of the corpus, and a host on which much goes wrong, is judged again without each field in turn.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.repository import ROOT
from contract.test_detectors import crowd
from sockwatch.cli.check import with_min_age
from sockwatch.collect.capture import ReplaySource
from sockwatch.diagnose.detector import Detector
from sockwatch.diagnose.registry import load_detectors
from sockwatch.diagnose.run import diagnose, find_follow_up
from sockwatch.diagnose.window import Window
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.report import Result
from sockwatch.model.snapshot import Asks, Namespace, Owners, Snapshot
from sockwatch.model.sockets import AUTOBOUND_UNKNOWN, NO_DETAIL, SHUTDOWN_UNKNOWN, SocketTable
from sockwatch.model.state import State

CAPTURES = sorted((ROOT / "tests" / "corpus" / "captures").rglob("*.capture"))
OLD = {"last_ack_recv": 200_000.0, "last_data_recv": 200_000.0, "last_data_sent": 200_000.0}
AGED = {"close_wait_leak", "fin_wait_2_stuck", "dead_peer"}
LOOKED_CLOSER = {"all details", *OLD}
"""Without these fields nobody can call clean, by these detectors, what they would find with them."""
Removal = Callable[[Snapshot], Snapshot]


@cache
def detectors() -> Mapping[str, Detector[Any]]:
    """All of them, as the lab runs them: what lasts for a second is stuck."""
    return with_min_age(load_detectors(), 1.0)


def windows(path: Path | None) -> list[Window]:
    """The last look of a capture, alone and with the one before it; without a path, the built host."""
    if path is None:
        return [crowd(**OLD), crowd(**OLD, rto=200.0, bytes_acked=1.0, bytes_sent=0.0, unacked=1.0, snd_wnd=0.0)]
    source = ReplaySource.open(path)
    looks = [source.look(Asks()) for _ in range(source.looks)]
    if len(looks) == 1:
        return [Window(current=looks[0])]
    return [Window(current=looks[-1]), Window(current=looks[-1], previous=looks[-2])]


def lacking(window: Window, remove: Removal) -> Window:
    """The same window of a host that lacks something."""
    previous = None if window.previous is None else remove(window.previous)
    return replace(window, current=remove(window.current), previous=previous)


def worst(findings: Iterable[Finding], usual: Mapping[str, int] | None = None) -> dict[str, int]:
    """Each code/variant with its worst severity.

    What says itself that it is a guess is none of them: as info, or about the variant of what is `usual` as bad.
    """
    ranks: dict[str, int] = {}
    bad: dict[str, int] = {}
    for name, rank in (usual or {}).items():
        code = name.partition("/")[0]
        bad[code] = max(bad.get(code, 0), rank)
    for finding in findings:
        guessed = finding.evidence.get("confidence") == "low"
        if not guessed or finding.severity.rank > max(Severity.INFO.rank, bad.get(finding.code, 0)):
            ranks[finding.name] = max(ranks.get(finding.name, 0), finding.severity.rank)
    return ranks


def with_sockets(change: Callable[[SocketTable], SocketTable]) -> Removal:
    return lambda look: replace(look, sockets=change(look.sockets), udp=change(look.udp), mptcp=change(look.mptcp))


def with_namespaces(change: Callable[[Namespace], Namespace]) -> Removal:
    return lambda look: replace(look, namespaces=tuple(change(namespace) for namespace in look.namespaces))


def without_detail(name: str) -> Removal:
    return with_sockets(lambda t: replace(t, details={key: c for key, c in t.details.items() if key != name}))


def without_sysctl(name: str) -> Removal:
    return with_namespaces(lambda n: replace(n, sysctls={key: v for key, v in n.sysctls.items() if key != name}))


def filled(column: str, value: int) -> Removal:
    """A column in which the kernel says nothing."""
    return with_sockets(lambda t: replace(t, **{column: np.full_like(getattr(t, column), value)}))


def unlisted(look: Snapshot) -> Snapshot:
    """As a kernel before v6.8 shows it."""
    bound = look.sockets.is_in_state(State.BOUND, State.CLOSE)
    look = replace(look, sockets=look.sockets.take(~bound))
    return with_namespaces(lambda n: replace(n, lists_bound=False))(look)


WHOLE: Mapping[str, Removal] = {
    "all details": with_sockets(
        lambda t: replace(t, details={}, detail_row=np.full(len(t), NO_DETAIL, np.int32)),
    ),
    "all sysctls": with_namespaces(lambda n: replace(n, sysctls={})),
    "all counters": with_namespaces(lambda n: replace(n, counters={})),
    "owners": lambda look: replace(look, owners=Owners()),
    "autobound": filled("autobound", AUTOBOUND_UNKNOWN),
    "shutdown": filled("shutdown", SHUTDOWN_UNKNOWN),
    "cgroup": filled("cgroup", 0),
    "sockopt": filled("sockopt", 0),
    "bound sockets": unlisted,
    "udp": lambda look: replace(look, udp=SocketTable.empty()),
    "mptcp": lambda look: replace(look, mptcp=SocketTable.empty()),
    "sysctl files": lambda look: replace(look, sysctl_files=()),
}


def removals(*, sick: bool) -> Iterator[tuple[str, Removal, Mapping[str, Detector[Any]]]]:
    """What is removed, how, and which detectors may notice; from a healthy host, the sysctls all at once only."""
    every = detectors()
    for what, remove in WHOLE.items():
        yield what, remove, every
    asks = Asks.union(detector.asks for detector in every.values())
    for name in sorted(asks.details):
        yield name, without_detail(name), {c: d for c, d in every.items() if name in d.asks.details}
    for name in sorted(asks.sysctls) if sick else ():
        yield name, without_sysctl(name), {c: d for c, d in every.items() if name in d.asks.sysctls}


@pytest.mark.parametrize("path", [None, *CAPTURES], ids=lambda path: path.stem if path else "built")
def test_a_missing_field_is_never_another_verdict(path: Path | None) -> None:
    wrong = []
    for window in windows(path):
        told, _ = diagnose(replace(window), detectors())
        # Detectors leave warnings to each other: the same ones judge with and without the field.
        verdicts: dict[tuple[str, ...], dict[str, int]] = {}
        for what, remove, noticing in removals(sick=bool(told)):
            if (judges := tuple(noticing)) not in verdicts:
                verdicts[judges] = worst(diagnose(replace(window), noticing)[0])
            usual = verdicts[judges]
            seen = lacking(window, remove)
            find_follow_up(seen, noticing)
            findings, outcomes = diagnose(seen, noticing)
            wrong += [f"without {what}: {o.code} failed: {o.why}" for o in outcomes if o.result is Result.FAILED]
            for outcome in outcomes if what in LOOKED_CLOSER else ():
                if outcome.result is Result.CLEAN and outcome.code in AGED & {finding.code for finding in told}:
                    wrong.append(f"without {what}: {outcome.code} is clean, and there is no gap")
            for name, rank in worst(findings, usual).items():
                if name not in usual:
                    wrong.append(f"without {what}: {name} is found")
                elif rank > usual[name]:
                    wrong.append(f"without {what}: {name} is worse")
    assert wrong == []


def test_the_built_host_is_sick_enough_to_show_something() -> None:
    found = {name for window in windows(None) for name in worst(diagnose(window, detectors())[0])}
    assert len(found) >= 10
