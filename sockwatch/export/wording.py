"""What a finding and a report say, in words: the same on a terminal, on the status page and in a report."""

from collections.abc import Iterable, Iterator

from sockwatch.export.layout import duration, ends_text, number
from sockwatch.model.finding import Effect, Finding, OtherEnd, Severity, SysctlAdvice
from sockwatch.model.report import Report, Status
from sockwatch.model.snapshot import Gap, Process
from sockwatch.model.state import State

MAX_NAMES = 3
MAX_COMMAND = 200
"""Characters of a command line; JSON has more."""
EFFECT_LABEL = {Effect.HELPS: "helps", Effect.LIMITS: "limits", Effect.NONE: "no help"}
_WITHOUT_HOLDER = {State.TIME_WAIT, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK}


def outcome(report: Report) -> str:
    """How many findings there are; an empty string where there is none."""
    counts = {s: sum(f.severity is s for f in report.findings) for s in Severity}
    parts = [
        plural(counts[Severity.CRITICAL], "critical finding"),
        plural(counts[Severity.WARNING], "warning"),
        f"{number(counts[Severity.INFO])} info" if counts[Severity.INFO] else "",
    ]
    return ", ".join(part for part in parts if part)


def decisive(report: Report) -> Gap | None:
    """The gap that makes the status unknown, the first of them; the verdict tells it."""
    return next((gap for gap in report.gaps if gap.fatal), None) if report.status is Status.UNKNOWN else None


def plural(count: int, what: str) -> str:
    """`3 sockets`; an empty string for none."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}" if count else ""


def facts(finding: Finding) -> Iterator[tuple[str, str]]:
    """What is known, as labels and texts; a text is empty where there is nothing to say."""
    yield "who", who(finding)
    yield "command", command(finding.subject.process)
    yield "where", where(finding)
    yield "oldest", oldest(finding)
    yield "peer", other_end_text(finding.other_end)
    yield "why", finding.cause
    yield "evidence", ", ".join(f"{name} {value}" for name, value in evidence(finding))


def evidence(finding: Finding) -> Iterator[tuple[str, str]]:
    """The numbers that the verdict rests on, without those that `who` and `oldest` tell."""
    for name, value in finding.evidence.items():
        if name not in {"oldest_seconds_max", "confidence", "process_from"}:
            yield name, plain(value)


def who(finding: Finding) -> str:
    """Who holds the sockets, how that is known, and who else does."""
    process = finding.subject.process
    if process is None:
        if any(row.inode and row.pid is None for row in finding.sockets):
            return "not known; see below what was not seen"
        orphans = finding.sockets and all(row.state in _WITHOUT_HOLDER and not row.inode for row in finding.sockets)
        return "no process any more: the kernel keeps these sockets" if orphans else ""
    others = [holder for holder in finding.holders if holder != process]
    text = process_text(process)
    if (source := finding.evidence.get("process_from")) is not None:
        text += f", by {source}" + ("; likely, not certain" if "confidence" in finding.evidence else "")
    if others:
        names = ", ".join(f"{p.name}[{p.pid}]" for p in others[:MAX_NAMES])
        more = f" and {len(others) - MAX_NAMES} more" if len(others) > MAX_NAMES else ""
        text += f"; also held by {names}{more}"
    return text


def command(process: Process | None) -> str:
    """The command line, cut, where it says more than the name."""
    if process is None or process.command is None or process.command == process.name:
        return ""
    return process.command if len(process.command) <= MAX_COMMAND else f"{process.command[: MAX_COMMAND - 3]}..."


def process_text(process: Process) -> str:
    """`name[pid]` with its unit, container, pod and user."""
    in_scope = process.unit is not None and process.container is not None and process.container in process.unit
    where = [process.unit] if process.unit and not in_scope else []
    where += [f"of {process.unit_manager}"] if process.unit_manager and where else []
    where += [f"{process.runtime or 'container'} {process.container}"] if process.container else []
    where += [f"pod {process.pod}"] if process.pod else []
    where += [f"user {process.user}"] if process.user else []
    return f"{process.name}[{process.pid}]" + (f" ({', '.join(where)})" if where else "")


def where(finding: Finding) -> str:
    """The ends, and the namespace where it is not the host's own."""
    subject = finding.subject
    ends = ends_text(subject)
    if subject.netns == "host":
        return ends
    return f"{ends} in namespace {subject.netns}" if ends else f"namespace {subject.netns}"


def oldest(finding: Finding, *, past: bool = False) -> str:
    """The bounds of the oldest socket's age; of a `past` finding there is nothing more to see."""
    least, most = finding.oldest_seconds, finding.evidence.get("oldest_seconds_max")
    most = None if isinstance(most, str) else most
    advice = "" if past else ", look again with --sample"
    low = f"; not certain{advice}" if finding.evidence.get("confidence") == "low" else ""
    if least is None or least != least:  # noqa: PLR0124 - NaN is a number that is not there
        return f"at most {duration(most)}{low}" if most is not None else ""
    if most is None:
        return f"at least {duration(least)}{low}"
    if duration(least) == duration(most):
        return f"{duration(least)}{low}"
    return f"at least {duration(least)}, at most {duration(most)}{low}"


def other_end_text(other: OtherEnd | None) -> str:
    """The other end, where it is on this host; an empty string for None."""
    if other is None:
        return ""
    unnamed = "a process that could not be seen" if other.held else "no process"
    return f"on this host, {other.state.label}, held by {process_text(other.process) if other.process else unnamed}"


def by_effect(advice: Iterable[SysctlAdvice]) -> list[SysctlAdvice]:
    """What helps first, what does not last."""
    order = list(EFFECT_LABEL)
    return sorted(advice, key=lambda s: order.index(s.effect))


def advice_text(advice: SysctlAdvice) -> str:
    """The sysctl with its value, and why."""
    return f"{advice.name} = {' '.join(advice.value.split()) or '(empty)'}: {advice.why}"


def plain(value: float | str) -> str:
    """A number or a text of the evidence."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value)
