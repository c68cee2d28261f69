"""What each view lists, as columns and rows; how they are sorted and filtered. Nothing of textual."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_network
from textwrap import wrap
from typing import TypeAlias

from sockwatch.export.layout import duration, number, where_text
from sockwatch.export.state_counts import state_counts
from sockwatch.export.tui.view import Found, Look, SocketLine
from sockwatch.export.web.socket_groups import Group, Groups
from sockwatch.export.web.socket_query import Query
from sockwatch.model.finding import Finding, Severity
from sockwatch.model.printable import printable
from sockwatch.model.report import BudgetUse
from sockwatch.model.state import State

BLOCKS = "▁▂▃▄▅▆▇█"
LOOKS_IN_TREND = 16
_BESIDE_FINDINGS, _MOST_LINES = 32, 2
_UNKNOWN_OWNER, _NO_OWNER = "(not known)", "-"
_NOBODYS = {State.TIME_WAIT, State.SYN_RECV}
"""The kernel keeps these without a struct socket, so that no process can hold them (struct inet_timewait_sock and
struct request_sock)."""
_RED, _YELLOW, _DIM = "bold red", "bold yellow", "dim"
STYLES = {Severity.CRITICAL: _RED, Severity.WARNING: _YELLOW, Severity.INFO: ""}
_CLOSING = (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK)
_SOON, _FULL, _FILLING = 300, 0.95, 0.8


class View(StrEnum):
    """The views, in the order of their keys."""

    FINDINGS = "findings"
    STATES = "states"
    PROCESSES = "processes"
    PEERS = "peers"
    PORTS = "ports"
    LISTENERS = "listeners"
    BUDGETS = "budgets"
    SOCKETS = "sockets"


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what it is sorted by."""

    text: str
    value: float | str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; numbers are aligned to the right, and sorted from the largest down."""

    title: str
    numeric: bool = False


Target: TypeAlias = Query | Finding | SocketLine | None
"""What Enter opens."""


@dataclass(frozen=True, slots=True)
class Row:
    """`key` is the same for the same thing from look to look."""

    key: str
    cells: tuple[Cell, ...]
    target: Target = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A view's table. `empty` is said where it has no rows; `sort` is the column it is sorted by at first."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    empty: str
    sort: int = 0


def listing(
    view: View, look: Look, trend: Mapping[State, Sequence[int]], found: Found | None, *, width: int = 80
) -> Listing:
    """The table of a view; `width` is what findings are wrapped to."""
    if view is View.FINDINGS:
        return _findings(look, width)
    if view is View.SOCKETS:
        return _sockets(found)
    if view is View.STATES:
        return _states(look, trend)
    return _LISTINGS[view](look)


def arrange(table: Listing, *, sort: int, reverse: bool, words: str) -> tuple[Row, ...]:
    """The rows that have every one of these words, sorted by a column."""
    wanted = words.casefold().split()
    rows = [row for row in table.rows if all(word in _said(row) for word in wanted)]
    numeric = table.columns[sort].numeric
    return tuple(sorted(rows, key=lambda row: row.cells[sort].value, reverse=numeric is not reverse))


def trend_text(values: Sequence[int]) -> str:
    """Small bars, from nothing to the highest."""
    highest = max(values, default=0)
    return "".join(BLOCKS[min(v * len(BLOCKS) // (highest + 1), len(BLOCKS) - 1)] if v else " " for v in values)


def holder_text(line: SocketLine) -> str:
    """`name[pid]`, or that it is not known, or that nobody holds it."""
    if line.process is not None:
        return f"{printable(line.process)}[{line.pid}]"
    return _UNKNOWN_OWNER if line.inode else "-"


def _said(row: Row) -> str:
    return " ".join(cell.text for cell in row.cells).casefold()


def _text(text: str, style: str = "") -> Cell:
    safe = printable(text)
    return Cell(safe, safe.casefold(), style)


def _count(value: int | None, style: str = "") -> Cell:
    if value is None:
        return Cell("?", -1.0, _DIM)
    return Cell(number(value) if value else "-", float(value), style if value else _DIM)


def _findings(look: Look, width: int) -> Listing:
    rows = []
    for place, finding in enumerate(look.report.findings):
        where = where_text(finding.subject)
        summary = wrap(
            printable(finding.summary), max(width - _BESIDE_FINDINGS, 20), max_lines=_MOST_LINES, placeholder=" ..."
        )
        what = "\n".join([printable(f"{finding.name}  {where}"), *summary])
        style = STYLES[finding.severity]
        age = finding.oldest_seconds
        cells = (
            Cell(finding.severity.value, float(place), style),
            _count(finding.count),
            Cell("-" if age is None else duration(age), -1.0 if age is None else age),
            Cell(what, printable(finding.name)),
        )
        subject = finding.subject
        process = subject.process and subject.process.name
        key = repr((finding.name, subject.netns, subject.local, subject.remote, process))
        rows.append(Row(key, cells, finding))
    said = "Nothing could be looked at." if any(gap.fatal for gap in look.report.gaps) else "Nothing wrong was found."
    columns = (Column("SEVERITY"), Column("SOCKETS", numeric=True), Column("OLDEST", numeric=True), Column("FINDING"))
    return Listing(columns, tuple(_unlike(rows)), said)


def _unlike(rows: Iterable[Row]) -> Iterable[Row]:
    """Two findings may be about the same subject: no two keys are the same."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.key] += 1
        yield row if seen[row.key] == 1 else Row(f"{row.key} {seen[row.key]}", row.cells, row.target)


