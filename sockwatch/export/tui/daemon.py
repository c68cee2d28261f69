"""Looks of a daemon, on this host or another, through its API."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import replace

import msgspec
import urllib3

from sockwatch.errors import DaemonError
from sockwatch.export.json_reader import read_report
from sockwatch.export.tui.view import MOST_GROUPS, Found, Look, SocketLine
from sockwatch.export.web.socket_groups import Group, Groups
from sockwatch.export.web.socket_query import Query
from sockwatch.model.printable import printable
from sockwatch.model.report import Report
from sockwatch.model.state import State

_MOST_BYTES = 64 << 20
_SECONDS = 5.0
_OK, _UNAUTHORIZED = 200, 401
_LONGEST = 200
_SECONDS_OLD = re.compile("[0-9]{1,9}")


class _Group(msgspec.Struct):
    count: int
    state: str | None = None
    name: str | None = None
    address: str | None = None
    port: int | None = None
    side: str | None = None
    netns: str | None = None

    def group(self) -> Group:
        value = next((str(v) for v in (self.name, self.address, self.port, self.state) if v is not None), None)
        return Group(name="others" if value is None else value, value=value, count=self.count, side=self.side or "")


class _Groups(msgspec.Struct):
    process: list[_Group]
    peer: list[_Group]
    port: list[_Group]


class _Sockets(msgspec.Struct):
    total: int
    groups: _Groups
    sockets: tuple[SocketLine, ...]


class DaemonFeed:
    """A Feed. `url` is the daemon's base address, with `authorization` as the value of that header if it asks."""

    def __init__(self, url: str, *, authorization: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.where = url
        self._base = url.rstrip("/")
        headers = {"User-Agent": "sockwatch", "Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        self._pool = urllib3.PoolManager(
            headers=headers, retries=False, timeout=_SECONDS, ssl_context=tls, cert_reqs="CERT_REQUIRED"
        )
        self._last: tuple[bytes, Look] | None = None

    def look(self) -> Look:
        """The daemon's last look. Raises DaemonError."""
        data, age = self._get("/api/v1/report")
        if self._last is not None and self._last[0] == data:
            return self._last[1]
        try:
            report = read_report(data)
        except (ValueError, RecursionError) as error:
            raise self._strange(error) from error
        look = replace(self._divided(report), age=age, interval=report.effort.interval if report.effort else None)
        self._last = (data, look)
        return look

    def find(self, query: Query) -> Found:
        """Sockets of the daemon's last look. Raises DaemonError."""
        told = self._sockets(query)
        return Found(query=query, total=told.total, lines=told.sockets)

    def _divided(self, report: Report) -> Look:
        groups: dict[State, Groups] = {}
        listeners: tuple[SocketLine, ...] = ()
        if any(gap.fatal for gap in report.gaps) or not report.total:
            return Look(report=report, groups=groups, listeners=listeners)
        for state, count in report.by_state.items():
            if not count:
                continue
            limit = 1000 if state is State.LISTEN else 1
            told = self._sockets(Query(states=(state,), limit=limit, groups=MOST_GROUPS))
            listeners = told.sockets if state is State.LISTEN else listeners
            groups[state] = Groups(
                state=(),
                process=tuple(one.group() for one in told.groups.process),
                peer=tuple(one.group() for one in told.groups.peer),
                port=tuple(one.group() for one in told.groups.port),
                netns=(),
            )
        return Look(report=report, groups=groups, listeners=listeners)

    def _sockets(self, query: Query) -> _Sockets:
        address = query.address("/api/v1/sockets")
        mark = "&" if "?" in address else "?"
        data, _ = self._get(f"{address}{mark}limit={query.limit}&groups={query.groups}")
        try:
            return msgspec.json.decode(data, type=_Sockets)
        except (ValueError, RecursionError) as error:
            raise self._strange(error) from error

    def _get(self, path: str) -> tuple[bytes, float]:
        """The body, and how old it is by the daemon's own clock, in seconds."""
        try:
            response = self._pool.request("GET", self._base + path, redirect=False, preload_content=False)
            try:
                body: bytes = response.read(_MOST_BYTES + 1, decode_content=True)
            finally:
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise DaemonError(f"{self.where}: {_reason(error)}") from error
        if len(body) > _MOST_BYTES:
            raise DaemonError(f"{self.where}: the answer is longer than {_MOST_BYTES >> 20} MiB")
        if response.status != _OK:
            raise DaemonError(f"{self.where}: {_refusal(response.status, body)}")
        age = response.headers.get("Age", "")
        return body, float(age) if _SECONDS_OLD.fullmatch(age) else 0.0

    def _strange(self, error: Exception) -> DaemonError:
        return DaemonError(f"{self.where}: this is no answer of sockwatch: {printable(str(error))[:_LONGEST]}")


def _refusal(status: int, body: bytes) -> str:
    if status == _UNAUTHORIZED:
        return "a user and a password are needed: --url https://USER@HOST, and SOCKWATCH_PASSWORD in the environment"
    try:
        told = msgspec.json.decode(body, type=Mapping[str, str]).get("error", "")
    except (ValueError, RecursionError):
        told = ""
    return f"HTTP {status}{': ' if told else ''}{printable(told)[:_LONGEST]}"


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """What went wrong below, without python's names of things."""
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return f"no connection: {printable(str(error).rpartition(': ')[2])}"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return f"no answer within {_SECONDS:g} s"
    return printable(str(error).rpartition(": ")[2] or type(error).__name__)[:_LONGEST]
