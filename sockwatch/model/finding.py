"""A verdict: which bug, in which process, on which side, since when, and what to do now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sockwatch.model.snapshot import Process
from sockwatch.model.state import State


class Severity(StrEnum):
    """How bad; the declaration order is the order of badness."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info, 2 for critical."""
        return list(Severity).index(self)


class Effect(StrEnum):
    """What changing a sysctl would do about a finding."""

    HELPS = "helps"
    NONE = "none"
    LIMITS = "limits"


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlAdvice:
    """One sysctl in the light of a finding: `value` is what it is now, `why` one sentence."""

    name: str
    value: str
    effect: Effect
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a finding is about. `local` and `remote` are ADDR:PORT, `*` where sockets differ, None where not applicable.

    `process` is the oldest holder; None means unknown or not applicable.
    """

    netns: str
    local: str | None = None
    remote: str | None = None
    process: Process | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEnd:
    """The other end of the connections, where it is on this host; `process` holds most of the other ends.

    `held` says whether any process holds them: where `process` is None all the same, it could not be seen.
    """

    state: State
    process: Process | None = None
    held: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRow:
    """One socket as shown to people; the few that stand for a finding's many."""

    netns: str
    state: State
    local: str
    remote: str
    pid: int | None
    inode: int
    uid: int
    recv_q: int
    send_q: int
    age_seconds: float | None
    timer: str
    retransmits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One bug at one subject; the fields are those of "sockwatch.report/1" in contract order.

    `oldest_seconds` is the lower bound of the oldest socket's age. `evidence` holds the numbers the verdict rests on.
    """

    code: str
    variant: str | None
    severity: Severity
    subject: Subject
    holders: tuple[Process, ...] = ()
    other_end: OtherEnd | None = None
    count: int
    oldest_seconds: float | None = None
    summary: str
    cause: str
    remedies: tuple[str, ...]
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    sysctls: tuple[SysctlAdvice, ...] = ()
    sockets: tuple[SocketRow, ...] = ()
    by_state: Mapping[State, int] = field(default_factory=dict)
    """How many of its sockets are in each state, without zeros; empty where it is about none that were read."""
    folded: bool = False
    """Whether it is about what is left of more groups than findings are made of: any of them may be in it."""

    @property
    def name(self) -> str:
        """`code/variant`, or the code alone."""
        return f"{self.code}/{self.variant}" if self.variant else self.code