def _states(look: Look, trend: Mapping[State, Sequence[int]]) -> Listing:
    rows = []
    for state, about in state_counts(look.report).items():
        values = trend.get(state, ())
        change = values[-1] - values[-2] if len(values) > 1 else 0
        style = STYLES[about.severity] if about.severity else ""
        cells = (
            _text(state.label, style),
            _count(about.count, style),
            Cell(f"{change:+,}" if change else "-", float(change), "" if change else _DIM),
            _count(about.suspicious, style),
            _count(about.aged),
            Cell(trend_text(values).rjust(LOOKS_IN_TREND), float(values[-1]) if values else -1.0),
        )
        rows.append(Row(state.label, cells, Query(states=(state,))))
    columns = (
        Column("STATE"),
        Column("SOCKETS", numeric=True),
        Column("CHANGE", numeric=True),
        Column("IN FINDINGS", numeric=True),
        Column("OLD", numeric=True),
        Column("LAST LOOKS", numeric=True),
    )
    return Listing(columns, tuple(rows), "", sort=1)


def _by_group(
    look: Look, groups_of: Callable[[Groups], tuple[Group, ...]], title: str, query: Callable[[Group], Query], name: str
) -> Listing:
    """Groups with their sockets in each state; what is in no group of its own is together in the last.

    `name` is for the group without one; what nobody can hold is apart from it.
    """
    counts: dict[tuple[str | None, str, str], Counter[State]] = {}
    shown: dict[tuple[str | None, str, str], Group] = {}
    for state, groups in look.groups.items():
        for group in groups_of(groups):
            unnamed = _NO_OWNER if name and state in _NOBODYS else name
            key = (group.value, group.side, "" if group.value or group.value is None else unnamed)
            counts.setdefault(key, Counter())[state] += group.count
            shown[key] = group
    rows = []
    for key, by_state in counts.items():
        value, side, unnamed = key
        label = (shown[key].name or unnamed) + (f" {side}" if side else "")
        closing = sum(by_state[state] for state in _CLOSING)
        own = (State.ESTABLISHED, State.LISTEN, State.CLOSE_WAIT, State.TIME_WAIT)
        rest = by_state.total() - closing - sum(by_state[state] for state in own)
        cells = (
            _text(label, "" if value else _DIM),
            _count(by_state.total()),
            _count(by_state[State.ESTABLISHED]),
            _count(by_state[State.LISTEN]),
            _count(by_state[State.CLOSE_WAIT]),
            _count(closing),
            _count(by_state[State.TIME_WAIT]),
            _count(rest),
        )
        target = None if value is None else query(shown[key])
        if target is not None and unnamed:
            target = replace(target, states=tuple(sorted(by_state)))
        rows.append(Row(repr(key), cells, target))
    titles = ("TOTAL", "ESTAB", "LISTEN", "CLOSE_WAIT", "CLOSING", "TIME_WAIT", "OTHER")
    columns = (Column(title), *(Column(one, numeric=True) for one in titles))
    return Listing(columns, tuple(rows), "No sockets.", sort=1)


