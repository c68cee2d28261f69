"""From a group of sockets to a finding: its subject, its holders, its age, the rows that stand for it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sockwatch.diagnose.age import Ages
from sockwatch.diagnose.attribution import attribute
from sockwatch.diagnose.detector import NoDataError
from sockwatch.diagnose.window import Window
from sockwatch.model.address import address_text, endpoint_text
from sockwatch.model.finding import Effect, Finding, OtherEnd, Severity, SocketRow, Subject, SysctlAdvice
from sockwatch.model.grouping import Column, group
from sockwatch.model.snapshot import UNKNOWN, Namespace, Process
from sockwatch.model.sockets import SocketTable
from sockwatch.model.state import State, Timer

MOST_ROWS = 10
"""How many sockets a finding shows."""
MOST_GROUPS = 20
"""How many findings one verdict makes; what is left becomes one more a variant and namespace, with `*` where its
sockets differ."""
ANY = "*"

Evidence = dict[str, float | int | str]


class Group(NamedTuple):
    """The row numbers of a group."""

    rows: NDArray[np.intp]
    folded: bool
    """Whether it is what is left of several groups, because there are more than MOST_GROUPS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What changing a sysctl would do about a bug."""

    name: str
    effect: Effect
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What is said about a bug, whoever has it: formats with `{who}`, `{how_many}` and what a detector adds."""

    summary: str
    cause: str
    remedies: tuple[str, ...]
    advice: tuple[Advice, ...] = ()


def tell(
    window: Window,
    sockets: SocketTable,
    telling: Telling,
    *,
    code: str,
    variant: str | None,
    severity: Severity,
    subject: Subject,
    folded: bool = False,
    netns: int | None = None,
    held: SocketTable | None = None,
    other_end: OtherEnd | None = None,
    ages: Ages | None = None,
    evidence: Evidence | None = None,
    hint: Callable[[Process], str | None] | None = None,
    **words: str,
) -> Finding:
    """The finding about these sockets. `held` are the sockets whose holders are to blame where it is not these.

    `netns` is the number of the namespace, needed where there may be no sockets: what only counters show. `hint` adds
    what is commonly the matter with such a process to the remedies.
    """
    told = attribute(window, sockets, sockets if held is None else held, ages)
    guilty = told.holders
    evidence = {**told.evidence, **(evidence or {})}
    usual = hint(guilty[0]) if hint is not None and guilty else None
    subject = replace(subject, process=guilty[0] if guilty else None)
    words = {
        "who": named(subject.process, len(guilty)),
        "how_many": plural(len(sockets), "connection"),
        "all_holders": "the process" if len(guilty) == 1 else "every process that holds them",
        **words,
    }
    summary = telling.summary.format(**words)
    if not (subject.process and telling.summary.startswith("{who}")):  # a process's name is not ours to change
        summary = summary[0].upper() + summary[1:]
    namespace = window.namespaces[int(sockets.netns[0]) if netns is None else netns]
    return Finding(
        code=code,
        variant=variant,
        severity=severity,
        subject=subject,
        folded=folded,
        holders=guilty if len(guilty) > 1 else (),
        other_end=other_end,
        count=len(sockets),
        oldest_seconds=None if ages is None else ages.oldest,
        summary=summary,
        cause=telling.cause.format(**words),
        remedies=(*(remedy.format(**words) for remedy in telling.remedies), *([usual] if usual else [])),
        evidence=evidence,
        sysctls=advise(namespace, telling.advice),
        sockets=shown(window, sockets, ages),
        by_state={state: count for state, count in sockets.count_by_state().items() if count},
    )


def advise(namespace: Namespace, advice: tuple[Advice, ...]) -> tuple[SysctlAdvice, ...]:
    """The advice with the values of now; a sysctl that this namespace does not have, or an empty limit, is left out."""
    return tuple(
        SysctlAdvice(name=a.name, value=namespace.sysctls[a.name], effect=a.effect, why=a.why)
        for a in advice
        if a.name in namespace.sysctls and (a.effect is not Effect.LIMITS or namespace.sysctls[a.name].strip())
    )


def split(*columns: Column, apart: tuple[Column, ...]) -> list[Group]:
    """The groups, largest first: at most MOST_GROUPS, then what is left of each value of `apart`.

    `apart` are the columns in which no group may differ, as a finding is about one variant and one namespace.
    """
    if not len(columns[0]):
        return []
    groups = group(*apart, *columns)
    largest = np.argsort(-groups.count, kind="stable")
    rank = np.empty(len(groups), np.intp)
    rank[largest] = np.arange(len(groups))
    place = rank[groups.index]
    left = np.flatnonzero(place >= MOST_GROUPS)
    place[left] = MOST_GROUPS + group(*(column[left] for column in apart)).index
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place)) if len(order) else np.empty(0, np.intp)
    return [
        Group(rows=rows, folded=bool((groups.index[rows] != groups.index[rows[0]]).any()))
        for rows in np.split(order, ends[:-1])
        if len(rows)
    ]


