"""The query that lists the sockets of a finding."""

from dataclasses import replace

from starlette.datastructures import QueryParams

from sockwatch.errors import UsageError
from sockwatch.export.state_counts import states_of
from sockwatch.export.web.parameters import Parameters
from sockwatch.export.web.socket_query import Query, read_query
from sockwatch.model.finding import Finding
from sockwatch.model.state import State

_NOBODYS = {State.TIME_WAIT, State.SYN_RECV}
"""No descriptor refers to these: minisockets, and requests."""


def sockets_of(finding: Finding) -> Query:
    """The sockets that a finding is about, as nearly as a query can say it."""
    subject = finding.subject
    states = set(states_of(finding)) or {row.state for row in finding.sockets}
    held = bool(finding.sockets) and not states & _NOBODYS and all(row.inode for row in finding.sockets)
    query = Query(
        states=tuple(sorted(states)),
        netns=subject.netns,
        process=subject.process.name if subject.process and held else None,
    )
    local, (remote, port) = (subject.local or "").rpartition(":")[2], _split(subject.remote or "")
    if local.isdecimal():
        query = replace(query, port=int(local), side="local")
    elif port.isdecimal() and remote == "*":
        query = replace(query, port=int(port), side="remote")
    if remote in {"", "*"}:
        return query
    try:
        text = f"[{remote}]:{port}" if ":" in remote and port.isdecimal() else f"{remote}:{port}"
        asked = read_query(Parameters(QueryParams(peer=text if port.isdecimal() else remote), ("peer",)))
    except UsageError:
        return query
    return replace(query, peer=asked.peer, peer_port=asked.peer_port)


def _split(endpoint: str) -> tuple[str, str]:
    address, _, port = endpoint.rpartition(":")
    return address.strip("[]"), port