def _processes(look: Look) -> Listing:
    return _by_group(look, lambda g: g.process, "PROCESS", lambda g: Query(process=g.value), _UNKNOWN_OWNER)


def _peers(look: Look) -> Listing:
    return _by_group(look, lambda g: g.peer, "PEER", lambda g: _towards(g.name), "")


def _ports(look: Look) -> Listing:
    return _by_group(look, lambda g: g.port, "PORT", lambda g: Query(port=int(g.name), side=g.side or None), "")


def _towards(peer: str, port: str = "") -> Query:
    """The sockets whose other end is there."""
    return Query(peer=ip_network(peer.strip("[]")), peer_port=int(port) if port else None)


def _listeners(look: Look) -> Listing:
    rows = []
    for line in look.listeners:
        full = line.recv_q > line.send_q if line.send_q else line.recv_q > 0
        ratio = line.recv_q / line.send_q if line.send_q else float(line.recv_q > 0)
        style = _RED if full else _YELLOW if ratio >= _FILLING else ""
        cells = (
            _text(line.local),
            _text(holder_text(line)),
            _count(line.recv_q, style),
            _count(line.send_q),
            Cell(f"{100 * ratio:.0f} %", ratio, style),
            _text(line.netns),
        )
        port = int(line.local.rpartition(":")[2])
        rows.append(Row(line.cookie, cells, Query(port=port, netns=line.netns)))
    columns = (
        Column("LOCAL"),
        Column("PROCESS"),
        Column("WAITING", numeric=True),
        Column("LIMIT", numeric=True),
        Column("FULL", numeric=True),
        Column("NETNS"),
    )
    return Listing(columns, tuple(rows), "Nothing listens.", sort=4)


def _budgets(look: Look) -> Listing:
    rows = [_budget(use) for use in look.report.budgets]
    columns = (
        Column("SOURCE"),
        Column("TOWARDS"),
        Column("USED", numeric=True),
        Column("OF", numeric=True),
        Column("SHARE", numeric=True),
        Column("NONE LEFT IN", numeric=True),
        Column("NETNS"),
    )
    return Listing(columns, tuple(rows), "No budget of source ports is used to a tenth.", sort=4)


def _budget(use: BudgetUse) -> Row:
    soon = use.seconds_left is not None and use.seconds_left <= _SOON
    style = _RED if soon or use.ratio >= _FULL else _YELLOW if use.ratio >= _FILLING else ""
    left = use.seconds_left
    cells = (
        _text(use.source),
        _text("all (bind)" if use.destination == "*" else use.destination),
        _count(use.used),
        _count(use.usable),
        Cell(f"{100 * use.ratio:.0f} %", use.ratio, style),
        Cell("-" if left is None else duration(left), float("-inf") if left is None else -left, style),
        _text(use.netns),
    )
    target = None
    if use.destination != "*":
        peer, _, port = use.destination.rpartition(":")
        target = _towards(peer, port)
    return Row(repr((use.netns, use.source, use.destination)), cells, target)


def _sockets(found: Found | None) -> Listing:
    rows = []
    for line in () if found is None else found.lines:
        age = line.age_seconds
        cells = (
            _text(line.state),
            _text(line.local),
            _text(line.remote),
            _text(holder_text(line)),
            _count(line.recv_q),
            _count(line.send_q),
            Cell("-" if age is None else duration(age), -1.0 if age is None else age, _DIM if age is None else ""),
            _text(line.timer if line.timer != "off" else "-", "" if line.timer != "off" else _DIM),
            _count(line.retransmits),
            _text(line.netns),
        )
        rows.append(Row(line.cookie, cells, line))
    columns = (
        Column("STATE"),
        Column("LOCAL"),
        Column("REMOTE"),
        Column("PROCESS"),
        Column("RECV-Q", numeric=True),
        Column("SEND-Q", numeric=True),
        Column("AGE", numeric=True),
        Column("TIMER"),
        Column("RETR", numeric=True),
        Column("NETNS"),
    )
    return Listing(columns, tuple(rows), "none")


_LISTINGS: Mapping[View, Callable[[Look], Listing]] = {
    View.PROCESSES: _processes,
    View.PEERS: _peers,
    View.PORTS: _ports,
    View.LISTENERS: _listeners,
    View.BUDGETS: _budgets,
}