def service_end(sockets: SocketTable, serving: NDArray[np.bool_]) -> tuple[Column, ...]:
    """Columns to group by, besides netns: the local port of a serving end, the remote end of any other."""
    return (
        serving,
        np.where(serving, sockets.sport, sockets.dport),
        np.where(serving, 0, sockets.dst_hi),
        np.where(serving, 0, sockets.dst_lo),
    )


def subject(window: Window, sockets: SocketTable, *, local: bool = True, remote: bool = True) -> Subject:
    """Whom these sockets are about; without `local` or `remote` that part is not applicable."""
    return Subject(
        netns=window.namespaces[int(sockets.netns[0])].name,
        local=_common(sockets.src_hi, sockets.src_lo, sockets.sport) if local else None,
        remote=_common(sockets.dst_hi, sockets.dst_lo, sockets.dport) if remote else None,
    )


def _common(hi: NDArray[np.uint64], lo: NDArray[np.uint64], port: NDArray[np.uint16]) -> str:
    one_address = (hi == hi[0]).all() and (lo == lo[0]).all()
    address = address_text(int(hi[0]), int(lo[0])) if one_address else ANY
    return endpoint_text(address, str(port[0]) if (port == port[0]).all() else ANY)


def named(process: Process | None, holders: int = 1) -> str:
    """The process in a sentence, and how many more hold the same sockets."""
    if process is None:
        return "a process that could not be seen"
    return f"{process.name}[{process.pid}]" + (f" and {holders - 1:,} more" if holders > 1 else "")


def plural(count: int, noun: str = "socket") -> str:
    """`1 socket`, `23 sockets`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shown(window: Window, sockets: SocketTable, ages: Ages | None = None) -> tuple[SocketRow, ...]:
    """The rows that stand for the sockets: the oldest ones."""
    lower = np.full(len(sockets), np.nan) if ages is None else ages.lower
    oldest = np.argsort(-np.nan_to_num(lower, nan=-1.0), kind="stable")[:MOST_ROWS]
    few = sockets.take(oldest)
    first = window.owners.of(few)
    return tuple(
        SocketRow(
            netns=window.namespaces[int(few.netns[i])].name,
            state=State(int(few.state[i])),
            local=_common(few.src_hi[i : i + 1], few.src_lo[i : i + 1], few.sport[i : i + 1]),
            remote=_common(few.dst_hi[i : i + 1], few.dst_lo[i : i + 1], few.dport[i : i + 1]),
            pid=None if first[i] == UNKNOWN else window.owners.processes[int(first[i])].pid,
            inode=int(few.inode[i]),
            uid=int(few.uid[i]),
            recv_q=int(few.recv_q[i]),
            send_q=int(few.send_q[i]),
            age_seconds=None if np.isnan(lower[oldest[i]]) else float(lower[oldest[i]]),
            timer=Timer(int(few.timer[i])).label,
            retransmits=int(few.retransmits[i]),
        )
        for i in range(len(few))
    )


def age_evidence(ages: Ages, *, certain: bool) -> Evidence:
    """The upper bound of the age, and the low confidence of a verdict for which only that bound is old enough."""
    evidence: Evidence = {}
    if ages.oldest_max is not None:
        evidence["oldest_seconds_max"] = ages.oldest_max
    if not certain:
        evidence["confidence"] = "low"
    return evidence


def settle(ages: Ages, min_age: float | NDArray[np.float64]) -> tuple[NDArray[np.bool_], bool]:
    """Which sockets of a group a verdict counts, and whether it is certain.

    Those that are surely old enough; where there is none, those that may be, as a guess that a second look settles.
    """
    sure = ages.surely(min_age)
    return (sure, True) if sure.any() else (ages.possibly(min_age), False)


def need_a_bound(sockets: SocketTable, ages: Ages, details: Iterable[str]) -> None:
    """For a detector that found none of these old: were they all young, or was there nothing to tell it from?

    Raises NoDataError, which names those of `details` that none of them has, where no age is bounded from above.
    """
    missing = [name for name in sorted(details) if np.isnan(sockets.detail(name)).all()]
    if len(sockets) and missing and np.isnan(ages.upper).all():
        raise NoDataError(f"how long {plural(len(sockets))} lasted takes {' and '.join(missing)}, not read here")


def severity(*, certain: bool) -> Severity:
    """A warning, or info for a guess."""
    return Severity.WARNING if certain else Severity.INFO
